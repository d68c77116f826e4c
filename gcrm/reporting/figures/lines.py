"""Figures with panels of lines: AUROC, top K, Q-values, training curves, goal states."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pandas import DataFrame

from gcrm.reporting.contents import Item
from gcrm.reporting.figure_data import SHARES, TRAINING, FigureData, Floats, mean_of_seeds
from gcrm.reporting.figures.style import (
    CHANCE,
    CORRECT,
    GREY,
    INCORRECT,
    MOST_INTERVALS,
    Look,
    Shared,
    looks,
    note,
    panels,
)
from gcrm.stats.goals import KINDS, over_draws

ENDS = ["value", "low", "high"]
MARKS = 6
"""markers on a line with many points"""
GUESSED = {"preference_loss": 0.6931, "accuracy": 0.5, "eval_accuracy": 0.5}
"""values of random guessing in training curves"""
OF_GOALS = {
    "correct_kept": "correct among the kept, %",
    "dropped": "samples dropped, %",
    "auroc": "AUROC, last Q-value",
}
"""measures of goal states, and their titles"""


@dataclass(frozen=True)
class Line:
    """A line; `low` and `high` are the ends of its intervals, NaN without an interval."""

    label: str
    look: Look
    x: Floats
    y: Floats
    low: Floats | None = None
    high: Floats | None = None
    faint: bool = False
    """a single seed: a thin line without markers and label"""


@dataclass(frozen=True)
class Panel:
    """The lines and reference lines of a panel.

    Attributes:
        level: value of random guessing.
        by_length: value of minus the length of the complete solution.
    """

    title: str
    lines: Sequence[Line]
    level: float | None = None
    by_length: float | None = None


def partial_auroc(data: FigureData, item: Item, stem: Path) -> None:
    """AUROC of partial rewards or Q-values after a share of the tokens."""
    _auroc(data, item, stem, "greedy", "auroc", "AUROC of the {} of partial solutions")


def sample_auroc(data: FigureData, item: Item, stem: Path) -> None:
    """The same of samples: mean over k of the AUROC of the k-th ones, with interval over k."""
    heading = "AUROC of the {} of partial solutions, mean over samples"
    _auroc(data, item, stem, "all", "auroc_over_samples", heading, "over samples")


def _auroc(
    data: FigureData,
    item: Item,
    stem: Path,
    split: str,
    kind: str,
    heading: str,
    intervals: str = "",
) -> None:
    content = []
    for benchmark, lines in _curves(data, item, split, f"partial_{kind}.{item.subject}", 100):
        length = _value(data, split, f"{kind}.length", benchmark)
        content.append(Panel(benchmark, lines, level=0.5, by_length=length))
    what = "Q-value" if item.subject == "q_value" else "partial reward"
    heading = data.heading(heading.format(what))
    line_figure(stem, heading, content, "tokens so far, %", "AUROC", "chance", intervals=intervals)


def top_k(data: FigureData, item: Item, stem: Path) -> None:
    """Vote of the K samples with the highest rewards, and the share of correct ones among them."""
    content = [
        Panel(f"{benchmark}: {title}, %", lines, _value(data, "all", of_all, benchmark, 100))
        for metric, title, of_all in (
            ("top_k.majority", "vote", "majority@n"),
            ("top_k.correct", "correct samples", "pass@1"),
        )
        for benchmark, lines in _curves(data, item, "all", metric, 1, 100)
    ]
    heading = data.heading("The K samples of a problem with the highest rewards")
    line_figure(
        stem,
        heading,
        content,
        "K",
        level_label="all samples",
        columns=len(content) // 2,
        same="x",
        ticks=data.results.shares("top_k."),
    )


def _curves(
    data: FigureData, item: Item, split: str, metric: str, x_scale: float, y_scale: float = 1
) -> Iterator[tuple[str, list[Line]]]:
    """Each benchmark with a split, and its lines of the variants in a figure."""
    rows = data.results.rows(split)
    rows = rows[(rows["metric"] == metric) & rows["value"].notna()].sort_values("at")
    for benchmark in data.results.benchmarks(split):
        lines = []
        for name, look in looks(data.variants(item)).items():
            found = rows[(rows["benchmark"] == benchmark) & (rows["variant"] == name)]
            if len(found):
                at = x_scale * found["at"].to_numpy(float)
                lines.append(Line(name, look, at, *(y_scale * found[ENDS].to_numpy(float).T)))
        yield benchmark, lines


def _value(
    data: FigureData, split: str, metric: str, benchmark: str, scale: float = 1
) -> float | None:
    """A number that all variants share; None where there is none."""
    rows = data.results.rows(split)
    rows = rows[(rows["metric"] == metric) & (rows["benchmark"] == benchmark)]
    values = scale * rows["value"].dropna().to_numpy(float)
    return float(values[0]) if len(values) else None


def q_values(data: FigureData, item: Item, stem: Path) -> None:
    """Mean Q-value over the course of correct and incorrect solutions of one variant."""
    content = []
    for benchmark in data.results.benchmarks():
        seeds = [models[benchmark] for models in data.scores.get(item.subject, {}).values()]
        lines = []
        for label, look in (("correct solutions", CORRECT), ("incorrect solutions", INCORRECT)):
            courses = [one.q_correct if look is CORRECT else one.q_incorrect for one in seeds]
            known = [course for course in courses if course is not None]
            if known:
                mean, reach = mean_of_seeds(known)
                lines.append(Line(label, look, 100 * SHARES, mean, mean - reach, mean + reach))
        content.append(Panel(benchmark, lines))
    heading = data.heading(f"{item.subject}: mean Q-value over the course of solutions")
    line_figure(stem, heading, content, "% of the tokens", "Q-value")


def training(data: FigureData, item: Item, stem: Path) -> None:
    """Losses, accuracy and cosines during training."""
    content = []
    for key, title in TRAINING.items():
        lines = []
        for variant, look in looks(data.variants(item)).items():
            curves = [each[key] for each in data.training.get(variant, {}).values() if key in each]
            if len(curves) > 1:
                lines += [Line(variant, look, x, y, faint=True) for x, y in curves]
            if curves:
                # The mean over seeds if all have the same steps, otherwise the first seed.
                x, y = curves[0]
                same = all(np.array_equal(x, steps) for steps, _ in curves)
                values = np.mean([y for _, y in curves], axis=0) if same else y
                lines.append(Line(variant, look, x, values))
        if lines:
            content.append(Panel(title, lines, GUESSED.get(key)))
    line_figure(
        stem,
        data.heading("Training of the reward models"),
        content or [Panel("no step was logged", [])],
        "optimiser step",
        level_label="guessing",
        columns=3,
        same="x",
    )


def line_figure(
    stem: Path,
    heading: str,
    content: Sequence[Panel],
    x_label: str,
    y_label: str = "",
    level_label: str = "",
    columns: int = 4,
    same: Shared = "xy",
    intervals: str = "",
    ticks: Sequence[float] | None = None,
) -> None:
    """Draw `<stem>.svg` and `<stem>.png` with a panel for each of `content`, at least one.

    If intervals are shown as bands, the heading says so, and over what they are (`intervals`).
    """
    titles = [panel.title for panel in content]
    banded = max(sum(_has_band(line) for line in panel.lines) for panel in content)
    bands = 0 < banded <= MOST_INTERVALS
    heading += f", 95 % intervals {intervals}".rstrip() * bands
    first = [line.label for panel in content for line in panel.lines]
    labels = x_label, y_label
    with panels(stem, heading, titles, columns, same, labels=labels, first=first) as cells:
        for axes, panel in zip(cells, content, strict=True):
            if panel.level is not None:
                axes.axhline(panel.level, **CHANCE, label=level_label)
            if panel.by_length is not None:
                label = "length alone (shorter is better), at the end"
                axes.axhline(panel.by_length, color=GREY, linewidth=1.4, label=label, zorder=1)
            for line in panel.lines:
                draw_line(axes, line, bands)
            if not panel.lines:
                note(axes, "no values")
            if ticks is not None:
                axes.set_xticks(ticks)


def _has_band(line: Line) -> bool:
    return line.low is not None and not np.isnan(line.low).any()


def draw_line(axes: Any, line: Line, bands: bool) -> None:
    """Draw a line, with `bands` its intervals, too."""
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
    cells = [(name, measure) for name in goals["benchmark"].unique() for measure in OF_GOALS]
    titles = [f"{benchmark}: {OF_GOALS[measure]}" for benchmark, measure in cells]
    labels = "examples", ""
    with panels(stem, heading, titles, len(OF_GOALS), "x", (2.3, 1.7), labels, KINDS) as axes_of:
        for axes, (benchmark, measure) in zip(axes_of, cells, strict=True):
            here = found[(found["benchmark"] == benchmark) & (found["measure"] == measure)]
            correct = goals.loc[goals["benchmark"] == benchmark, "correct"].iloc[0]
            _draw_goals(axes, here, measure, correct)


def _draw_goals(axes: Any, found: DataFrame, measure: str, correct: float) -> None:
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
