"""What the filter keeps with a goal state: what `goals` measures, and the report shows."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ValidationError, create_model

from gcrm.stats.bootstrap import Bools, auroc
from gcrm.stats.estimates import STRICT
from gcrm.utils.errors import UserError
from gcrm.utils.io import numbered_rows

Kind = Literal["chosen", "random token", "corrupted", "rejected"]
"""of a goal state: last tokens of n chosen completions; random tokens of n chosen ones; last tokens
of all chosen and n rejected ones; last tokens of n rejected ones"""
KINDS: tuple[Kind, ...] = get_args(Kind)
MEASURES = ("correct_kept", "dropped", "auroc", "auroc_lowest")
"""correct among the samples kept, and dropped among all, 0 to 1; AUROC of the last and of the
smallest Q-value; None where there is none"""
COLUMNS: dict[str, Any] = {
    "variant": str,
    "seed": int,
    "benchmark": str,
    "kind": Kind,
    "examples": int,
    "draw": int,
    "samples": int,
    "correct": float,
    **dict.fromkeys(MEASURES, float | None),
}
"""columns of a file of measurements: one row a benchmark and goal state"""


def measure(
    labels: Bools, lowest: NDArray[np.floating], last: NDArray[np.floating], threshold: float
) -> dict[str, float | None]:
    """The measurements of a goal state, by the names of MEASURES.

    Args:
        labels: whether each sample is correct, (n,).
        lowest: smallest Q-value of each after the skipped tokens; +inf where all are, (n,).
        last: Q-value of the last token of each, (n,).
        threshold: a sample is dropped if its smallest Q-value is below it.
    """
    kept = lowest.astype(np.float64) >= threshold
    aurocs = [float(auroc(scores, labels)[0]) for scores in (last, lowest)]
    return {
        "correct_kept": float(labels[kept].mean()) if kept.any() else None,
        "dropped": float(1 - kept.mean()),
        "auroc": None if np.isnan(aurocs[0]) else aurocs[0],
        "auroc_lowest": None if np.isnan(aurocs[1]) else aurocs[1],
    }


def read_measurements(paths: Iterable[Path]) -> pd.DataFrame:
    """The measurements of several files, with the columns COLUMNS.

    Raises:
        UserError: a file is missing, or a row is not one that `goals` writes.
    """
    fields: dict[str, Any] = {name: (kind, ...) for name, kind in COLUMNS.items()}
    row_model: Any = create_model("Measurement", __config__=STRICT, **fields)
    rows = []
    for path in paths:
        for number, row in numbered_rows(path):
            try:
                rows.append(row_model.model_validate(row).model_dump())
            except ValidationError as error:
                problem = error.errors()[0]
                key = ".".join(map(str, problem["loc"]))
                raise UserError(
                    f"{path}, row {number}: {key}: {problem['msg']}; expected a file that `goals "
                    "--output .../<variant>/seed<k>.jsonl` wrote"
                ) from None
    found = pd.DataFrame(rows, columns=pd.Index(COLUMNS))
    return found.astype(dict.fromkeys(MEASURES, float))


def over_draws(found: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean, lowest and highest of each measure over draws and seeds.

    Args:
        by: columns that stay.

    Returns:
        The columns `by`, measure, value, low, high, and n, the number of draws and seeds.
    """
    long = found.melt([*by], [*MEASURES], "measure").dropna(subset="value")
    groups = long.groupby([*by, "measure"], sort=False)["value"]
    names = {"mean": "value", "min": "low", "max": "high", "count": "n"}
    return groups.agg([*names]).rename(columns=names).reset_index()
