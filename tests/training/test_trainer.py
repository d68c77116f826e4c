"""Batches, their order, and metrics of held-out pairs."""

import numpy as np

from gcrm.modeling.tokenization import Encoded
from gcrm.training.trainer import (
    EncodedPair,
    SortedWithinSteps,
    WholeSteps,
    accuracy_and_margin,
    collate,
)
from helpers.models import save_base_model
from helpers.training import write_pairs


def test_whole_steps_are_random_and_unsorted():
    lengths = list(range(10))
    order = WholeSteps(lengths, 4, seed=0)
    assert len(order) == len(list(order)) == len(set(order)) == 8
    assert list(order) != sorted(order) and list(order) != sorted(order, reverse=True)
    first = list(order)
    order.set_epoch(1)
    assert list(order) != first


def test_pairs_are_sorted_within_steps():
    lengths = [5, 9, 2, 7, 7, 1, 3]
    sampler = SortedWithinSteps(lengths, 3, seed=4)
    order = list(sampler)
    assert sorted(order) == list(range(7))
    for begin in (0, 3, 6):
        step = [lengths[i] for i in order[begin : begin + 3]]
        assert step == sorted(step, reverse=True)
    sampler.set_epoch(1)
    assert list(sampler) != order
    sampler.set_epoch(0)
    assert list(sampler) == order


def test_collate_pads_on_the_right_and_keeps_spans():
    pair = EncodedPair(Encoded([5, 6, 7], 1), Encoded([5, 8, 9, 9, 7], 2))
    batch = collate([pair], pad_id=0)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 0, 0], [5, 8, 9, 9, 7]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert batch["start"].tolist() == [1, 2] and batch["end"].tolist() == [3, 5]


def test_held_out_accuracy_counts_ties_half():
    class Prediction:
        predictions = np.array([1.0, 0.0, -2.0, 3.0])

    assert accuracy_and_margin(Prediction()) == {"accuracy": 0.625, "margin": 0.5}


def test_public_api_trains(tmp_path):
    """Without a stage: pairs, a model, settings, and arguments of the Trainer."""
    from transformers import TrainingArguments

    from gcrm import RewardTrainer, load_preferences
    from gcrm.config.train import TrainSettings
    from gcrm.modeling.loading import new_reward_model
    from gcrm.modeling.tokenization import Encoder
    from gcrm.training.trainer import encode_pairs

    pairs = load_preferences([str(write_pairs(tmp_path / "pairs.jsonl"))])
    model, tokenizer = new_reward_model(str(save_base_model(tmp_path / "base")), "sdpa", seed=0)
    settings = TrainSettings(
        reward_model_strategy="contrastive", train_batch_size=8, micro_train_batch_size=8
    )
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "out"),
        per_device_train_batch_size=8,
        learning_rate=1e-2,
        num_train_epochs=4,
        logging_steps=1,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
    )
    encoded = encode_pairs(pairs, Encoder(tokenizer, 64))
    trainer = RewardTrainer(model, tokenizer, encoded, settings, arguments, encoded[:4])
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert len(losses) == 12 and losses[-1] < losses[0]
    assert 0 <= trainer.evaluate()["eval_accuracy"] <= 1
