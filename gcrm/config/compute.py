"""Options that several stages share: how they compute, and which reward model they load."""

from typing import Any

from pydantic import Field

from gcrm.config.base import Settings
from gcrm.config.types import Source


class ComputeOptions(Settings):
    """How a stage computes with torch."""

    reproducible: bool = False
    """give the same bits on every x86-64 CPU that has AVX2, at the same number of threads; it
    computes on the CPU, unless GPUs were taken for it, and is slower on CPUs with AVX-512"""


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
