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
    errno.EACCES: "no permission to write there; give another folder, or change its mode",
    errno.EPERM: "writing is not permitted there; give another folder",
    errno.ENOENT: "its folder is gone, or cannot be made; give another path",
    errno.ENOTDIR: "one of the folders in this path is a file; give another path",
    errno.EEXIST: "there is a file where a folder is needed; give another path",
    errno.EISDIR: "there is a folder of this name; give another path",
    errno.ENAMETOOLONG: "the name is longer than the file system takes; give a shorter one",
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
        if problem is None and isinstance(error, OSError):
            problem = BAD_PATH.get(error.errno or 0)
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
