"""The settings of the optimiser reach the Trainer."""

import math
from pathlib import Path

import pytest
import torch
from transformers import get_scheduler

from gcrm.config.train import TrainOptions
from gcrm.modeling.hardware import choose_hardware
from gcrm.training.arguments import training_arguments


def arguments(tmp_path: Path, **settings):
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"question": "q", "correct": "a", "incorrect": "b"}\n')
    options = TrainOptions(
        pretrain=str(tmp_path / "base"), dataset=[str(pairs)], save_path=tmp_path / "rm", **settings
    )
    hardware = choose_hardware(bf16=False, flash_attn=False)
    return training_arguments(options, hardware, None, tmp_path / "checkpoints")


def test_default_is_the_optimiser_of_the_paper(tmp_path: Path) -> None:
    found = arguments(tmp_path)
    assert found.optim == "adamw_torch"
    assert (found.adam_beta1, found.adam_beta2) == (0.9, 0.95)
    assert found.lr_scheduler_type == "cosine"
    assert found.get_warmup_steps(1000) == 30


def test_settings_reach_the_trainer(tmp_path: Path) -> None:
    found = arguments(
        tmp_path,
        learning_rate=2e-4,
        warmup_ratio=0.1,
        weight_decay=0.25,
        max_norm=0.5,
        adam_betas=(0.8, 0.85),
        max_epochs=3,
        train_batch_size=24,
        micro_train_batch_size=4,
        seed=7,
    )
    assert (found.weight_decay, found.max_grad_norm) == (0.25, 0.5)
    assert (found.adam_beta1, found.adam_beta2) == (0.8, 0.85)
    assert (found.num_train_epochs, found.seed) == (3, 7)
    assert found.per_device_train_batch_size * found.gradient_accumulation_steps == 24


def test_learning_rate_warms_up_and_falls_as_a_cosine(tmp_path: Path) -> None:
    found = arguments(tmp_path, learning_rate=2e-4, warmup_ratio=0.1)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=found.learning_rate)
    warmup = found.get_warmup_steps(100)
    schedule = get_scheduler(found.lr_scheduler_type, optimizer, warmup, 100)
    rates = []
    for _ in range(100):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[5] == pytest.approx(2e-4 * 5 / 10)
    assert rates[10] == pytest.approx(2e-4)
    assert rates[55] == pytest.approx(2e-4 * (1 + math.cos(math.pi * 45 / 90)) / 2)
    assert rates[99] == pytest.approx(2e-4 * (1 + math.cos(math.pi * 89 / 90)) / 2)
