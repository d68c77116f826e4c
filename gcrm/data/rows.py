"""The rows of what a user names (a file, a folder of `datasets`, a hub id), one by one."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from gcrm.utils.errors import UserError
from gcrm.utils.io import Row, duplicates, numbered_rows
from gcrm.utils.logging import say
from gcrm.utils.paths import is_local

ROWS_AT_ONCE = 1024
"""rows of a Parquet file that are in memory together"""
TRAINING_SPLITS = ("train",)
HELDOUT_SPLITS = ("test", "validation", "train")
"""which split of data that has several is read: the first that it has"""


def rows_of(source: str, splits: Sequence[str] = TRAINING_SPLITS) -> Iterator[tuple[int, Row]]:
    """The rows of a source, one by one, with their numbers: of a text file, those of its lines.

    Raises:
        UserError: the source cannot be read, or has no rows.
    """
    path = Path(source)
    if path.suffix in (".jsonl", ".json"):
        return numbered_rows(path)
    if path.suffix == ".parquet":
        return enumerate(_parquet_rows(path), start=1)
    if path.exists() and not path.is_dir():
        raise UserError(f"{source}: expected a .jsonl or .parquet file, or a folder of `datasets`")
    if not path.is_dir() and is_local(source):
        raise UserError(f"{source}: no such file or folder")
    return enumerate(_datasets_rows(source, splits), start=1)


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    empty = True
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            if twice := duplicates(file.schema_arrow.names):
                raise UserError(f"{path}: has the column {twice[0]!r} twice; remove one")
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
                for row in batch.to_pylist():
                    empty = False
                    yield row
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError, OverflowError, pyarrow.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path}: not a readable Parquet file ({reason})") from None
    if empty:
        raise UserError(f"{path}: has no rows")


def _datasets_rows(source: str, splits: Sequence[str]) -> Iterator[Row]:
    import datasets

    try:
        if Path(source).is_dir():
            data = datasets.load_from_disk(source)
        else:
            data = datasets.load_dataset(source)
    except Exception as error:  # the library raises whatever its file systems and the hub raise
        raise _unreadable(source, error) from None
    if isinstance(data, dict):
        split = next((name for name in splits if name in data), None)
        if split is None:
            wanted = " or ".join(map(repr, splits))
            raise UserError(f"{source}: has no split {wanted} (there are: {', '.join(data)})")
        if split != splits[0]:
            say(f"{source}: has no split {splits[0]!r}; read is {split!r}")
        data = data[split]
    if not len(data):
        raise UserError(f"{source}: has no rows")
    return _told(source, data.with_format(None))


def _told(source: str, data: Iterable[Row]) -> Iterator[Row]:
    """The rows, from the disk a few at a time: a broken file shows only then."""
    try:
        yield from data
    except Exception as error:
        raise _unreadable(source, error) from None


def _unreadable(source: str, error: Exception) -> UserError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return UserError(
        f"{source}: neither a local file nor a data set that could be loaded ({reason})"
    )
