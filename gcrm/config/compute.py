"""Options that several stages share: how they compute, what they load, and where they train."""

from pathlib import Path
from typing import Any

from pydantic import Field

from gcrm.config.base import Settings
from gcrm.config.types import OutputFolder, OutputParent, Source


class ComputeOptions(Settings):
    """How a stage computes with torch."""

    reproducible: bool = False
    """give the same bits on every x86-64 CPU that has AVX2, at the same number of threads; it
    computes on the CPU, unless GPUs were taken for it, and is slower on CPUs with AVX-512"""


class TrainingOptions(ComputeOptions):
    """What the trainings of a reward model and of a policy start from, and where they write."""

    pretrain: Source
    """base model: hub id, folder or .gguf file"""
    chat_template: Path | None = None
    """Jinja file with a chat template for the base model (default: the base model's own, or, where
    it has none, one with the names of the roles); the checkpoint stores it"""
    save_path: OutputFolder
    """folder for the trained model"""
    ckpt_path: OutputParent | None = None
    """folder for checkpoints to resume from (default: <save_path>.checkpoints)"""
    trust_remote_code: bool = False
    """run code that comes with a model from the hub"""

    @property
    def base_model(self) -> list[str | Path]:
        """The base model, with its chat template if one is given."""
        return [self.pretrain, *([] if self.chat_template is None else [self.chat_template])]

    @property
    def checkpoints(self) -> Path:
        """The folder for checkpoints."""
        return self.ckpt_path or self.save_path.with_name(f"{self.save_path.name}.checkpoints")


class PassSettings(Settings):
    """How a reward model reads completions."""

    tokens_per_batch: int | None = Field(None, gt=0)
    """most tokens in one forward pass, with prompts and padding (default: 16,384 on a GPU; on a CPU
    at most 2,048, and fewer for wide models, so that its caches hold them)"""
    bf16: bool = False
    """compute in bfloat16 on a CPU that has it, too; a GPU that has it always does"""


class RewardModelOptions(Settings):
    """Which reward model a stage loads, and how."""

    reward_model_path: Source
    """reward model: folder or hub id"""
    max_len: int = Field(2048, gt=1)
    """longest prompt with completion, in tokens"""
    bf16: bool = False
    """compute in bfloat16 on a CPU that has it, too; a GPU that has it always does"""
    trust_remote_code: bool = False
    """run code that comes with a model from the hub"""

    @property
    def loading(self) -> dict[str, Any]:
        """The arguments of `RewardModel.from_pretrained`, without the goal state."""
        return {
            "path": self.reward_model_path,
            "max_len": self.max_len,
            "bf16": self.bf16 or None,
            "trust_remote_code": self.trust_remote_code,
        }
