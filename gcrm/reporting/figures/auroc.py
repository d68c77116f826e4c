"""What rewards reach by benchmark and variant, beside what length alone reaches.

AUROC on a benchmark, or accuracy on a held-out preference set; chance is 0.5 in both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcrm.reporting.figures.style import GREY, Look, drawing, legend, looks, name_axes, note, panels

COLUMNS = 4
SIDE_BY_SIDE = 4
"""Variants that a reader compares within a benchmark; with more, each benchmark has a panel."""


@dataclass(frozen=True)
class Point:
    """One variant on one benchmark; no value where it could not be measured."""

    value: float | None
    interval: tuple[float, float] | None
    seeds: tuple[float, ...] = ()
    """the value of each seed, where there are several"""


def auroc_figure(
    stem: Path,
    heading: str,
    benchmarks: Sequence[str],
    points: Mapping[str, Sequence[Point]],
    by_length: Sequence[float | None],
    measure: str = "AUROC",
) -> None:
    """Draw `<stem>.svg` and `<stem>.png`: each variant on each benchmark.

    Args:
        points: for each variant one point a benchmark.
        by_length: what minus the length reaches on each benchmark.
        measure: what is measured, for the axis.
    """
    if len(points) > SIDE_BY_SIDE:
        _in_panels(stem, heading, benchmarks, points, by_length, measure)
        return
    width = max(6.2, (0.75 + 0.1 * len(points)) * len(benchmarks) + 0.9)
    with drawing(stem, heading, (width, 3.4)) as figure:
        axes = figure.add_subplot()
        look = looks(list(points))
        for index, (variant, row) in enumerate(points.items()):
            shift = (index - (len(points) - 1) / 2) * min(0.22, 0.7 / len(points))
            _variant(axes, variant, row, shift, look[variant])
        if any(point.seeds for row in points.values() for point in row):
            axes.scatter([], [], s=6, color=GREY, linewidths=0, label="single seeds")
        _baselines(axes, by_length)
        _missing(axes, points, len(benchmarks))
        axes.set_ylabel(measure)
        axes.set_xlim(-0.6, len(benchmarks) - 0.4)
        axes.set_ylim(*_limits(points, by_length))
        axes.set_xticks(range(len(benchmarks)), benchmarks)
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        legend(figure, list(points))


def _variant(axes: Any, variant: str, row: Sequence[Point], shift: float, look: Look) -> None:
    label: str | None = variant
    for place, point in enumerate(row):
        if point.value is None:
            continue
        low, high = point.interval or (point.value, point.value)
        axes.errorbar(
            place + shift,
            point.value,
            yerr=[[max(point.value - low, 0)], [max(high - point.value, 0)]],
            color=look.colour,
            marker=look.marker,
            linestyle="none",
            markersize=5.5,
            markeredgecolor="black",
            markeredgewidth=0.4,
            elinewidth=1.4,
            capsize=2.5,
            label=label,
            zorder=3,
        )
        label = None
        beside = [place + shift + 0.075] * len(point.seeds)
        axes.scatter(beside, point.seeds, s=6, color=look.colour, linewidths=0, zorder=3)


def _in_panels(
    stem: Path,
    heading: str,
    benchmarks: Sequence[str],
    points: Mapping[str, Sequence[Point]],
    by_length: Sequence[float | None],
    measure: str,
) -> None:
    """A panel for each benchmark, a line for each variant."""
    names = list(points)
    look = looks(names)
    size = 1.95, 0.5 + 0.17 * len(names)
    with panels(stem, heading, benchmarks, COLUMNS, panel=size) as (figure, cells):
        for column, (axes, length) in enumerate(zip(cells, by_length, strict=True)):
            axes.axvline(0.5, color=GREY, linewidth=0.9, linestyle=(0, (2, 2)), label="chance")
            if length is not None:
                axes.axvline(length, color=GREY, linewidth=1.4, label="length alone")
            if all(row[column].value is None for row in points.values()):
                note(axes, "one class only")
            if any(point.seeds for row in points.values() for point in row):
                axes.scatter([], [], s=4, color=GREY, linewidths=0, label="single seeds")
            for place, name in enumerate(names):
                _dot(axes, place, points[name][column], look[name])
            axes.set_yticks(range(len(names)), names)
            axes.set_ylim(len(names) - 0.4, -0.6)
            axes.grid(visible=False, axis="y")
        name_axes(cells, COLUMNS, measure, "")
        legend(figure)


def _dot(axes: Any, place: int, point: Point, look: Look) -> None:
    if point.value is None:
        return
    low, high = point.interval or (point.value, point.value)
    axes.plot([low, high], [place, place], color=look.colour, linewidth=1.3)
    axes.scatter(point.seeds, [place + 0.25] * len(point.seeds), s=4, color=GREY, linewidths=0)
    axes.plot(
        point.value,
        place,
        color=look.colour,
        marker=look.marker,
        markersize=4.5,
        markeredgecolor="black",
        markeredgewidth=0.4,
    )


def _baselines(axes: Any, by_length: Sequence[float | None]) -> None:
    places = [place for place, value in enumerate(by_length) if value is not None]
    values = [value for value in by_length if value is not None]
    left, right = [place - 0.4 for place in places], [place + 0.4 for place in places]
    axes.hlines(values, left, right, GREY, linewidth=1.4, label="length alone")
    axes.axhline(0.5, color=GREY, linewidth=0.9, linestyle=(0, (2, 2)), label="chance", zorder=1)


def _missing(axes: Any, points: Mapping[str, Sequence[Point]], benchmarks: int) -> None:
    for place in range(benchmarks):
        if all(row[place].value is None for row in points.values()):
            axes.text(place, 0.5, "one class\nonly", ha="center", va="bottom", color=GREY, size=7)


def _limits(
    points: Mapping[str, Sequence[Point]], by_length: Sequence[float | None]
) -> tuple[float, float]:
    ends = [value for value in by_length if value is not None]
    for row in points.values():
        for point in row:
            ends += [*(point.interval or ()), *point.seeds]
    return min([0.45, *(end - 0.03 for end in ends)]), max([0.75, *(end + 0.03 for end in ends)])
