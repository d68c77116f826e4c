"""The processes that share the work of a stage: one, or as many as torchrun started."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch.distributed as dist
from torch import Tensor

Item = TypeVar("Item")

TIMEOUT = timedelta(days=7)
"""A process that has finished its share waits for the others; torchrun ends all if one dies."""


@dataclass(frozen=True)
class Processes:
    """This process among those that share the work.

    Attributes:
        rank: number of this process, from 0. count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the results."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """The items of this process: every `count`-th."""
        return items[self.rank :: self.count]

    def turn(self, items: Sequence[Item], number: int) -> Sequence[Item]:
        """The items of all processes when each is at number `number` of its share."""
        return items[number * self.count : (number + 1) * self.count]

    def add_up(self, values: Tensor) -> None:
        """Replace `values` (on the CPU) in place by their sum over all processes."""
        if self.count > 1:
            dist.all_reduce(values)


ALONE = Processes()


def join() -> Processes:
    """Connect to the other processes of this job; without torchrun there are none."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return ALONE
    if not dist.is_initialized():
        dist.init_process_group("gloo", timeout=TIMEOUT)
    return Processes(dist.get_rank(), count)
