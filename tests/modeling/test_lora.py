"""LoRA: what is trained, and what is saved."""

import pytest
import torch
from stages.test_train import log_of, train, weights_of, write_pairs
from transformers import AutoModelForSequenceClassification

from gcrm.modeling.lora import merged
from helpers.models import save_base_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lora")
    save_base_model(folder / "base")
    write_pairs(folder / "pairs.jsonl")
    return folder


def test_the_checkpoint_is_standard_with_a_trained_head_and_changes_of_low_rank(folder, capsys):
    """The stage itself compares the rewards of the saved, merged model with the trained one's."""
    flags = ["--lora_rank", "2", "--learning_rate", "1e-2", "--max_epochs", "8"]
    status, model = train(folder, "lora", *flags)
    # 2 layers of 7 matrices: 32×32 (4), 32×64 (2), 64×32; and the head.
    trained = 2 * 2 * (4 * (32 + 32) + 3 * (32 + 64)) + 32
    assert status == 0 and f"train: {trained:,} of " in capsys.readouterr().err
    losses = [line["loss"] for line in log_of(model)]
    assert losses[-1] < 0.5 < losses[0]

    loaded, info = AutoModelForSequenceClassification.from_pretrained(
        model, output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"]
    before, after = weights_of(folder / "base"), loaded.state_dict()
    assert set(before) == set(after)
    _, start = train(folder, "start", "--learning_rate", "1e-12")
    assert not torch.equal(after["score.weight"], weights_of(start)["score.weight"])
    for name, weight in after.items():
        change = weight - before[name]
        if "proj" in name:
            assert 1 <= torch.linalg.matrix_rank(change, rtol=1e-3) <= 2, name
        elif name != "score.weight":
            assert not change.any(), name
    card = (model / "README.md").read_text()
    assert "| lora_rank | 2 |" in card and "| lora_alpha | 16 |" in card


def test_interrupted_or_recomputed_it_ends_with_the_same_weights(folder, monkeypatch):
    from gcrm.training.trainer import ProgressLine

    flags = ["--lora_rank", "2", "--max_epochs", "2", "--save_steps", "2"]
    _, whole = train(folder, "whole", *flags)
    _, recomputed = train(folder, "recomputed", *flags, "--gradient_checkpointing")
    for name, weight in weights_of(whole).items():
        torch.testing.assert_close(weight, weights_of(recomputed)[name])

    def stop(self, args, state, control, **_):
        if state.global_step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ProgressLine, "on_step_end", stop)
        status, _ = train(folder, "resumed", *flags)
    assert status == 130
    status, resumed = train(folder, "resumed", *flags)
    assert status == 0 and log_of(resumed) == log_of(whole)
    for name, weight in weights_of(whole).items():
        assert torch.equal(weight, weights_of(resumed)[name]), name


def test_merging_adds_the_scaled_product():
    a, b, weight = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [5.0]]), torch.eye(2)
    weights = {
        "layer.base_layer.weight": weight,
        "layer.base_layer.bias": torch.ones(2),
        "layer.lora_A.default.weight": a,
        "layer.lora_B.default.weight": b,
        "norm.weight": torch.zeros(2),
    }
    plain = merged(weights, rank=1, alpha=2)
    assert list(plain) == ["layer.weight", "layer.bias", "norm.weight"]
    assert plain["layer.weight"].tolist() == [[1 + 6, 12], [10, 1 + 20]]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--lora_rank", "2", "--train_layers", "1"], "lora_rank and train_layers do not go"),
        (["--lora_alpha", "8"], "lora_alpha does nothing without lora_rank"),
    ],
)
def test_what_does_not_go_together_is_told(folder, capsys, flags, message):
    status, _ = train(folder, "refused", *flags)
    assert status == 1 and message in capsys.readouterr().err
