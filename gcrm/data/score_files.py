"""Files of scores: Parquet tables of texts, numbers, and lists of numbers, one of each token.

Values of tokens are kept flat, all rows one behind the other, with the offsets of the rows: 250,000
completions stay numpy arrays and never become Python lists.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from gcrm.data.columns import check_column
from gcrm.utils.errors import UserError
from gcrm.utils.io import atomic_path

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["text", "bool", "int32", "float32", "tokens"]
"""What a column holds; `tokens`: for each row, num_tokens float32 values."""
Kinds = Mapping[str, Kind]
"""The columns of a table in the order of its file."""
SCORED: Kinds = {
    "reward": "float32",
    "partial_rewards": "tokens",
    "q_values": "tokens",
    "num_tokens": "int32",
    "truncated": "bool",
}
"""What a reward model says of a completion: the last columns of every table."""


@dataclass(frozen=True)
class Ragged:
    """Lists of numbers of different lengths: row i is values[offsets[i]:offsets[i+1]]."""

    values: NDArray[np.float32]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Iterable[Any]) -> "Ragged":
        """From a sequence of lists or arrays."""
        arrays = [np.asarray(row, np.float32).reshape(-1) for row in rows]
        offsets = np.zeros(len(arrays) + 1, np.int64)
        np.cumsum([len(array) for array in arrays], out=offsets[1:])
        return cls(np.concatenate([np.empty(0, np.float32), *arrays]), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> NDArray[np.float32]:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Length of each row, shape (rows,)."""
        return np.diff(self.offsets)

    def at_percentile(self, percentile: float) -> NDArray[np.float32]:
        """The value at token max(int(n*p) - 1, 0) of the n tokens of each row (none is empty)."""
        index = np.maximum((self.lengths * percentile).astype(np.int64) - 1, 0)
        return self.values[self.offsets[:-1] + index]

    def __add__(self, other: "Ragged") -> "Ragged":
        """The rows of both, one behind the other."""
        offsets = np.concatenate([self.offsets, other.offsets[1:] + self.offsets[-1]])
        return Ragged(np.concatenate([self.values, other.values]), offsets)

    def take(self, rows: NDArray[Any]) -> "Ragged":
        """The rows of these indices, in their order."""
        return Ragged.of(self[int(row)] for row in rows)


def write_columns(
    path: Path, columns: Mapping[str, Any], kinds: Kinds, facts: Mapping[str, int] | None = None
) -> None:
    """Write a table; the same columns give the same bytes.

    Args:
        columns: by name; those of kind `tokens` are `Ragged` or sequences of arrays. `q_values` is
            absent where there is no goal state.
        facts: numbers about the whole table, kept in the file's metadata.

    Raises:
        ValueError: a column is missing or unknown, or lengths do not match.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    unknown, missing = set(columns) - set(kinds), set(kinds) - set(columns) - {"q_values"}
    if unknown or missing:
        raise ValueError(f"score table: unknown columns {unknown}, missing columns {missing}")
    num_tokens = np.asarray(columns["num_tokens"], np.int32)
    types = {"text": pa.string(), "tokens": pa.list_(pa.float32())}
    types |= {"bool": pa.bool_(), "int32": pa.int32(), "float32": pa.float32()}
    arrays: dict[str, Any] = {}
    for name, kind in kinds.items():
        if name not in columns:
            continue
        values = columns[name]
        if kind == "tokens":
            values = values if isinstance(values, Ragged) else Ragged.of(values)
            if not np.array_equal(values.lengths, num_tokens):
                raise ValueError(f"score table: {name} must have num_tokens values in each row")
            # Rows end where 32-bit offsets do, so a table of any size goes in as several chunks.
            arrays[name] = pa.chunked_array(list(_list_arrays(values)), types[kind])
        else:
            arrays[name] = pa.array(list(values) if kind == "text" else values, types[kind])
        if len(arrays[name]) != len(num_tokens):
            raise ValueError(f"score table: {name} has {len(arrays[name])} rows, not all rows")
    table = pa.table(arrays)
    if facts:
        table = table.replace_schema_metadata({name: str(fact) for name, fact in facts.items()})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _list_arrays(ragged: Ragged, most: int = 1 << 30) -> Iterator["pa.ListArray"]:
    import pyarrow as pa

    first = 0
    while first < len(ragged) or first == 0:
        start = ragged.offsets[first]
        last = max(int(np.searchsorted(ragged.offsets, start + most, "right")) - 1, first + 1)
        last = min(last, len(ragged))
        values = ragged.values[start : ragged.offsets[last]]
        offsets = (ragged.offsets[first : last + 1] - start).astype(np.int32)
        yield pa.ListArray.from_arrays(pa.array(offsets), pa.array(values, pa.float32()))
        first = max(last, 1)


def read_columns(
    path: Path, kinds: Kinds, wanted: Iterable[str], needed: Iterable[str], what: str
) -> dict[str, Any]:
    """The wanted columns that a table has, as numpy arrays, those of kind `tokens` as `Ragged`.

    Args:
        needed: columns without which the file is no table of this kind.
        what: what it should be, for messages ("a score table").

    Raises:
        UserError: no such file, not a table of this kind, or a row that cannot be used (the row is
            named).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; `evaluate` makes it")
    found: dict[str, Any] = {}
    try:
        names = pq.read_schema(path).names
        if missing := set(needed) - set(names):
            raise UserError(f"{path}: not {what}: lacks {', '.join(sorted(missing))}")
        read = set(wanted) & set(names)
        for name in [name for name in kinds if name in read]:
            # One column at a time: its Arrow memory is free again before the next one is read.
            column = pq.read_table(path, columns=[name]).column(0)
            check_column(column, name, kinds[name], str(path))
            found[name] = _array(column, kinds[name])
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({error})") from None
    check_numbers(found, str(path))
    return found


def read_fact(path: Path, name: str) -> int:
    """A number that `write_columns` kept in the file's metadata; 0 where there is none."""
    import pyarrow.parquet as pq

    return int((pq.read_schema(path).metadata or {}).get(name.encode(), 0))


def _array(column: "pa.ChunkedArray", kind: Kind) -> Any:
    if kind == "tokens":
        return _ragged(column)
    if kind == "text":
        array = np.empty(len(column), object)
        array[:] = column.to_pylist()
        return array
    return np.asarray(column.combine_chunks().to_numpy(zero_copy_only=False))


def _ragged(column: "pa.ChunkedArray") -> Ragged:
    offsets = [np.zeros(1, np.int64)]
    values = []
    for chunk in column.chunks:
        ends = np.asarray(chunk.offsets, np.int64)
        offsets.append(ends[1:] - ends[0] + offsets[-1][-1])
        values.append(np.asarray(chunk.flatten(), np.float32))
    flat = values[0] if len(values) == 1 else np.concatenate([np.empty(0, np.float32), *values])
    return Ragged(flat, np.concatenate(offsets))


def check_numbers(columns: Mapping[str, Any], where: str) -> None:
    """See that all numbers of a table can be used.

    Raises:
        UserError: it has no rows; a reward or a token's value is not finite, or values are not as
            many as num_tokens (the row is named).
    """
    reward, num_tokens = columns["reward"], columns["num_tokens"]
    if not len(reward):
        raise UserError(f"{where}: has no rows")
    _all_rows(np.isfinite(reward), where, "reward is not a finite number", reward)
    for name, ragged in columns.items():
        if not isinstance(ragged, Ragged):
            continue
        same = ragged.lengths == num_tokens
        _all_rows(same, where, f"number of {name} is not num_tokens", ragged.lengths)
        _all_rows(ragged.lengths > 0, where, f"{name} is empty", ragged.lengths)
        finite = np.isfinite(ragged.values)
        if not finite.all():
            token = int(np.argmin(finite))
            row = int(np.searchsorted(ragged.offsets, token, "right"))
            raise UserError(
                f"{where}, row {row}: {name} has {ragged.values[token]}; score it again"
            )


def _all_rows(good: NDArray[np.bool_], where: str, problem: str, values: NDArray[Any]) -> None:
    if not good.all():
        row = int(np.argmin(good))
        raise UserError(f"{where}, row {row + 1}: {problem} ({values[row]}); score it again")
