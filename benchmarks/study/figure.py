"""The figure of the study: the four measures of each cell, beside the oracle."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.study.plan import CELLS, METRICS, Side, cell_name
from gcrm.reporting.figures.style import COLOURS, GREY, STYLE, Look, ends
from gcrm.utils.io import atomic_path

SIDES = {
    Side("vanilla", "reward"): ("vanilla, partial reward", Look(COLOURS[6], "-", "o")),
    Side("contrastive", "reward"): ("contrastive, partial reward", Look(COLOURS[1], "-", "s")),
    Side("contrastive", "q_value"): ("contrastive, Q-value", Look(COLOURS[0], "-", "^")),
    Side("value", "reward"): ("value head (control)", Look(COLOURS[2], "-", "D")),
}
TITLES = {
    "AUROC": "AUROC of the\nfinal reward",
    "correlation": "agreement of partial\nscores with the truth",
    "F1": "F1 of the\nfirst error",
    "saving": "tokens saved, share of\nwhat the truth saves",
}
STEP = 0.19
"""vertical distance of the marks of a cell"""


def draw(estimates: pd.DataFrame, path: Path) -> None:
    """Draw the means over seeds of the measured cells of the first table into a PNG.

    Args:
        estimates: as `gcrm`'s tables of estimates, with a column `cell`.
    """
    os.environ["MPLBACKEND"] = "agg"
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    means = estimates[estimates["seed"].isna()].set_index(["cell", "variant", "metric"])
    cells = [cell for cell in CELLS if cell in set(estimates["cell"])]
    with rc_context(STYLE):
        figure = Figure(figsize=(8.6, 1.3 + 0.55 * len(cells)), layout="constrained")
        figure.suptitle(
            "Made data: what partial scores are worth, 95 % intervals", x=0.01, ha="left"
        )
        panels = figure.subplots(1, len(METRICS), sharey=True)
        for axes, measure in zip(panels, METRICS, strict=True):
            _panel(axes, means, measure, cells)
        panels[0].set_yticks(range(len(cells)), map(cell_name, cells))
        panels[0].set_ylim(len(cells) - 0.5, -0.5)
        handles, labels = panels[1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(SIDES))
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=170, metadata={"Software": None})


def _panel(axes: Any, means: Any, measure: str, cells: Sequence[str]) -> None:
    axes.set_title(TITLES[measure])
    axes.axvline(0.5 if measure == "AUROC" else 0, color=GREY, linewidth=0.8, linestyle=(0, (2, 2)))
    if measure != "AUROC":
        axes.axvline(1, color=GREY, linewidth=0.8)
    for place, (side, (label, look)) in enumerate(SIDES.items()):
        key = f"{METRICS[measure]}.{side.score}"
        for height, cell in enumerate(cells):
            if (cell, side.variant, key) not in means.index:
                continue
            row = means.loc[(cell, side.variant, key)]
            axes.errorbar(
                row.value,
                height + STEP * (place - (len(SIDES) - 1) / 2),
                xerr=ends(row),
                color=look.colour,
                marker=look.marker,
                linestyle="none",
                elinewidth=1,
                label=label if label not in axes.get_legend_handles_labels()[1] else None,
            )
