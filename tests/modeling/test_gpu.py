"""What a CPU cannot show: `pytest -m gpu`, also run by `make bench-gpu`."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from gcrm import RewardModel
from helpers.models import save_base_model
from helpers.processes import torchrun
from helpers.training import write_pairs

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
QUESTION = "tom has 3 apples . tom buys 4 apples . how many ?"
SOLUTIONS = [f"3 + 4 = {number} . answer {number}" for number in range(9)]


def rewards(model: Path, **options: bool) -> np.ndarray:
    return RewardModel.from_pretrained(model, **options).score(QUESTION, SOLUTIONS).reward


def test_bf16_and_flash_attention_change_scores_a_little(reward_model: Path) -> None:
    exact = rewards(reward_model, bf16=False)
    np.testing.assert_allclose(rewards(reward_model, bf16=True), exact, atol=0.05)
    if importlib.util.find_spec("flash_attn"):
        flash = rewards(reward_model, bf16=True, flash_attn=True)
        np.testing.assert_allclose(flash, exact, atol=0.05)


@pytest.mark.parametrize(("bf16", "error"), [(False, 1e-4), (True, 0.05)])
def test_a_stream_scores_as_whole_texts(reward_model: Path, bf16: bool, error: float) -> None:
    """All samples grow by the same tokens at first, and then by different ones."""
    rm = RewardModel.from_pretrained(reward_model, np.ones(32), bf16=bf16)
    stream = rm.stream(QUESTION)
    handles = stream.add(len(SOLUTIONS))
    stream.push_text(dict.fromkeys(handles, "3 + 4 = "))
    for handle, text in zip(handles, SOLUTIONS, strict=True):
        stream.push_text({handle: text.removeprefix("3 + 4 = ")})
    stream.finish(handles)
    scores = rm.score(QUESTION, SOLUTIONS)
    for row, handle in enumerate(handles):
        found = stream.scores(handle)
        np.testing.assert_allclose(found.rewards, scores.partial_rewards[row], atol=error)
        assert scores.q_values is not None
        np.testing.assert_allclose(found.q_values, scores.q_values[row], atol=error)


def test_zero_3_in_bf16_trains_and_scores(tmp_path: Path) -> None:
    save_base_model(tmp_path / "base")
    write_pairs(tmp_path / "pairs.jsonl")
    words = ["--pretrain", tmp_path / "base", "--dataset", tmp_path / "pairs.jsonl", "--bf16"]
    words += [
        "--save_path",
        tmp_path / "model",
        "--zero_stage",
        "3",
        "--gradient_checkpointing",
        "--train_batch_size",
        "8",
    ]
    words += ["--reward_model_strategy", "contrastive", "--learning_rate", "0.01"]
    done = torchrun("-m", "gcrm.train", *words, processes=1)
    assert done.returncode == 0, done.stderr
    assert np.isfinite(rewards(tmp_path / "model")).all()
