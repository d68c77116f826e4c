"""Small panels of lines with bands: partial AUROC, the course of Q-values, training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gcrm.reporting.contents import Part
from gcrm.reporting.curves import SHARES, TRAINING, Floats, Material, mean_of_seeds
from gcrm.reporting.figures.style import (
    CHANCE,
    GREY,
    MOST_INTERVALS,
    RIGHT,
    WRONG,
    Look,
    legend,
    looks,
    name_axes,
    note,
    panels,
)

MARKS = 6
"""Markers on a line with more points than a reader looks at."""
GUESSED = {"preference_loss": 0.6931, "accuracy": 0.5, "eval_accuracy": 0.5}
"""What guessing reaches in a training curve."""


@dataclass(frozen=True)
class Line:
    """Points of a line; `low` and `high` are the ends of their intervals, NaN for none."""

    label: str
    look: Look
    x: Floats
    y: Floats
    low: Floats | None = None
    high: Floats | None = None
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


def partial_auroc(material: Material, part: Part, stem: Path) -> None:
    """AUROC after a share of the tokens: of partial rewards, or of Q-values."""
    rows = material.results.of("greedy")
    lengths = rows[rows["metric"] == "auroc.length"].drop_duplicates("benchmark")
    length = lengths.set_index("benchmark")["value"].dropna().to_dict()
    rows = rows[(rows["metric"] == f"partial_auroc.{part.of}") & rows["value"].notna()]
    rows = rows[rows["variant"].isin(material.variants(part))].sort_values("at")
    content = []
    for benchmark in material.results.benchmarks():
        lines = []
        for name, look in looks(material.variants(part)).items():
            found = rows[(rows["benchmark"] == benchmark) & (rows["variant"] == name)]
            if len(found):
                at, value, low, high = found[["at", "value", "low", "high"]].to_numpy(float).T
                lines.append(Line(name, look, 100 * at, value, low, high))
        content.append(Panel(benchmark, lines, level=0.5, by_length=length.get(benchmark)))
    what = "Q-value" if part.of == "q_value" else "partial reward"
    heading = material.heading(f"AUROC of the {what} of partial solutions")
    line_figure(stem, heading, content, "tokens so far, %", "AUROC", "chance")


def q_values(material: Material, part: Part, stem: Path) -> None:
    """Mean Q-value over the course of right and of wrong solutions of one variant."""
    content = []
    for benchmark in material.results.benchmarks():
        seeds = [models[benchmark] for models in material.scores.get(part.of, {}).values()]
        lines = []
        for label, look in (("right solutions", RIGHT), ("wrong solutions", WRONG)):
            courses = [one.q_right if look is RIGHT else one.q_wrong for one in seeds]
            known = [course for course in courses if course is not None]
            if known:
                mean, reach = mean_of_seeds(known)
                lines.append(Line(label, look, 100 * SHARES, mean, mean - reach, mean + reach))
        content.append(Panel(benchmark, lines))
    heading = material.heading(f"{part.of}: mean Q-value over the course of solutions")
    line_figure(stem, heading, content, "% of the tokens", "Q-value")


def training(material: Material, part: Part, stem: Path) -> None:
    """Losses, accuracy and cosines over the training."""
    content = []
    for key, title in TRAINING.items():
        lines = []
        for variant, look in looks(material.variants(part)).items():
            curves = [
                each[key] for each in material.training.get(variant, {}).values() if key in each
            ]
            if len(curves) > 1:
                lines += [Line(variant, look, x, y, faint=True) for x, y in curves]
            if curves:
                # The mean of the seeds where all log at the same steps, else the first.
                x, y = curves[0]
                same = all(np.array_equal(x, steps) for steps, _ in curves)
                values = np.mean([y for _, y in curves], axis=0) if same else y
                lines.append(Line(variant, look, x, values))
        if lines:
            content.append(Panel(title, lines, GUESSED.get(key)))
    line_figure(
        stem,
        material.heading("Training of the reward models"),
        content or [Panel("no step was logged", [])],
        "optimiser step",
        level_label="guessing",
        columns=3,
        same_y=False,
    )


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
    banded = max(sum(_has_band(line) for line in panel.lines) for panel in content)
    bands = 0 < banded <= MOST_INTERVALS
    heading += ", 95 % intervals" * bands
    with panels(stem, heading, titles, columns, same_y) as (figure, cells):
        for axes, panel in zip(cells, content, strict=True):
            if panel.level is not None:
                axes.axhline(panel.level, **CHANCE, label=level_label)
            if panel.by_length is not None:
                label = "length alone (shorter is better), at the end"
                axes.axhline(panel.by_length, color=GREY, linewidth=1.4, label=label, zorder=1)
            for line in panel.lines:
                _draw(axes, line, bands)
            if not panel.lines:
                note(axes, "no values")
        name_axes(cells, columns, x_label, y_label)
        legend(figure, [line.label for panel in content for line in panel.lines])


def _has_band(line: Line) -> bool:
    return line.low is not None and not np.isnan(line.low).any()


def _draw(axes: Any, line: Line, bands: bool) -> None:
    style: Any = {"color": line.look.colour, "linestyle": line.look.dashes}
    if line.faint:
        axes.plot(line.x, line.y, linewidth=0.6, alpha=0.5, **style)
        return
    if bands and line.low is not None and line.high is not None and _has_band(line):
        axes.fill_between(
            line.x, line.low, line.high, color=line.look.colour, alpha=0.18, linewidth=0
        )
    axes.plot(
        line.x,
        line.y,
        marker=line.look.marker,
        markevery=max(1, len(line.x) // MARKS) if len(line.x) > 12 else 1,
        markeredgecolor="black",
        markeredgewidth=0.3,
        label=line.label,
        zorder=3,
        **style,
    )
