"""Why a file cannot be written (a full or read-only disk, no permission), and what to do."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gcrm.utils.errors import UserError

NO_ROOM = {
    errno.ENOSPC: "the disk is full; free some space and start again",
    errno.EDQUOT: "your quota of disk space is used up; free some space and start again",
    errno.EFBIG: "larger than a file may be here; raise the limit (ulimit -f) and start again",
    errno.EROFS: "the disk is read-only; give a folder on another one",
}
"""errors that only writing can cause"""
BAD_PATH = {
    errno.EACCES,
    errno.EPERM,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
}
"""errors that reading can cause, too"""
TORCH_MESSAGES = ("PytorchStreamWriter failed", "unexpected pos ", "iostream error")
"""torch does not say why it could not write"""


def disk_problem(error: BaseException) -> str | None:
    """What is wrong with the disk, and what to do; None if the error has another cause."""
    cause: BaseException | None = error
    while cause is not None:
        text = str(cause)
        for number, problem in NO_ROOM.items():
            # Libraries in Rust and C++ (safetensors, pyarrow) keep only the words of the error.
            marks = (f"[Errno {number}]", f"(os error {number})", os.strerror(number))
            if any(mark in text for mark in marks):
                return problem
        if any(message in text for message in TORCH_MESSAGES):
            return "a file cannot be written whole; see whether the disk is full, and start again"
        cause = cause.__cause__ or cause.__context__
    return None


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Within the block, an error that keeps `path` from being written becomes a UserError.

    Raises:
        UserError: the disk is full or read-only, or the path cannot be used.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        problem = disk_problem(error)
        if problem is None and isinstance(error, OSError) and error.errno in BAD_PATH:
            problem = f"{error.strerror}; give another path"
        if problem is None:
            raise
        raise UserError(f"{path}: cannot be written: {problem}") from None


def check_writable(folder: Path) -> None:
    """Make a folder and a file in it, to fail before hours of work and not after.

    Raises:
        UserError: the folder, or a file in it, cannot be made.
    """
    with explain_write_errors(folder):
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
