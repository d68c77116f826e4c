"""Trainings through the command, in this process, on a few pairs and a tiny base model."""

import json

import numpy as np
from transformers import AutoModelForSequenceClassification

from gcrm.cli import run_stage
from gcrm.config.train import TrainOptions
from gcrm.train import run
from helpers.models import save_base_model
from helpers.rows import write_rows


def write_pairs(path, count=24, wrong=3):
    rows = []
    for i in range(count):
        a, b = 1 + i % 12, 2 + i // 3
        question = f"tom has {a} apples . tom buys {b} apples . how many apples does tom have ?"
        rows.append(
            {
                "question": question,
                "correct": f"{a} + {b} = {a + b} . answer {a + b}",
                "incorrect": f"{a} + {b} = {a + b + wrong} . now . answer {a + b + wrong}",
            }
        )
    return write_rows(path, *rows)


class EvenNumbers:
    """In place of a random generator: the same numbers for every pair, whichever process has it."""

    def random(self, shape):
        numbers = 0.1 + 0.618 * np.arange(shape[-1])
        if len(shape) == 3:  # two for each pair and sample
            numbers = numbers + 0.37 * np.arange(shape[0])[:, None, None]
        return np.broadcast_to(numbers % 1, shape).copy()


def training_folder(folder):
    """A base model and 24 pairs, as `train` below takes them."""
    save_base_model(folder / "base")
    write_pairs(folder / "pairs.jsonl")
    return folder


def train(folder, name, *flags):
    """Train in this process and return (exit status, folder of the model)."""
    options = ["--pretrain", str(folder / "base"), "--save_path", str(folder / name)]
    options += ["--max_len", "64", "--learning_rate", "1e-3"]
    if "--dataset" not in flags:
        options += ["--dataset", str(folder / "pairs.jsonl")]
    options += ["--train_batch_size", "8", "--micro_train_batch_size", "8", *flags]
    return run_stage(TrainOptions, run, options), folder / name


def log_of(model):
    return [json.loads(line) for line in (model / "training_log.jsonl").read_text().splitlines()]


def weights_of(model):
    return AutoModelForSequenceClassification.from_pretrained(model).state_dict()
