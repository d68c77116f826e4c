"""The figures of the report by kind; see `gcrm.reporting.contents`."""

from collections.abc import Callable
from pathlib import Path

from gcrm.reporting.contents import Item
from gcrm.reporting.figure_data import FigureData
from gcrm.reporting.figures.generation import generation
from gcrm.reporting.figures.lines import (
    goals,
    partial_auroc,
    q_values,
    sample_auroc,
    top_k,
    training,
)
from gcrm.reporting.figures.points import auroc, preferences
from gcrm.reporting.figures.rewards import rewards
from gcrm.reporting.figures.votes import votes

FIGURES: dict[str, Callable[[FigureData, Item, Path], None]] = {
    "auroc": auroc,
    "preferences": preferences,
    "partial_auroc": partial_auroc,
    "sample_auroc": sample_auroc,
    "top_k": top_k,
    "q_values": q_values,
    "rewards": rewards,
    "votes": votes,
    "goals": goals,
    "generate": generation,
    "training": training,
}


def can_be_drawn(data: FigureData, item: Item) -> bool:
    """Whether the data of a figure were given."""
    needs = {"q_values": data.scores, "rewards": data.scores, "training": data.training}
    return bool(needs.get(item.kind, True))
