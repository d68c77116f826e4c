"""Trainer callbacks: stopping on a signal, checkpoints, the training curve, the progress line.

Clusters send SIGTERM before they kill a job at its time limit or preempt it; Ctrl-C sends SIGINT, a
lost connection SIGHUP. On these signals, training saves a checkpoint and stops. After a hard kill,
the next attempt resumes from the last complete checkpoint.
"""

import json
import math
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from gcrm.config.train import TrainOptions
from gcrm.lineage.resume import is_whole, seal
from gcrm.training.tracking import (
    WandbRun,
    connection,
    init_of,
    run_id,
    settings_of,
    without_timings,
)
from gcrm.utils.disk import explain_write_errors
from gcrm.utils.errors import UserError
from gcrm.utils.io import write_jsonl
from gcrm.utils.logging import Progress, say
from gcrm.utils.paths import short_name

STOP_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
LOSS_AND_ACCURACY = {"loss": 3, "accuracy": 2}
"""digits in the progress line"""


class StopOnSignal(TrainerCallback):
    """Saves a checkpoint and ends training after the step in which a stop signal arrives.

    Args:
        stage: its name, for messages.

    Attributes:
        stopped: the signal that ended training; 0 for none, or if it arrived in the last step.
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.stopped = 0
        self._received = 0

    @property
    def status(self) -> int:
        """Exit status by shell convention; it is not 0, so Snakemake retries the job."""
        return 128 + self.stopped

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block, stop signals do not end this process; a second Ctrl-C does."""
        before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        for number, handler in before.items():
            if handler != signal.SIG_IGN:  # ignored under nohup, and after `&` in a script
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
                    message = "stopping after this step; Ctrl-C again stops now, unsaved"
                    os.write(2, f"{self.stage}: {message}\n".encode())
        self._received = number

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Save and stop at the same step in all processes, whichever of them got the signal."""
        if state.global_step < state.max_steps:
            self.stopped = _highest(self._received, args.device)
            if self.stopped:
                control.should_log = control.should_save = control.should_training_stop = True


def _highest(number: int, device: torch.device) -> int:
    """The maximum over all processes; a barrier."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return number
    numbers = torch.tensor(number, device=device)
    dist.all_reduce(numbers, dist.ReduceOp.MAX)
    return int(numbers.item())


class Checkpoints(TrainerCallback):
    """Marks each checkpoint as complete once all processes have written it; removes older ones.

    The Trainer's own rotation would count an incomplete checkpoint, left by a kill.
    """

    def __init__(self, most: int) -> None:
        self.most = most

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Remove incomplete checkpoints of an interrupted training."""
        self._prune(args, state)

    def on_save(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Called in every process after it has saved its part."""
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
                    shutil.rmtree(checkpoint, ignore_errors=True)


def last_checkpoint(folder: Path) -> str | None:
    """The newest complete checkpoint in `folder`, or None."""
    complete = _complete(folder)
    return str(complete[-1]) if complete else None


def _complete(folder: Path) -> list[Path]:
    """The complete checkpoints in `folder`, in step order."""
    found = [path for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if is_whole(path)]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def train_to_the_end(
    trainer: Trainer, stage: str, max_checkpoints: int, *callbacks: TrainerCallback
) -> None:
    """Train to the end, from the last checkpoint if there is one.

    Raises:
        SystemExit: a signal ended the training, after saving a checkpoint.
        UserError: a checkpoint cannot be written.
    """
    stop = StopOnSignal(stage)
    for callback in (*callbacks, stop, Checkpoints(max_checkpoints)):
        trainer.add_callback(callback)
    checkpoints = Path(str(trainer.args.output_dir))
    last = last_checkpoint(checkpoints)
    if last:
        say(f"{stage}: resuming from {last}")
    with stop.listening(), explain_write_errors(checkpoints):
        trainer.train(resume_from_checkpoint=last)
        if stop.stopped:  # torchrun kills the other processes when one exits
            trainer.accelerator.wait_for_everyone()
    if stop.stopped:
        step, steps = trainer.state.global_step, trainer.state.max_steps
        name = signal.Signals(stop.stopped).name
        say(f"{stage}: stopped by {name}, saved at step {step} of {steps}; run again to resume")
        raise SystemExit(stop.status)


class TrainingCurve(TrainerCallback):
    """Writes each line of the log to a local file and, on request, to wandb.

    A resumed training first rewrites the lines up to its checkpoint from the checkpoint's log. No
    step is repeated or lost, even if the previous attempt was killed in the middle of a line.

    Args:
        training: identifies this training by its settings, data and code.
    """

    def __init__(self, options: TrainOptions, training: str):
        self.options = options
        # All attempts at this training, in this folder, are one wandb run.
        self.id = run_id(options.save_path.resolve(), training)
        self.path = options.curve_path or options.save_path.with_name(
            f"{options.save_path.name}.curve.jsonl"
        )
        self.wandb: WandbRun | None = None

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Start the file and, on request, the wandb run.

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
        """Append the line; raises as `on_train_begin`."""
        if not state.is_world_process_zero:
            return
        rows = without_timings(state.log_history[-1:])
        with explain_write_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        if self.wandb is not None:
            self.wandb.log(rows)

    def on_train_end(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """End the wandb run; it counts as completed if this was the last step."""
        self.finish(completed=state.global_step >= state.max_steps)

    def finish(self, completed: bool) -> None:
        """End the wandb run, if any."""
        if self.wandb is not None:
            self.wandb.finish(exit_code=int(not completed))
            self.wandb = None


def check_loss(loss: float, step: int) -> None:
    """Refuse a loss that is not finite.

    Raises:
        UserError: it is NaN or infinite.
    """
    if not math.isfinite(loss):
        raise UserError(
            f"the loss is {loss} at step {step}: lower learning_rate, or check the base model's "
            "weights"
        )


class ProgressLine(TrainerCallback):
    """Reports progress with the last logged numbers.

    Args:
        shown: names of the numbers, and their digits.
    """

    def __init__(self, stage: str = "train", shown: Mapping[str, int] = LOSS_AND_ACCURACY) -> None:
        self.stage, self.shown = stage, shown
        self.progress: Progress | None = None
        self.note = ""

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Count the remaining steps."""
        name = args.run_name or "model"
        self.progress = Progress(f"{self.stage} {name}", state.max_steps - state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Keep the numbers for the progress line."""
        if logs and "loss" in logs:
            known = {name: logs[name] for name in self.shown if logs.get(name) is not None}
            self.note = ", ".join(
                f"{name} {value:.{self.shown[name]}f}" for name, value in known.items()
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count the step."""
        if self.progress is not None:
            self.progress.advance(note=self.note)
