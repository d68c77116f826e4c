"""What the study compares, as results/study/PLAN.md fixes it: cells, measures, thresholds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONFIGS = Path("config/study")
SHARED = CONFIGS / "study.yaml"
TABLES = Path("results/study/cells")
"""a folder for each cell that has been measured"""

FACTORS = {
    "centre": {"centre": ""},
    "pairs": {"pairs-1000": "1,000", "pairs-16000": "16,000", "pairs-64000": "64,000"},
    "steps of a solution": {"steps-3": "3", "steps-12": "12"},
    "place of the error": {"errors-first": "first third", "errors-last": "last third"},
    "label noise": {"noise-0.1": "0.1", "noise-0.3": "0.3"},
    "model": {"model-32": "2 layers of 32", "model-128": "4 layers of 128"},
    "errors a step": {"rate-0.04": "0.04", "rate-0.3": "0.3"},
}
"""factor: its cells in their order, with the value in which each differs from the centre"""
CELLS = {cell: factor for factor, cells in FACTORS.items() for cell in cells}
SETTINGS = "settings"
"""the cell that varies the objective of `contrastive` at the centre"""
LAST = "pairs-64000"
"""trains four times as long as the other cells"""
ORDER = (*(cell for cell in CELLS if cell != LAST), SETTINGS, LAST)
"""in which cells are run"""

METRICS = {
    "AUROC": "auroc_over_problems",
    "correlation": "value_correlation",
    "F1": "first_error.f1",
    "saving": "saved_of_oracle",
}
"""the measures in the order of the questions 1 to 4, and the names of their metrics"""
THRESHOLDS = {"AUROC": 0.02, "correlation": 0.05, "F1": 0.05, "saving": 0.05}
LEVEL = 0.05
"""of the corrected p of a primary comparison"""


def cell_name(cell: str) -> str:
    """For example, `label noise: 0.3`; the centre and the settings have only a name."""
    value = FACTORS.get(CELLS.get(cell, ""), {}).get(cell)
    return f"{CELLS[cell]}: {value}" if value else cell


@dataclass(frozen=True)
class Side:
    """A partial score of a variant."""

    variant: str
    score: str


@dataclass(frozen=True)
class Comparison:
    """The difference of two sides in one measure; `question` is its number in the plan."""

    question: int
    measure: str
    first: Side
    second: Side

    def metrics(self) -> tuple[str, str]:
        """The metrics of both sides."""
        name = METRICS[self.measure]
        return f"{name}.{self.first.score}", f"{name}.{self.second.score}"


def comparisons(variants: Sequence[str]) -> list[Comparison]:
    """The comparisons of a cell with these variants.

    The 7 of the questions 1 to 4 are the primary ones. Only the final reward has an AUROC.
    """
    reward, q_value = Side("contrastive", "reward"), Side("contrastive", "q_value")
    if "vanilla" not in variants:
        others = [variant for variant in variants if variant != "contrastive"]
        return [
            Comparison(7, measure, Side(variant, score), Side("contrastive", score))
            for variant in others
            for measure in METRICS
            for score in ("reward", "q_value")
            if (measure, score) != ("AUROC", "q_value")
        ]
    vanilla, value = Side("vanilla", "reward"), Side("value", "reward")
    found = [Comparison(1, "AUROC", reward, vanilla)]
    for question, measure in enumerate([*METRICS][1:], start=2):
        found += [Comparison(question, measure, one, vanilla) for one in (q_value, reward)]
    found += [Comparison(5, m, value, one) for m in [*METRICS][1:] for one in (q_value, reward)]
    return found


PRIMARY = 7 * len(CELLS)
"""comparisons over which p is corrected, whether their cells have been run or not"""
