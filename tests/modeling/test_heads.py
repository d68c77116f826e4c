"""The MLP head: its values, its first values, and that plain transformers refuses it."""

import json
import math

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
)

from gcrm import RewardModel
from gcrm.modeling.heads import MLPHead, first_values
from gcrm.modeling.loading import load_reward_model, new_reward_model
from gcrm.modeling.passes import HeadWatch
from gcrm.utils.errors import UserError
from helpers.architectures import save_tiny_model
from helpers.models import make_tokenizer

SMALL = {"vocab_size": len(make_tokenizer()), "pad_token_id": 0, "eos_token_id": 2}


@pytest.fixture(scope="module", params=["mlp", "mlp_wide"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def mlp_model(base, kind, tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads") / "rm"
    model, tokenizer = new_reward_model(str(base), "sdpa", seed=3, head=kind)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("mlp", [(4, 8), (4,), (4, 4), (4,), (8, 4), (8,), (1, 8)]),
        ("mlp_wide", [(8, 8), (8,), (8, 8), (8,), (8, 8), (8,), (1, 8)]),
    ],
)
def test_values_layer_by_layer(kind, expected):
    head = MLPHead(8, kind)
    with torch.no_grad():
        for parameter, values in zip(head.parameters(), first_values(head, 0, False), strict=True):
            parameter.copy_(values + 0.1)
    weights = [parameter.detach().double() for parameter in head.parameters()]
    assert [tuple(weight.shape) for weight in weights] == expected
    hidden = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    for row in hidden:
        x = row.double().tolist()
        for i in range(0, 6, 2):
            x = [
                max(0.0, sum(w * v for w, v in zip(line, x, strict=True)) + bias)
                for line, bias in zip(weights[i].tolist(), weights[i + 1].tolist(), strict=True)
            ]
        expected = sum(w * v for w, v in zip(weights[6][0].tolist(), x, strict=True))
        assert head(row[None]).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("official", [False, True])
def test_first_values(official):
    head = MLPHead(512)
    values = first_values(head, 1, official)
    inputs = [512, 256, 256, 512]
    for layer, number in enumerate(inputs):
        he = layer < 3 and not official
        scale = math.sqrt(2 / number) if he else 1 / (number + 1)
        assert values[2 * layer].std().item() == pytest.approx(scale, rel=0.1)
    assert all(values[i].abs().max() == 0 for i in (1, 3, 5))
    again, other = first_values(head, 1, official), first_values(head, 2, official)
    assert all(torch.equal(a, b) for a, b in zip(values, again, strict=True))
    assert not torch.equal(values[0], other[0])


def test_a_saved_model_is_loaded_whole_and_says_what_it_is(base, kind, mlp_model, capsys):
    made, _ = new_reward_model(str(base), "sdpa", seed=3, head=kind)
    loaded, _ = load_reward_model(str(mlp_model), torch.float32, "sdpa")
    assert "has an MLP as its head, which gcrm alone can load" in capsys.readouterr().err
    state = loaded.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in made.state_dict().items())
    assert state["score.weight"].shape == (16 if kind == "mlp" else 32, 32)
    config = json.loads((mlp_model / "config.json").read_text())
    assert config["value_head_strategy"] == kind
    assert config["architectures"] == ["LlamaForSequenceClassificationWithMLPHead"]


def test_plain_transformers_refuses_it(mlp_model):
    """Or it would score with a head of random numbers."""
    with pytest.raises(Exception, match=r"score\.weight|mismatch"):
        AutoModelForSequenceClassification.from_pretrained(mlp_model)


def test_an_unknown_kind_of_head_is_refused(mlp_model, tmp_path):
    for file in mlp_model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"value_head_strategy": "cubic"}))
    with pytest.raises(UserError, match="is 'cubic'; expected mlp or mlp_wide"):
        load_reward_model(str(tmp_path), torch.float32, "sdpa")


def test_scores_are_the_heads_values(mlp_model):
    rm = RewardModel.from_pretrained(mlp_model)
    scores = rm.score("tom has 3 apples .", ["answer 7", "3 + 4 = 7 . answer 7"])
    for row, solution in enumerate(["answer 7", "3 + 4 = 7 . answer 7"]):
        one = rm.encoder.encode("tom has 3 apples .", solution)
        with torch.no_grad():
            hidden = rm.model.model(torch.tensor([one.input_ids])).last_hidden_state[0]
            expected = rm.model.score(hidden)[one.start :, 0]
        assert scores.partial_rewards[row].tolist() == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_under_bf16_both_heads_compute_in_fp32(base, head):
    model, _ = new_reward_model(str(base), "sdpa", seed=0, head=head)
    model = model.bfloat16()
    watch = HeadWatch(model)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        model(torch.tensor([[5, 6, 7]]))
    assert watch.rewards.dtype == watch.hidden.dtype == torch.float32
    hidden = watch.hidden.double()
    for layer in model.score.layers if head == "mlp" else [model.score]:
        hidden = hidden @ layer.weight.double().T
        hidden = hidden if layer.bias is None else hidden + layer.bias.double()
        hidden = hidden if layer.out_features == 1 else hidden.relu()
    torch.testing.assert_close(watch.rewards.double(), hidden[..., 0], atol=1e-6, rtol=1e-5)


def test_an_mlp_is_as_wide_as_the_head_that_it_replaces(tmp_path):
    """As for OPT-350m, whose states are projected before the head."""
    folder = save_tiny_model("opt", tmp_path)
    model, _ = new_reward_model(str(folder), "sdpa", seed=0, head="mlp")
    assert model.config.hidden_size == 32 and model.score.in_features == 16
    assert model(torch.tensor([[5, 6, 7]])).logits.shape == (1, 1)


@pytest.mark.parametrize(
    ("kind", "config", "refused"),
    [
        (GPT2LMHeadModel, GPT2Config(**SMALL, n_embd=16, n_layer=1, n_head=2), False),
        (
            BertForSequenceClassification,
            BertConfig(**SMALL, hidden_size=32, num_hidden_layers=1, num_attention_heads=2),
            True,
        ),
    ],
)
def test_any_decoder_with_a_head_named_score_can_have_an_mlp(tmp_path, kind, config, refused):
    kind(config).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    if refused:
        with pytest.raises(UserError, match="no linear head `score`"):
            new_reward_model(str(tmp_path), "sdpa", seed=0, head="mlp")
    else:
        model, _ = new_reward_model(str(tmp_path), "sdpa", seed=0, head="mlp")
        assert isinstance(model.score, MLPHead)
