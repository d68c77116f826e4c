"""What a job of each stage takes: threads, processes, GPUs, nodes."""

from typing import Annotated, Literal

from pydantic import Field

from gcrm.config.base import Settings

Count = Annotated[int, Field(ge=1)]
Gpus = Annotated[int, Field(ge=0)]
Parallel = Literal["train", "represent", "evaluate"]
PARALLEL: tuple[Parallel, ...] = ("train", "represent", "evaluate")
"""stages whose jobs may have several processes"""


class StageThreads(Settings):
    """CPU threads of a process; fixed, since results depend on them in their last digits."""

    pretrain: Count = 1
    """threads of `pretrain`"""
    sample: Count = 1
    """threads of a job of `sample`"""
    train: Count = 1
    """threads of each process of a job of `train`"""
    represent: Count = 1
    """threads of each process of a job of `represent`"""
    evaluate: Count = 1
    """threads of each process of a job of `evaluate`"""


class StageGpus(Settings):
    """GPUs of a job, over all its nodes. Without a number, it takes one for each process on a
    machine that has any, and asks a cluster for none; with 0 it computes on the CPU."""

    pretrain: Gpus | None = None
    """GPUs of `pretrain` (default: one, where there is one)"""
    sample: Gpus | None = None
    """GPUs of a job of `sample` (default: one, where there is one)"""
    train: Gpus | None = None
    """GPUs of a job of `train` (default: one, where there is one)"""
    represent: Gpus | None = None
    """GPUs of a job of `represent` (default: one, where there is one)"""
    evaluate: Gpus | None = None
    """GPUs of a job of `evaluate` (default: one, where there is one)"""


class StageProcesses(Settings):
    """Processes of a job, over all its nodes; several are started by torchrun."""

    train: Count | None = None
    """processes of a job of `train` (default: one for each of its GPUs, and at least one)"""
    represent: Count | None = None
    """processes of a job of `represent` (default: one for each of its GPUs, and at least one)"""
    evaluate: Count | None = None
    """processes of a job of `evaluate` (default: one for each of its GPUs, and at least one)"""


class StageNodes(Settings):
    """Nodes of a cluster that the processes of a job are on, equally many on each."""

    train: Count = 1
    """nodes of a job of `train`"""
    represent: Count = 1
    """nodes of a job of `represent`"""
    evaluate: Count = 1
    """nodes of a job of `evaluate`"""
