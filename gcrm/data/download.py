"""Downloading files, with retries and resume, and unpacking archives safely.

A file is written under a `.part` name and renamed when it is complete and has the expected size and
hash. An interrupted transfer resumes if the server supports it and its file has not changed.
"""

import hashlib
import json
import lzma
import math
import os
import shutil
import stat
import time
import urllib.parse
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import requests
import urllib3

from gcrm.config.download import RemoteFile
from gcrm.utils.errors import UserError
from gcrm.utils.io import file_sha256, write_json
from gcrm.utils.logging import Progress, say

CHUNK = 1 << 20
TIMEOUT = 60.0
"""seconds without data after which a transfer counts as interrupted"""
PAUSES = (1.0, 5.0, 20.0, 60.0)
"""seconds before each retry of an interrupted transfer"""
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
"""HTTP statuses that are retried"""
UNREADABLE_ZIP = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)
"""exceptions of zipfile for damage and (RuntimeError) for passwords and unknown compression"""


class _Interrupted(Exception):
    """A transfer stopped and can be retried."""


def fetch(file: RemoteFile, folder: Path) -> Path:
    """Download a file to `folder / local_name(file.url)`, unless it exists; return the path.

    Raises:
        UserError: no network, no such file, no disk space, or not the expected size or content.
    """
    transfer = _Transfer(file, Path(folder) / local_name(file.url))
    path = transfer.path
    if path.exists():
        transfer.check(path, advice="delete it to fetch it again")
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    for pause in (*PAUSES, None):
        try:
            transfer.resume()
            break
        except _Interrupted as error:
            kept = _size(transfer.received)
            if pause is None:
                raise UserError(
                    f"{file.url}: the transfer failed repeatedly ({error}); {kept} are kept: run "
                    f"again to resume{transfer.by_hand}"
                ) from None
            say(f"prepare: {path.name}: {error}; retrying in {pause:.0f} s, from {kept}")
            time.sleep(pause)
    try:
        transfer.check(transfer.part, advice="run again, or correct what the config expects")
    except UserError:
        transfer.discard()
        raise
    os.replace(transfer.part, path)
    transfer.discard()
    return path


def local_name(url: str) -> str:
    """The local name of a downloaded file: its own, with a hash of the URL before the suffix.

    Files of the same name at different URLs do not collide, and a changed URL is downloaded again.
    """
    name = urllib.parse.unquote(urllib.parse.urlsplit(url).path).rsplit("/", 1)[-1]
    safe = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name)
    packed = ".gz" if safe.endswith(".gz") else ""
    path = PurePosixPath(safe.lstrip(".").removesuffix(packed))  # .jsonl.gz is one suffix
    digest = hashlib.sha256(url.encode()).hexdigest()[:8]
    return f"{path.stem[:80]}-{digest}{(path.suffix + packed)[:20]}"


def check_room(folder: Path, needed: int, what: str) -> None:
    """Check the free disk space of `folder`.

    Raises:
        UserError: fewer than `needed` bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{what} needs {_size(needed)} in {folder}, where {_size(free)} are free; free disk "
            "space, or run on a larger disk"
        )


@dataclass(frozen=True)
class _Transfer:
    """A download to `path`: its `.part` file, and a `.part.json` file with the server's headers."""

    file: RemoteFile
    path: Path

    @property
    def part(self) -> Path:
        return self.path.with_name(f"{self.path.name}.part")

    @property
    def state(self) -> Path:
        return self.path.with_name(f"{self.path.name}.part.json")

    @property
    def received(self) -> int:
        """Bytes of the part so far."""
        return self.part.stat().st_size if self.part.exists() else 0

    @property
    def by_hand(self) -> str:
        return f"; or download it elsewhere and put it at {self.path}"

    def discard(self) -> None:
        """Remove the part."""
        self.part.unlink(missing_ok=True)
        self.state.unlink(missing_ok=True)

    def check(self, path: Path, advice: str) -> None:
        """Check the size and content of a file."""
        file, size = self.file, path.stat().st_size
        expected = f"that the config expects; {advice}"
        if file.size is not None and size != file.size:
            raise UserError(
                f"{path} (from {file.url}): has {size} bytes, not the {file.size} {expected}"
            )
        if file.sha256 is not None and (found := file_sha256(path)) != file.sha256:
            raise UserError(
                f"{path} (from {file.url}): has SHA-256 {found}, not the {file.sha256} {expected}"
            )

    def resume(self) -> None:
        """Download the rest of the part.

        Raises:
            _Interrupted: the part is not complete.
            UserError: a retry would not help.
        """
        start, known = self.received, self._known()
        headers = {"User-Agent": "gcrm", "Accept-Encoding": "identity"}
        if known and start:
            headers |= {"Range": f"bytes={start}-", "If-Range": known["validator"]}
        with self._open(headers) as response:
            # A server that ignores the range, or whose file has changed, sends the whole file.
            begin, total = _content_range(response)
            if begin not in (0, start):
                self.discard()
                raise _Interrupted("the server sent a different range than requested")
            if total is None and begin > 0:
                total = known.get("total")
            if self.file.size is not None and total not in (None, self.file.size):
                raise UserError(
                    f"{self.file.url}: has {total} bytes, not the {self.file.size} that the config "
                    f"expects; the file was replaced, or size is wrong{self.by_hand}"
                )
            check_room(self.path.parent, (total or self.file.size or 0) - begin, self.path.name)
            if begin == 0:
                self.discard()
                validator = _validator(response)
                state = {"url": self.file.url, "validator": validator, "total": total}
                write_json(self.state, state)
            self._append(response, begin, total)
        if total is not None and self.received != total:
            reason = f"the connection ended after {_size(self.received)} of {_size(total)}"
            if self.received > total:
                self.discard()
            raise _Interrupted(reason)

    def _known(self) -> dict[str, Any]:
        """The server's headers when the part was begun; empty if they do not allow resuming."""
        try:
            known = json.loads(self.state.read_text(encoding="utf-8"))
            usable = known["url"] == self.file.url and isinstance(known["validator"], str)
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return dict(known) if usable else {}

    def _open(self, headers: dict[str, str]) -> requests.Response:
        """Request the file; the content is not read yet."""
        url = self.file.url
        try:
            response = requests.get(url, headers=headers, stream=True, timeout=TIMEOUT)
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
            raise UserError(f"{url}: not a valid URL ({error}); correct the url") from None
        except requests.exceptions.RequestException as error:
            cause = error.args[0] if error.args else error
            reason = getattr(cause, "reason", cause)
            if isinstance(error, requests.Timeout) or isinstance(
                reason, urllib3.exceptions.ProtocolError
            ):
                raise _Interrupted(str(reason)) from None
            raise UserError(
                f"{url}: cannot be reached ({reason}); run again with a network{self.by_hand}"
            ) from None
        if response.ok:
            return response
        response.close()
        status = f"HTTP {response.status_code} {response.reason}"
        if response.status_code == 416:  # the part is longer than the current file
            self.discard()
            raise _Interrupted("the file on the server has changed")
        if response.status_code in TRANSIENT:
            raise _Interrupted(status)
        raise UserError(f"{url}: {status}; correct the url in the config{self.by_hand}")

    def _append(self, response: requests.Response, begin: int, total: int | None) -> None:
        """Append the content to the `begin` bytes of the part, and report progress."""
        megabytes = max(1, math.ceil((total or 0) / 1e6))
        progress = Progress(f"prepare: {self.path.name}", megabytes, "MB")
        done = begin
        chunks = response.raw.stream(CHUNK, decode_content=False)
        with self.part.open("ab") as target:
            try:
                for chunk in chunks:
                    target.write(chunk)
                    target.flush()
                    done += len(chunk)
                    if total:
                        progress.advance(math.ceil(done / 1e6) - progress.done)
            except (urllib3.exceptions.HTTPError, ConnectionError, TimeoutError) as error:
                raise _Interrupted(str(error) or type(error).__name__) from None
            except OSError as error:
                raise UserError(
                    f"{self.part}: cannot be written: {error.strerror}; free disk space and run "
                    "again to resume"
                ) from None
            os.fsync(target.fileno())


def _validator(response: requests.Response) -> str | None:
    """The value of `If-Range`: a strong ETag, or the time of the last change."""
    etag: str = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


def _content_range(response: requests.Response) -> tuple[int, int | None]:
    """First byte and total length, from headers such as `Content-Range: bytes 5-9/10`."""
    if response.status_code != 206:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    try:
        span, _, total = response.headers["Content-Range"].removeprefix("bytes ").partition("/")
        return int(span.partition("-")[0]), None if total == "*" else int(total)
    except (KeyError, ValueError):
        raise _Interrupted("the server sent a part without its range") from None


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a .zip archive; errors while reading it become one line.

    Raises:
        UserError: it is not a .zip file, is damaged, or needs a password.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except UNREADABLE_ZIP as error:
        with path.open("rb") as file:
            begin = file.read(20)
        raise UserError(
            f"{path}: not a readable .zip archive ({error}; it begins with {begin!r}); delete it "
            "to fetch it again, or correct its url in the config"
        ) from None


def archive_files(
    archive: zipfile.ZipFile, folder: str = ""
) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """The files below `folder` by their path relative to it, without those that macOS adds.

    Raises:
        UserError: there are none, or a file would be unpacked outside the target folder.
    """
    root = PurePosixPath(folder)
    found = {}
    for info in archive.infolist():
        path = PurePosixPath(info.filename)
        inside = path.is_relative_to(root) or not folder
        if info.is_dir() or not inside or path.parts[0] == "__MACOSX":
            continue
        link = stat.S_ISLNK(info.external_attr >> 16)
        if link or path.is_absolute() or ".." in path.parts:
            raise UserError(
                f"{archive.filename}: {info.filename!r} would be unpacked outside the target "
                "folder; do not use this archive"
            )
        found[path.relative_to(root)] = info
    if not found:
        folders = sorted({str(PurePosixPath(name).parent) for name in archive.namelist()})
        raise UserError(
            f"{archive.filename}: has no files in a folder {folder!r} (there are: "
            f"{', '.join(folders[:20]) or 'none'}{' …' if len(folders) > 20 else ''})"
        )
    return found


def unpack(
    archive: zipfile.ZipFile, wanted: Mapping[PurePosixPath, zipfile.ZipInfo], target: Path
) -> list[Path]:
    """Write files of `archive_files` below `target`; return their paths.

    Raises:
        UserError: the disk is too full.
    """
    target.mkdir(parents=True, exist_ok=True)
    check_room(target, sum(info.file_size for info in wanted.values()), f"{archive.filename}")
    written = []
    for path, info in wanted.items():
        file = target.joinpath(*path.parts)
        file.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(info) as source, file.open("wb") as copy:
            shutil.copyfileobj(source, copy, CHUNK)
        written.append(file)
    return written
