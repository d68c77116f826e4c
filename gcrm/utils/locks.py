"""Locks on results: of two processes that would write the same one, the second stops and says so.

A lock of the operating system ends with its process, however that ends, so nothing has to be
cleaned up after a crash.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout, lock_descriptor

from gcrm.utils.errors import UserError


@contextmanager
def claim(path: Path) -> Iterator[None]:
    """Within the block, no other process writes this file or into this folder.

    The lock is a file beside the result. Of several processes that share a job, only the first
    claims. Where no lock can be made, the block runs without one: whether the result can be
    written is checked elsewhere.

    Raises:
        UserError: another process writes it.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    lock = FileLock(
        path.with_name(f".{path.name}.lock"),
        blocking=False,
        fallback_to_soft=False,
        on_acquired=_write_holder,
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise UserError(
            f"{path}: is being written by another process ({_holder(Path(lock.lock_file))}); wait "
            "until it has ended, or give another path"
        ) from None
    except OSError:
        pass
    try:
        yield
    finally:
        if lock.is_locked:
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()


def _write_holder(descriptor: int) -> None:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    os.truncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()} on {socket.gethostname()}, since {since}".encode())


def _holder(lock: Path) -> str:
    try:
        return lock.read_text(encoding="utf-8") or "just started"
    except OSError:
        return "about to end"


def try_lock(path: Path) -> int | None:
    """Lock a folder, or a file, which is created if necessary; closing the descriptor unlocks it.

    On a file system without locks every process gets a descriptor.

    Returns:
        An open descriptor, or None if another process holds the lock.
    """
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags, 0o666)
    with suppress(OSError):
        if not lock_descriptor(descriptor, blocking=False):
            os.close(descriptor)
            return None
    return descriptor
