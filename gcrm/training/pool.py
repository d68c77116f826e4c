"""The pool of a forward pass: its pairs on all processes, without fillers.

Some losses compare a pair with other pairs, or average over pairs. They take them from the pool, in
the order of the processes, which is what one process with all of these pairs has. Gradients reach
the states of every process, so the sum of all processes' losses has the gradient of that one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """What is known of this process's pairs besides their tokens; (pairs,) each.

    Attributes:
        margin: how much higher the chosen reward should be; 0 without margins.
        prompt: an id of the prompt, int64; equal for equal prompts.
        counts: false for fillers.
    """

    margin: Tensor
    prompt: Tensor
    counts: Tensor


@dataclass(frozen=True)
class Others:
    """Pairs with another prompt, drawn for each pair of this process.

    Attributes:
        index: their places in the pool, (pairs, samples) int64; samples of goals, then of negative
            goals.
        exist: whether the pool has any for this pair, (pairs,) bool; if not, `index` is void.
    """

    index: Tensor
    exist: Tensor

    def states(self, goal: Tensor, negative_goal: Tensor) -> list[Tensor]:
        """For each pair and sample the others' state of this number, in place of its own.

        Args:
            goal, negative_goal: drawn by this process's pairs, (pairs, samples, hidden_size).
        """
        numbers = [goal.shape[1], negative_goal.shape[1]]
        own = torch.cat([goal, negative_goal], dim=1)
        others = gather(own)[self.index, torch.arange(sum(numbers), device=own.device)]
        return list(others.split(numbers, dim=1))


def draw_others(pairs: Pairs, samples: int, rng: np.random.Generator) -> Others:
    """Draw, for each pair and sample, one of the pool's pairs with another prompt, uniformly."""
    prompts, counts = gather(pairs.prompt), gather(pairs.counts.long()) > 0
    other = (pairs.prompt[:, None] != prompts) & counts
    number = other.sum(dim=1, keepdim=True)
    uniform = torch.from_numpy(rng.random((len(other), samples))).to(other.device)
    by_order = other.long().argsort(dim=1, descending=True, stable=True)
    return Others(by_order.gather(1, (uniform * number).long()), number.squeeze(1) > 0)


def mean_state(states: Tensor, counts: Tensor) -> Tensor:
    """The mean of all states of the pool's pairs, (1, 1, hidden_size).

    Args:
        states: of this process's pairs, (pairs, samples, hidden_size).
        counts: as in `Pairs`.
    """
    means, weights = gather(states.mean(dim=1)), gather(counts.to(states.dtype))
    return (weights @ means / weights.sum())[None, None]


def log_mean(logs: Tensor, counts: Tensor) -> Tensor:
    """The log of the mean of exp(logs) over the pool, a scalar.

    Args:
        logs: of this process's pairs, (pairs,).
        counts: which of them take part, (pairs,) bool; if none in the whole pool does, the mean is
            over all, and without meaning.
    """
    logs, counts = gather(logs), gather(counts.long()) > 0
    counts = counts | ~counts.any()  # the gradient of a mean over nothing would be NaN
    return logs.masked_fill(~counts, -torch.inf).logsumexp(dim=0) - counts.sum().to(logs).log()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]


_gather: Callable[[Tensor], Tensor] = _Gather.apply


def gather(values: Tensor) -> Tensor:
    """`values` (n, …) of all processes, (processes · n, …); n must be the same in all of them.

    The gradient is the sum of all processes' gradients for this process's values.
    """
    alone = not dist.is_initialized() or dist.get_world_size() == 1
    return values if alone else _gather(values)
