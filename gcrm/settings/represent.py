"""Options of `represent`: the goal state of a reward model."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from gcrm.settings.base import Settings, split_commas


class RepresentSettings(Settings):
    """Which states make the goal state."""

    max_len: int = Field(2048, gt=1)
    """longest prompt with completion, in tokens; a longer pair is left out, and counted"""
    max_pairs: int | None = Field(None, gt=0)
    """cap on the pairs, chosen by hash of the prompt (default: all)"""
    tokens_per_batch: int = Field(16_384, gt=0)
    """tokens in one forward pass, padding included"""


class RepresentOptions(RepresentSettings):
    """Average the last hidden state of the chosen completions: goal_state.npy, (1, hidden_size)."""

    dataset_path: Annotated[list[str], BeforeValidator(split_commas), Field(min_length=1)]
    """preference data: .jsonl or .parquet file, `datasets` folder, or hub id"""
    reward_model_path: str
    """reward model: folder or hub id"""
    save_dir: Path
    """folder for goal_state.npy"""
    trust_remote_code: bool = False
    """run code that comes with a model from the hub"""
