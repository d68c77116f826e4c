"""What the Trainer calls while it trains: stop on a signal, checkpoints, the curve, the progress.

Clusters send SIGTERM some time before they kill a job whose time is over or whose node is needed;
Ctrl-C sends SIGINT, a lost connection SIGHUP. A training then leaves a checkpoint. After a kill,
the next one resumes from the last complete checkpoint.
"""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from gcrm.config.train import TrainOptions
from gcrm.lineage.resume import is_whole, remove, seal
from gcrm.training.tracking import (
    WandbRun,
    connection,
    init_of,
    run_id,
    settings_of,
    without_timings,
)
from gcrm.utils.disk import explain_write_errors
from gcrm.utils.io import write_jsonl
from gcrm.utils.logging import Progress
from gcrm.utils.paths import short_name

HEEDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class StopOnSignal(TrainerCallback):
    """Ends a training after the step in which one of these signals came, with a checkpoint.

    Attributes:
        stopped: the signal that ended it; 0 where none came, or too late to matter.
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
        """Within the block these signals do not end this process, except for a second Ctrl-C."""
        before = {number: signal.getsignal(number) for number in HEEDED}
        for number, handler in before.items():
            if handler != signal.SIG_IGN:  # as under nohup, and after `&` in a script
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
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Save and stop: all processes at the same step, whichever of them got the signal."""
        if state.global_step < state.max_steps:
            self.stopped = _highest(self._received, args.device)
            if self.stopped:
                control.should_log = control.should_save = control.should_training_stop = True


def _highest(number: int, device: torch.device) -> int:
    """The highest of the processes' numbers; each waits here for the others."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return number
    numbers = torch.tensor(number, device=device)
    dist.all_reduce(numbers, dist.ReduceOp.MAX)
    return int(numbers.item())


class Checkpoints(TrainerCallback):
    """Seals each checkpoint once all processes have written it, and removes older ones.

    The library can remove older ones itself, but it takes an incomplete one, left by a kill, for a
    checkpoint.
    """

    def __init__(self, most: int) -> None:
        self.most = most

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Remove incomplete checkpoints of an interrupted training."""
        self._prune(args, state)

    def on_save(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Called in every process, after its part of the saving."""
        _highest(0, args.device)
        if state.is_world_process_zero:
            seal(Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")
        self._prune(args, state)

    def _prune(self, args: Any, state: TrainerState) -> None:
        if state.is_world_process_zero:
            folder = Path(args.output_dir)
            kept = _complete(folder)[-self.most :]
            for checkpoint in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
                if checkpoint not in kept:
                    remove(checkpoint)


def last_checkpoint(folder: Path) -> str | None:
    """The newest complete checkpoint in `folder`, or None."""
    complete = _complete(folder)
    return str(complete[-1]) if complete else None


def _complete(folder: Path) -> list[Path]:
    """The complete checkpoints in `folder`, in the order of their steps."""
    found = [path for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if is_whole(path)]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


class TrainingCurve(TrainerCallback):
    """Writes each line of the log to a local file, which outlives the job, and to wandb if asked.

    A resumed training first writes the lines up to its checkpoint, which the checkpoint has. So no
    step is repeated and none is lost, even if the last attempt was cut off in the middle of a line.

    Args:
        training: tells this training from those with other settings, data or code.
    """

    def __init__(self, options: TrainOptions, training: str):
        self.options = options
        # One run on wandb for all attempts at this training, in this folder.
        self.id = run_id(options.save_path.resolve(), training)
        self.path = options.curve_path or options.save_path.with_name(
            f"{options.save_path.name}.curve.jsonl"
        )
        self.wandb: WandbRun | None = None

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Begin the file, and a run on wandb if asked for.

        Raises:
            UserError: the file cannot be written.
        """
        if not state.is_world_process_zero:
            return
        rows = without_timings(state.log_history)
        write_jsonl(self.path, rows)
        settings = settings_of(self.options, short_name(self.options.save_path))
        if settings.wandb_project is not None or self.options.use_wandb is not None:
            init = init_of(settings, self.id, "train", self.options.model_dump(mode="json"))
            self.wandb = WandbRun(init, connection(self.options.use_wandb))
            self.wandb.log(rows)

    def on_log(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Add the line; raises as `on_train_begin`."""
        if not state.is_world_process_zero:
            return
        rows = without_timings(state.log_history[-1:])
        with explain_write_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        if self.wandb is not None:
            self.wandb.log(rows)

    def on_train_end(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """End the run on wandb: as completed, if this was the last step."""
        self.finish(completed=state.global_step >= state.max_steps)

    def finish(self, completed: bool) -> None:
        """End the run on wandb, if there is one."""
        if self.wandb is not None:
            self.wandb.finish(exit_code=int(not completed))
            self.wandb = None


class ProgressLine(TrainerCallback):
    """Says how far training is, and the last logged loss."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.note = ""

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Start counting at the step that is resumed from."""
        name = args.run_name or "model"
        self.progress = Progress(f"train {name}", state.max_steps - state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Remember the loss and the accuracy."""
        if logs and "loss" in logs:
            self.note = f"loss {logs['loss']:.3f}, accuracy {logs['accuracy']:.2f}"

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count the step."""
        if self.progress is not None:
            self.progress.advance(note=self.note)
