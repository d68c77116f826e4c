"""The score table: rewards and Q-values of completions, as Parquet and as the authors' JSON lines.

One row is one completion. Values of tokens are kept flat, all rows one behind the other, with the
offsets of the rows: 250,000 completions stay numpy arrays and never become Python lists.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gcrm.errors import UserError
from gcrm.files import Row, atomic_path, iter_jsonl, write_jsonl
from gcrm.questions import question_key

if TYPE_CHECKING:
    import pyarrow as pa

TEXTS = ("question", "expected_answer", "generated_solution", "predicted_answer")
TOKENS = ("partial_rewards", "q_values")
COLUMNS = (
    *("question", "expected_answer", "generated_solution", "predicted_answer", "is_correct"),
    *("sample", "reward", "partial_rewards", "q_values", "num_tokens", "truncated"),
)
AUTHORS_NAMES = {"q_values": "cosine_sim", "num_tokens": "num_actions"}


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


@dataclass(frozen=True)
class ScoreTable:
    """Scores of completions, one row each; `None` for columns that were not read or not scored."""

    question: NDArray[Any]
    is_correct: NDArray[np.bool_]
    sample: NDArray[np.int32]
    reward: NDArray[np.float32]
    num_tokens: NDArray[np.int32]
    truncated: NDArray[np.bool_]
    expected_answer: NDArray[Any] | None = None
    generated_solution: NDArray[Any] | None = None
    predicted_answer: NDArray[Any] | None = None
    partial_rewards: Ragged | None = None
    q_values: Ragged | None = None

    def __len__(self) -> int:
        return len(self.question)

    def columns(self) -> dict[str, Any]:
        """The columns that there are, by name, in the order of the file."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: found[name] for name in COLUMNS if found[name] is not None}

    def without_q_values(self) -> "ScoreTable":
        """The same scores as of a model that was scored without a goal state."""
        return replace(self, q_values=None)


# --- Parquet ---


def write_scores(path: Path, columns: Mapping[str, Any]) -> None:
    """Write a score table; the same columns give the same bytes.

    Args:
        columns: by name, see `COLUMNS`. `partial_rewards` and `q_values` are `Ragged` or sequences
            of arrays of num_tokens values; `q_values` is absent where there is no goal state.

    Raises:
        ValueError: a column is missing or unknown, or lengths do not match.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    unknown, missing = set(columns) - set(COLUMNS), set(COLUMNS) - set(columns) - {"q_values"}
    if unknown or missing:
        raise ValueError(f"score table: unknown columns {unknown}, missing columns {missing}")
    num_tokens = np.asarray(columns["num_tokens"], np.int32)
    types = _types()
    arrays: dict[str, Any] = {}
    for name in COLUMNS:
        if name not in columns:
            continue
        values = columns[name]
        if name in TOKENS:
            values = values if isinstance(values, Ragged) else Ragged.of(values)
            if not np.array_equal(values.lengths, num_tokens):
                raise ValueError(f"score table: {name} must have num_tokens values in each row")
            # Rows end where 32-bit offsets do, so a table of any size goes in as several chunks.
            arrays[name] = pa.chunked_array(list(_list_arrays(values)), types[name])
        else:
            arrays[name] = pa.array(list(values) if name in TEXTS else values, types[name])
        if len(arrays[name]) != len(num_tokens):
            raise ValueError(f"score table: {name} has {len(arrays[name])} rows, not all rows")
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(arrays), temporary, compression="zstd")


def _types() -> dict[str, Any]:
    import pyarrow as pa

    return {
        **dict.fromkeys(TEXTS, pa.string()),
        **dict.fromkeys(TOKENS, pa.list_(pa.float32())),
        "is_correct": pa.bool_(),
        "sample": pa.int32(),
        "reward": pa.float32(),
        "num_tokens": pa.int32(),
        "truncated": pa.bool_(),
    }


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


def read_scores(path: Path, columns: Sequence[str] | None = None) -> ScoreTable:
    """Read a score table, checked.

    Args:
        columns: read only these beside the small ones (texts and token values take most of the
            memory); default: all.

    Raises:
        UserError: no such file, not a score table, or a row that cannot be used (the row is named).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; `evaluate` makes it")
    always = {"question", "is_correct", "sample", "reward", "num_tokens", "truncated"}
    try:
        names = pq.read_schema(path).names
        missing = (always | {"predicted_answer", "partial_rewards"}) - set(names)
        if missing:
            raise UserError(f"{path}: not a score table: lacks {', '.join(sorted(missing))}")
        wanted = set(COLUMNS if columns is None else columns) | always
        found: dict[str, Any] = {}
        for name in [name for name in COLUMNS if name in names and name in wanted]:
            # One column at a time: its Arrow memory is free again before the next one is read.
            column = pq.read_table(path, columns=[name]).column(0)
            found[name] = _ragged(column) if name in TOKENS else _array(column, name)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({error})") from None
    return _checked(ScoreTable(**found), str(path))


def _ragged(column: "pa.ChunkedArray") -> Ragged:
    offsets = [np.zeros(1, np.int64)]
    values = []
    for chunk in column.chunks:
        ends = np.asarray(chunk.offsets, np.int64)
        offsets.append(ends[1:] - ends[0] + offsets[-1][-1])
        values.append(np.asarray(chunk.flatten(), np.float32))
    flat = values[0] if len(values) == 1 else np.concatenate([np.empty(0, np.float32), *values])
    return Ragged(flat, np.concatenate(offsets))


def _array(column: "pa.ChunkedArray", name: str) -> NDArray[Any]:
    if name in TEXTS:
        array = np.empty(len(column), object)
        array[:] = column.to_pylist()
        return array
    return np.asarray(column.combine_chunks().to_numpy(zero_copy_only=False))


def _checked(table: ScoreTable, where: str) -> ScoreTable:
    """The table, if all its numbers can be used."""
    if not len(table):
        raise UserError(f"{where}: has no rows")
    _all_rows(np.isfinite(table.reward), where, "reward is not a finite number", table.reward)
    for name in TOKENS:
        ragged: Ragged | None = getattr(table, name)
        if ragged is None:
            continue
        same = ragged.lengths == table.num_tokens
        _all_rows(same, where, f"number of {name} is not num_tokens", ragged.lengths)
        _all_rows(ragged.lengths > 0, where, f"{name} is empty", ragged.lengths)
        finite = np.isfinite(ragged.values)
        if not finite.all():
            token = int(np.argmin(finite))
            row = int(np.searchsorted(ragged.offsets, token, "right"))
            raise UserError(
                f"{where}, row {row}: {name} has {ragged.values[token]}; score it again"
            )
    return table


def _all_rows(good: NDArray[np.bool_], where: str, problem: str, values: NDArray[Any]) -> None:
    if not good.all():
        row = int(np.argmin(good))
        raise UserError(f"{where}, row {row + 1}: {problem} ({values[row]}); score it again")


# --- the authors' JSON lines ---


def write_authors_jsonl(path: Path, table: ScoreTable) -> None:
    """Write the authors' output.jsonl: keys as in their scripts, q_values as `cosine_sim`.

    Numbers are float32, spelt as short as reads back to the same float32.
    """
    write_jsonl(path, _authors_rows(table))


def _authors_rows(table: ScoreTable) -> Iterator[Row]:
    for row in range(len(table)):
        result: Row = {
            name: None if (column := getattr(table, name)) is None else column[row]
            for name in ("question", "generated_solution", "predicted_answer", "expected_answer")
        }
        result["is_correct"] = bool(table.is_correct[row])
        result["reward"] = _short(table.reward[row])
        for name in TOKENS:
            ragged: Ragged | None = getattr(table, name)
            if ragged is not None:
                result[AUTHORS_NAMES.get(name, name)] = [_short(value) for value in ragged[row]]
        result[AUTHORS_NAMES["num_tokens"]] = int(table.num_tokens[row])
        yield result


def _short(value: np.float32) -> float:
    return float(str(value))


def read_authors_jsonl(paths: Sequence[Path], with_q_values: bool = True) -> ScoreTable:
    """Read score rows from the authors' JSON lines; several files are put together.

    The sample number of a row is how often its question was there before.

    Raises:
        UserError: a file cannot be read, or a row lacks a key or has a value of the wrong type.
    """
    rows: list[Row] = []
    for path in paths:
        for number, row in enumerate(iter_jsonl(path), start=1):
            rows.append(_from_authors(row, f"{path}, row {number}", with_q_values))
    seen: dict[str, int] = {}
    samples = []
    for row in rows:
        key = question_key(row["question"])
        samples.append(seen.get(key, 0))
        seen[key] = samples[-1] + 1
    partial = [row["partial_rewards"] for row in rows]
    q_values = [row["q_values"] for row in rows]
    texts = {name: np.array([row[name] for row in rows], object) for name in TEXTS}
    table = ScoreTable(
        **texts,
        is_correct=np.array([row["is_correct"] for row in rows], bool),
        sample=np.array(samples, np.int32),
        reward=np.array([row["reward"] for row in rows], np.float32),
        num_tokens=np.array([row["num_tokens"] for row in rows], np.int32),
        truncated=np.zeros(len(rows), bool),
        partial_rewards=Ragged.of(partial) if all(p is not None for p in partial) else None,
        q_values=Ragged.of(q_values) if all(q is not None for q in q_values) else None,
    )
    return _checked(table, ", ".join(map(str, paths)))


def _from_authors(row: Row, where: str, with_q_values: bool) -> Row:
    for key in ("question", "is_correct", "reward"):
        if key not in row:
            raise UserError(f"{where}: key {key!r} is missing (there are: {', '.join(row)})")
    if not isinstance(row["question"], str):
        raise UserError(f"{where}: question must be text")
    if row["is_correct"] not in (True, False):
        raise UserError(f"{where}: is_correct must be true or false, not {row['is_correct']!r}")
    partial = _numbers(row.get("partial_rewards"), "partial_rewards", where)
    q_values = _numbers(row.get("cosine_sim"), "cosine_sim", where) if with_q_values else None
    tokens = next((len(v) for v in (partial, q_values) if v is not None), row.get("num_actions"))
    if not isinstance(tokens, int) or tokens < 1:
        raise UserError(f"{where}: num_actions must be a whole number above 0, not {tokens!r}")
    reward = _numbers(row["reward"], "reward", where)
    if reward is None or len(reward) != 1 or not np.isfinite(reward[0]):
        raise UserError(f"{where}: reward must be a finite number, not {row['reward']!r}")
    return {
        "question": row["question"],
        "is_correct": bool(row["is_correct"]),
        "reward": reward[0],
        "partial_rewards": partial,
        "q_values": q_values,
        "num_tokens": tokens,
        **{name: _text(row.get(name)) for name in TEXTS[1:]},
    }


def _numbers(value: Any, key: str, where: str) -> NDArray[np.float32] | None:
    if value is None:
        return None
    try:
        return np.asarray(value, np.float32).reshape(-1)
    except (TypeError, ValueError):
        raise UserError(f"{where}: {key} must be numbers, not {str(value)[:40]!r}") from None


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)


def authors_files(folder: Path) -> list[Path]:
    """The .jsonl files of a folder in the order of the numbers in their names; empty if none."""
    return sorted(
        Path(folder).glob("*.jsonl"),
        key=lambda file: ([int(n) for n in re.findall(r"\d+", file.stem)], file.name),
    )
