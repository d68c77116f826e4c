"""Figures of AUROC and preference accuracy by benchmark and variant, compared with length alone.

Chance is 0.5 in both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pandas import DataFrame, concat, isna

from gcrm.reporting.contents import Item
from gcrm.reporting.figure_data import FigureData
from gcrm.reporting.figures.style import (
    CHANCE,
    GREY,
    Look,
    drawing,
    ends,
    legend,
    looks,
    note,
    panels,
)

SIDE_BY_SIDE = 4
"""largest number of variants in one panel; with more, each benchmark has its own panel"""


def auroc(data: FigureData, item: Item, stem: Path) -> None:
    """AUROC of the final reward."""
    heading = data.heading("AUROC of the final reward against correctness, 95 % intervals")
    _beside_length(data, "greedy", "auroc", stem, heading, "AUROC")


def preferences(data: FigureData, item: Item, stem: Path) -> None:
    """Preference accuracy on held-out sets."""
    heading = data.heading(
        "Held-out pairs with the higher reward on the chosen side, 95 % intervals"
    )
    _beside_length(data, "pairs", "pairwise_accuracy", stem, heading, "preference accuracy")


def _beside_length(
    data: FigureData, split: str, metric: str, stem: Path, heading: str, measure: str
) -> None:
    results = data.results
    rows, each = results.rows(split), results.rows(split, seeds=True)
    lengths = rows[rows["metric"] == f"{metric}.length"].drop_duplicates("benchmark")
    each = each[(each["metric"] == f"{metric}.reward") & each["variant"].isin(results.several)]
    points = rows[rows["metric"] == f"{metric}.reward"]
    known = lengths.set_index("benchmark")["value"].dropna().to_dict()
    draw_points(stem, heading, Points(points, known, measure, each[each["seed"].notna()]))


@dataclass(frozen=True)
class Points:
    """The values of a figure.

    Attributes:
        means: variant, benchmark, value, low and high.
        lengths: value of minus the length on each benchmark.
        measure: label of the axis.
        seeds: variant, benchmark and value of single seeds, for variants with several.
    """

    means: DataFrame
    lengths: Mapping[Any, float]
    measure: str
    seeds: DataFrame


def draw_points(stem: Path, heading: str, points: Points) -> None:
    """Draw `<stem>.svg` and `<stem>.png` with the value of each variant on each benchmark."""
    draw = _together if points.means["variant"].nunique() <= SIDE_BY_SIDE else _in_panels
    draw(stem, heading, points)


def _together(stem: Path, heading: str, points: Points) -> None:
    variants, benchmarks = (list(points.means[name].unique()) for name in ("variant", "benchmark"))
    look, count = looks(variants), len(variants)
    width = max(6.2, (0.75 + 0.1 * count) * len(benchmarks) + 0.9)
    with drawing(stem, heading, (width, 3.4)) as figure:
        axes = figure.add_subplot()
        for place, benchmark in enumerate(benchmarks):
            rows = points.means[points.means["benchmark"] == benchmark]
            for row in rows.itertuples():
                shift = (variants.index(row.variant) - (count - 1) / 2) * min(0.22, 0.7 / count)
                _point(axes, place + shift, row, look[row.variant], points.seeds, upright=True)
            if rows["value"].isna().all():
                text = "one class\nonly"
                axes.text(place, 0.5, text, ha="center", va="bottom", color=GREY, size=7)
        at = [place for place, name in enumerate(benchmarks) if name in points.lengths]
        lengths = [points.lengths[benchmarks[place]] for place in at]
        ends = [place - 0.4 for place in at], [place + 0.4 for place in at]
        axes.hlines(lengths, *ends, GREY, linewidth=1.4, label="length alone")
        axes.axhline(0.5, **CHANCE, label="chance")
        drawn = concat([points.means["low"], points.means["high"], points.seeds["value"]])
        reached = [*drawn.dropna(), *lengths]
        axes.set_ylim(min([0.48, *reached]) - 0.03, max([0.72, *reached]) + 0.03)
        axes.set_xlim(-0.6, len(benchmarks) - 0.4)
        axes.set_xticks(range(len(benchmarks)), benchmarks)
        axes.tick_params(axis="x", length=0)
        axes.set_ylabel(points.measure)
        axes.grid(visible=False, axis="x")
        legend(figure, variants)


def _in_panels(stem: Path, heading: str, points: Points) -> None:
    """One panel per benchmark with one row per variant."""
    variants, benchmarks = (list(points.means[name].unique()) for name in ("variant", "benchmark"))
    look = looks(variants)
    size = 1.95, 0.5 + 0.17 * len(variants)
    with panels(stem, heading, benchmarks, panel=size, labels=(points.measure, "")) as cells:
        for axes, benchmark in zip(cells, benchmarks, strict=True):
            axes.axvline(0.5, **CHANCE, label="chance")
            if benchmark in points.lengths:
                length = points.lengths[benchmark]
                axes.axvline(length, color=GREY, linewidth=1.4, label="length alone")
            rows = points.means[points.means["benchmark"] == benchmark]
            if rows["value"].isna().all():
                note(axes, "one class only")
            for row in rows.itertuples():
                place = variants.index(row.variant)
                _point(axes, place, row, look[row.variant], points.seeds, upright=False)
            axes.set_yticks(range(len(variants)), variants)
            axes.set_ylim(len(variants) - 0.4, -0.6)
            axes.grid(visible=False, axis="y")


def _point(axes: Any, place: float, row: Any, look: Look, seeds: DataFrame, upright: bool) -> None:
    """A value with its interval, and its seeds to the right or below."""
    if isna(row.value):
        return
    same = (seeds["variant"] == row.variant) & (seeds["benchmark"] == row.benchmark)
    each = list(seeds.loc[same, "value"].dropna())
    axes.errorbar(
        *((place, row.value) if upright else (row.value, place)),
        **{"yerr" if upright else "xerr": ends(row)},
        color=look.colour,
        marker=look.marker,
        linestyle="none",
        markersize=5.5 if upright else 4.5,
        markeredgecolor="black",
        markeredgewidth=0.4,
        elinewidth=1.4,
        capsize=2.5 if upright else 0,
        label=row.variant if upright else None,
        zorder=3,
    )
    beside = [place + (0.075 if upright else 0.25)] * len(each)
    colour = look.colour if upright else GREY
    dots: Any = {"s": 6 if upright else 4, "linewidths": 0, "zorder": 3}
    axes.scatter(*((beside, each) if upright else (each, beside)), color=colour, **dots)
    if each:
        axes.scatter([], [], color=GREY, label="single seeds", **dots)
