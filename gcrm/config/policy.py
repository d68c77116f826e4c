"""Options of `policy`: a language model trained against a reward model, or on pairs by DPO."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from gcrm.config.base import Settings, split_commas
from gcrm.config.compute import TrainingOptions
from gcrm.config.types import Name, Seed, Share, Source, Steps

RLOO_ONLY = (
    "samples_per_prompt",
    "temperature",
    "missing_eos_penalty",
    "standardise_rewards",
)
"""settings that have no effect on DPO, which samples nothing and has no reward model"""
NO_MATTER = {"save_path", "ckpt_path", "max_checkpoints"}
"""options of `policy` that do not affect the trained weights"""


class PolicySettings(Settings):
    """Method, schedule and batches of a policy's training."""

    method: Literal["rloo", "dpo"] = "rloo"
    """rloo: policy gradient with a leave-one-out baseline against a reward model (Ahmadian et al.,
    2024); dpo: direct preference optimisation on the pairs (Rafailov et al., 2023)"""
    steps: int = Field(200, gt=0)
    """optimiser steps"""
    batch_size: int = Field(64, gt=0)
    """completions (rloo) or pairs (dpo) of an optimiser step"""
    micro_batch_size: int | None = Field(None, gt=0)
    """completions or pairs of a forward pass (default: those of a step)"""
    samples_per_prompt: int = Field(4, gt=1)
    """completions of each prompt of a step (rloo)"""
    learning_rate: float = Field(1e-6, gt=0)
    """peak learning rate of AdamW; it falls to 0 as a cosine after the warm-up"""
    warmup_ratio: Share = 0.03
    """share of the steps used for a linear warm-up"""
    max_norm: float = Field(1.0, gt=0)
    """gradients are clipped to this norm"""
    beta: float = Field(0.05, ge=0)
    """what holds the policy near the base model: the weight of the log ratio of both, summed over
    the tokens of a completion, that is subtracted from its reward (rloo), or DPO's beta"""
    temperature: float = Field(1.0, gt=0)
    """softmax temperature of sampled completions (rloo)"""
    missing_eos_penalty: float = Field(1.0, ge=0)
    """subtracted from the reward of a completion that reaches max_new_tokens without EOS (rloo)"""
    standardise_rewards: bool = True
    """bring rewards to mean 0 and variance 1 on up to 256 of the pairs, so that beta means the same
    for reward models of any scale (rloo)"""
    max_new_tokens: int = Field(256, gt=0)
    """longest completion, in tokens, in training and in evaluation"""
    max_len: int = Field(2048, gt=1)
    """longest prompt with completion, in tokens, that the reward model reads, or DPO is trained on;
    longer pairs are dropped and counted"""
    max_pairs: int | None = Field(None, gt=0)
    """cap on the pairs, chosen by hash of the prompt (default: all)"""
    bf16: bool = False
    """compute in bfloat16 if the device supports it; otherwise in fp32, with a message"""
    gradient_checkpointing: bool = False
    """recompute activations in the backward pass: less memory, a third more time"""
    logging_steps: int = Field(5, gt=0)
    """steps between lines of the training log"""
    eval_steps: Steps = 20
    """steps between measurements of greedy accuracy on eval_problems; -1: never"""
    max_eval_problems: int = Field(50, gt=0)
    """cap on the problems of each file of eval_problems, chosen by hash of the question"""
    save_steps: Steps = -1
    """steps between checkpoints to resume from; -1: only on SIGTERM, SIGHUP and Ctrl-C"""
    max_checkpoints: int = Field(2, gt=0)
    """number of newest checkpoints to keep; all are removed when training is complete"""

    @property
    def micro(self) -> int:
        """Completions or pairs of a forward pass."""
        return self.micro_batch_size or self.batch_size

    @model_validator(mode="after")
    def _batches_divide(self) -> "PolicySettings":
        if self.batch_size % self.micro:
            raise ValueError(
                f"batch_size ({self.batch_size}) must be a multiple of micro_batch_size "
                f"({self.micro})"
            )
        if self.method == "rloo" and self.batch_size % self.samples_per_prompt:
            raise ValueError(
                f"batch_size ({self.batch_size}) must be a multiple of samples_per_prompt "
                f"({self.samples_per_prompt})"
            )
        if self.method == "dpo" and self.beta == 0:
            raise ValueError("beta must be above 0 for dpo, which divides by it")
        return self


class NamedPolicy(PolicySettings):
    """A policy of a run: its settings, and the reward model that it is trained against."""

    reward_model: Name | None = None
    """variant whose reward model of the same seed gives the rewards (rloo)"""

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> "NamedPolicy":
        if (self.reward_model is None) != (self.method == "dpo"):
            raise ValueError(
                "reward_model does nothing with dpo; remove it"
                if self.method == "dpo"
                else "rloo needs a reward_model; name a variant"
            )
        return self


class PolicyOptions(PolicySettings, TrainingOptions):
    """Train a policy against a reward model, or on preference pairs by DPO, with TRL.

    Writes a standard causal language model with training_log.jsonl and, with --problems,
    solutions.jsonl, its greedy solutions.
    """

    pretrain: Source
    """base model: hub id or folder"""
    dataset: Annotated[list[Source], BeforeValidator(split_commas), Field(min_length=1)]
    """preference data: .jsonl or .parquet file, `datasets` folder or hub id; dpo trains on its
    pairs, rloo on its prompts"""
    reward_model_path: Source | None = None
    """reward model: folder or hub id; needed for rloo"""
    eval_problems: list[Path] = []
    """JSON lines with question and expected_answer, whose accuracy is logged during training"""
    problems: list[Path] = []
    """JSON lines with question and expected_answer that the trained policy solves by greedy
    decoding"""
    seed: Seed = 0
    """seed of the order of prompts or pairs, and of the samples"""

    @property
    def sources(self) -> list[str | Path]:
        """All that is read: models, data and problems."""
        reward_model = [] if self.reward_model_path is None else [self.reward_model_path]
        problems = [*self.eval_problems, *self.problems]
        return [*self.base_model, *reward_model, *self.dataset, *problems]

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> "PolicyOptions":
        if self.method == "dpo":
            given = {"reward_model_path", *RLOO_ONLY} & self.model_fields_set
            idle = sorted(name for name in given if getattr(self, name) is not None)
            if idle:
                raise ValueError(f"--{idle[0]} does nothing with dpo; remove it")
        elif self.reward_model_path is None:
            raise ValueError("rloo needs --reward_model_path, a reward model")
        if Path(self.pretrain).suffix == ".gguf":
            raise ValueError(
                "pretrain: a .gguf file is not trained here; load it with transformers "
                "(gguf_file=...), save it, and give that folder"
            )
        return self
