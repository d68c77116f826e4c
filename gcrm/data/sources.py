"""Reading rows of a data source: a JSON lines or Parquet file, a `datasets` folder, or a hub id."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gcrm.utils.errors import UserError
from gcrm.utils.io import Row, duplicates, numbered_rows
from gcrm.utils.logging import say
from gcrm.utils.paths import is_local, path_of, source_parts

BATCH_ROWS = 1024
"""rows of a Parquet file read at a time"""
TRAINING_SPLITS = ("train",)
HELDOUT_SPLITS = ("test", "validation", "train")
"""splits in order of preference"""


def iter_rows(source: str, splits: Sequence[str] = TRAINING_SPLITS) -> Iterator[tuple[int, Row]]:
    """Iterate over the rows of a source with their numbers (in JSON lines, the line numbers).

    Args:
        splits: the first of these splits that the data has is read, unless the source names one.

    Raises:
        UserError: the source cannot be read, or has no rows.
    """
    path, (_, subset, split) = path_of(source), source_parts(source)
    if split is not None and path.is_file():
        raise UserError(f"{source}: a file has no splits; give {path}")
    if subset is not None and path.exists():
        raise UserError(f"{source}: a folder has no subsets; give {path}:{split}")
    if path.suffix in (".jsonl", ".json"):
        return numbered_rows(path)
    if path.suffix == ".parquet":
        return enumerate(_parquet_rows(path), start=1)
    if path.exists() and not path.is_dir():
        raise UserError(f"{source}: expected a .jsonl or .parquet file, or a folder of `datasets`")
    if not path.exists() and is_local(source):
        raise UserError(f"{source}: no such file or folder")
    return enumerate(_datasets_rows(source, splits), start=1)


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            if repeated := duplicates(file.schema_arrow.names):
                raise UserError(f"{path}: duplicate column {repeated[0]!r}; remove one")
            if not file.metadata.num_rows:
                raise UserError(f"{path}: has no rows")
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                yield from map(_without_nulls, batch.to_pylist())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError, OverflowError, pyarrow.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path}: not a readable Parquet file ({reason})") from None


def _without_nulls(row: Row) -> Row:
    """A row without the null fields that tables give an object because others have them."""

    def pruned(value: Any) -> Any:
        if isinstance(value, list):
            return [pruned(one) for one in value]
        if isinstance(value, dict):
            return {key: pruned(one) for key, one in value.items() if one is not None}
        return value

    return {name: pruned(value) for name, value in row.items()}


def _datasets_rows(source: str, splits: Sequence[str]) -> Iterator[Row]:
    import datasets

    home, subset, split = source_parts(source)
    try:
        if Path(home).is_dir():
            data = datasets.load_from_disk(home)
        else:
            data = datasets.load_dataset(home, subset)
        if isinstance(data, dict):
            data = _split_of(data, source, splits if split is None else [split])
        elif split is not None:
            raise UserError(f"{source}: the data has no splits; give {home}")
        if not len(data):
            raise UserError(f"{source}: has no rows")
        yield from map(_without_nulls, data.with_format(None))  # a damaged file fails only here
    except UserError:
        raise
    except Exception as error:  # the library's file systems and the hub raise all kinds
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        if "config name is missing" in reason.lower():
            reason += f"; name a subset and a split, as in {source}:SUBSET:{splits[0]}"
        names = ("*.parquet", "*.jsonl", "*/*.parquet", "*/*.jsonl")
        found = sorted(file for name in names for file in Path(home).glob(name))
        if found:
            reason = f"give its files one by one, such as {found[0]}"
        raise UserError(
            f"{source}: neither a local file nor a data set that can be loaded ({reason})"
        ) from None


def _split_of(data: dict[str, Any], source: str, splits: Sequence[str]) -> Any:
    """The first of `splits` that the data has."""
    for name in splits:
        if name in data:
            if name != splits[0]:
                say(f"{source}: has no split {splits[0]!r}; reading {name!r}")
            return data[name]
    wanted = " or ".join(map(repr, splits))
    home, subset, _ = source_parts(source)
    named = ":".join(filter(None, (home, subset, next(iter(data)))))
    raise UserError(
        f"{source}: has no split {wanted} (there are: {', '.join(data)}); name the one to read, as "
        f"in {named}"
    )
