"""The score table: rewards and Q-values of completions, as Parquet and as the authors' JSON lines.

One row is one completion.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcrm.data.questions import question_key
from gcrm.data.score_files import SCORED, Kinds, Ragged, check_numbers, read_columns, write_columns
from gcrm.utils.errors import UserError
from gcrm.utils.io import Row, numbered_rows, write_jsonl

TEXTS = ("question", "expected_answer", "generated_solution", "predicted_answer")
TOKENS = ("partial_rewards", "q_values")
KINDS: Kinds = {
    "question": "text",
    "expected_answer": "text",
    "generated_solution": "text",
    "predicted_answer": "text",
    "is_correct": "bool",
    "sample": "int32",
    **SCORED,
}
COLUMNS = tuple(KINDS)
LARGEST_COSINE = 1.02
"""bfloat16 rounds a cosine of 1 up to 1.008"""
AUTHORS_NAMES = {"q_values": "cosine_sim", "num_tokens": "num_actions"}


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

    def take(self, rows: NDArray[Any]) -> "ScoreTable":
        """The rows of these indices, in their order."""
        taken: dict[str, Any] = {
            name: column.take(rows) if isinstance(column, Ragged) else column[rows]
            for name, column in self.columns().items()
        }
        return ScoreTable(**taken)

    def without_q_values(self) -> "ScoreTable":
        """The same scores as of a model that was scored without a goal state."""
        return replace(self, q_values=None)


# --- Parquet ---


def write_scores(path: Path, columns: Mapping[str, Any]) -> None:
    """Write a score table; see `write_columns`.

    Args:
        columns: by name, see `KINDS`; `q_values` is absent where there is no goal state.
    """
    write_columns(path, columns, KINDS)


def read_scores(path: Path, columns: Sequence[str] | None = None) -> ScoreTable:
    """Read a score table, checked.

    Args:
        columns: read only these beside the small ones (texts and token values take most of the
            memory); default: all.

    Raises:
        UserError: no such file, not a score table, or a row that cannot be used (the row is named).
    """
    always = {"question", "is_correct", "sample", "reward", "num_tokens", "truncated"}
    wanted = always | set(COLUMNS if columns is None else columns)
    needed = always | {"predicted_answer", "partial_rewards"}
    return ScoreTable(**read_columns(path, KINDS, wanted, needed, "a score table"))


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
        result["reward"] = _short(table.reward[row : row + 1])[0]
        for name in TOKENS:
            ragged: Ragged | None = getattr(table, name)
            if ragged is not None:
                result[AUTHORS_NAMES.get(name, name)] = _short(ragged[row])
        result[AUTHORS_NAMES["num_tokens"]] = int(table.num_tokens[row])
        yield result


def _short(values: NDArray[np.float32]) -> list[float]:
    """The float64 spelt as the float32 is."""
    import pyarrow as pa

    spelt = pa.array(values, pa.float32()).cast(pa.string())
    numbers: list[float] = spelt.cast(pa.float64()).to_numpy(zero_copy_only=False).tolist()
    return numbers


def read_authors_jsonl(paths: Sequence[Path], with_q_values: bool = True) -> ScoreTable:
    """Read score rows from the authors' JSON lines; several files are put together.

    The sample number of a row is how often its question was there before.

    Raises:
        UserError: a file cannot be read, or a row lacks a key or has a value of the wrong type.
    """
    rows: list[Row] = []
    for path in paths:
        for number, row in numbered_rows(path):
            where = f"{path}, row {number}"
            rows.append(_from_authors(row, where, with_q_values))
            for name in TOKENS:
                if (rows[-1][name] is None) != (rows[0][name] is None):
                    state = "missing" if rows[-1][name] is None else "given"
                    raise UserError(
                        f"{where}: {AUTHORS_NAMES.get(name, name)} is {state}, unlike in the rows "
                        "before; expected it in every row, or in none"
                    )
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
        partial_rewards=None if partial[0] is None else Ragged.of(partial),
        q_values=None if q_values[0] is None else Ragged.of(q_values),
    )
    check_numbers(table.columns(), ", ".join(map(str, paths)))
    return table


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
    if isinstance(tokens, bool) or not isinstance(tokens, int) or not 0 < tokens < 2**31:
        raise UserError(f"{where}: num_actions must be a whole number above 0, not {tokens!r}")
    for key, values in (("partial_rewards", partial), ("cosine_sim", q_values)):
        if values is not None and len(values) != tokens:
            raise UserError(f"{where}: {key} has {len(values)} numbers for {tokens} tokens")
        if values is not None and not (finite := np.isfinite(values)).all():
            raise UserError(f"{where}: {key} has {values[np.argmin(finite)]}; score it again")
    if q_values is not None and (largest := np.abs(q_values).max()) > LARGEST_COSINE:
        raise UserError(f"{where}: cosine_sim has a {largest:g}, which is no cosine")
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
    """A number, or a flat list of numbers; null in a list is NaN."""
    if value is None:
        return None
    numbers = value if isinstance(value, list) else [value]
    try:
        if not all(type(number) in (int, float, type(None)) for number in numbers):
            raise TypeError
        with np.errstate(over="ignore"):  # what float32 cannot hold is told as infinite
            return np.asarray(numbers, np.float32)
    except (TypeError, OverflowError):
        raise UserError(f"{where}: {key} must be numbers, not {str(value)[:40]!r}") from None


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)


def authors_files(folder: Path) -> list[Path]:
    """The .jsonl files of a folder in the order of the numbers in their names; empty if none."""
    return sorted(
        Path(folder).glob("*.jsonl"),
        key=lambda file: ([int(n) for n in re.findall(r"\d+", file.stem)], file.name),
    )
