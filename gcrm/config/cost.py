"""Options of `cost`: what the estimate assumes of devices, and of data that are not here yet."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from gcrm.config.base import Settings, from_json

Sizes = dict[str, Annotated[int, Field(gt=0)]]
Device = Literal["cpu", "rtx4090", "a6000", "l40s", "a100", "h100"]


class CostSettings(Settings):
    """What the estimate of a run's cost assumes. Nothing that the run computes depends on it."""

    device: Device | None = None
    """kind of device; `cpu` is one core (default: that of this machine)"""
    devices: int | None = Field(None, gt=0)
    """number of devices that the run keeps busy (default: all of this machine, or one of a named
    kind)"""
    flops_per_second: float | None = Field(None, gt=0)
    """operations per second that one device achieves (default: by its kind)"""
    pairs: int | None = Field(None, gt=0)
    """preference pairs, if the data are not on this machine (default: unknown)"""
    sizes: Sizes = {}
    """problems of each benchmark and pairs of each held-out set that is not on this machine"""
    sequence_tokens: int = Field(400, gt=0)
    """mean tokens of a prompt with its completion, if the data are not on this machine"""


class CostOptions(CostSettings):
    """Say what a run will cost: pairs, tokens, operations (FLOPs), disk and hours, with formulas.

    What no option gives here is the config's: its section cost, and its data where they are here.
    """

    config: Path
    """config of the run"""
    sizes: Annotated[Sizes, BeforeValidator(from_json)] = {}
    """problems of each benchmark and pairs of each held-out set that is not on this machine, as
    JSON: '{"gsm8k": 1319}'"""
