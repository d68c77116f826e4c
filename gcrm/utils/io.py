"""Rows and JSON: read with errors that name the line, written so that no partial file is seen."""

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from gcrm.utils.disk import explain_write_errors
from gcrm.utils.errors import UserError

Row = dict[str, Any]
Value = TypeVar("Value", bound=Hashable)

COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
}
"""first bytes of compressed files"""


def read_jsonl(path: Path, texts: Sequence[str] = ()) -> list[Row]:
    """All rows of a JSON-lines file.

    Args:
        texts: keys that each row must have, with text that is not blank.

    Raises:
        UserError: as `numbered_rows`, or such a text is missing.
    """
    rows = []
    for number, row in numbered_rows(path):
        for key in texts:
            if not isinstance(row.get(key), str) or not row[key].strip():
                raise UserError(f"{path}, row {number}: {key} must be text")
        rows.append(row)
    return rows


def read_log(path: Path) -> list[Row]:
    """All rows of a training log; none where it has fewer steps than `logging_steps`.

    Raises:
        UserError: as `read_jsonl`, but that the file may be empty.
    """
    nothing = path.is_file() and not path.stat().st_size
    return [] if nothing else read_jsonl(path)


def numbered_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """The rows of a JSON-lines file one by one, each with its line number; blank lines are skipped.

    Raises:
        UserError: the file is missing, compressed, empty or not UTF-8, or (when it is reached) a
            line is not a JSON object.
    """
    empty = True
    try:
        # In binary, only \n ends a row: text mode would also cut at a \r inside a solution.
        with Path(path).open("rb") as file:
            for number, line in enumerate(file, start=1):
                for magic, kind in COMPRESSED.items():
                    if number == 1 and line.startswith(magic):
                        raise UserError(f"{path}: is {kind}-compressed; unpack it first")
                row = _row(line, f"{path}, line {number}")
                if row is not None:
                    empty = False
                    yield number, row
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if empty:
        raise UserError(f"{path}: has no rows")


def _row(line: bytes, where: str) -> Row | None:
    """The object on a line; None if the line is blank."""
    try:
        # NUL, which no JSON holds, shows UTF-16; the byte FF is refused.
        text = line.replace(b"\0", b"\xff").decode("utf-8-sig").strip(" \t\r\n")
    except UnicodeDecodeError:
        raise UserError(
            f"{where}: not UTF-8 text; convert the file (iconv -f UTF-16 -t UTF-8, or -f L1 if it "
            "is Latin-1)"
        ) from None
    if not text:
        return None
    if text[0] == "[":
        raise UserError(f"{where}: expected one object a line, not a list (jq -c '.[]' unpacks it)")
    try:
        row = json.loads(text, object_pairs_hook=_object)
        if "\\ud" in text.lower():  # tokenizers refuse half of a surrogate pair, such as "\ud83d"
            json.dumps(row, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        problem = getattr(error, "msg", error)  # without the position in this one line
        raise UserError(
            f"{where}: not valid JSON ({problem}); expected one object a line"
        ) from None
    if not isinstance(row, dict):
        raise UserError(f"{where}: expected a JSON object with named keys")
    return row


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object without duplicate keys, of which Python would keep the last value."""
    if twice := duplicates(key for key, _ in pairs):
        raise ValueError(f"the key {twice[0]!r} is given twice")
    return dict(pairs)


def read_json(path: Path, stage: str) -> dict[str, Any]:
    """The object in a JSON file that a stage has written.

    Args:
        stage: its name, for messages.

    Raises:
        UserError: the file cannot be read, or is not a JSON object.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `{stage}` makes it") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); `{stage}` makes it anew") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a JSON object; `{stage}` makes it anew")
    return content


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def duplicates(values: Iterable[Value]) -> list[Value]:
    """The values that occur more than once, each once, in order of their first occurrence."""
    return [value for value, count in Counter(values).items() if count > 1]


def write_jsonl(path: Path, rows: Iterable[Row]) -> None:
    """Write one JSON object a line, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON, whole or not at all; NaN and infinity raise ValueError."""
    with atomic_path(path) as temporary:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path of the same name, moved to `path` if the block succeeds, else removed.

    If `path` is a link, its target is written.

    Raises:
        UserError: the file cannot be written, or `path` is a pipe or a device.
    """
    path = Path(os.path.realpath(path))
    if os.path.exists(path) and not (path.is_file() or path.is_dir()):
        # Renaming would replace it: as root, even /dev/null.
        raise UserError(f"{path}: is not a regular file; give another path")
    with explain_write_errors(path), _temporary_folder(path.parent, path.name) as folder:
        yield folder / path.name
        os.replace(folder / path.name, path)


@contextmanager
def atomic_folder(path: Path, last: str) -> Iterator[Path]:
    """A temporary folder whose files are moved into `path` if the block succeeds.

    Existing files of the same names are replaced one by one; other files of `path` stay.

    Args:
        last: the file that marks the folder as complete. The old one is removed first and the new
            one is moved last, so that a complete folder never mixes old and new files.

    Raises:
        UserError: the files cannot be written.
    """
    path = Path(path)
    with explain_write_errors(path), _temporary_folder(path, "") as folder:
        new = folder / "new"
        new.mkdir()
        yield new
        files = sorted(new.iterdir(), key=lambda file: (file.name == last, file.name))
        (path / last).unlink(missing_ok=True)
        for file in files:
            os.replace(file, path / file.name)


@contextmanager
def _temporary_folder(parent: Path, name: str) -> Iterator[Path]:
    """A hidden folder in `parent` that is removed at the end, with those of killed processes.

    A living process holds a lock in its folder.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for lock in parent.glob(f".{escape(name)}.*.partial/lock"):
        with suppress(OSError):  # locked, removed by another process, or no locks here
            with FileLock(lock, blocking=False, fallback_to_soft=False):
                pass
            shutil.rmtree(lock.parent)
    folder = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=".partial", dir=parent))
    held = FileLock(folder / "lock", blocking=False, fallback_to_soft=False)
    try:
        with suppress(OSError):
            held.acquire()
        yield folder
    finally:
        held.release()
        shutil.rmtree(folder, ignore_errors=True)
