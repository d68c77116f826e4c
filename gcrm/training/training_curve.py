"""The curve of a training as it goes: a local file that outlives the job, and wandb's source."""

import hashlib
import json
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gcrm.config.train import TrainOptions
from gcrm.training.tracking import Report, Wandb, curve, init_of, settings_of
from gcrm.utils.disk import explain_write_errors
from gcrm.utils.io import write_jsonl
from gcrm.utils.paths import short_name


class TrainingCurve(TrainerCallback):
    """Writes each line of the log as it comes, on the first process.

    A training that resumes from a checkpoint begins with the lines up to it, which the checkpoint
    has, so that no step is there twice and none is lost, also where the last attempt was cut off in
    the middle of a line.
    """

    def __init__(self, options: TrainOptions, training: str):
        """`training` tells this one from those with other settings, data or code."""
        self.options = options
        # One run on wandb for all attempts at this training, in this folder.
        text = f"{options.save_path.resolve()} {training}"
        self.id = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.path = options.curve_path or options.save_path.with_name(
            f"{options.save_path.name}.curve.jsonl"
        )
        self.wandb: Wandb | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Begin the file, and a run on wandb if it is asked for.

        Raises:
            UserError: the file cannot be written.
        """
        if not state.is_world_process_zero:
            return
        write_jsonl(self.path, curve(state.log_history))
        settings = settings_of(self.options, short_name(self.options.save_path))
        if settings.wandb_project is None and self.options.use_wandb is None:
            return
        init = init_of(settings, self.id, "train", self.options.model_dump(mode="json"))
        report = Report(init, curve=str(self.path), live=True)
        self.wandb = Wandb([report], self.options.use_wandb)
        self.wandb.start()

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Add the line; as `on_train_begin`."""
        if not state.is_world_process_zero:
            return
        with explain_write_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in curve(state.log_history[-1:]))
        if self.wandb is not None:
            self.wandb.check()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """End the run on wandb: well, if this was the last step."""
        if self.wandb is not None:
            self.wandb.finish(status=int(state.global_step < state.max_steps))
