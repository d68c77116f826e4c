"""The score table: what a reward model says of completions, one row each, kept as Parquet.

It serves sampled and greedy solutions to problems, whose label says whether they are correct, and
held-out preference pairs, whose label says which side was chosen.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from gcrm.data.questions import question_key
from gcrm.utils.errors import UserError
from gcrm.utils.io import atomic_path

if TYPE_CHECKING:
    import pyarrow as pa

Split = Literal["greedy", "all", "pairs"]
"""greedy: one solution per problem; all: sampled solutions; pairs: both sides of preferences"""
Kind = Literal["text", "bool", "int32", "float32", "tokens"]
"""type of a column; `tokens`: num_tokens float32 values in each row"""
COLUMNS: Mapping[str, Kind] = {
    "group": "int32",
    "prompt": "text",
    "completion": "text",
    "label": "bool",
    "sample": "int32",
    "expected_answer": "text",
    "predicted_answer": "text",
    "reward": "float32",
    "partial_rewards": "tokens",
    "q_values": "tokens",
    "num_tokens": "int32",
    "truncated": "bool",
}
"""the columns in the order of the file"""
DTYPES = {"text": object, "bool": np.bool_, "int32": np.int32, "float32": np.float32}
ANSWERS = ("expected_answer", "predicted_answer")
"""columns of solutions only; a row may be null"""
OPTIONAL = ("completion", *ANSWERS, "partial_rewards", "q_values")
"""columns that need not be read"""


@dataclass(frozen=True, eq=False)
class Ragged:
    """Lists of numbers of different lengths: row i is values[offsets[i]:offsets[i+1]].

    Kept flat, so that 250,000 completions stay numpy arrays and never become Python lists.
    """

    values: NDArray[np.float32]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Iterable[Any]) -> "Ragged":
        """From lists or arrays, one a row."""
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
        """The value at token max(int(n*p) - 1, 0) of the n tokens of each row (no row is empty)."""
        index = np.maximum((self.lengths * percentile).astype(np.int64) - 1, 0)
        return self.values[self.offsets[:-1] + index]

    def __add__(self, other: "Ragged") -> "Ragged":
        """The rows of both, those of `other` last."""
        offsets = np.concatenate([self.offsets, other.offsets[1:] + self.offsets[-1]])
        return Ragged(np.concatenate([self.values, other.values]), offsets)

    def take(self, rows: NDArray[Any]) -> "Ragged":
        """The rows of these indices, in their order."""
        return Ragged.of(self[int(row)] for row in rows)


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores of n completions; each column is an array of shape (n,), or None where not read.

    Attributes:
        split: what the completions are.
        left_out: pairs that were not scored, since their prompts leave no room for a completion.
        group: number of the completions that compete: those of one problem, or of one pair.
        prompt: the question, or the prompt of a pair as one text.
        label: correct, or chosen.
        sample: k of the file output-rs<k>.jsonl; 0 for greedy solutions and pairs.
        partial_rewards: reward after every token; the last is `reward`.
        q_values: cosine of every token's hidden state with the goal state; None without one.
        num_tokens: tokens of the completion, EOS included.
        truncated: it was longer than max_len and lost its end.

    Pairs have two rows each: chosen, rejected of the first pair, then of the second.
    """

    split: Split
    group: NDArray[np.int32]
    prompt: NDArray[Any]
    label: NDArray[np.bool_]
    sample: NDArray[np.int32]
    reward: NDArray[np.float32]
    num_tokens: NDArray[np.int32]
    truncated: NDArray[np.bool_]
    completion: NDArray[Any] | None = None
    expected_answer: NDArray[Any] | None = None
    predicted_answer: NDArray[Any] | None = None
    partial_rewards: Ragged | None = None
    q_values: Ragged | None = None
    left_out: int = 0

    @classmethod
    def of(cls, split: Split, columns: Mapping[str, Any], left_out: int = 0) -> "ScoreTable":
        """From sequences by column name; without `group`, completions of one prompt compete."""
        given = dict(columns)
        if "group" not in given:
            given["group"] = groups_of(given["prompt"])
        arrays = {
            name: _as_column(values, COLUMNS[name])
            for name, values in given.items()
            if values is not None
        }
        return cls(split=split, left_out=left_out, **arrays)

    def __len__(self) -> int:
        return len(self.reward)

    def columns(self) -> dict[str, Any]:
        """The columns that are there, by name, in the order of the file."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: found[name] for name in COLUMNS if found[name] is not None}

    def take(self, rows: NDArray[Any]) -> "ScoreTable":
        """The rows of these indices, in their order."""
        taken: dict[str, Any] = {
            name: column.take(rows) if isinstance(column, Ragged) else column[rows]
            for name, column in self.columns().items()
        }
        return replace(self, **taken)

    def without_q_values(self) -> "ScoreTable":
        """The same scores as from a model that was scored without a goal state."""
        return replace(self, q_values=None)


def groups_of(prompts: Iterable[str]) -> NDArray[np.int32]:
    """Number of each prompt's question key in the order of first appearance, shape (n,)."""
    numbers: dict[str, int] = {}
    found = [numbers.setdefault(question_key(prompt), len(numbers)) for prompt in prompts]
    return np.array(found, np.int32)


def _as_column(values: Any, kind: Kind) -> Any:
    if kind == "tokens":
        return values if isinstance(values, Ragged) else Ragged.of(values)
    if kind == "text":
        array = np.empty(len(values), object)
        array[:] = values
        return array
    return np.asarray(values, DTYPES[kind])


# --- Parquet ---


def write_scores(path: Path, table: ScoreTable) -> None:
    """Write a whole score table; the same table gives the same bytes.

    Raises:
        ValueError: a column other than `q_values` is missing, or lengths do not match.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = table.columns()
    missing = set(COLUMNS) - set(columns) - {"q_values"}
    if missing := missing - set(ANSWERS if table.split == "pairs" else ()):
        raise ValueError(f"score table: missing columns {', '.join(sorted(missing))}")
    types = {"text": pa.string(), "bool": pa.bool_(), "int32": pa.int32(), "float32": pa.float32()}
    arrays: dict[str, Any] = {}
    for name, values in columns.items():
        if len(values) != len(table):
            raise ValueError(f"score table: {name} has {len(values)} rows, not {len(table)}")
        if isinstance(values, Ragged):
            if not np.array_equal(values.lengths, table.num_tokens):
                raise ValueError(f"score table: {name} must have num_tokens values in each row")
            flat = pa.array(values.values, pa.float32())
            arrays[name] = pa.LargeListArray.from_arrays(pa.array(values.offsets), flat)
        else:
            arrays[name] = pa.array(values, types[COLUMNS[name]])
    facts = {"split": table.split, "left_out": str(table.left_out)}
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(arrays, metadata=facts), temporary, compression="zstd")


def read_scores(path: Path, columns: Sequence[str] | None = None) -> ScoreTable:
    """Read a score table and check it; pairs come back in the order of their numbers.

    Args:
        columns: of the columns in `OPTIONAL`, read these only (texts and token values take most
            of the memory); default: all.

    Raises:
        UserError: no such file, not a score table, or a row that cannot be used (the row is named).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; `evaluate` makes it")
    found: dict[str, Any] = {}
    try:
        schema = pq.read_schema(path)
        _check_names(schema.names, path)
        skipped = set() if columns is None else set(OPTIONAL) - set(columns)
        for name in COLUMNS:
            if name in schema.names and name not in skipped:
                # One column at a time: its Arrow memory is free before the next one is read.
                column = pq.read_table(path, columns=[name]).column(0)
                _check_column(column, name, path)
                found[name] = _from_arrow(column, COLUMNS[name])
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({error})") from None
    facts = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    split: Any = facts.get("split") or _split_of(schema.names, found["sample"])
    if split not in get_args(Split):
        raise UserError(f"{path}: split is {split!r}; score it again with `evaluate`")
    table = ScoreTable.of(split, found, int(facts.get("left_out", 0)))
    check_numbers(table, str(path))
    return _pairs_in_order(table, path) if split == "pairs" else table


def _check_names(names: Sequence[str], path: Path) -> None:
    if "is_correct" in names or "side" in names:
        raise UserError(f"{path}: has the columns of an older version; score it again")
    needed = (set(COLUMNS) - set(OPTIONAL)) | {"partial_rewards"}
    if missing := needed - set(names):
        raise UserError(f"{path}: not a score table: lacks {', '.join(sorted(missing))}")


def _split_of(names: Sequence[str], sample: NDArray[np.int32]) -> str:
    """The split of a table that another program wrote without our metadata."""
    if "predicted_answer" not in names:
        return "pairs"
    return "all" if sample.any() else "greedy"


def _pairs_in_order(table: ScoreTable, path: Path) -> ScoreTable:
    """Rows chosen, rejected of pair 0, then of pair 1 …"""
    order = np.lexsort((~table.label, table.group))
    chosen, rejected = order[::2], order[1::2]
    numbers = table.group[chosen]
    if not (
        np.array_equal(numbers, table.group[rejected])
        and len(np.unique(numbers)) == len(numbers)
        and table.label[chosen].all()
        and not table.label[rejected].any()
    ):
        raise UserError(
            f"{path}: every pair must have one row with label true (chosen) and one with label "
            "false (rejected); score it again"
        )
    return table if np.array_equal(order, np.arange(len(table))) else table.take(order)


def _check_column(column: "pa.ChunkedArray", name: str, path: Path) -> None:
    """Refuse values of another kind, and missing values.

    Longer integers, floats and strings, as other programs write them, are taken.

    Raises:
        UserError: the column cannot be used.
    """
    import pyarrow.types as types

    is_list = types.is_list(column.type) or types.is_large_list(column.type)
    inner = column.type.value_type if is_list else None
    fits = {
        "text": types.is_string(column.type) or types.is_large_string(column.type),
        "bool": types.is_boolean(column.type),
        "int32": types.is_integer(column.type),
        "float32": types.is_floating(column.type),
        "tokens": inner is not None and types.is_floating(inner),
    }
    kind, may_be_null = COLUMNS[name], name in (*ANSWERS, "completion")
    if not fits[kind] and not (types.is_null(column.type) and may_be_null):
        expected = {"tokens": "a list of float32"}.get(kind, kind)
        raise UserError(f"{path}: column {name} holds {column.type}, not {expected}")
    if column.null_count and not may_be_null:
        row = column.is_null().index(True).as_py() + 1
        raise UserError(f"{path}, row {row}: {name} is missing; score it again")
    if is_list and any(chunk.values.null_count for chunk in column.chunks):
        raise UserError(f"{path}: column {name} has missing values; score it again")


def _from_arrow(column: "pa.ChunkedArray", kind: Kind) -> Any:
    if kind == "text":
        return column.to_pylist()
    if kind != "tokens":
        return column.to_numpy()
    import pyarrow as pa

    whole = column.cast(pa.large_list(pa.float32())).combine_chunks()
    offsets = np.asarray(whole.offsets, np.int64)
    return Ragged(np.asarray(whole.flatten(), np.float32), offsets - offsets[0])


def check_numbers(table: ScoreTable, where: str) -> None:
    """Check that all numbers of a table can be used.

    Raises:
        UserError: the table has no rows; a reward or a token's value is not finite, or the number
            of values is not num_tokens (the row is named).
    """
    if not len(table):
        raise UserError(f"{where}: has no rows")
    _check_rows(np.isfinite(table.reward), where, "reward is not a finite number", table.reward)
    for name, ragged in table.columns().items():
        if not isinstance(ragged, Ragged):
            continue
        same = ragged.lengths == table.num_tokens
        _check_rows(same, where, f"number of {name} is not num_tokens", ragged.lengths)
        _check_rows(ragged.lengths > 0, where, f"{name} is empty", ragged.lengths)
        finite = np.isfinite(ragged.values)
        if not finite.all():
            token = int(np.argmin(finite))
            row = int(np.searchsorted(ragged.offsets, token, "right"))
            value = ragged.values[token]
            raise UserError(f"{where}, row {row}: {name} has {value}; score it again")


def _check_rows(good: NDArray[np.bool_], where: str, problem: str, values: NDArray[Any]) -> None:
    if not good.all():
        row = int(np.argmin(good))
        raise UserError(f"{where}, row {row + 1}: {problem} ({values[row]}); score it again")
