"""What dropping samples by their Q-values costs and saves: accuracy against tokens saved."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcrm.reporting.figures.style import GREY, MOST_INTERVALS, Look, legend, name_axes, note, panels

COLUMNS = 2

Estimate = dict[str, Any]
Spot = tuple[Estimate, Estimate]
"""Tokens saved and accuracy, as shares, each with its interval."""


@dataclass(frozen=True)
class Filtering:
    """One variant's filter: its curve over the thresholds, and two thresholds of it."""

    variant: str
    look: Look
    curves: Sequence[Sequence[tuple[float, float]]]
    """(tokens saved, accuracy) from the lowest threshold to the highest, for each seed"""
    fixed: Spot | None
    chosen: Spot | None


@dataclass(frozen=True)
class Votes:
    """A benchmark: the accuracy of the unfiltered vote, and the filters of the variants."""

    title: str
    unfiltered: Estimate
    filters: Sequence[Filtering]


def vote_figure(stem: Path, heading: str, content: Sequence[Votes], threshold: str) -> None:
    """Draw `<stem>.svg` and `<stem>.png`: a panel for each benchmark; all in %."""
    titles = [one.title for one in content]
    bars = max(len(one.filters) for one in content) <= MOST_INTERVALS
    with panels(stem, heading, titles, COLUMNS, same_y=False, same_x=False, panel=(3.5, 2.4)) as (
        figure,
        cells,
    ):
        for axes, one in zip(cells, content, strict=True):
            level = 100 * one.unfiltered["value"]
            axes.axhline(
                level, color=GREY, linewidth=0.9, linestyle=(0, (2, 2)), label="all samples vote"
            )
            for each in one.filters:
                _filter(axes, each, bars)
            if not one.filters:
                note(axes, "no Q-values")
        cells[0].plot([], [], **_spot(GREY, "o", False), label=f"threshold {threshold}")
        label = "chosen on other problems" + ", 95 % intervals" * bars
        cells[0].plot([], [], **_spot(GREY, "o", True), label=label)
        name_axes(cells, COLUMNS, "tokens saved, %", "right by majority, %")
        legend(figure, [each.variant for one in content for each in one.filters])


def _filter(axes: Any, one: Filtering, bars: bool) -> None:
    look = one.look
    line: Any = {"color": look.colour, "linestyle": look.dashes}
    axes.plot([], [], **line, marker=look.marker, label=one.variant)
    for curve in one.curves:
        saved = [100 * x for x, _ in curve]
        accuracy = [100 * y for _, y in curve]
        # Past the top whole problems are exempt, since none of their samples would be left.
        top = saved.index(max(saved)) + 1 if saved else 0
        axes.plot(saved[top - 1 :], accuracy[top - 1 :], **line, linewidth=0.6, alpha=0.45)
        axes.plot(saved[:top], accuracy[:top], **line)
    if one.fixed is not None:
        (x, _), (y, _) = map(_bar, one.fixed)
        axes.plot(x, y, **_spot(look.colour, look.marker, False))
    if one.chosen is not None:
        (x, x_bar), (y, y_bar) = map(_bar, one.chosen)
        axes.plot(x, y, **_spot(look.colour, look.marker, True))
        if bars:
            axes.errorbar(x, y, y_bar, x_bar, color=look.colour, elinewidth=0.9, capsize=2)


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


def _bar(estimate: Estimate) -> tuple[float, list[list[float]]]:
    """A share in %, and how far its interval reaches below and above."""
    value = estimate["value"]
    low, high = estimate["interval"] or (value, value)
    return 100 * value, [[100 * max(value - low, 0)], [100 * max(high - value, 0)]]
