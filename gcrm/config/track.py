"""Options of `track`: where to report training curves and final metrics."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from gcrm.config.base import Settings, split_commas
from gcrm.config.types import OutputFile


class TrackSettings(Settings):
    """What is reported to wandb, and as what; JSON lines are written in any case."""

    wandb_project: str | None = None
    """project to report to on wandb; none: not reported (key: WANDB_API_KEY or `wandb login`)"""
    wandb_group: str | None = None
    """group of runs on wandb (default: in a run of the pipeline, its name)"""
    wandb_org: str | None = None
    """entity (team or user) on wandb"""
    wandb_run_name: str | None = None
    """name of the run on wandb (default: <variant>/seed<k>); in a run of the pipeline, the name of
    the run (default: `run`) before <variant>/seed<k>"""
    wandb_tags: Annotated[list[str], BeforeValidator(split_commas)] = []
    """tags of the run on wandb"""


class TrackOptions(TrackSettings):
    """Report the final metrics of a run, with the training curves that lead to them."""

    metrics: list[Path] = Field(min_length=1)
    """metrics files, .../<variant>/seed<k>/<benchmark>.json"""
    comparisons: list[Path] = []
    """comparisons files, .../<benchmark>.json"""
    models_dir: Path | None = None
    """folder of the models, <variant>/seed<k>/, whose curves and settings are reported to wandb"""
    run: str = "gcrm"
    """name of the run of the pipeline"""
    output: OutputFile
    """JSON lines file for the final metrics"""
