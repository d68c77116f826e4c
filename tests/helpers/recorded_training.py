"""`python -m gcrm.train` several times in the same processes, with a record of each micro-batch.

    torchrun … tests/helpers/recorded_training.py STOP_AT FLAGS… [-- FLAGS…]

<save_path>.records/<rank>.jsonl gets a line for each micro-batch: the optimiser step, the pairs
that count (tokens of their chosen sides), their losses, the number of fillers, and the number of
pairs of the step. In step STOP_AT of the first training the last process alone gets SIGTERM; the
training must then end with its status, and the others follow. States are drawn by `EvenNumbers`,
as one process would draw them.
"""

import json
import os
import signal
import sys
from itertools import groupby
from pathlib import Path

from gcrm.cli import run_stage
from gcrm.config.train import TrainOptions
from gcrm.train import run
from gcrm.training.objective import Objective
from gcrm.training.trainer import RewardTrainer
from helpers.training import EvenNumbers

stop_at = int(sys.argv[1])
rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
compute_loss, objective = RewardTrainer.compute_loss, Objective.__call__
losses = []


def recorded_objective(self, *inputs):
    terms = objective(self, *inputs)
    losses[:] = terms.loss.tolist()
    return terms


def recorded_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
    if stopping and rank == count - 1 and self.state.global_step == stop_at - 1:
        os.kill(os.getpid(), signal.SIGTERM)
    loss = compute_loss(self, model, inputs, return_outputs, num_items_in_batch)
    counts = (inputs["labels"] > 0).tolist()
    line = {
        "step": self.state.global_step,
        "pairs": [
            inputs["input_ids"][row, :end].tolist()
            for row, end, one in zip(inputs["row"], inputs["end"], counts, strict=False)
            if one
        ],
        "losses": [value for value, one in zip(losses, counts, strict=True) if one],
        "fillers": counts.count(False),
        "pairs_in_step": int(num_items_in_batch),
    }
    records = Path(f"{self.settings.save_path}.records")
    records.mkdir(exist_ok=True)
    with (records / f"{rank}.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    return loss


Objective.__call__ = recorded_objective
RewardTrainer.compute_loss = recorded_loss
RewardTrainer._step_rng = lambda self: EvenNumbers()
stopping = True
for is_split, words in groupby(sys.argv[2:], key="--".__eq__):
    if is_split:
        continue
    try:
        status = run_stage(TrainOptions, run, list(words))
    except SystemExit as stopped:
        status = stopped.code
    if status != (128 + signal.SIGTERM if stopping else 0):
        raise SystemExit(f"process {rank}: status {status}")
    stopping = False
