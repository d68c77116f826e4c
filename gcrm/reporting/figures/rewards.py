"""How the rewards of right and of wrong solutions are distributed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcrm.reporting.figures.style import RIGHT, WRONG, legend, name_axes, note, panels

COLUMNS = 4
BINS = 18
OUTSIDE = 0.5
"""Percent of the rewards at either end that are put into the first and last bin."""


@dataclass(frozen=True)
class Rewards:
    """Rewards of the right and of the wrong solutions of one benchmark."""

    title: str
    right: NDArray[np.float64]
    wrong: NDArray[np.float64]


def reward_figure(stem: Path, heading: str, content: Sequence[Rewards]) -> None:
    """Draw `<stem>.svg` and `<stem>.png`: a panel for each benchmark, on one scale of rewards."""
    everything = np.concatenate([part for one in content for part in (one.right, one.wrong)])
    low, high = np.percentile(everything, [OUTSIDE, 100 - OUTSIDE])
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BINS + 1)
    titles = [one.title for one in content]
    with panels(stem, heading, titles, COLUMNS, same_y=False) as (figure, cells):
        for axes, one in zip(cells, content, strict=True):
            _histogram(axes, one.right, edges, "right solutions")
            _histogram(axes, one.wrong, edges, "wrong solutions")
            if not len(one.right) + len(one.wrong):
                note(axes, "no solutions")
            axes.set_yticks([])
            axes.set_ylim(bottom=0)
            axes.spines["left"].set_visible(False)
            axes.grid(visible=False)
        name_axes(cells, COLUMNS, "reward − model's mean", "density")
        legend(figure, ["right solutions", "wrong solutions"])


def _histogram(axes: Any, values: NDArray[np.float64], edges: Any, label: str) -> None:
    if not len(values):
        return
    right = label.startswith("right")
    look = RIGHT if right else WRONG
    density, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges, density=True)
    axes.stairs(
        density,
        edges,
        fill=right,
        facecolor=(look.colour, 0.3) if right else "none",
        edgecolor=look.colour,
        linestyle=look.dashes,
        linewidth=1.2,
        hatch=None if right else "////",
        label=label,
    )
