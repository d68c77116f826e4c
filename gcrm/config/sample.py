"""Options of `sample`: solutions drawn from a base model, and labelled."""

from pathlib import Path
from typing import Annotated

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


class SampleSettings(_Sampling):
    """How solutions are drawn from the base model (only for runs that make their own)."""

    num_samples: dict[str, Annotated[int, Field(ge=0)]] = {"gsm8k": 16, "math": 16, "preference": 8}
    """sampled solutions to each problem, beside the greedy one, by benchmark; `preference` is for
    the problems of preference pairs"""


class SampleOptions(_Sampling, ComputeOptions):
    """Draw solutions from a base model and label them: output-greedy.jsonl, output-rs<k>.jsonl."""

    model: Source
    """base model: folder or hub id"""
    chat_template: Path | None = None
    """Jinja file with a chat template for the base model (default: the base model's own, or, where
    it has none, one with the names of the roles)"""
    problems: Path
    """JSON lines with question and expected_answer"""
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
        return [self.model, *([] if self.chat_template is None else [self.chat_template])]

    @model_validator(mode="after")
    def _problems_stay(self) -> "SampleOptions":
        inside = self.problems.resolve().parent == self.save_dir.resolve()
        if inside and self.problems.match("output-*.jsonl"):
            raise ValueError(f"problems: {self.problems} would be overwritten; give another folder")
        return self
