"""The figures of the report: one style, safe for colour-blind readers and for print in grey."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcrm.files import atomic_path

# Okabe and Ito's colours, in an order in which neighbours also differ in lightness.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#6B6B6B"
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "legend.frameon": False,
    # Element ids would be random without a fixed salt.
    "svg.hashsalt": "gcrm",
}


@dataclass(frozen=True)
class Point:
    """One variant's AUROC on one benchmark; no value where it could not be measured."""

    value: float | None
    interval: tuple[float, float] | None
    seeds: tuple[float, ...] = ()
    """the value of each seed, where there are several"""


def auroc_figure(
    stem: Path,
    title: str,
    benchmarks: Sequence[str],
    points: Mapping[str, Sequence[Point]],
    by_length: Sequence[float | None],
) -> None:
    """Draw `<stem>.svg` and `<stem>.png`: AUROC of each variant on each benchmark.

    Args:
        points: for each variant one point a benchmark.
        by_length: AUROC of minus the length on each benchmark.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(max(6.2, 1.05 * len(benchmarks) + 0.8), 3.6), layout="constrained")
        axes = figure.add_subplot()
        for index, (variant, row) in enumerate(points.items()):
            shift = (index - (len(points) - 1) / 2) * min(0.22, 0.7 / len(points))
            _variant(axes, variant, row, shift, COLOURS[index % 7], MARKERS[index % 7])
        if any(point.seeds for row in points.values() for point in row):
            axes.scatter([], [], s=6, color=GREY, linewidths=0, label="single seeds")
        _baselines(axes, by_length)
        _missing(axes, points, len(benchmarks))
        axes.set_title(title)
        axes.set_ylabel("AUROC of the final reward")
        axes.set_xlim(-0.6, len(benchmarks) - 0.4)
        axes.set_ylim(*_limits(points, by_length))
        axes.set_xticks(range(len(benchmarks)), benchmarks)
        axes.tick_params(axis="x", length=0)
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
        handles, labels = axes.get_legend_handles_labels()
        # The variants first: matplotlib puts error bars last.
        order = sorted(range(len(labels)), key=lambda index: labels[index] not in points)
        figure.legend(
            [handles[index] for index in order],
            [labels[index] for index in order],
            loc="outside lower center",
            ncols=3 if sum(map(len, labels)) > 65 else 5,
            fontsize=8,
        )
        _save(figure, stem)


def _variant(
    axes: Any, variant: str, row: Sequence[Point], shift: float, colour: str, marker: str
) -> None:
    label: str | None = variant
    for place, point in enumerate(row):
        if point.value is None:
            continue
        low, high = point.interval or (point.value, point.value)
        axes.errorbar(
            place + shift,
            point.value,
            yerr=[[max(point.value - low, 0)], [max(high - point.value, 0)]],
            color=colour,
            marker=marker,
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
        axes.scatter(beside, point.seeds, s=6, color=colour, linewidths=0, alpha=0.8, zorder=3)


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


def _save(figure: Any, stem: Path) -> None:
    # The writers would put the date and their version into the files.
    with atomic_path(stem.with_suffix(".svg")) as path:
        figure.savefig(path, metadata={"Date": None, "Creator": None})
    with atomic_path(stem.with_suffix(".png")) as path:
        figure.savefig(path, dpi=200, metadata={"Software": None})
