"""Trainer callbacks of a policy's training: accuracy on dev problems, checks, the progress line."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback, TrainerState

from gcrm.training.callbacks import ProgressLine, check_loss


class Accuracy(TrainerCallback):
    """Adds measurements of the policy to the log: at the start, every few steps, and at the end.

    They are in the log that checkpoints keep, so that a resumed training repeats none.

    Args:
        measure: gives the numbers of a line of the log by name.
        every: steps between measurements; below 1: none at all.
    """

    def __init__(self, measure: Callable[[], dict[str, float]], every: int):
        self._measure, self._every = measure, every

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Measure the base model."""
        if state.global_step == 0 and self._every > 0:
            self._add(state)

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Measure every few steps, and after the last."""
        step = state.global_step
        if self._every > 0 and (step % self._every == 0 or step == state.max_steps):
            self._add(state)

    def _add(self, state: TrainerState) -> None:
        with same_random_numbers():
            state.log_history.append({**self._measure(), "step": state.global_step})


@contextmanager
def same_random_numbers() -> Iterator[None]:
    """What is drawn in the block does not change what is drawn after it."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        yield
    random.setstate(states[0])
    np.random.set_state(states[1])


class PolicyProgress(ProgressLine):
    """Reports progress with the last reward, and refuses a loss that is not finite."""

    def __init__(self) -> None:
        super().__init__("policy", {"reward": 3, "kl": 3, "loss": 3})

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Keep reward and loss for the progress line.

        Raises:
            UserError: the loss is NaN or infinite.
        """
        super().on_log(args, state, control, logs)
        if logs and "loss" in logs:
            check_loss(logs["loss"], state.global_step)
