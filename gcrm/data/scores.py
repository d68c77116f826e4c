"""The score table: what a reward model says of completions, one row each, kept as Parquet.

It serves sampled and greedy solutions to problems, whose label says whether they are correct, and
held-out preference pairs, whose label says which side was chosen.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as types
from numpy.typing import NDArray

from gcrm.data.questions import question_key
from gcrm.data.ragged import AtShares, Ragged
from gcrm.utils.errors import UserError
from gcrm.utils.io import atomic_path

Split = Literal["greedy", "all", "pairs"]
"""greedy: one solution per problem; all: sampled solutions; pairs: both sides of preferences"""
TEXT, TOKENS = pa.string(), pa.large_list(pa.float32())
COLUMNS: Mapping[str, pa.DataType] = {
    "group": pa.int32(),
    "prompt": TEXT,
    "completion": TEXT,
    "label": pa.bool_(),
    "sample": pa.int32(),
    "expected_answer": TEXT,
    "predicted_answer": TEXT,
    "reward": pa.float32(),
    "partial_rewards": TOKENS,
    "q_values": TOKENS,
    "true_values": TOKENS,
    "num_tokens": pa.int32(),
    "truncated": pa.bool_(),
}
"""the columns in the order of the file; those of type TOKENS have num_tokens values in each row"""
ANSWERS = ("expected_answer", "predicted_answer")
"""columns of solutions only; a row may be null"""
OPTIONAL = ("completion", *ANSWERS, "partial_rewards", "q_values", "true_values")
"""columns that need not be read"""
UNREADABLE = (pa.ArrowException, OSError, ValueError, OverflowError)
"""what reading a damaged Parquet file raises; names that are not UTF-8 are a ValueError"""
BATCH = 10_000
"""rows whose tokens are in memory at once where only a few of them are kept"""


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
        partial_rewards: reward after every token; the last is `reward`. Perhaps only some of them.
        q_values: cosine of every token's hidden state with the goal state; None without one.
        true_values: probability of a right end after each token that ends a step, NaN at the other
            tokens; None where the data do not know it.
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
    partial_rewards: Ragged | AtShares | None = None
    q_values: Ragged | None = None
    true_values: Ragged | None = None
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
        found = vars(self)
        return {name: found[name] for name in COLUMNS if found[name] is not None}

    def take(self, rows: NDArray[Any]) -> "ScoreTable":
        """The rows of these indices, in their order."""
        taken: dict[str, Any] = {
            name: column.take(rows) if isinstance(column, Ragged | AtShares) else column[rows]
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


def _as_column(values: Any, kind: pa.DataType) -> Any:
    if kind == TOKENS:
        return values if isinstance(values, Ragged | AtShares) else Ragged.of(values)
    if kind == TEXT:
        array = np.empty(len(values), object)
        array[:] = values
        return array
    return np.asarray(values, kind.to_pandas_dtype())


# --- Parquet ---


def write_scores(path: Path, table: ScoreTable) -> None:
    """Write a whole score table; the same table gives the same bytes.

    Raises:
        ValueError: a column is missing that every table has, or lengths do not match.
    """
    columns = table.columns()
    missing = set(COLUMNS) - set(columns) - {"q_values", "true_values"}
    if missing := missing - set(ANSWERS if table.split == "pairs" else ()):
        raise ValueError(f"score table: missing columns {', '.join(sorted(missing))}")
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
            arrays[name] = pa.array(values, COLUMNS[name])
    facts = {"split": table.split, "left_out": str(table.left_out)}
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(arrays, metadata=facts), temporary, compression="zstd")


def has_true_values(path: Path) -> bool:
    """Whether a score table knows the values of prefixes; false for no readable table."""
    try:
        return "true_values" in pq.read_schema(path).names
    except UNREADABLE:
        return False


def read_scores(
    path: Path, columns: Sequence[str] | None = None, shares: Sequence[float] = ()
) -> ScoreTable:
    """Read a score table and check it; pairs come back in the order of their numbers.

    Args:
        columns: of the columns in `OPTIONAL`, read these only (texts and token values take most
            of the memory); default: all.
        shares: of the partial rewards, keep only those after these shares of the tokens; default:
            all.

    Raises:
        UserError: no such file, not a score table, or a row that cannot be used (the row is named).
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; `evaluate` makes it")
    try:
        schema = pq.read_schema(path)
        if {"is_correct", "side"} & set(schema.names):
            raise UserError(f"{path}: has the columns of an older version; score it again")
        needed = set(COLUMNS) - set(OPTIONAL) | {"partial_rewards"}
        if missing := needed - set(schema.names):
            raise UserError(f"{path}: not a score table: lacks {', '.join(sorted(missing))}")
        skipped = set() if columns is None else set(OPTIONAL) - set(columns)
        wanted = [name for name in COLUMNS if name in schema.names and name not in skipped]
        found: dict[str, Any] = {
            name: _read_at_shares(path, name, shares)
            if shares and name == "partial_rewards"
            else _read_column(path, name)
            for name in wanted
        }
        facts = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    except UNREADABLE as error:
        raise UserError(f"{path}: not a readable Parquet file ({error})") from None
    if len({len(values) for values in found.values()}) > 1:
        raise UserError(f"{path}: its columns differ in length; score it again with `evaluate`")
    split: Any = facts.get("split")
    if split is None:  # written by another program
        solutions = "all" if found["sample"].any() else "greedy"
        split = solutions if "predicted_answer" in schema.names else "pairs"
    if split not in get_args(Split):
        raise UserError(f"{path}: split is {split!r}; score it again with `evaluate`")
    left_out = facts.get("left_out", "0")
    if not left_out.isdecimal():
        raise UserError(f"{path}: left_out is {left_out!r}; score it again with `evaluate`")
    table = ScoreTable.of(split, found, int(left_out))
    _check_numbers(table, path)
    return _pairs_in_order(table, path) if split == "pairs" else table


def _read_column(path: Path, name: str) -> Any:
    """One column, so that its Arrow memory is free before the next one is read.

    Raises:
        UserError: its values are of another kind, or are missing.
    """
    return _values(pq.read_table(path, columns=[name]).column(0), name, path)


def _read_at_shares(path: Path, name: str, shares: Sequence[float]) -> AtShares:
    """The values after shares of the tokens; all of them are checked, but few are in memory.

    Raises:
        UserError: as of the whole column.
    """
    parts, first = [np.empty((0, len(shares)), np.float32)], 0
    for batch in pq.ParquetFile(path).iter_batches(BATCH, columns=[name, "num_tokens"]):
        rows, num_tokens = (
            _values(pa.chunked_array([batch.column(one)]), one, path, first)
            for one in (name, "num_tokens")
        )
        _check(_token_problems(name, rows, num_tokens), path, first)
        parts.append(np.stack([rows.at_percentile(share) for share in shares], axis=1))
        first += len(rows)
    return AtShares(shares, np.concatenate(parts))


def _values(column: Any, name: str, path: Path, first: int = 0) -> Any:
    """The values of a column, or of its rows from `first` on.

    Longer integers, floats and strings, as other programs write them, are taken.

    Raises:
        UserError: its values are of another kind, or are missing.
    """
    wanted, may_be_null = COLUMNS[name], name in (*ANSWERS, "completion")
    if not _fits(column.type, wanted) and not (types.is_null(column.type) and may_be_null):
        raise UserError(f"{path}: column {name} holds {column.type}, not {wanted}")
    if column.null_count and not may_be_null:
        row = first + column.is_null().index(True).as_py() + 1
        raise UserError(f"{path}, row {row}: {name} is missing; score it again")
    if wanted == TEXT:
        return column.to_pylist()
    whole = column.cast(wanted).combine_chunks()
    if wanted != TOKENS:
        return whole.to_numpy(zero_copy_only=False)
    if whole.values.null_count:
        raise UserError(f"{path}: column {name} has missing values; score it again")
    offsets = np.asarray(whole.offsets, np.int64)
    return Ragged(np.asarray(whole.flatten(), np.float32), offsets - offsets[0])


def _fits(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether two types are both texts, truth values, integers, floats, or lists of floats."""
    if types.is_large_list(wanted):
        lists = types.is_list(found) or types.is_large_list(found)
        return bool(lists and types.is_floating(found.value_type))
    if types.is_string(wanted):
        return bool(types.is_string(found) or types.is_large_string(found))
    kinds = (types.is_boolean, types.is_integer, types.is_floating)
    return any(kind(found) and kind(wanted) for kind in kinds)


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


def _check_numbers(table: ScoreTable, path: Path) -> None:
    """Check that a table has rows, and that all its rewards and Q-values can be used.

    Raises:
        UserError: it has none, or a row has other than num_tokens values, or no finite ones.
    """
    if not len(table):
        raise UserError(f"{path}: has no rows")
    _check(_problems(table), path)


def _check(problems: Iterable[tuple[str, NDArray[Any]]], path: Path, first: int = 0) -> None:
    """Raise a UserError for the first row with a problem, of rows from `first` on."""
    for problem, rows in problems:
        if len(rows):
            raise UserError(f"{path}, row {first + rows[0] + 1}: {problem}; score it again")


def _problems(table: ScoreTable) -> Iterator[tuple[str, NDArray[Any]]]:
    """What may be wrong with numbers, and the rows where it is."""
    yield "reward is not a finite number", np.flatnonzero(~np.isfinite(table.reward))
    for name, column in table.columns().items():
        if isinstance(column, Ragged):
            yield from _token_problems(name, column, table.num_tokens)


def _token_problems(
    name: str, column: Ragged, num_tokens: NDArray[Any]
) -> Iterator[tuple[str, NDArray[Any]]]:
    lengths = column.lengths
    if name == "true_values":  # only the ends of steps have one
        column = Ragged(np.nan_to_num(column.values, posinf=np.inf), column.offsets)
    yield f"number of {name} is not num_tokens", np.flatnonzero(lengths != num_tokens)
    yield f"{name} is empty", np.flatnonzero(lengths == 0)
    tokens = np.flatnonzero(~np.isfinite(column.values))
    rows = np.searchsorted(column.offsets, tokens, "right") - 1
    yield f"{name} has a value that is not a finite number", rows
