"""Rows and JSON: read with errors that name the line, written so that no partial file is seen."""

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from gcrm.utils.disk import explain_write_errors
from gcrm.utils.errors import UserError
from gcrm.utils.locks import try_lock

Row = dict[str, Any]
Value = TypeVar("Value", bound=Hashable)

PARTIAL = ".partial"
"""in the names of files and folders that are being written"""
COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"PK\x03\x04": ("zip", "unzip"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
    b"\xfd7zXZ\x00": ("xz", "unxz"),
    b"BZh": ("bzip2", "bunzip2"),
}
"""first bytes of compressed files, the kind, and the command that unpacks it"""


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
                if number == 1:
                    _check_kind(line, path)
                where = f"{path}, line {number}"
                text = _text(line, where)
                if text:
                    empty = False
                    yield number, _row(text, where)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if empty:
        raise UserError(f"{path}: has no rows")


def _check_kind(first_line: bytes, path: Path) -> None:
    for magic, (kind, tool) in COMPRESSED.items():
        if first_line.startswith(magic):
            raise UserError(f"{path}: is {kind}-compressed; unpack it first ({tool})")
    if first_line.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in first_line:
        raise UserError(f"{path}: not UTF-8 text; convert it (iconv -f UTF-16 -t UTF-8)")


def _text(line: bytes, where: str) -> str:
    try:
        return line.decode("utf-8-sig").strip(" \t\r\n")
    except UnicodeDecodeError:
        raise UserError(
            f"{where}: not UTF-8 text; convert the file (if it is Latin-1: iconv -f L1 -t UTF-8)"
        ) from None


def _row(text: str, where: str) -> Row:
    try:
        row = json.loads(text, object_pairs_hook=_object)
        if "\\ud" in text.lower():  # tokenizers refuse half of a surrogate pair, such as "\ud83d"
            json.dumps(row, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise UserError(
            f"{where}: not valid JSON ({error.msg}); expected one object a line"
        ) from None
    except UnicodeEncodeError as error:
        half = f"{error.object[error.start]!a}"
        raise UserError(f"{where}: {half} is half a character; write both or neither") from None
    except (ValueError, RecursionError) as error:  # numbers of 5,000 digits, 1,000 nested lists
        raise UserError(f"{where}: JSON that cannot be read ({error})") from None
    if not isinstance(row, dict):
        raise UserError(f"{where}: expected a JSON object with named keys")
    return row


def read_json(path: Path, stage: str) -> dict[str, Any]:
    """The object in a JSON file that a stage has written.

    Args:
        stage: its name, for messages.

    Raises:
        UserError: the file cannot be read, is not JSON (NaN is not, either), or not an object.
    """
    try:
        content = json.loads(
            Path(path).read_text(encoding="utf-8"),
            object_pairs_hook=_object,
            parse_constant=_no_number,
        )
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `{stage}` makes it") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); `{stage}` makes it anew") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a JSON object; `{stage}` makes it anew")
    return content


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object without duplicate keys, of which Python would keep the last value."""
    if twice := duplicates(key for key, _ in pairs):
        raise ValueError(f"the key {twice[0]!r} is there twice")
    return dict(pairs)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


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
    """A temporary path beside `path`, renamed to it if the block succeeds and removed if not.

    The temporary name keeps the suffix, which matplotlib and numpy read. If `path` is a link, its
    target is written.

    Raises:
        UserError: the file cannot be written, or `path` is a pipe or a device.
    """
    path = Path(os.path.realpath(path))
    if os.path.exists(path) and not (path.is_file() or path.is_dir()):
        # Renaming would replace it: as root, even /dev/null.
        raise UserError(f"{path}: is no regular file; give another path")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{PARTIAL}{path.suffix}")
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{escape(path.stem)}.*{PARTIAL}{escape(path.suffix)}"):
            _remove_left_over(left)
        lock = try_lock(temporary)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
            _release(lock)


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
    with explain_write_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        for left in path.glob(f".*{PARTIAL}"):
            _remove_left_over(left)
        temporary = Path(tempfile.mkdtemp(prefix=".", suffix=PARTIAL, dir=path))
        lock = try_lock(temporary)
        try:
            yield temporary
            files = sorted(temporary.iterdir(), key=lambda file: (file.name == last, file.name))
            (path / last).unlink(missing_ok=True)
            for file in files:
                os.replace(file, path / file.name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            _release(lock)


def _remove_left_over(left: Path) -> None:
    """Remove what a killed process was writing; a living process holds a lock on its file."""
    with suppress(OSError):
        lock = try_lock(left)
        if lock is not None:
            shutil.rmtree(left) if left.is_dir() else left.unlink()
            _release(lock)


def _release(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)
