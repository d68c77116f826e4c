"""What a full or read-only disk does to a write, told in words that say what to do.

Each library has an error of its own for it: some keep the system's number, others only its words.
"""

import errno
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
"""errors that only a write can meet"""
NO_PLACE = {
    errno.EACCES: "no permission to write there; give another folder, or change its mode",
    errno.EPERM: "writing is not permitted there; give another folder",
    errno.ENOENT: "its folder is gone, or cannot be made; give another path",
    errno.ENOTDIR: "one of the folders in this path is a file; give another path",
    errno.EEXIST: "there is a file where a folder is needed; give another path",
    errno.EISDIR: "there is a folder of this name; give another path",
    errno.ENAMETOOLONG: "the name is longer than the file system takes; give a shorter one",
}
"""errors that a read can meet, too"""
WORDS = {
    "No space left on device": errno.ENOSPC,
    "(os error 28)": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT,
    "File too large": errno.EFBIG,
    "(os error 27)": errno.EFBIG,
    "Read-only file system": errno.EROFS,
}
"""what libraries in Rust and C++ (safetensors, pyarrow) leave of the system's error"""
TORCH_WRITER = ("PytorchStreamWriter failed", "unexpected pos ", "iostream error")
"""what torch says where it could not write, without the reason"""


def no_room(error: BaseException) -> str | None:
    """Why an error is a full or read-only disk's, and what to do; None where it is no such one."""
    cause: BaseException | None = error
    while cause is not None:
        number = cause.errno if isinstance(cause, OSError) else None
        if number not in NO_ROOM:
            number = next((n for words, n in WORDS.items() if words in str(cause)), None)
        if number is not None:
            return NO_ROOM[number]
        if any(words in str(cause) for words in TORCH_WRITER):
            return "a file cannot be written whole; see whether the disk is full, and start again"
        cause = cause.__cause__ or cause.__context__
    return None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within the block, what keeps `path` from being written is the user's to mend.

    Raises:
        UserError: the disk is full or read-only, or there is no place for the file.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        problem = no_room(error)
        if problem is None and isinstance(error, OSError):
            problem = NO_PLACE.get(error.errno or 0)
        if problem is None:
            raise
        raise UserError(f"{path}: cannot be written: {problem}") from None


def check_writable(folder: Path) -> None:
    """Make a folder and see that files can be made in it: before hours of work, not after.

    Raises:
        UserError: they cannot.
    """
    with writing(folder):
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
