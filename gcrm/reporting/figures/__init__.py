"""The figures of the report, by kind (see `gcrm.reporting.contents`); one style for all."""

from collections.abc import Callable
from pathlib import Path

from gcrm.reporting.contents import Part
from gcrm.reporting.curves import Material
from gcrm.reporting.figures.lines import partial_auroc, q_values, training
from gcrm.reporting.figures.points import auroc, preferences
from gcrm.reporting.figures.rewards import rewards
from gcrm.reporting.figures.votes import votes

FIGURES: dict[str, Callable[[Material, Part, Path], None]] = {
    "auroc": auroc,
    "preferences": preferences,
    "partial_auroc": partial_auroc,
    "q_values": q_values,
    "rewards": rewards,
    "votes": votes,
    "training": training,
}


def can_be_drawn(material: Material, part: Part) -> bool:
    """Whether what a figure needs was given."""
    needs = {"q_values": material.scores, "rewards": material.scores, "training": material.training}
    return bool(needs.get(part.kind, True))
