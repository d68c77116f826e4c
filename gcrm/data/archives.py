"""The part of a .zip archive that is wanted, unpacked so that no name in it leaves the folder."""

import lzma
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from gcrm.data.download import check_room
from gcrm.utils.errors import UserError

Members = dict[PurePosixPath, zipfile.ZipInfo]
"""Files of an archive by their path below the wanted folder."""


UNREADABLE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)
"""what zipfile raises for damage and, as RuntimeErrors, for passwords and unknown compression"""


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """An archive, and what may go wrong while it is read in one line.

    Raises:
        UserError: it is no .zip, is damaged, or needs a password.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except UNREADABLE as error:
        with path.open("rb") as file:
            begin = file.read(20)
        raise UserError(
            f"{path}: is no .zip archive that can be read ({error}; it begins with {begin!r}); "
            "delete it to fetch it again, or correct its url in the config"
        ) from None


def members(archive: zipfile.ZipFile, folder: str = "") -> Members:
    """The files below `folder`, without what macOS adds.

    Raises:
        UserError: there are none, or a name would leave the folder that it is unpacked into.
    """
    root = PurePosixPath(folder)
    found: Members = {}
    for info in archive.infolist():
        path = PurePosixPath(info.filename)
        inside = path.is_relative_to(root) or not folder
        if info.is_dir() or not inside or path.parts[0] == "__MACOSX":
            continue
        link = stat.S_ISLNK(info.external_attr >> 16)
        if link or path.is_absolute() or ".." in path.parts:
            raise UserError(
                f"{archive.filename}: {info.filename!r} would be unpacked outside of its folder; "
                "do not use this archive"
            )
        found[path.relative_to(root)] = info
    if not found:
        folders = sorted({str(PurePosixPath(name).parent) for name in archive.namelist()})
        raise UserError(
            f"{archive.filename}: has no files in a folder {folder!r}; there are "
            f"{', '.join(folders[:20]) or 'none'}{' …' if len(folders) > 20 else ''}"
        )
    return found


def unpack(archive: zipfile.ZipFile, wanted: Members, target: Path) -> list[Path]:
    """Write files of `members` below `target`.

    Raises:
        UserError: the disk has no room for them.
    """
    target.mkdir(parents=True, exist_ok=True)
    check_room(target, sum(info.file_size for info in wanted.values()), f"{archive.filename}")
    written = []
    for path, info in wanted.items():
        file = target.joinpath(*path.parts)
        file.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(info) as source, file.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
        written.append(file)
    return written
