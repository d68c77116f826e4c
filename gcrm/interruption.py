"""Stopping in time: on SIGTERM a training saves a checkpoint, from which the next one resumes.

Clusters send SIGTERM some time before they kill a job whose time is over or whose node is needed.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

STATUS = 128 + signal.SIGTERM
"""Exit status of a training that was stopped, by shells' convention: not 0, so that Snakemake
tries the job again."""


class StopOnSigterm(TrainerCallback):
    """Ends a training behind the step in which SIGTERM came, with a checkpoint.

    Attributes:
        stopped: whether it did; false where the signal came too late to matter.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._received = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block SIGTERM does not end this process, however often it comes."""
        before = signal.signal(signal.SIGTERM, self._receive)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = True

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Save and stop, all processes at the same step, whichever of them was told to."""
        if state.global_step < state.max_steps and _anywhere(self._received, args.device):
            self.stopped = True
            control.should_log = control.should_save = control.should_training_stop = True


def _anywhere(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set in one of the processes."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return flag
    flags = torch.tensor(int(flag), device=device)
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return bool(flags.item())


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint in `folder`, or None; one that was cut off lacks its last file."""
    whole = [state.parent for state in folder.glob("checkpoint-*/trainer_state.json")]
    return str(max(whole, key=lambda path: int(path.name.split("-")[1]))) if whole else None
