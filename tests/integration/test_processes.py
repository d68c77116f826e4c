"""Two real processes on the CPU, over gloo, train the same model as one.

Tolerances: two processes add up gradients in another order than one. In fp32, over the eight steps
here, losses and weights moved by less than 1e-6; the tests ask for 1e-4.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from gcrm import RewardModel
from gcrm.training.trainer import RewardTrainer
from gcrm.utils.distributed import Processes
from helpers.processes import ROOT, torchrun
from helpers.training import EvenNumbers, log_of, train, training_folder, weights_of, write_pairs

PAIRS = 25
# Two passes of 4 steps: 8, 8, 8 pairs and 1. A step is two micro-batches in each of two processes.
FLAGS = ["--train_batch_size", "8", "--micro_train_batch_size", "2", "--max_epochs", "2"]
STEPS = [8, 8, 8, 1]
LORA = ["--lora_rank", "2", "--learning_rate", "1e-2"]

CONTRASTIVE = ["--reward_model_strategy", "contrastive", "--contrastive_strategy"]
POOLED = {
    "rs": ([*CONTRASTIVE, "rs"], 0),
    "avg": ([*CONTRASTIVE, "avg"], 2),
    "rs-batch": ([*CONTRASTIVE, "rs", "--contrastive_mean", "batch"], 3),
    "avg-batch": ([*CONTRASTIVE, "avg", "--contrastive_mean", "batch"], 0),
}
"""losses that take the pairs of all processes together: flags and ZeRO stage"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = training_folder(tmp_path_factory.mktemp("processes"))
    write_pairs(folder / "pairs.jsonl", PAIRS)
    base = folder / "base"
    other = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    other.save_pretrained(folder / "two_labels")
    AutoTokenizer.from_pretrained(base).save_pretrained(folder / "two_labels")
    return folder


@pytest.fixture(scope="module")
def alone(folder):
    """The model that one process trains."""
    status, model = train(folder, "alone", *FLAGS)
    assert status == 0
    return model


# Trainings that follow each other in the same two processes, whose start costs seconds. The first
# is stopped in step 3, and resumed by the second.
TOGETHER = [
    ("two", []),
    ("two", []),
    ("zero1", ["--zero_stage", "1"]),
    ("zero2", ["--zero_stage", "2"]),
    # The same weights with another head, for which a new one is drawn.
    ("zero3", ["--zero_stage", "3", "--pretrain", "two_labels", "--init_value_head"]),
    ("lora", [*LORA, "--zero_stage", "3"]),
    *((name, [*flags, "--zero_stage", str(zero)]) for name, (flags, zero) in POOLED.items()),
]


@pytest.fixture(scope="module")
def trained(folder):
    """The screen of all trainings."""
    words = []
    for name, flags in TOGETHER:
        words += ["--", "--pretrain", folder / "base", "--dataset", folder / "pairs.jsonl"]
        words += ["--save_path", folder / name, "--max_len", "64", "--learning_rate", "1e-3"]
        words += [*FLAGS, *(folder / flag if flag == "two_labels" else flag for flag in flags)]
    done = torchrun(ROOT / "tests" / "helpers" / "recorded_training.py", 3, *words[1:])
    assert done.returncode == 0, done.stderr
    return done.stderr


def records_of(model):
    """For each process, its micro-batches; see tests/helpers/recorded_training.py."""
    return [
        [json.loads(line) for line in (Path(f"{model}.records") / f"{rank}.jsonl").open()]
        for rank in (0, 1)
    ]


LOGGED = ("loss", "preference_loss", "accuracy", "margin", "grad_norm", "learning_rate")


def assert_follows(model, alone, folder, logged=LOGGED):
    """Its losses, its weights and its scores are those of the training in one process."""
    logs = log_of(model), log_of(alone)
    assert [len(log) for log in logs] == [2 * len(STEPS)] * 2
    for ours, theirs in zip(*logs, strict=True):
        for name in logged:
            assert ours.get(name) == pytest.approx(theirs.get(name), abs=1e-4), (ours["step"], name)
    loaded, info = AutoModelForSequenceClassification.from_pretrained(
        model, output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"]
    weights = weights_of(alone)
    assert {name: (w.shape, w.dtype) for name, w in loaded.state_dict().items()} == {
        name: (w.shape, w.dtype) for name, w in weights.items()
    }
    for name, weight in loaded.state_dict().items():
        np.testing.assert_allclose(weight, weights[name], atol=1e-4, err_msg=name)
    [row, *_] = [json.loads(line) for line in (folder / "pairs.jsonl").open()]
    rewards = [
        RewardModel.from_pretrained(one).score(row["question"], [row["correct"], row["incorrect"]])
        for one in (model, alone)
    ]
    np.testing.assert_allclose(rewards[0].reward, rewards[1].reward, atol=1e-4)


def test_one_is_told_to_stop_both_save_and_both_resume(folder, trained):
    """The second process alone got SIGTERM; both ended with its status."""
    assert trained.count("train: stopped by SIGTERM, saved at step 3 of 8") == 1
    assert re.findall(r"train: resuming from \S+/checkpoint-(\d)\n", trained) == ["3"]
    assert not (folder / "two.checkpoints").exists()


@pytest.mark.parametrize("name", ["two", "zero1", "zero2", "zero3"])
def test_two_processes_follow_a_single_one(folder, alone, trained, name):
    """Of the resumed one, nothing shows that it was stopped."""
    assert_follows(folder / name, alone, folder)
    assert_shared_rightly(folder / name, folder)


@pytest.mark.parametrize("name", POOLED)
def test_losses_over_all_pairs_follow_a_single_process_with_all_of_them(
    folder, trained, name, monkeypatch
):
    """The last step has one pair: beside its fillers it has no other prompt, and no cosines."""
    monkeypatch.setattr(RewardTrainer, "_step_rng", lambda self: EvenNumbers())
    flags = [*FLAGS, "--micro_train_batch_size", "4", *POOLED[name][0]]
    status, alone = train(folder, f"{name}-alone", *flags)
    assert status == 0
    more = ("contrastive_loss", "positive_cosine", "negative_cosine", "no_other_prompt")
    assert_follows(folder / name, alone, folder, LOGGED + more)
    if name.startswith("rs"):
        log = log_of(alone)
        assert [line["no_other_prompt"] for line in log] == [0, 0, 0, 1] * 2
        assert ["positive_cosine" in line for line in log] == [True, True, True, False] * 2


def assert_shared_rightly(model, folder):
    """Every process has other pairs, every pair counts once, and the log is the mean over all."""
    first, second = records_of(model)
    passes = [range(4), range(4, 8)]
    for steps in passes:
        mine, theirs = (
            {tuple(pair) for line in lines if line["step"] in steps for pair in line["pairs"]}
            for lines in (first, second)
        )
        assert mine and theirs and not mine & theirs
        assert len(mine | theirs) == PAIRS
    for step, log in enumerate(log_of(model)):
        lines = [line for line in [*first, *second] if line["step"] == step]
        assert {line["pairs_in_step"] for line in lines} == {STEPS[step % 4]}
        losses = [loss for line in lines for loss in line["losses"]]
        assert len(losses) == STEPS[step % 4]
        assert log["loss"] == pytest.approx(np.mean(losses), abs=1e-5)
        assert log["preference_loss"] == pytest.approx(np.mean(losses), abs=1e-5)
        # As many micro-batches in each, the last of a pass filled up.
        assert len(lines) == (4 if STEPS[step % 4] == 8 else 2)
        assert sum(line["fillers"] for line in lines) == (0 if STEPS[step % 4] == 8 else 3)


def test_lora_under_zero_3_saves_a_whole_checkpoint(folder, trained):
    """The stage itself scores again what it saved; against one process here."""
    status, alone = train(folder, "lora-alone", *FLAGS, *LORA)
    assert status == 0
    for ours, theirs in zip(log_of(folder / "lora"), log_of(alone), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-3)
    assert weights_of(folder / "lora").keys() == weights_of(alone).keys()


def test_a_share_is_every_nth_and_all_turns_are_everything():
    items = list(range(7))
    shares = [Processes(rank, 3).share(items) for rank in range(3)]
    assert shares == [[0, 3, 6], [1, 4], [2, 5]]
    turns = [Processes(0, 3).turn(items, number) for number in range(len(shares[0]))]
    assert turns == [[0, 1, 2], [3, 4, 5], [6]]
    assert Processes().share(items) == items
