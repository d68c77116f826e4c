"""How the rewards of right and of wrong solutions are distributed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gcrm.reporting.contents import Part
from gcrm.reporting.curves import Floats, Material, centred
from gcrm.reporting.figures.style import RIGHT, WRONG, legend, name_axes, note, panels

COLUMNS = 4
BINS = 18
OUTSIDE = 0.5
"""Percent of the rewards at either end that are put into the first and last bin."""


def rewards(material: Material, part: Part, stem: Path) -> None:
    """Rewards of right and of wrong solutions of one variant."""
    rows = material.results.of("greedy")
    rows = rows[(rows["metric"] == "auroc.reward") & (rows["variant"] == part.of)]
    reached = rows.set_index("benchmark")["value"].dropna().map("  AUROC {:.2f}".format)
    content = {
        benchmark + reached.get(benchmark, ""): both
        for benchmark, both in centred(material.scores[part.of].values()).items()
    }
    reward_figure(stem, material.heading(f"{part.of}: rewards of the solutions"), content)


def reward_figure(stem: Path, heading: str, content: Mapping[str, tuple[Floats, Floats]]) -> None:
    """Draw `<stem>.svg` and `<stem>.png`: a panel for each benchmark, on one scale of rewards.

    Args:
        content: rewards of the right and of the wrong solutions, by the title of the panel.
    """
    everything = np.concatenate([part for both in content.values() for part in both])
    low, high = np.percentile(everything, [OUTSIDE, 100 - OUTSIDE])
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BINS + 1)
    with panels(stem, heading, list(content), COLUMNS, same_y=False) as (figure, cells):
        for axes, (right, wrong) in zip(cells, content.values(), strict=True):
            _histogram(axes, right, edges, right=True)
            _histogram(axes, wrong, edges, right=False)
            if not len(right) + len(wrong):
                note(axes, "no solutions")
            axes.set_yticks([])
            axes.set_ylim(bottom=0)
            axes.spines["left"].set_visible(False)
            axes.grid(visible=False)
        name_axes(cells, COLUMNS, "reward − model's mean", "density")
        legend(figure, ["right solutions", "wrong solutions"])


def _histogram(axes: Any, values: Floats, edges: Floats, right: bool) -> None:
    if not len(values):
        return
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
        label=f"{'right' if right else 'wrong'} solutions",
    )
