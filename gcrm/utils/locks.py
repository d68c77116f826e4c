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

from filelock import FileLock, Timeout

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
    file = path.with_name(f".{path.name}.lock")
    lock = FileLock(file, blocking=False, fallback_to_soft=False, on_acquired=_write_holder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        holder = file.read_text("utf-8") if file.exists() else "which is about to end"
        raise UserError(
            f"{path}: is being written by another process ({holder}); wait until it has ended, or "
            "give another path"
        ) from None
    except OSError:
        pass
    try:
        yield
    finally:
        if lock.is_locked:
            with suppress(OSError):  # in a folder that is read-only now; it does no harm there
                file.unlink(missing_ok=True)
            lock.release()


def _write_holder(descriptor: int) -> None:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    os.truncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()} on {socket.gethostname()}, since {since}".encode())
