"""Files of the web, fetched whole or not at all: checked, resumed, clear about what is missing.

A file grows under a `.part` name and gets its own when it is complete and its size and hash are
those expected. An interrupted transfer goes on where it stopped, if the server can do that and
says that the file is still the same one.
"""

import hashlib
import http.client
import json
import math
import os
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path, PurePosixPath
from typing import IO

from gcrm.config.download import RemoteFile
from gcrm.utils.errors import UserError
from gcrm.utils.io import write_json
from gcrm.utils.logging import Progress, say

CHUNK = 1 << 20
TIMEOUT = 60.0
"""seconds without an answer after which a transfer counts as interrupted"""
PAUSES = (1.0, 5.0, 20.0, 60.0)
"""seconds before each new attempt at a transfer that was interrupted"""
PASSING = (408, 425, 429, 500, 502, 503, 504)
"""HTTP statuses that may be gone at the next attempt"""


class _Interrupted(Exception):
    """A transfer stopped and is worth another attempt."""


def fetch(file: RemoteFile, folder: Path) -> Path:
    """The file in `folder`, fetched unless it is there already.

    Returns:
        Its path; `local_name` tells its name.

    Raises:
        UserError: no network, no such file, no room, or not the size or content that is expected.
    """
    folder = Path(folder)
    path = folder / local_name(file.url)
    if path.exists():
        _check(file, path, advice="delete it to fetch it again")
        return path
    folder.mkdir(parents=True, exist_ok=True)
    part = _part(path)
    for pause in (*PAUSES, None):
        try:
            _transfer(file, path)
            break
        except _Interrupted as error:
            kept = part.stat().st_size if part.exists() else 0
            if pause is None:
                raise UserError(
                    f"{file.url}: the transfer stops again and again ({error}); {_size(kept)} are "
                    f"kept: run again to go on from there{_by_hand(path)}"
                ) from None
            say(f"prepare: {path.name}: {error}; again in {pause:.0f} s, from {_size(kept)} on")
            time.sleep(pause)
    try:
        _check(file, part, advice="run again, or correct what the config expects")
    except UserError:
        _forget(path)
        raise
    os.replace(part, path)
    _forget(path)
    return path


def local_name(url: str) -> str:
    """The name under which a file is kept: its own, with a mark of its address before the suffix.

    Two files of one name (train.jsonl of two folders) stay apart, and a changed address is fetched.
    """
    name = urllib.parse.unquote(urllib.parse.urlsplit(url).path).rsplit("/", 1)[-1]
    safe = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name)
    stem, suffix = _parted(safe.lstrip("."))
    mark = hashlib.sha256(url.encode()).hexdigest()[:8]
    return f"{stem[:80]}-{mark}{suffix[:20]}"


def _parted(name: str) -> tuple[str, str]:
    """A file's name and suffix, as .jsonl.gz; a name has dots of its own where it has a version."""
    packed = ".gz" if name.endswith(".gz") else ""
    path = PurePosixPath(name.removesuffix(packed))
    return path.stem, path.suffix + packed


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_room(folder: Path, needed: int, what: str) -> None:
    """Refuse to begin what the disk has no room for.

    Raises:
        UserError: fewer than `needed` bytes are free where `folder` is.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{what} needs {_size(needed)} in {folder}, where {_size(free)} are free; make room, "
            "or run where there is more"
        )


def _transfer(file: RemoteFile, path: Path) -> None:
    """Append to the part what is still missing of it."""
    part = _part(path)
    start, validator, whole = _resume_point(path, file.url)
    headers = {"User-Agent": "gcrm", "Accept-Encoding": "identity"}
    if validator:
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    with _open(file.url, path, headers) as response:
        # A server that ignores the range, or whose file has changed, sends it from the beginning.
        begin, total = _range(response) if response.status == 206 else (0, _length(response))
        if total is None and begin == start > 0:
            total = whole  # as it was said when the part began
        if begin not in (0, start):
            _forget(path)
            raise _Interrupted("the server sent another part than asked for")
        if file.size is not None and total not in (None, file.size):
            raise UserError(
                f"{file.url}: has {total} bytes, not the {file.size} that the config expects; it "
                f"was replaced there, or size is wrong{_by_hand(path)}"
            )
        check_room(path.parent, (total or file.size or 0) - begin, f"{path.name}")
        if begin == 0:
            part.unlink(missing_ok=True)
            state = {"url": file.url, "validator": _validator(response), "total": total}
            write_json(_state(path), state)
        with part.open("ab") as target:
            _copy(response, target, path.name, begin, total)
        received = part.stat().st_size
    if total is not None and received != total:
        if received > total:
            _forget(path)
        raise _Interrupted(f"the connection ended after {_size(received)} of {_size(total)}")


def _open(url: str, path: Path, headers: dict[str, str]) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, headers=headers)
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # the part is longer than the file is now
            _forget(path)
            raise _Interrupted("the file at the source has changed") from None
        if error.code in PASSING:
            raise _Interrupted(f"HTTP {error.code} {error.reason}") from None
        raise UserError(
            f"{url}: HTTP {error.code} {error.reason}; correct the url in the config"
            f"{_by_hand(path)}"
        ) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError | ConnectionResetError):
            raise _Interrupted(str(error.reason)) from None
        raise UserError(
            f"{url}: cannot be reached ({error.reason}); run again with a network{_by_hand(path)}"
        ) from None
    except (http.client.InvalidURL, ValueError) as error:  # of a redirect; ours were checked
        raise UserError(f"{url}: leads to no address ({error}); correct the url") from None
    except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise _Interrupted(str(error) or type(error).__name__) from None
    return response


def _copy(
    response: http.client.HTTPResponse,
    target: IO[bytes],
    name: str,
    begin: int,
    total: int | None,
) -> None:
    megabytes = math.ceil((total or 0) / 1e6)
    progress = Progress(f"prepare: {name}", max(megabytes, 1), "MB") if total else None
    done = begin
    while True:
        try:
            chunk = response.read(CHUNK)
        except (http.client.IncompleteRead, ConnectionError, TimeoutError, ssl.SSLError) as error:
            raise _Interrupted(str(error) or type(error).__name__) from None
        if not chunk:
            break
        try:
            target.write(chunk)
            target.flush()
        except OSError as error:
            raise UserError(
                f"{target.name}: cannot be written: {error.strerror}; make room and run again, "
                "which goes on from here"
            ) from None
        done += len(chunk)
        if progress is not None:
            progress.advance(math.ceil(done / 1e6) - progress.done)
    os.fsync(target.fileno())


def _resume_point(path: Path, url: str) -> tuple[int, str | None, int | None]:
    """Bytes that are here, by what the server knows the file, and its length; 0, None to begin."""
    try:
        state = json.loads(_state(path).read_text(encoding="utf-8"))
        start = _part(path).stat().st_size
    except (OSError, ValueError):
        return 0, None, None
    validator = state.get("validator") if isinstance(state, dict) else None
    if start == 0 or not validator or state.get("url") != url:
        return 0, None, None
    return start, str(validator), state.get("total")


def _validator(response: http.client.HTTPResponse) -> str | None:
    """What `If-Range` takes: a strong ETag, or the time of change."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


def _range(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """First byte and whole length, from `Content-Range: bytes 5-9/10`."""
    try:
        span, _, total = response.headers["Content-Range"].removeprefix("bytes ").partition("/")
        return int(span.partition("-")[0]), None if total == "*" else int(total)
    except (AttributeError, ValueError):
        raise _Interrupted("the server sent a part without saying which") from None


def _length(response: http.client.HTTPResponse) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _check(file: RemoteFile, path: Path, advice: str) -> None:
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        raise UserError(
            f"{path} (from {file.url}): has {size} bytes, not the {file.size} that the config "
            f"expects; {advice}"
        )
    if file.sha256 is not None and (found := sha256_of(path)) != file.sha256:
        raise UserError(
            f"{path} (from {file.url}): has SHA-256 {found}, not the {file.sha256} that the config "
            f"expects; {advice}"
        )


def _forget(path: Path) -> None:
    _part(path).unlink(missing_ok=True)
    _state(path).unlink(missing_ok=True)


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _state(path: Path) -> Path:
    return path.with_name(f"{path.name}.part.json")


def _by_hand(path: Path) -> str:
    return f"; or fetch it elsewhere and put it at {path}"


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
