"""What dropping samples by their Q-values costs and saves: accuracy against tokens saved."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pandas import DataFrame

from gcrm.reporting.contents import Part
from gcrm.reporting.curves import Material
from gcrm.reporting.figures.style import (
    CHANCE,
    GREY,
    MOST_INTERVALS,
    Look,
    ends,
    legend,
    looks,
    name_axes,
    note,
    panels,
)

COLUMNS = 2
SPOTS = {"filtered": False, "chosen_filter": True}
"""Thresholds that are marked, and whether they were chosen on other problems."""


def votes(material: Material, part: Part, stem: Path) -> None:
    """Accuracy of the filtered vote against tokens saved."""
    results, shown = material.results, material.variants(part)
    each = results.of("all", seeds=True)
    curves = each[each["metric"].str.startswith("filter_curve.") & each["seed"].notna()]
    thresholds = " or ".join(f"{at:g}" for at in results.shares("filtered."))
    heading = material.heading("Majority vote of the samples that Q-values keep")
    vote_figure(stem, heading, results.of("all"), curves, shown, thresholds)


def vote_figure(
    stem: Path,
    heading: str,
    means: DataFrame,
    curves: DataFrame,
    variants: Sequence[str],
    threshold: str,
) -> None:
    """Draw `<stem>.svg` and `<stem>.png`: a panel for each benchmark; all in %.

    Args:
        means: tidy estimates: `majority@n`, and of filters `majority@n` and `tokens_saved`.
        curves: `filter_curve.*` of each seed.
        variants: those that are shown.
        threshold: the given one, for the legend.
    """
    scale = 100
    means = means.assign(**{name: scale * means[name] for name in ("value", "low", "high")})
    curves = curves.assign(value=scale * curves["value"])
    titles = list(means["benchmark"].unique())
    bars = len(variants) <= MOST_INTERVALS
    size = 3.5, 2.4
    with panels(stem, heading, titles, COLUMNS, same_y=False, same_x=False, panel=size) as (
        figure,
        cells,
    ):
        for axes, benchmark in zip(cells, titles, strict=True):
            here = means[means["benchmark"] == benchmark]
            level = here.loc[here["metric"] == "majority@n", "value"].iloc[0]
            axes.axhline(level, **CHANCE, label="all samples vote")
            there = curves[curves["benchmark"] == benchmark]
            drawn = [
                _filter(axes, name, look, here[here["variant"] == name], there, bars)
                for name, look in looks(variants).items()
            ]
            if not any(drawn):
                note(axes, "no Q-values")
        cells[0].plot([], [], **_spot(GREY, "o", False), label=f"threshold {threshold}")
        label = "chosen on other problems" + ", 95 % intervals" * bars
        cells[0].plot([], [], **_spot(GREY, "o", True), label=label)
        name_axes(cells, COLUMNS, "tokens saved, %", "right by majority, %")
        legend(figure, variants)


def _filter(
    axes: Any, variant: str, look: Look, means: DataFrame, curves: DataFrame, bars: bool
) -> bool:
    """A variant's curves over the thresholds, and its two marked thresholds; whether it has any."""
    curves = curves[(curves["variant"] == variant) & curves["value"].notna()]
    line: Any = {"color": look.colour, "linestyle": look.dashes}
    for _, seed in curves.groupby("seed"):
        points = seed.pivot(index="at", columns="metric", values="value").sort_index()
        saved = points["filter_curve.tokens_saved"]
        # A higher threshold can save less: a problem that would lose all its samples is exempt.
        more = points[saved > saved.cummax().shift(fill_value=-1)]
        axes.plot(more["filter_curve.tokens_saved"], more["filter_curve.majority@n"], **line)
    rows = {row.metric: row for row in means[means["value"].notna()].itertuples()}
    for kind, chosen in SPOTS.items():
        x, y = (rows.get(f"{kind}.{name}") for name in ("tokens_saved", "majority@n"))
        if x is None or y is None:
            continue
        axes.plot(x.value, y.value, **_spot(look.colour, look.marker, chosen))
        if chosen and bars:
            style: Any = {"color": look.colour, "elinewidth": 0.9, "capsize": 2}
            axes.errorbar(x.value, y.value, ends(y), ends(x), **style)
    if len(curves):
        axes.plot([], [], **line, marker=look.marker, label=variant)
    return len(curves) > 0


def _spot(colour: str, marker: str, chosen: bool) -> dict[str, Any]:
    """The marker of a threshold: large where it was chosen, small and hollow where it was given."""
    return {
        "marker": marker,
        "linestyle": "none",
        "markersize": 9 if chosen else 5.5,
        "markerfacecolor": colour if chosen else "white",
        "markeredgecolor": "black" if chosen else colour,
        "markeredgewidth": 0.6 if chosen else 1.5,
        "zorder": 4 if chosen else 5,
    }
