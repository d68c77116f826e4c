"""Options of `prepare`: the made problems of a synthetic run, or the checks of real data."""

from pathlib import Path

from pydantic import Field, model_validator

from gcrm.settings.base import Settings


class PrepareSettings(Settings):
    """How many problems of each kind are made (only for runs that make their own data)."""

    pretrain_problems: int = Field(32_000, gt=0)
    """problems with worked solutions that the base model learns from, over all families"""
    preference_problems: int = Field(1_500, gt=0)
    """problems that the base model's solutions are sampled on to make preference pairs"""
    benchmark_problems: int = Field(300, gt=0)
    """problems in each benchmark"""
    dev_problems: int = Field(200, gt=0)
    """problems in each family's development set, on which settings are chosen"""
    preference_families: list[str] = Field(["gsm8k", "math"], min_length=1)
    """families that preference pairs are made from; the others are out of distribution"""
    rare_words: float = Field(0.5, ge=0, le=1)
    """share of rare ones among the words for operations, in all sets but `pretrain`"""
    pretrain_rare_words: float = Field(0.003, ge=0, le=1)
    """the same in `pretrain`: the fewer, the more the base model errs, and pairs can teach"""


class PrepareOptions(PrepareSettings):
    """Make word problems of seven families, or check real data before hours are spent on it.

    With --problems_dir, makes the problem sets there. With --dataset and --completions_data_path,
    reads both whole, refuses broken rows, and reports the questions that they share.
    """

    benchmarks: list[str]
    """names of the benchmarks"""
    problems_dir: Path | None = None
    """folder for the made problems: <set>.jsonl"""
    dataset: list[str] = []
    """preference data to check"""
    completions_data_path: Path | None = None
    """folder of completions to check: <benchmark>/output-greedy.jsonl, output-rs<k>.jsonl"""
    report: Path | None = None
    """JSON file for what was found: sizes, shared questions"""
    data_seed: int = 0
    """seed of the made problems"""

    @model_validator(mode="after")
    def _something_to_do(self) -> "PrepareOptions":
        given = bool(self.dataset) or self.completions_data_path is not None
        if given == (self.problems_dir is not None):
            raise ValueError(
                "give either --problems_dir, or --dataset and/or --completions_data_path"
            )
        return self
