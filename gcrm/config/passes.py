"""Settings of the forward passes that `represent`, `evaluate` and `goals` make."""

from pydantic import Field

from gcrm.config.base import Settings


class PassSettings(Settings):
    """How a reward model reads completions."""

    tokens_per_batch: int | None = Field(None, gt=0)
    """most tokens in one forward pass, with prompts and padding (default: 16,384 on a GPU; on a CPU
    at most 2,048, and fewer for wide models, so that its caches hold them)"""
    bf16: bool = False
    """compute in bfloat16 on a CPU that has it, too; a GPU that has it always does"""
