"""Reading rows and writing files so that a half-written one is never taken for a whole one."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any, NoReturn

from gcrm.utils.disk import writing
from gcrm.utils.errors import UserError
from gcrm.utils.locks import hold
from gcrm.utils.repeated import repeated

Row = dict[str, Any]

PARTIAL = ".partial"
"""in the names of files and folders that are being written"""
COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"PK\x03\x04": ("zip", "unzip"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
    b"\xfd7zXZ\x00": ("xz", "unxz"),
    b"BZh": ("bzip2", "bunzip2"),
}
"""first bytes of compressed files, their kind, and what unpacks it"""


def read_jsonl(path: Path, texts: Sequence[str] = ()) -> list[Row]:
    """All rows of a JSON-lines file.

    Args:
        texts: keys that must be there in each row, with a text that is not blank.

    Raises:
        UserError: as `numbered_rows`, or a row has no such text.
    """
    rows = []
    for number, row in numbered_rows(path):
        for key in texts:
            if not isinstance(row.get(key), str) or not row[key].strip():
                raise UserError(f"{path}, row {number}: {key} must be text")
        rows.append(row)
    return rows


def numbered_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """The rows of a JSON-lines file one by one, each with the number of its line in an editor.

    Blank lines are no rows, but they count as lines.

    Raises:
        UserError: the file is missing, compressed, empty or not UTF-8, or (when it is reached) a
            line is no JSON object.
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
        if "\\ud" in text.lower():  # half of a pair, as in "\ud83d", is no text for a tokenizer
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
    """The content of a JSON file that a stage has written: an object.

    Args:
        stage: which one, for messages.

    Raises:
        UserError: the file cannot be read, or is no JSON; or it is another value, or has numbers
            that JSON does not know (NaN).
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
    """An object of JSON, whose keys are to be there once; Python would take the last one."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = repeated(key for key, _ in pairs)
        raise ValueError(f"the key {twice[0]!r} is there twice")
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def write_jsonl(path: Path, rows: Iterable[Row]) -> None:
    """Write one JSON object a line, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON, whole or not at all; NaN and infinity are refused as not being JSON."""
    with atomic_path(path) as temporary:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it if the block succeeds and removed if not.

    The temporary name keeps the suffix, so that writers which go by it (matplotlib, numpy) do.
    Where `path` is a link, what it points to is written.

    Raises:
        UserError: there is no room or no place for the file, or there is something that is none.
    """
    path = Path(os.path.realpath(path))
    if os.path.exists(path) and not (path.is_file() or path.is_dir()):
        # A renaming would take its place: of /dev/null, say.
        raise UserError(f"{path}: is no regular file; give another path")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{PARTIAL}{path.suffix}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{escape(path.stem)}.*{PARTIAL}{escape(path.suffix)}"):
            _remove_left_over(left)
        held = hold(temporary)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
            _release(held)


@contextmanager
def atomic_folder(path: Path, last: str) -> Iterator[Path]:
    """A temporary folder whose files are moved into `path` if the block succeeds.

    Existing files of the same names are replaced one by one; other files of `path` stay.

    Args:
        last: a file without which no one takes the folder for whole. An old one goes first and the
            new one comes last, so that nobody ever sees old files beside new ones.

    Raises:
        UserError: there is no room or no place for the files.
    """
    path = Path(path)
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        for left in path.glob(f".*{PARTIAL}"):
            _remove_left_over(left)
        temporary = Path(tempfile.mkdtemp(prefix=".", suffix=PARTIAL, dir=path))
        held = hold(temporary)
        try:
            yield temporary
            files = sorted(temporary.iterdir(), key=lambda file: (file.name == last, file.name))
            (path / last).unlink(missing_ok=True)
            for file in files:
                os.replace(file, path / file.name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            _release(held)


def _remove_left_over(left: Path) -> None:
    """Remove what a killed process was writing; what a living one is writing, it holds."""
    with suppress(OSError):
        held = hold(left)
        if held is not None:
            shutil.rmtree(left) if left.is_dir() else left.unlink()
            _release(held)


def _release(held: int | None) -> None:
    if held is not None:
        os.close(held)
