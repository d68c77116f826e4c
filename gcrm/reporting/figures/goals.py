"""Figure of the filter with goal states of few, wrong or mixed examples."""

from pathlib import Path
from typing import Any

import numpy as np
from pandas import DataFrame

from gcrm.reporting.contents import Item
from gcrm.reporting.figure_data import FigureData
from gcrm.reporting.figures.lines import Line, draw_line
from gcrm.reporting.figures.style import CHANCE, legend, looks, name_axes, note, panels
from gcrm.stats.goals import KINDS, over_draws

SHOWN = {
    "correct_kept": "correct among the kept, %",
    "dropped": "samples dropped, %",
    "auroc": "AUROC, last Q-value",
}


def goals(data: FigureData, item: Item, stem: Path) -> None:
    """The filter by the number of examples, for each kind of goal state of one variant."""
    what = "the filter with goal states of few examples, mean and range of the draws"
    heading = data.heading(f"{item.subject}: {what}")
    goals_figure(stem, heading, data.goals[data.goals["variant"] == item.subject])


def goals_figure(stem: Path, heading: str, goals: DataFrame) -> None:
    """Draw `<stem>.svg` and `<stem>.png` with a row of panels per benchmark.

    Args:
        goals: measurements of one variant; see `gcrm.stats.goals`.
    """
    found = over_draws(goals, ["benchmark", "kind", "examples"])
    cells = [(name, measure) for name in goals["benchmark"].unique() for measure in SHOWN]
    titles = [f"{benchmark}: {SHOWN[measure]}" for benchmark, measure in cells]
    size, columns = (2.3, 1.7), len(SHOWN)
    with panels(stem, heading, titles, columns, same_y=False, panel=size) as (figure, axes_of):
        for axes, (benchmark, measure) in zip(axes_of, cells, strict=True):
            here = found[(found["benchmark"] == benchmark) & (found["measure"] == measure)]
            correct = goals.loc[goals["benchmark"] == benchmark, "correct"].iloc[0]
            _draw(axes, here, measure, correct)
        name_axes(axes_of, columns, "examples", "")
        legend(figure, KINDS)


def _draw(axes: Any, found: DataFrame, measure: str, correct: float) -> None:
    axes.set_xscale("log")
    if measure == "auroc":
        axes.axhline(0.5, **CHANCE, label="chance")
    elif measure == "correct_kept":
        axes.axhline(100 * correct, **CHANCE, label="all samples")
    scale = 1 if measure == "auroc" else 100
    for kind, look in looks(KINDS).items():
        rows = found[found["kind"] == kind].sort_values("examples")
        if len(rows):
            x, value, low, high = rows[["examples", "value", "low", "high"]].to_numpy(np.float64).T
            line = Line(kind, look, x, scale * value, scale * low, scale * high)
            draw_line(axes, line, bands=True)
    if found.empty:
        note(axes, "no values")
