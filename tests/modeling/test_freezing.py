"""Training the last layers only: what changes, and that the rest has no backward pass."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from gcrm.modeling.freezing import train_last_layers
from gcrm.modeling.loading import new_reward_model
from gcrm.utils.errors import UserError
from helpers.models import make_tokenizer, save_base_model


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base_model(tmp_path_factory.mktemp("models") / "base")


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
        if checkpointing:
            model.activation_checkpointing_enable()
        if frozen:
            train_last_layers(model, 1)
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
