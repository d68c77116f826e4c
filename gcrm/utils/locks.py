"""Two processes that would write the same result: the second says so and stops.

The claim is a lock of the operating system on a file beside the result. It ends with the process,
however that ends, so that nothing has to be cleaned up after a crash.
"""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gcrm.utils.errors import UserError


def hold(path: Path) -> int | None:
    """Lock a folder, or a file, which is made if need be: an open descriptor, which keeps the lock.

    Where the file system has no locks, everyone gets it.

    Returns:
        None where another process holds the lock.
    """
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        pass
    return descriptor


@contextmanager
def claim(path: Path) -> Iterator[None]:
    """Within the block no other process writes this file, or into this folder.

    Of several processes that share a job, the first one claims. Where no lock can be made, the
    block runs without: whether the result can be written is for others to say.

    Raises:
        UserError: another process writes it.
    """
    lock = path.with_name(f".{path.name}.lock")
    descriptor = None
    if os.environ.get("RANK", "0") == "0":
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = _hold_current(lock)
            if descriptor is None:
                raise UserError(
                    f"{path}: is being written by another process ({_holder(lock)}); wait until it "
                    "has ended, or give another path"
                )
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            os.truncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()} on {socket.gethostname()}, since {since}".encode())
    try:
        yield
    finally:
        if descriptor is not None:
            lock.unlink(missing_ok=True)
            os.close(descriptor)


def _hold_current(lock: Path) -> int | None:
    """As `hold`, and never of a file that its last holder has just removed."""
    while (descriptor := hold(lock)) is not None:
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), lock.stat()):
                return descriptor
        os.close(descriptor)
    return None


def _holder(lock: Path) -> str:
    try:
        return lock.read_text(encoding="utf-8") or "just started"
    except OSError:
        return "about to end"
