"""Figure of the distributions of rewards of correct and incorrect solutions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gcrm.reporting.contents import Item
from gcrm.reporting.figure_data import FigureData, Floats, centred
from gcrm.reporting.figures.style import CORRECT, INCORRECT, note, panels

BINS = 18
OUTSIDE = 0.5
"""percent of the rewards at either end that are clipped into the first and last bin"""


def rewards(data: FigureData, item: Item, stem: Path) -> None:
    """Rewards of correct and incorrect solutions of one variant."""
    rows = data.results.rows("greedy")
    rows = rows[(rows["metric"] == "auroc.reward") & (rows["variant"] == item.subject)]
    reached = rows.set_index("benchmark")["value"].dropna().map("  AUROC {:.2f}".format)
    content = {
        benchmark + reached.get(benchmark, ""): both
        for benchmark, both in centred(data.scores[item.subject].values()).items()
    }
    reward_figure(stem, data.heading(f"{item.subject}: rewards of the solutions"), content)


def reward_figure(stem: Path, heading: str, content: Mapping[str, tuple[Floats, Floats]]) -> None:
    """Draw `<stem>.svg` and `<stem>.png` with a panel per benchmark and a common reward axis.

    Args:
        content: rewards of the correct and the incorrect solutions, by the title of the panel.
    """
    everything = np.concatenate([part for both in content.values() for part in both])
    low, high = np.percentile(everything, [OUTSIDE, 100 - OUTSIDE])
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BINS + 1)
    labels = "reward − model's mean", "density"
    first = ["correct solutions", "incorrect solutions"]
    with panels(stem, heading, list(content), same="x", labels=labels, first=first) as cells:
        for axes, (correct, incorrect) in zip(cells, content.values(), strict=True):
            _histogram(axes, correct, edges, correct=True)
            _histogram(axes, incorrect, edges, correct=False)
            if not len(correct) + len(incorrect):
                note(axes, "no solutions")
            axes.set_yticks([])
            axes.set_ylim(bottom=0)
            axes.spines["left"].set_visible(False)
            axes.grid(visible=False)


def _histogram(axes: Any, values: Floats, edges: Floats, correct: bool) -> None:
    if not len(values):
        return
    look = CORRECT if correct else INCORRECT
    density, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges, density=True)
    axes.stairs(
        density,
        edges,
        fill=correct,
        facecolor=(look.colour, 0.3) if correct else "none",
        edgecolor=look.colour,
        linestyle=look.dashes,
        linewidth=1.2,
        hatch=None if correct else "////",
        label=f"{'correct' if correct else 'incorrect'} solutions",
    )
