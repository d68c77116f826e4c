"""Trainings that end early: what they save, and what the next one resumes from.

Clusters send SIGTERM some time before they kill a job whose time is over or whose node is needed;
Ctrl-C sends SIGINT, a lost connection SIGHUP. They leave a checkpoint. After a kill, the last one
that is whole counts.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from gcrm.lineage.resume import is_whole, remove, seal

HEEDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class StopOnSignal(TrainerCallback):
    """Ends a training behind the step in which one of these signals came, with a checkpoint.

    Attributes:
        stopped: the signal that did; 0 where none came, or too late to matter.
    """

    def __init__(self) -> None:
        self.stopped = 0
        self._received = 0

    @property
    def status(self) -> int:
        """Exit status, by shells' convention: not 0, so that Snakemake tries the job again."""
        return 128 + self.stopped

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block these signals do not end this process, but for a second Ctrl-C."""
        before = {number: signal.getsignal(number) for number in HEEDED}
        for number, handler in before.items():
            if handler != signal.SIG_IGN:  # as nohup has it, and `&` in a script
                signal.signal(number, self._receive)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self._received == number:
                raise KeyboardInterrupt
            if os.environ.get("RANK", "0") == "0":
                with suppress(OSError):
                    os.write(2, b"train: stopping after this step; Ctrl-C again: now, unsaved\n")
        self._received = number

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Save and stop, all processes at the same step, whichever of them was told to."""
        if state.global_step < state.max_steps:
            self.stopped = _anywhere(self._received, args.device)
            if self.stopped:
                control.should_log = control.should_save = control.should_training_stop = True


def _anywhere(number: int, device: torch.device) -> int:
    """The highest of the processes' numbers."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return number
    numbers = torch.tensor(number, device=device)
    dist.all_reduce(numbers, dist.ReduceOp.MAX)
    return int(numbers.item())


class Checkpoints(TrainerCallback):
    """Marks each checkpoint as whole once all processes have written it, and removes older ones.

    The library removes older ones itself, but takes what a kill has left of a checkpoint for one.
    """

    def __init__(self, most: int) -> None:
        self.most = most

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """What an interrupted training has left by halves only takes room."""
        self._prune(args, state)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Called in every process, behind its part of the saving."""
        _anywhere(0, args.device)  # until all have
        if state.is_world_process_zero:
            seal(Path(str(args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")
        self._prune(args, state)

    def _prune(self, args: TrainingArguments, state: TrainerState) -> None:
        if state.is_world_process_zero:
            folder = Path(str(args.output_dir))
            kept = _whole(folder)[-self.most :]
            for checkpoint in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
                if checkpoint not in kept:
                    remove(checkpoint)


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint in `folder`, or None."""
    whole = _whole(folder)
    return str(whole[-1]) if whole else None


def _whole(folder: Path) -> list[Path]:
    """The whole checkpoints in `folder`, in the order of their steps."""
    found = [path for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if is_whole(path)]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))
