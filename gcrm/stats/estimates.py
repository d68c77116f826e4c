"""Tables of estimates: what `metrics` and `compare` write, and the report reads.

One row is one estimate. The file is a JSON array with one object a row: exact floats, null where a
number is missing. As a data frame, `seed` and `n` are nullable integers, missing numbers are NaN,
and missing texts are NaN, too.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, create_model

from gcrm.utils.errors import UserError
from gcrm.utils.io import atomic_path

Stage = Literal["metrics", "compare"]
Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
TYPES: dict[str, tuple[Any, str]] = {
    "variant": (str | None, "str"),
    "baseline": (str | None, "str"),
    "seed": (Whole | None, "Int64"),
    "benchmark": (str, "str"),
    "split": (str, "str"),
    "metric": (str, "str"),
    "at": (float | None, "float64"),
    "value": (float | None, "float64"),
    "low": (float | None, "float64"),
    "high": (float | None, "float64"),
    "n": (Whole, "Int64"),
    "p": (float | None, "float64"),
    "reason": (str | None, "str"),
}
"""Columns in order: type in the file, and in a data frame."""
COLUMNS: dict[Stage, tuple[str, ...]] = {
    "metrics": tuple(name for name in TYPES if name != "baseline"),
    "compare": tuple(TYPES),
}
"""Columns of the table that each stage writes."""


STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


def estimates_frame(rows: Iterable[dict[str, Any]], stage: Stage = "metrics") -> pd.DataFrame:
    """The rows as a table with the columns of a stage; absent keys are missing values."""
    frame = pd.DataFrame(list(rows), columns=pd.Index(COLUMNS[stage]), dtype=object)
    return frame.astype({name: TYPES[name][1] for name in frame.columns})


def write_estimates(path: Path, frame: pd.DataFrame) -> None:
    """Write a table of estimates; the same table gives the same bytes.

    Raises:
        ValueError: a number is infinite.
    """
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows]
    with atomic_path(path) as temporary:
        temporary.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def read_estimates(path: Path, stage: Stage = "metrics") -> pd.DataFrame:
    """Read the table of estimates that a stage has written.

    Raises:
        UserError: no such file, or it is not such a table; names the first bad row and key.
    """
    path = Path(path)
    columns: dict[str, Any] = {name: (TYPES[name][0], ...) for name in COLUMNS[stage]}
    row: Any = create_model("Row", __config__=STRICT, **columns)
    try:
        rows = TypeAdapter(list[row]).validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `{stage}` makes it") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        problem = _problem(error.errors()[0])
        raise UserError(
            f"{path}{problem}; not a table of estimates: `{stage}` makes it anew"
        ) from None
    return estimates_frame((row.model_dump() for row in rows), stage)


def _problem(error: Any) -> str:
    """The row and key of a mistake, and what is wrong."""
    number, *key = error["loc"] or [None]
    row = "" if number is None else f", row {number + 1}"
    found = f", not {str(error['input'])[:40]!r}" if key and error["type"] != "missing" else ""
    return ": ".join([row, *map(str, key), error["msg"]]) + found


def read_all_estimates(paths: Sequence[Path], stage: Stage = "metrics") -> pd.DataFrame:
    """The tables of several files, one after the other.

    Raises:
        UserError: a file is not such a table, or does not name the variant and seed of its rows.
    """
    frames = [estimates_frame([], stage)]
    for path in paths:
        frame = read_estimates(path, stage)
        needed = ["variant", "seed"] if stage == "metrics" else ["variant"]
        if frame.empty or frame[needed].isna().any(axis=None):
            raise UserError(
                f"{path}: does not name its variant; expected a file that `metrics --output "
                ".../<variant>/seed<k>/<benchmark>.json` wrote"
            )
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)
