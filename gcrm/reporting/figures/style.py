"""The style of all figures, legible for colour-blind readers and in black-and-white print.

Variants differ in line style and marker as well as in colour.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gcrm.utils.io import atomic_path

# Okabe and Ito's colours, ordered so that neighbours also differ in lightness.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
DASHES = ("-", (0, (5, 2)), (0, (5, 2, 1, 2)), (0, (1.2, 1.6)), (0, (8, 2, 1, 2, 1, 2)))
GREY = "#6B6B6B"
CHANCE: Any = {"color": GREY, "linewidth": 0.9, "linestyle": (0, (2, 2)), "zorder": 1}
"""style of the reference line: random guessing, or the vote without a filter"""
LETTER = 0.07
"""width of a letter of a heading in inches"""
ROW = 0.17
"""height of a row of a legend in inches"""
CROSS: Any = {"elinewidth": 0.9, "capsize": 2}
"""style of the intervals of a point in both directions"""
MOST_INTERVALS = 3
"""largest number of variants with intervals in one panel; tables have all intervals"""
STYLE: Any = {
    "font.size": 8,
    "figure.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "hatch.linewidth": 0.6,
    # Element ids would be random without a fixed salt.
    "svg.hashsalt": "gcrm",
}

Shared = Literal["xy", "x", "y", ""]
"""the axes whose scales all panels of a figure share"""


@dataclass(frozen=True)
class Look:
    """The look of a variant or class in all figures."""

    colour: str
    dashes: Any
    marker: str


PLAIN = Look(GREY, "-", "o")
"""of what all variants are compared with, or have in common"""
CORRECT = Look("#0072B2", "-", "o")
INCORRECT = Look("#D55E00", (0, (4, 1.5)), "^")


def looks(names: Sequence[str]) -> dict[str, Look]:
    """A look for each name; 56 looks are distinct, 40 without colours."""
    return {
        name: Look(COLOURS[i % 7], DASHES[i % 5], MARKERS[i % 8]) for i, name in enumerate(names)
    }


@contextmanager
def drawing(stem: Path, heading: str, size: tuple[float, float]) -> Iterator[Any]:
    """A figure of `size` inches to draw on; saved as `<stem>.svg` and `<stem>.png` at the end."""
    # A notebook's backend, inherited by its processes, may not be installed; files need none.
    os.environ["MPLBACKEND"] = "agg"
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        figure.suptitle(heading, x=0.012, ha="left")
        yield figure
        # Without dates and versions, equal figures are equal files.
        with atomic_path(stem.with_name(f"{stem.name}.svg")) as path:
            figure.savefig(path, metadata={"Date": None, "Creator": None})
        figure.set_layout_engine("none")  # the layout is done, and takes longer than drawing
        with atomic_path(stem.with_name(f"{stem.name}.png")) as path:
            figure.savefig(path, dpi=180, metadata={"Software": None})


@contextmanager
def panels(
    stem: Path,
    heading: str,
    titles: Sequence[str],
    columns: int = 4,
    same: Shared = "xy",
    panel: tuple[float, float] = (1.95, 1.62),
    labels: tuple[str, str] = ("", ""),
    first: Sequence[str] = (),
) -> Iterator[list[Any]]:
    """A figure with a panel for each title, named axes, and one legend; yields the panels' axes.

    Args:
        titles: titles of the panels, at least one.
        columns: largest number of panels in a row.
        same: the axes whose scales the panels share.
        panel: width and height of a panel in inches.
        labels: of the x axes of the lowest panels, and of the y axes of the leftmost ones.
        first: labels that come first in the legend.
    """
    columns = min(columns, len(titles))
    rows = -(-len(titles) // columns)
    widest = max(map(len, heading.splitlines()))
    width = max(4.6, LETTER * widest, panel[0] * columns + 0.4)
    size = width, panel[1] * rows + 1.2
    with drawing(stem, heading, size) as figure:
        grid = figure.subplots(rows, columns, sharex="x" in same, sharey="y" in same, squeeze=False)
        cells = list(grid.flat)
        for axes, title in zip(cells, titles, strict=False):
            axes.set_title(title)
        for axes in cells[len(titles) :]:
            axes.remove()
        shown = cells[: len(titles)]
        yield shown
        # Labels of the whole figure would overlap the legend below it.
        for axes in shown[-columns:]:
            axes.tick_params(labelbottom=True)  # shared axes hide it where the grid has a row below
            axes.set_xlabel(labels[0])
        for axes in shown[::columns]:
            axes.set_ylabel(labels[1])
        legend(figure, first)


def legend(figure: Any, first: Sequence[str] = ()) -> None:
    """One legend below all panels, without duplicate labels; labels in `first` come first.

    The figure grows with the rows of the legend, and the panels keep their size.
    """
    found: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    labels = [label for label in dict.fromkeys(first) if label in found]
    labels += [label for label in found if label not in labels]
    if labels:
        width = 0.068 * max(map(len, labels)) + 0.55  # of a column, in inches
        columns = max(1, min(len(labels), int(figure.get_figwidth() / width)))
        rows = -(-len(labels) // columns)
        figure.set_figheight(figure.get_figheight() + ROW * (rows - 1))
        figure.legend(
            [found[label] for label in labels], labels, loc="outside lower center", ncols=columns
        )


def note(axes: Any, text: str) -> None:
    """Write into an empty panel why it is empty."""
    axes.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=axes.transAxes)


def spot(look: Look, size: float, hollow: bool = False) -> dict[str, Any]:
    """The style of a marker that stands out from the curves; hollow ones are above the others."""
    return {
        "marker": look.marker,
        "linestyle": "none",
        "markersize": size,
        "markerfacecolor": "white" if hollow else look.colour,
        "markeredgecolor": look.colour if hollow else "black",
        "markeredgewidth": 1.5 if hollow else 0.6,
        "zorder": 5 if hollow else 4,
    }


def ends(row: Any) -> list[list[float]]:
    """Lengths of the error bar of an estimate below and above its value."""
    reach = [row.value - row.low, row.high - row.value]
    return [[max(one, 0) if one == one else 0] for one in reach]
