"""Options of `compare`: differences of variants on the same completions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from gcrm.config.base import Settings
from gcrm.config.metrics import MetricsSettings
from gcrm.config.types import OutputFile, Unique

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
Pair = Annotated[str, Field(pattern=rf"^{NAME}:{NAME}$")]


class CompareSettings(Settings):
    """Which variants are compared."""

    baseline: str | None = None
    """variant that all others are compared with (default: the first)"""
    pairs: Annotated[list[Pair], Unique] = []
    """pairs VARIANT:BASELINE to compare instead (default: each variant with the baseline)"""

    @model_validator(mode="after")
    def _one_way(self) -> "CompareSettings":
        if self.baseline is not None and self.pairs:
            raise ValueError("baseline does nothing beside pairs, which name theirs; remove one")
        for first, second in map(split_pair, self.pairs):
            if first == second:
                raise ValueError(f"pairs: {first}:{second} compares a variant with itself")
        return self

    def compared(self, variants: Sequence[str]) -> list[tuple[str, str]]:
        """The pairs (variant, baseline) to compare; none where there is one variant.

        Raises:
            ValueError: a variant is named that is not among `variants`.
        """
        named = [self.baseline] if self.baseline else []
        pairs = [split_pair(pair) for pair in self.pairs]
        for name in [*named, *(name for pair in pairs for name in pair)]:
            if name not in variants:
                raise ValueError(f"there is no variant {name!r}; there are {', '.join(variants)}")
        baseline = self.baseline or variants[0]
        return pairs or [(variant, baseline) for variant in variants if variant != baseline]


def split_pair(pair: str) -> tuple[str, str]:
    """`contrastive:vanilla` as (variant, baseline)."""
    variant, _, baseline = pair.partition(":")
    return variant, baseline


class CompareOptions(CompareSettings, MetricsSettings):
    """Compare variants on the same completions of one benchmark: paired differences, intervals, p.

    Or on the same pairs of one held-out preference set. Reads the Parquet files of all variants and
    seeds, whose paths name their models. Where there are several seeds, intervals take them in.
    """

    scores: list[Path] = Field(min_length=1)
    """scores of greedy solutions or pairs: <variant>/seed<k>/<benchmark>/<split>/scores.parquet"""
    sample_scores: list[Path] = []
    """scores of sampled solutions, for the votes; of all models, or of none"""
    output: OutputFile
    """JSON file for the comparisons"""
