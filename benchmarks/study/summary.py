"""From the tables of all cells that have been measured to verdicts, a page and a figure."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.study.plan import (
    CELLS,
    LEVEL,
    METRICS,
    ORDER,
    PRIMARY,
    SETTINGS,
    THRESHOLDS,
    cell_name,
)
from gcrm.reporting.formats import NONE, number
from gcrm.stats.bootstrap import holm

TITLES = {
    1: "Does the contrastive term raise the AUROC of the final reward?",
    2: "Does it bring partial scores nearer to the oracle?",
    3: "Does it locate the error?",
    4: "Does it save more tokens?",
    5: "Is it the loss, the data or the capacity? The value head against the contrastive model",
    7: "Do beta, temperature, states or head matter? Each setting against the centre's",
}
INTRODUCTION = Path(__file__).with_name("page.md")
"""the page up to its tables"""
FIGURE = "![The four measures in each cell, with 95 % intervals](../../docs/when_to_use.png)"
NAMES = {"reward": "R", "q_value": "Q"}


def read(folder: Path, name: str) -> pd.DataFrame:
    """The tables of this name of all measured cells, in the plan's order, with a column cell."""
    cells = [cell for cell in (*CELLS, SETTINGS) if (folder / cell / f"{name}.csv").is_file()]
    frames = [
        pd.read_csv(folder / cell / f"{name}.csv").assign(cell=cell).astype({"seed": "Int64"})
        for cell in cells
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def judged(differences: pd.DataFrame) -> pd.DataFrame:
    """The means over seeds, with corrected p of the primary comparisons, threshold and verdict."""
    rows = differences[differences["seed"].isna()].reset_index(drop=True)
    primary = rows["question"] <= 4
    p = rows.loc[primary, "p"].fillna(1).tolist()
    # Cells that are missing count with p = 1: what is significant now is so with all of them.
    corrected = holm([*p, *[1.0] * (PRIMARY - len(p))])[: len(p)]
    rows.loc[primary, "p_holm"] = corrected
    rows["threshold"] = rows["measure"].map(THRESHOLDS)
    rows["verdict"] = [verdict(row) for row in rows.to_dict("records")]
    return rows


def verdict(row: Mapping[Any, Any]) -> str:
    """What an interval says beside its threshold; see the plan."""
    value, low, high, threshold = (row[name] for name in ("value", "low", "high", "threshold"))
    # Without a corrected p, the interval alone decides.
    beyond_chance = not row["p_holm"] >= LEVEL
    if low > 0 and value >= threshold and beyond_chance:
        return "helps"
    if high < 0 and value <= -threshold and beyond_chance:
        return "hurts"
    if -threshold <= low and high <= threshold:
        return "does nothing"
    return "not decided"


def write_page(folder: Path, page: Path) -> None:
    """Write the page of results from the tables in `folder`."""
    differences, estimates = read(folder, "differences"), read(folder, "estimates")
    page.write_text("\n".join(_page(differences, estimates)) + "\n", encoding="utf-8")


def _page(differences: pd.DataFrame, estimates: pd.DataFrame) -> Iterator[str]:
    yield from INTRODUCTION.read_text(encoding="utf-8").splitlines()
    measured = [] if estimates.empty else list(estimates["cell"].unique())
    missing = [cell for cell in ORDER if cell not in measured]
    yield f"Measured: {', '.join(measured) or 'nothing yet'}."
    yield ""
    yield f"Not run yet: {', '.join(missing) or 'nothing'}."
    if not measured:
        return
    rows = judged(differences)
    yield from ["", FIGURE, "", "## Verdicts", ""]
    yield from _grid(rows[rows["question"] <= 4])
    for question, title in TITLES.items():
        found = rows[rows["question"] == question]
        if len(found):
            yield from ["", f"## {question}. {title}", ""]
            yield from _table(found, primary=question <= 4)
    yield from ["", "## All estimates", ""]
    yield from _levels(estimates[estimates["seed"].isna()])


def _grid(rows: pd.DataFrame) -> Iterator[str]:
    """The verdicts of the primary comparisons, a row a cell."""
    columns = list(dict.fromkeys(rows[["measure", "score"]].itertuples(index=False, name=None)))
    heads = [f"{measure}, {NAMES[score]}" for measure, score in columns]
    yield from _head(["Cell", *heads])
    for cell, found in rows.groupby("cell", sort=False):
        verdicts = found.set_index(["measure", "score"])["verdict"]
        yield _line([cell_name(str(cell)), *(verdicts[column] for column in columns)])


def _table(rows: pd.DataFrame, primary: bool) -> Iterator[str]:
    """The differences of one question, a row a cell and comparison."""
    corrected = ["p, corrected"] if primary else ["p"]
    yield from _head(
        ["Cell", "Measure", "Difference", "Estimate", "Threshold", *corrected, "Verdict"]
    )
    for row in rows.to_dict("records"):
        first, second = (
            f"{row[variant]} {NAMES[row[score]]}"
            for variant, score in (("variant", "score"), ("baseline", "baseline_score"))
        )
        p = row["p_holm"] if primary else row["p"]
        estimate = number(row["value"], row["low"], row["high"])
        texts = [cell_name(row["cell"]), row["measure"], f"{first} − {second}", estimate]
        texts += [f"{row['threshold']:g}", NONE if pd.isna(p) else f"{p:.2g}", row["verdict"]]
        yield _line(texts)


def _levels(means: pd.DataFrame) -> Iterator[str]:
    """The measures of each variant and score, a row each."""
    yield from _head(["Cell", "Score", *METRICS])
    for (cell, variant), found in means.groupby(["cell", "variant"], sort=False):
        estimates = {row["metric"]: row for row in found.to_dict("records")}
        for score in NAMES:
            texts = [cell_name(str(cell)), f"{variant} {NAMES[score]}"]
            for metric in METRICS.values():
                row = estimates.get(f"{metric}.{score}")
                texts.append(number(row["value"], row["low"], row["high"]) if row else NONE)
            yield _line(texts)


def _head(columns: list[str]) -> list[str]:
    return [_line(columns), "|" + "---|" * len(columns)]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
