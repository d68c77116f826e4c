"""Small panels of lines with bands: partial AUROC, the course of Q-values, training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcrm.reporting.figures.style import GREY, MOST_INTERVALS, Look, legend, name_axes, note, panels

MARKS = 6
"""Markers on a line with more points than a reader looks at."""


@dataclass(frozen=True)
class Line:
    """Points of a line; `low` and `high` are the ends of their intervals, where they have some."""

    label: str
    look: Look
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    faint: bool = False
    """a single seed behind the average: without marker and label"""


@dataclass(frozen=True)
class Panel:
    """Lines that share a panel, and what to compare them with.

    Attributes:
        level: what guessing reaches.
        by_length: what minus the length of the whole solution reaches.
    """

    title: str
    lines: Sequence[Line]
    level: float | None = None
    by_length: float | None = None


def line_figure(
    stem: Path,
    heading: str,
    content: Sequence[Panel],
    x_label: str,
    y_label: str = "",
    level_label: str = "",
    columns: int = 4,
    same_y: bool = True,
) -> None:
    """Draw `<stem>.svg` and `<stem>.png`: a panel for each of `content`, which is not empty.

    The heading says so where intervals are shown as bands.
    """
    titles = [panel.title for panel in content]
    banded = max(sum(line.low is not None for line in panel.lines) for panel in content)
    bands = 0 < banded <= MOST_INTERVALS
    heading += ", 95 % intervals" * bands
    with panels(stem, heading, titles, columns, same_y) as (figure, cells):
        for axes, panel in zip(cells, content, strict=True):
            if panel.level is not None:
                axes.axhline(
                    panel.level,
                    color=GREY,
                    linewidth=0.9,
                    linestyle=(0, (2, 2)),
                    label=level_label,
                    zorder=1,
                )
            if panel.by_length is not None:
                label = "length alone (shorter is better), at the end"
                axes.axhline(panel.by_length, color=GREY, linewidth=1.4, label=label, zorder=1)
            for line in panel.lines:
                _draw(axes, line, bands)
            if not panel.lines:
                note(axes, "no values")
        name_axes(cells, columns, x_label, y_label)
        legend(figure, [line.label for panel in content for line in panel.lines])


def _draw(axes: Any, line: Line, bands: bool) -> None:
    look = line.look
    if line.faint:
        axes.plot(
            line.x, line.y, color=look.colour, linestyle=look.dashes, linewidth=0.6, alpha=0.5
        )
        return
    if bands and line.low is not None and line.high is not None:
        axes.fill_between(line.x, line.low, line.high, color=look.colour, alpha=0.18, linewidth=0)
    axes.plot(
        line.x,
        line.y,
        color=look.colour,
        linestyle=look.dashes,
        marker=look.marker,
        markevery=max(1, len(line.x) // MARKS) if len(line.x) > 12 else 1,
        markeredgecolor="black",
        markeredgewidth=0.3,
        label=line.label,
        zorder=3,
    )
