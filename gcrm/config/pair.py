"""Options of `pair`: preference pairs from labelled solutions."""

from pathlib import Path

from pydantic import Field

from gcrm.config.base import Settings
from gcrm.config.types import OutputFile, Seed


class PairSettings(Settings):
    """How pairs are made of a problem's solutions (only for runs that make their own)."""

    max_pairs_per_problem: int = Field(2, gt=0)
    """largest number of pairs of a correct and an incorrect solution to one problem"""
    label_noise: float = Field(0.0, ge=0, lt=0.5)
    """share of the pairs, chosen at random, whose two sides are exchanged"""


class PairOptions(PairSettings):
    """Make preference pairs: a correct and an incorrect solution of the same question."""

    completions: list[Path] = Field(min_length=1)
    """files of labelled solutions: output-greedy.jsonl, output-rs<k>.jsonl"""
    output: OutputFile
    """JSON lines with question, correct, incorrect"""
    data_seed: Seed = 0
    """seed of the choice of solutions"""
