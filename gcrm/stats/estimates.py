"""Tables of estimates: what `metrics` and `compare` write, and the report reads.

One row is one estimate. The file is a JSON array with one object a row: exact floats, null where a
number is missing. As a data frame, `seed` and `n` are nullable integers, missing numbers are NaN,
and missing texts are NaN, too.
"""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from gcrm.utils.errors import UserError
from gcrm.utils.io import atomic_path

TEXTS = ("variant", "baseline", "benchmark", "split", "metric", "reason")
WHOLE = ("seed", "n")
MAY_BE_NULL = ("variant", "seed", "baseline", "at", "value", "low", "high", "p", "reason")

COLUMNS: dict[str, tuple[str, ...]] = {
    "metrics": (
        *("variant", "seed", "benchmark", "split", "metric", "at"),
        *("value", "low", "high", "n", "p", "reason"),
    )
}
"""Columns of the table that each stage writes, in order."""
COLUMNS["compare"] = ("variant", "baseline", *COLUMNS["metrics"][1:])


def estimates_frame(
    rows: Iterable[dict[str, Any]], stage: Literal["metrics", "compare"] = "metrics"
) -> pd.DataFrame:
    """The rows as a table with the columns of a stage; absent keys are missing values."""
    frame = pd.DataFrame(list(rows), columns=pd.Index(COLUMNS[stage]), dtype=object)
    types = {
        name: "str" if name in TEXTS else "Int64" if name in WHOLE else "float64"
        for name in frame.columns
    }
    return frame.astype(types)


def write_estimates(path: Path, frame: pd.DataFrame) -> None:
    """Write a table of estimates; the same table gives the same bytes.

    Raises:
        ValueError: a number is infinite.
    """
    names = list(frame.columns)
    rows = frame.astype(object).where(frame.notna(), None).itertuples(index=False, name=None)
    lines = [
        json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False, allow_nan=False)
        for row in rows
    ]
    with atomic_path(path) as temporary:
        temporary.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def read_estimates(path: Path, stage: Literal["metrics", "compare"] = "metrics") -> pd.DataFrame:
    """Read the table of estimates that a stage has written.

    Raises:
        UserError: no such file, or it holds anything else.
    """
    path, columns = Path(path), COLUMNS[stage]
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `{stage}` makes it") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); `{stage}` makes it anew") from None
    if not isinstance(rows, list):
        raise UserError(f"{path}: not a table of estimates; `{stage}` makes it anew")
    for number, row in enumerate(rows, start=1):
        if problem := _problem(row, columns):
            raise UserError(f"{path}, row {number}: {problem}; `{stage}` makes it anew")
    return estimates_frame(rows, stage)


def read_all_estimates(
    paths: Sequence[Path], stage: Literal["metrics", "compare"] = "metrics"
) -> pd.DataFrame:
    """The tables of several files, one after the other.

    Raises:
        UserError: a file is no such table, or does not name the variant and seed of its estimates.
    """
    frames = []
    for path in paths:
        frame = read_estimates(path, stage)
        if (
            frame.empty
            or frame["variant"].isna().any()
            or (stage == "metrics" and frame["seed"].isna().any())
        ):
            raise UserError(
                f"{path}: does not name its variant; expected a file that `metrics --output "
                ".../<variant>/seed<k>/<benchmark>.json` wrote"
            )
        frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else estimates_frame([], stage)


def _problem(row: Any, columns: Sequence[str]) -> str | None:
    """What is wrong with a row of a file; None for nothing."""
    if not isinstance(row, dict) or tuple(row) != tuple(columns):
        return f"expected an object with the keys {', '.join(columns)}"
    for name, value in row.items():
        if value is None and name in MAY_BE_NULL:
            continue
        if name in TEXTS:
            good = isinstance(value, str)
        elif name in WHOLE:
            good = type(value) is int and abs(value) < 2**63
        else:
            good = type(value) in (int, float) and math.isfinite(value)
        if not good:
            kind = "text" if name in TEXTS else "a whole number" if name in WHOLE else "a number"
            return f"{name} must be {kind}, not {str(value)[:40]!r}"
    return None
