"""Options of `sample`: solutions drawn from a base model, and labelled."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from gcrm.config.base import Settings
from gcrm.config.compute import ComputeOptions
from gcrm.config.types import OutputFolder, Seed, Source


class _Sampling(Settings):
    """How solutions are decoded."""

    temperature: float = Field(1.0, gt=0)
    """softmax temperature of sampled solutions"""
    max_new_tokens: int = Field(32, gt=0)
    """longest solution, in tokens; an unfinished one has no answer and counts as wrong"""
    batch_size: int = Field(256, gt=0)
    """prompts that are decoded together"""
    error_rate: float | None = Field(None, gt=0, lt=1 / 3)
    """let a program solve the problems, of the family chain, which errs at each step with
    this probability, below 1/3, and knows where (default: the base model solves them)"""
    error_place: Literal["anywhere", "first", "last"] = "anywhere"
    """where the program errs: at any step, or in the first or the last third of the steps"""

    @model_validator(mode="after")
    def _place_of_errors(self) -> "_Sampling":
        if self.error_rate is None and self.error_place != "anywhere":
            raise ValueError("error_place does nothing without error_rate; remove it")
        return self


class SampleSettings(_Sampling):
    """How solutions are drawn from the base model (only for runs that make their own)."""

    num_samples: dict[str, Annotated[int, Field(ge=0)]] = {"gsm8k": 16, "math": 16, "preference": 8}
    """sampled solutions to each problem, beside the greedy one, by benchmark; `preference` is for
    the problems of preference pairs"""


class SampleOptions(_Sampling, ComputeOptions):
    """Draw solutions from a base model and label them: output-greedy.jsonl, output-rs<k>.jsonl."""

    model: Source | None = None
    """base model: folder or hub id; not needed with error_rate"""
    chat_template: Path | None = None
    """Jinja file with a chat template for the base model (default: the base model's own, or, where
    it has none, one with the names of the roles)"""
    problems: Path
    """JSON lines with question and expected_answer; with error_rate, also the right solution"""
    save_dir: OutputFolder
    """folder for output-greedy.jsonl and output-rs<k>.jsonl"""
    num_samples: int = Field(0, ge=0)
    """sampled solutions to each problem, beside the greedy one"""
    data_seed: Seed = 0
    """seed of the draws"""
    trust_remote_code: bool = False
    """run code that comes with a model from the hub"""

    @property
    def sources(self) -> list[str | Path]:
        """The base model with its chat template."""
        return [source for source in (self.model, self.chat_template) if source is not None]

    @model_validator(mode="after")
    def _one_solver(self) -> "SampleOptions":
        if (self.model is None) == (self.error_rate is None):
            raise ValueError("give --model, or --error_rate for solutions by program")
        return self

    @model_validator(mode="after")
    def _problems_stay(self) -> "SampleOptions":
        inside = self.problems.resolve().parent == self.save_dir.resolve()
        if inside and self.problems.match("output-*.jsonl"):
            raise ValueError(f"problems: {self.problems} would be overwritten; give another folder")
        return self
