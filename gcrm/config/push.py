"""Options of `push`: a reward model for the hub."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from gcrm.config.base import Settings


class PushOptions(Settings):
    """Upload a reward model to the Hugging Face hub, with its results in the model card.

    The access token is that of `hf auth login`, or HF_TOKEN.
    """

    reward_model_path: Path
    """folder that `train` wrote; it stays as it is"""
    repo: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$")]
    """repository on the hub: owner/name; it is made if it does not exist"""
    metrics: list[Path] = []
    """files that `metrics` wrote of this model; their estimates are added to the model card"""
    public: bool = False
    """make a new repository public (default: private)"""
    dry_run: bool = False
    """only show the files with their sizes, and the model card"""
