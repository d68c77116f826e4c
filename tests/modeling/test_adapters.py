"""Training the last layers, or LoRA matrices: what is trained, and what is saved."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification, GPT2Config, GPT2LMHeadModel

from gcrm.config.train import TrainSettings
from gcrm.modeling.adapters import choose_trained_weights, merged, train_last_layers
from gcrm.modeling.loading import new_reward_model
from gcrm.training.callbacks import ProgressLine
from gcrm.utils.errors import UserError
from helpers.architectures import save_tiny_model
from helpers.models import make_tokenizer
from helpers.training import log_of, train, training_folder, weights_of


def trained(model):
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize(("count", "layers"), [(0, set()), (1, {"1"}), (2, {"0", "1"})])
def test_the_last_layers_the_norm_and_the_head_are_trained(base, count, layers):
    model, _ = new_reward_model(str(base), "sdpa", seed=0)
    train_last_layers(model, count)
    names = trained(model)
    assert {name.split(".")[2] for name in names if "layers" in name} == layers
    assert {name for name in names if "layers" not in name} == {"model.norm.weight", "score.weight"}


def test_all_of_a_gpt2_is_found(tmp_path):
    tokenizer = make_tokenizer()
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=16, n_layer=3, n_head=2, pad_token_id=0, eos_token_id=2
    )
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model, _ = new_reward_model(str(tmp_path), "sdpa", seed=0)
    train_last_layers(model, 1)
    starts = ("transformer.h.2.", "transformer.ln_f.", "score.")
    assert trained(model) == {
        name for name, _ in model.named_parameters() if name.startswith(starts)
    }


@pytest.mark.parametrize("checkpointing", [False, True])
def test_no_gradient_flows_into_what_is_frozen(base, checkpointing):
    """The first layer's states have no graph behind them; the trained gradients are the usual."""
    gradients = []
    for frozen in (False, True):
        model, _ = new_reward_model(str(base), "sdpa", seed=0)
        model.train()
        layers = 1 if frozen else None
        settings = TrainSettings(train_layers=layers, gradient_checkpointing=checkpointing)
        choose_trained_weights(model, settings, seed=0)
        states = []
        model.model.layers[0].register_forward_hook(
            lambda module, inputs, output, states=states: states.append(output)
        )
        model(torch.tensor([[5, 6, 7, 8]]), use_cache=False).logits.sum().backward()
        assert states[0].requires_grad != frozen
        gradients.append({n: w.grad for n, w in model.named_parameters() if w.grad is not None})
    whole, part = gradients
    assert 0 < len(part) < len(whole)
    for name, gradient in part.items():
        torch.testing.assert_close(gradient, whole[name])


def test_too_many_layers_are_refused(base):
    model, _ = new_reward_model(str(base), "sdpa", seed=0)
    with pytest.raises(UserError, match=r"train_layers is 3, but .* here has 2 layers"):
        train_last_layers(model, 3)


# LoRA.


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return training_folder(tmp_path_factory.mktemp("lora"))


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


def test_lora_where_routers_or_all_layers_are_of_other_kinds(tmp_path):
    model, _ = new_reward_model(str(save_tiny_model("phimoe", tmp_path / "moe")), "sdpa", seed=0)
    choose_trained_weights(model, TrainSettings(lora_rank=2), seed=0)
    model(torch.tensor([[5, 6, 7]])).logits.sum().backward()
    assert any("lora" in name for name in trained(model))
    model, _ = new_reward_model(str(save_tiny_model("gpt2", tmp_path / "gpt2")), "sdpa", seed=0)
    with pytest.raises(UserError, match=r"lora_rank: GPT2.* has no linear layers"):
        choose_trained_weights(model, TrainSettings(lora_rank=2), seed=0)


def test_gradient_checkpointing_that_an_architecture_lacks_is_refused(tmp_path):
    model, _ = new_reward_model(str(save_tiny_model("jetmoe", tmp_path)), "sdpa", seed=0)
    with pytest.raises(UserError, match=r"gradient_checkpointing: JetMoe.* has none"):
        choose_trained_weights(model, TrainSettings(gradient_checkpointing=True), seed=0)


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
