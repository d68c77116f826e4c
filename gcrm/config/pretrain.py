"""Options of `pretrain`: the tiny base language model, trained from nothing."""

from pathlib import Path

from pydantic import Field, model_validator

from gcrm.config.base import Settings
from gcrm.config.compute import ComputeOptions
from gcrm.config.types import OutputFolder, Seed


class PretrainSettings(Settings):
    """Size and schedule of the base model (only for runs that make their own)."""

    layers: int = Field(4, gt=0)
    """transformer layers"""
    hidden_size: int = Field(128, gt=0)
    """width of the hidden states"""
    heads: int = Field(4, gt=0)
    """attention heads"""
    steps: int = Field(1_600, gt=0)
    """optimiser steps"""
    batch_size: int = Field(20, gt=0)
    """problems of a step"""
    learning_rate: float = Field(2e-3, gt=0)
    """peak learning rate of AdamW; cosine decay to 0"""

    @model_validator(mode="after")
    def _heads_divide(self) -> "PretrainSettings":
        if self.hidden_size % (2 * self.heads):
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be a multiple of 2 * heads "
                f"({2 * self.heads}): positions are coded in pairs of values"
            )
        return self


class PretrainOptions(PretrainSettings, ComputeOptions):
    """Train a small Llama on worked word problems, from nothing."""

    problems: Path
    """JSON lines with question and solution"""
    save_path: OutputFolder
    """folder for the model and its tokenizer"""
    data_seed: Seed = 0
    """seed of the initial weights and the order of the problems"""
