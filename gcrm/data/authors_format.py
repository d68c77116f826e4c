"""Score tables as JSON lines with the keys of the authors' scripts, read and written."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    Strict,
    ValidationError,
    model_validator,
)

from gcrm.data.questions import question_key
from gcrm.data.scores import ScoreTable, Split
from gcrm.utils.errors import UserError
from gcrm.utils.io import Row, numbered_rows, write_jsonl

LARGEST = float(np.finfo(np.float32).max)
LARGEST_COSINE = 1.02
"""bfloat16 rounds a cosine of 1 up to 1.008"""


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)


def _number(value: Any) -> Any:
    """A reward may be a list of one number."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _float32(values: list[float]) -> NDArray[np.float32]:
    return np.array(values, np.float32)


Text = Annotated[str | None, BeforeValidator(_text)]
Number = Annotated[float, Strict(), Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
Cosine = Annotated[float, Strict(), Field(ge=-LARGEST_COSINE, le=LARGEST_COSINE)]
Numbers = Annotated[list[Number], AfterValidator(_float32)]
Cosines = Annotated[list[Cosine], AfterValidator(_float32)]


class AuthorsRow(BaseModel):
    """A row of the authors' output.jsonl; fields are named as columns, aliases are its keys."""

    prompt: str = Field(alias="question")
    completion: Text = Field(None, alias="generated_solution")
    predicted_answer: Text = None
    expected_answer: Text = None
    label: bool = Field(alias="is_correct")
    reward: Annotated[Number, BeforeValidator(_number)]
    partial_rewards: Numbers | None = None
    q_values: Cosines | None = Field(None, alias="cosine_sim")
    num_tokens: Annotated[int, Strict(), Field(gt=0, lt=2**31)] | None = Field(
        None, alias="num_actions"
    )

    @model_validator(mode="after")
    def _one_length(self) -> "AuthorsRow":
        for values in (self.q_values, self.partial_rewards):
            if values is not None:
                self.num_tokens = len(values)
        if not self.num_tokens:
            raise ValueError("num_actions must be a whole number above 0")
        if self.q_values is not None and len(self.q_values) != self.num_tokens:
            raise ValueError("partial_rewards and cosine_sim must have the same length")
        return self


KEYS = {name: field.alias or name for name, field in AuthorsRow.model_fields.items()}
"""the authors' key of each column, in the order of a row"""


def write_authors_jsonl(path: Path, table: ScoreTable) -> None:
    """Write solutions as the authors' output.jsonl.

    Numbers are float32, in the shortest spelling that reads back as the same float32.

    Raises:
        ValueError: the table holds preference pairs, for which the format has no key.
    """
    if table.split == "pairs":
        raise ValueError("the authors' format has solutions only")
    write_jsonl(path, _rows(table))


def _rows(table: ScoreTable) -> Iterator[Row]:
    columns = table.columns()
    columns |= {name: columns[name].tolist() for name in ("label", "num_tokens")}
    columns["reward"] = _shortest(table.reward)
    for row in range(len(table)):
        values = {key: columns[name][row] for name, key in KEYS.items() if name in columns}
        yield {
            key: _shortest(value) if isinstance(value, np.ndarray) else value
            for key, value in values.items()
        }


def _shortest(values: NDArray[np.float32]) -> list[float]:
    """float64 numbers that are spelt as short as the float32 ones."""
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
    rows: list[AuthorsRow] = []
    for path in paths:
        for number, row in numbered_rows(path):
            where = f"{path}, row {number}"
            rows.append(_checked(row, where, with_q_values))
            for name in ("partial_rewards", "q_values"):
                first, this = (getattr(one, name) is None for one in (rows[0], rows[-1]))
                if first != this:
                    raise UserError(
                        f"{where}: {KEYS[name]} is {'missing' if this else 'given'}, unlike in the "
                        "rows before; expected it in every row, or in none"
                    )
    columns: dict[str, Any] = {name: [getattr(row, name) for row in rows] for name in KEYS}
    for name in ("partial_rewards", "q_values"):
        columns[name] = None if columns[name][0] is None else columns[name]
    seen: Counter[str] = Counter()
    columns["sample"] = []
    for key in map(question_key, columns["prompt"]):
        columns["sample"].append(seen[key])
        seen[key] += 1
    return ScoreTable.of(split, columns | {"truncated": np.zeros(len(rows), bool)})


def _checked(row: Row, where: str, with_q_values: bool) -> AuthorsRow:
    try:
        return AuthorsRow.model_validate(row if with_q_values else row | {"cosine_sim": None})
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        if problem["type"] == "missing":
            raise UserError(
                f"{where}: key {key!r} is missing (there are: {', '.join(row)})"
            ) from None
        got = "" if problem["input"] is row else f" (got {problem['input']!r:.40})"
        message = problem["msg"].removeprefix("Value error, ")
        raise UserError(f"{where}: {key}{': ' if key else ''}{message}{got}") from None


def authors_files(folder: Path) -> list[Path]:
    """The .jsonl files of a folder in the order of the numbers in their names; empty if none."""
    return sorted(
        Path(folder).glob("*.jsonl"),
        key=lambda file: ([int(n) for n in re.findall(r"\d+", file.stem)], file.name),
    )
