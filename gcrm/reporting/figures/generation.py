"""Figure of samples that are filtered while they are generated: accuracy against total cost."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from pandas import DataFrame

from gcrm.reporting.contents import Item
from gcrm.reporting.figure_data import FigureData
from gcrm.reporting.figures.style import (
    CROSS,
    PLAIN,
    Look,
    ends,
    looks,
    note,
    panels,
    spot,
)
from gcrm.reporting.generation import METHODS, VOTE_TITLES, split_metrics
from gcrm.stats.generation import VOTES

SIZE = 7.0
"""of the markers of what was really run"""
UNITS = ((1e15, "PFLOPs"), (1e12, "TFLOPs"), (1e9, "GFLOPs"), (1e6, "MFLOPs"), (1.0, "FLOPs"))


def generation(data: FigureData, item: Item, stem: Path) -> None:
    """Accuracy against the cost of both models, for the reward model of one variant."""
    what = "accuracy against the cost of both models, 95 % intervals"
    heading = data.heading(f"{item.subject}: {what}")
    found = data.generated[data.generated["variant"] == item.subject]
    generation_figure(stem, heading, split_metrics(found))


def generation_figure(stem: Path, heading: str, rows: DataFrame) -> None:
    """Draw `<stem>.svg` and `<stem>.png` with a panel for each benchmark and vote.

    Args:
        rows: estimates of one variant; see `gcrm.reporting.generation.split_metrics`.
    """
    unit, name = unit_of(rows.loc[rows["what"].isin(["cost", "curve.cost"]), "value"].max())
    cells = [(benchmark, vote) for benchmark in rows["benchmark"].unique() for vote in VOTES]
    titles = [f"{benchmark}: {VOTE_TITLES[vote]}" for benchmark, vote in cells]
    methods = [method for method in METHODS if method in set(rows["method"]) - {"plain"}]
    labels = f"{name} a problem, of both models", "accuracy, %"
    first = ["plain samples", *(METHODS[method] for method in methods)]
    with panels(stem, heading, titles, 2, "", (3.3, 2.2), labels, first) as axes_of:
        for axes, (benchmark, vote) in zip(axes_of, cells, strict=True):
            here = rows[(rows["benchmark"] == benchmark) & (rows["vote"] == vote)]
            if here.empty:
                note(axes, "not measured")
            plain = here[here["method"] == "plain"]
            _curves(axes, plain, "plain samples", replace(PLAIN, marker="."), unit, "")
            for method, look in looks(methods).items():
                of_method = here[here["method"] == method]
                _curves(axes, of_method, METHODS[method], look, unit, "curve.")
                for _, seed in of_method.groupby("seed"):
                    _spot(axes, seed, look, unit)
        axes_of[0].plot([], [], **spot(PLAIN, SIZE), label="really run, 95 % intervals")


def unit_of(largest: float) -> tuple[float, str]:
    """A unit of FLOPs in which the largest cost is at least 1, and its name."""
    return next((unit for unit in UNITS if largest >= unit[0]), UNITS[-1])


def _curves(axes: Any, rows: DataFrame, label: str, look: Look, unit: float, prefix: str) -> None:
    """A line for each seed, of the settings that cost less than all milder ones.

    So a cost has one accuracy. A stricter setting can cost more: which samples are left at a check
    depends on which were dropped before.
    """
    line: Any = {"color": look.colour, "linestyle": look.dashes, "marker": look.marker}
    for number, (_, seed) in enumerate(rows.groupby("seed")):
        chosen = seed[seed["what"].isin([f"{prefix}cost", f"{prefix}accuracy"])]
        if chosen.empty:
            continue
        points = chosen.pivot(index="at", columns="what", values="value").sort_index()
        if prefix:
            cost = points[f"{prefix}cost"]
            points = points[cost < cost.cummin().shift(fill_value=float("inf"))]
        x, y = points[f"{prefix}cost"] / unit, 100 * points[f"{prefix}accuracy"]
        axes.plot(x, y, **line, markersize=2.5, label=None if number else label)


def _spot(axes: Any, rows: DataFrame, look: Look, unit: float) -> None:
    """What was really run, with its intervals."""
    found: dict[Any, Any] = {row.what: row for row in rows.itertuples()}
    cost, accuracy = found.get("cost"), found.get("accuracy")
    if cost is None or accuracy is None:
        return
    x = [[one / unit for one in side] for side in ends(cost)]
    y = [[100 * one for one in side] for side in ends(accuracy)]
    style = {"color": look.colour, **CROSS, **spot(look, SIZE)}
    axes.errorbar(cost.value / unit, 100 * accuracy.value, y, x, **style)
