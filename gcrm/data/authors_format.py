"""Score tables as JSON lines with the keys of the authors' scripts, read and written."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcrm.data.questions import question_key
from gcrm.data.scores import ScoreTable, Split, check_numbers
from gcrm.utils.errors import UserError
from gcrm.utils.io import Row, numbered_rows, write_jsonl

TEXTS = {
    "prompt": "question",
    "completion": "generated_solution",
    "predicted_answer": "predicted_answer",
    "expected_answer": "expected_answer",
}
"""the authors' keys of the text columns, in the order of a row"""
TOKENS = {"partial_rewards": "partial_rewards", "q_values": "cosine_sim"}
"""the authors' keys of the columns with a value for each token"""
LARGEST_COSINE = 1.02
"""bfloat16 rounds a cosine of 1 up to 1.008"""


def write_authors_jsonl(path: Path, table: ScoreTable) -> None:
    """Write solutions as the authors' output.jsonl.

    Numbers are float32, in the shortest spelling that reads back as the same float32.

    Raises:
        UserError: the table holds preference pairs, for which the format has no key.
    """
    if table.split == "pairs":
        raise UserError(f"{path}: the authors' format has solutions only; this table holds pairs")
    write_jsonl(path, _rows(table))


def _rows(table: ScoreTable) -> Iterator[Row]:
    columns = table.columns()
    for row in range(len(table)):
        result: Row = {
            key: columns[name][row] if name in columns else None for name, key in TEXTS.items()
        }
        result["is_correct"] = bool(table.label[row])
        result["reward"] = _shortest(table.reward[row : row + 1])[0]
        for name, key in TOKENS.items():
            if name in columns:
                result[key] = _shortest(columns[name][row])
        result["num_actions"] = int(table.num_tokens[row])
        yield result


def _shortest(values: NDArray[np.float32]) -> list[float]:
    """float64 numbers that are spelt as short as the float32 ones."""
    import pyarrow as pa

    spelt = pa.array(values, pa.float32()).cast(pa.string())
    numbers: list[float] = spelt.cast(pa.float64()).to_numpy(zero_copy_only=False).tolist()
    return numbers


def read_authors_jsonl(
    paths: Sequence[Path], split: Split, with_q_values: bool = True
) -> ScoreTable:
    """Read the score rows of all these files.

    The sample number of a row is the number of earlier rows with the same question.

    Raises:
        UserError: a file cannot be read, or a row lacks a key or has a value of the wrong type.
    """
    rows: list[Row] = []
    for path in paths:
        for number, row in numbered_rows(path):
            where = f"{path}, row {number}"
            rows.append(_checked(row, where, with_q_values))
            for name, key in TOKENS.items():
                if (rows[-1][name] is None) != (rows[0][name] is None):
                    state = "missing" if rows[-1][name] is None else "given"
                    raise UserError(
                        f"{where}: {key} is {state}, unlike in the rows before; expected it in "
                        "every row, or in none"
                    )
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    for name in TOKENS:
        columns[name] = None if rows[0][name] is None else columns[name]
    seen: dict[str, int] = {}
    columns["sample"] = []
    for prompt in columns["prompt"]:
        key = question_key(prompt)
        columns["sample"].append(seen.get(key, 0))
        seen[key] = columns["sample"][-1] + 1
    table = ScoreTable.of(split, columns | {"truncated": np.zeros(len(rows), bool)})
    check_numbers(table, ", ".join(map(str, paths)))
    return table


def _checked(row: Row, where: str, with_q_values: bool) -> Row:
    """The values of a row by the names of their columns."""
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
        **{name: _text(row.get(key)) for name, key in TEXTS.items()},
        "label": bool(row["is_correct"]),
        "reward": reward[0],
        "partial_rewards": partial,
        "q_values": q_values,
        "num_tokens": tokens,
    }


def _numbers(value: Any, key: str, where: str) -> NDArray[np.float32] | None:
    """A number, or a flat list of numbers, as an array; null in a list is NaN."""
    if value is None:
        return None
    numbers = value if isinstance(value, list) else [value]
    try:
        if not all(type(number) in (int, float, type(None)) for number in numbers):
            raise TypeError
        with np.errstate(over="ignore"):  # what float32 cannot hold is reported as infinite
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
