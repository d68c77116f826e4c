"""Batches, their order, and metrics of held-out pairs."""

import numpy as np
import pytest
import torch
from transformers import TrainingArguments

from gcrm import RewardTrainer, load_preferences
from gcrm.config.train import TrainSettings
from gcrm.modeling.loading import new_reward_model
from gcrm.modeling.tokenization import Encoded, Encoder
from gcrm.training import collation
from gcrm.training.collation import (
    EncodedPair,
    collate,
    collate_flat,
    collate_packed,
    collator_for,
    encode_pairs,
)
from gcrm.training.trainer import SortedWithinSteps, WholeSteps, accuracy_and_margin
from helpers.flash_attention import use_flash_attention
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
    assert "attention_mask" not in batch and batch["row"].tolist() == [0, 1]
    assert batch["start"].tolist() == [1, 2] and batch["end"].tolist() == [3, 5]
    left = collate([pair], pad_id=0, side="left")
    assert left["attention_mask"].tolist() == [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]
    assert left["start"].tolist() == [3, 2] and left["end"].tolist() == [5, 5]


def test_packed_pairs_are_one_row_where_that_saves_tokens():
    pairs = [
        EncodedPair(Encoded([5, 6, 7, 8, 9], 3), Encoded([5, 6, 7, 4], 3)),
        EncodedPair(Encoded([5, 6, 7], 1), Encoded([5, 6], 1)),
    ]
    batch = collate_packed(pairs, pad_id=0)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9, 4], [5, 6, 7, 6, 0, 0]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 3], [0, 1, 2, 1, 0, 0]]
    assert batch["start"].tolist() == [3, 1, 5, 3] and batch["end"].tolist() == [5, 3, 6, 4]
    assert batch["row"].tolist() == [0, 1, 0, 1]
    assert batch["shared"].tolist() == [3, 1] and batch["second"].tolist() == [5, 3]
    texts = [[5, *[side] * 10] for side in (6, 7)]
    long = collate_packed([EncodedPair(*(Encoded(text, 1) for text in texts))], 0)
    assert long["input_ids"].tolist() == texts


def test_a_flat_batch_is_one_row_of_all_sides():
    pairs = [
        EncodedPair(Encoded([5, 6, 7, 8, 9], 3), Encoded([5, 6, 7, 4], 3)),
        EncodedPair(Encoded([5, 6, 7], 1), Encoded([5, 6], 1)),
    ]
    batch = collate_flat(pairs, pad_id=0)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9, 5, 6, 7, 5, 6, 7, 4, 5, 6]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 0, 1, 2, 0, 1, 2, 3, 0, 1]]
    assert batch["borders"].tolist() == [0, 5, 8, 12, 14] and batch["row"].tolist() == [0] * 4
    assert batch["start"].tolist() == [3, 6, 11, 13] and batch["end"].tolist() == [5, 8, 12, 14]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "eager", "flash_attention_2"])
def test_other_layouts_have_the_loss_and_gradients_of_two_rows(
    tmp_path, monkeypatch, attention, checkpointing
):
    """The kernel of flash attention is replaced; with sdpa, transformers takes the borders of a
    flat batch from its positions."""
    monkeypatch.setattr(collation, "WORTH_PACKING", 0)
    flash = attention == "flash_attention_2"
    base = str(save_base_model(tmp_path / "base"))
    model, tokenizer = new_reward_model(base, "sdpa" if flash else attention, seed=0)
    model.double().train()
    if checkpointing:
        model.gradient_checkpointing_enable()
    encoder = Encoder(tokenizer, max_len=64)
    encoded = encode_pairs(load_preferences([str(write_pairs(tmp_path / "pairs.jsonl"))]), encoder)
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    settings = TrainSettings(reward_model_strategy="contrastive", train_batch_size=8)
    trainer = RewardTrainer(model, tokenizer, encoded, settings, arguments)
    found = []
    for layout in (collate, collate_flat if flash else collate_packed, collate_flat):
        if flash and layout is collate_flat:
            use_flash_attention(model, monkeypatch)
        batch = layout(encoded[:4], pad_id=0)
        model.zero_grad()
        trainer._at = (-1, 0)  # the same states are drawn
        loss = trainer.compute_loss(model, batch)
        loss.backward()
        found.append([loss, *(weight.grad for weight in model.parameters())])
    two_rows, *others = found
    assert len(two_rows) > 10
    for other in others:
        for expected, value in zip(two_rows, other, strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-7)


def test_the_layout_suits_the_attention(tmp_path):
    model, _ = new_reward_model(str(save_base_model(tmp_path / "base")), "sdpa", seed=0)
    assert collator_for(model, 0).func is collate_packed
    model.config._attn_implementation = "flash_attention_2"
    assert collator_for(model, 0).func is collate_flat
    model.config.sliding_window = 16
    assert collator_for(model, 0).func is collate


def test_held_out_accuracy_counts_ties_half():
    class Prediction:
        predictions = np.array([1.0, 0.0, -2.0, 3.0])

    assert accuracy_and_margin(Prediction()) == {"accuracy": 0.625, "margin": 0.5}


def test_public_api_trains(tmp_path):
    """Without a stage: pairs, a model, settings, and arguments of the Trainer."""
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
