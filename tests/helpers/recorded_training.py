"""`python -m gcrm.train`, writing down what each process was given, for tests with torchrun.

    torchrun … tests/helpers/recorded_training.py FOLDER STOP_AT FLAGS…

FOLDER/<rank>.jsonl gets a line a micro-batch: the optimiser step, the pairs that count (tokens of
their chosen sides), their losses, how many places were only filled up, and how many pairs the step
has. In step STOP_AT the last process alone is sent SIGTERM (0: no process is).
"""

import json
import os
import signal
import sys
from pathlib import Path

from gcrm.cli import run_stage
from gcrm.config.train import TrainOptions
from gcrm.train import run
from gcrm.training.objective import Objective
from gcrm.training.trainer import RewardTrainer

folder, stop_at = Path(sys.argv[1]), int(sys.argv[2])
rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
compute_loss, objective = RewardTrainer.compute_loss, Objective.__call__
losses = []


def recorded_objective(self, **inputs):
    terms = objective(self, **inputs)
    losses[:] = terms.loss.tolist()
    return terms


def recorded_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
    if stop_at and rank == count - 1 and self.state.global_step == stop_at - 1:
        os.kill(os.getpid(), signal.SIGTERM)
    loss = compute_loss(self, model, inputs, return_outputs, num_items_in_batch)
    counts = (inputs["labels"] > 0).tolist()
    masks = inputs["attention_mask"].bool()
    line = {
        "step": self.state.global_step,
        "pairs": [
            ids[mask].tolist()
            for ids, mask, one in zip(inputs["input_ids"], masks, counts, strict=False)
            if one
        ],
        "losses": [value for value, one in zip(losses, counts, strict=True) if one],
        "fillers": counts.count(False),
        "pairs_in_step": int(num_items_in_batch),
    }
    with (folder / f"{rank}.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    return loss


Objective.__call__ = recorded_objective
RewardTrainer.compute_loss = recorded_loss
raise SystemExit(run_stage(TrainOptions, run, sys.argv[3:]))
