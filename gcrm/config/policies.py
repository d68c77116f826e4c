"""Options of `policies`: trained policies beside each other."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from gcrm.config.base import Settings
from gcrm.config.layout import model_of
from gcrm.config.types import OutputFolder, Resamples, Seed, Unique


class PoliciesOptions(Settings):
    """Compare trained policies: greedy accuracy with intervals, and rewards over training."""

    policies: Annotated[list[Path], Field(min_length=1), Unique]
    """folders of policies: .../<name>/seed<k>"""
    base_solutions: list[Path] = []
    """greedy solutions of the base model: <benchmark>/output-greedy.jsonl (default: the base model
    is left out)"""
    in_distribution: list[str] = []
    """benchmarks whose problems are like those of the preference pairs"""
    synthetic: bool = False
    """mark page and figure "synthetic stand-in": the benchmarks are made, not real"""
    bootstrap_resamples: Resamples = 2_000
    """resamples of the problems behind each 95 % interval"""
    bootstrap_seed: Seed = 0
    """seed of the resamples"""
    save_dir: OutputFolder
    """folder for accuracy.csv, report.md and figures/"""

    @model_validator(mode="after")
    def _names_and_seeds(self) -> "PoliciesOptions":
        for folder in self.policies:
            if model_of(folder)["seed"] is None:
                raise ValueError(f"policies: {folder}: expected a folder .../<name>/seed<k>")
        return self

    def files(self, name: str) -> dict[str, dict[int, Path]]:
        """The file of this name of each policy, by the policy's name and seed."""
        found: dict[str, dict[int, Path]] = {}
        for folder in self.policies:
            policy, seed = model_of(folder).values()
            found.setdefault(policy, {})[seed] = folder / name
        return found
