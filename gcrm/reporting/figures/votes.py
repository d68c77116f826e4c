"""Figure of the vote filtered by Q-values: accuracy against tokens saved."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pandas import DataFrame

from gcrm.reporting.contents import Item
from gcrm.reporting.figure_data import FigureData
from gcrm.reporting.figures.style import (
    CHANCE,
    CROSS,
    MOST_INTERVALS,
    PLAIN,
    Look,
    ends,
    looks,
    note,
    panels,
    spot,
)

SPOTS = {"filtered": False, "chosen_filter": True}
"""marked thresholds, and whether they were chosen on other problems"""


def votes(data: FigureData, item: Item, stem: Path) -> None:
    """Accuracy of the filtered vote against tokens saved."""
    results, shown = data.results, data.variants(item)
    each = results.rows("all", seeds=True)
    curves = each[each["metric"].str.startswith("filter_curve.") & each["seed"].notna()]
    thresholds = " or ".join(f"{at:g}" for at in results.shares("filtered."))
    heading = data.heading("Majority vote of the samples that Q-values keep")
    vote_figure(stem, heading, results.rows("all"), curves, shown, thresholds)


def vote_figure(
    stem: Path,
    heading: str,
    means: DataFrame,
    curves: DataFrame,
    variants: Sequence[str],
    threshold: str,
) -> None:
    """Draw `<stem>.svg` and `<stem>.png` with a panel per benchmark; all values in %.

    Args:
        means: tidy estimates of `majority@n`, and of `majority@n` and `tokens_saved` of filters.
        curves: tidy estimates of `filter_curve.*` of each seed.
        variants: the variants to show.
        threshold: the given threshold, for the legend.
    """
    scale = 100
    means = means.assign(**{name: scale * means[name] for name in ("value", "low", "high")})
    curves = curves.assign(value=scale * curves["value"])
    titles = list(means["benchmark"].unique())
    bars = len(variants) <= MOST_INTERVALS
    labels = "tokens saved, %", "accuracy of the vote, %"
    with panels(stem, heading, titles, 2, "", (3.5, 2.4), labels, variants) as cells:
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
        cells[0].plot([], [], **_spot(PLAIN, False), label=f"threshold {threshold}")
        label = "chosen on other problems" + ", 95 % intervals" * bars
        cells[0].plot([], [], **_spot(PLAIN, True), label=label)


def _filter(
    axes: Any, variant: str, look: Look, means: DataFrame, curves: DataFrame, bars: bool
) -> bool:
    """Draw a variant's curves and marked thresholds; returns whether it has any curve."""
    curves = curves[(curves["variant"] == variant) & curves["value"].notna()]
    line: Any = {"color": look.colour, "linestyle": look.dashes}
    several = curves["seed"].nunique() > 1
    for _, seed in curves.groupby("seed"):
        points = seed.pivot(index="at", columns="metric", values="value").sort_index()
        saved = points["filter_curve.tokens_saved"]
        # A higher threshold can save less: problems that would lose all samples keep them. So for
        # each saving, the lowest threshold that saves as much: one accuracy, in steps.
        more = points[saved > saved.cummax().shift(fill_value=-1)]
        steps: Any = {"drawstyle": "steps-pre", "linewidth": 0.9 if several else 1.3}
        columns = (more[f"filter_curve.{name}"] for name in ("tokens_saved", "majority@n"))
        axes.plot(*columns, **line, **steps)
    rows = {row.metric: row for row in means[means["value"].notna()].itertuples()}
    for kind, chosen in SPOTS.items():
        x, y = (rows.get(f"{kind}.{name}") for name in ("tokens_saved", "majority@n"))
        if x is None or y is None:
            continue
        axes.plot(x.value, y.value, **_spot(look, chosen))
        if chosen and bars:
            axes.errorbar(x.value, y.value, ends(y), ends(x), color=look.colour, **CROSS)
    if len(curves):
        axes.plot([], [], **line, marker=look.marker, label=variant)
    return len(curves) > 0


def _spot(look: Look, chosen: bool) -> dict[str, Any]:
    """The marker of a threshold: large for a chosen one, small and hollow for a given one."""
    return spot(look, 9) if chosen else spot(look, 5.5, hollow=True)
