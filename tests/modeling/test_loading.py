"""Loading models: what is refused, and what a fresh reward model starts with."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    CONFIG_MAPPING,
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedModel,
    T5Config,
    T5ForSequenceClassification,
)

from gcrm.modeling.loading import (
    context_length,
    load_language_model,
    load_reward_model,
    load_tokenizer,
    new_reward_model,
)
from gcrm.utils.errors import UserError
from helpers.architectures import save_tiny_model, tiny_config
from helpers.models import make_sentencepiece_tokenizer, make_tokenizer, save_base_model


def load(folder: Path) -> tuple[Any, Any]:
    return load_reward_model(str(folder), torch.float32, "sdpa")


def new(folder: Path, seed: int = 0) -> tuple[Any, Any]:
    return new_reward_model(str(folder), "sdpa", seed)


both = pytest.mark.parametrize("function", [load, new])


def refusal(function: Callable[[Any], Any], folder: Path | str) -> str:
    """The one line that names the model."""
    with pytest.raises(UserError) as error:
        function(folder)
    assert "\n" not in str(error.value) and str(error.value).startswith(f"{folder}: ")
    return str(error.value)


def copy(folder: Path, target: Path, **config: Any) -> Path:
    """A copy of a model with other values in config.json."""
    shutil.copytree(folder, target)
    path = target / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return target


def save(model: PreTrainedModel, tokenizer: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def llama(
    tokenizer: Any, rows: int | None = None, kind: Any = LlamaForCausalLM, **more: Any
) -> Any:
    """A Llama of one layer whose embeddings have `rows` rows."""
    torch.manual_seed(0)
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    return kind(
        LlamaConfig(
            vocab_size=rows or len(tokenizer),
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            **{name: getattr(tokenizer, name) for name in names},
            **more,
        )
    )


# --- a fresh reward model ---


def test_only_the_head_is_new_and_depends_on_the_seed_alone(base: Path) -> None:
    theirs = load_language_model(str(base)).state_dict()
    heads = []
    for seed, state in ((3, 1), (3, 2), (4, 1)):
        torch.manual_seed(state)
        model = new(base, seed)[0]
        ours = model.state_dict()
        heads.append(ours.pop("score.weight"))
        assert set(theirs) - set(ours) == {"lm_head.weight"}
        assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
    assert heads[0].shape == (1, 32) and heads[0].dtype == torch.float32
    assert (model.config.num_labels, model.config.id2label) == (1, {0: "reward"})


def test_the_head_starts_small(tmp_path: Path) -> None:
    """Standard deviation 1 / (hidden_size + 1); with 1,024 values known to some 2 %."""
    head = new(save_base_model(tmp_path / "wide", hidden_size=1024))[0].score
    assert head.weight.std().item() == pytest.approx(1 / 1025, rel=0.1)
    assert abs(head.weight.mean().item()) < 4 / 1025 / 32
    assert head.bias is None


def test_a_saved_reward_model_is_loaded_ready_to_use(base: Path, reward_model: Path) -> None:
    model, tokenizer = load(reward_model)
    assert not model.training
    assert torch.equal(model.score.weight, new(base)[0].score.weight)
    assert tokenizer.get_vocab() == make_tokenizer().get_vocab()


# --- a base model that is a reward model ---


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_its_head_is_kept_or_drawn_anew(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], head: str
) -> None:
    """That of another seed, changed by training."""
    model, tokenizer = new_reward_model(str(base), "sdpa", 1, head=head)
    with torch.no_grad():
        for weight in model.score.parameters():
            weight.mul_(3)
    trained = {name: value.clone() for name, value in model.score.state_dict().items()}
    folder = save(model, tokenizer, tmp_path / "rm")
    capsys.readouterr()
    for redraw in (False, True):
        model, _ = new_reward_model(str(folder), "sdpa", 2, head=head, init_value_head=redraw)
        fresh, _ = new_reward_model(str(base), "sdpa", 2, head=head)
        expected = fresh.score.state_dict() if redraw else trained
        given = model.score.state_dict()
        assert all(torch.equal(value, given[name]) for name, value in expected.items())
        said = capsys.readouterr().err
        assert said.count("is a reward model, whose head is kept; --init_value_head") != redraw


def test_a_head_of_another_kind_is_refused_or_drawn_anew(base: Path, tmp_path: Path) -> None:
    for kind, other in (("linear", "mlp"), ("mlp", "linear"), ("mlp", "mlp_wide")):
        folder = save(
            *new_reward_model(str(base), "sdpa", 1, head=kind), tmp_path / f"{kind}-base-{other}"
        )

        def different(path: Any, redraw: bool = False, head: str = other) -> Any:
            return new_reward_model(str(path), "sdpa", 2, head=head, init_value_head=redraw)[0]

        assert f"is of the kind {kind}, and value_head_strategy is {other}; --init" in refusal(
            different, folder
        )
        model = different(folder, redraw=True)
        again, tokenizer = new_reward_model(str(base), "sdpa", 2, head=other)
        assert all(
            torch.equal(weight, model.state_dict()[name])
            for name, weight in again.state_dict().items()
        )
        saved = load(save(model, tokenizer, tmp_path / f"{kind}-{other}"))[0]
        assert type(saved.score) is type(model.score)


def test_missing_weights_are_not_drawn_and_unused_ones_are_said(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load_language_model(str(base))
    for name, change, told in (
        ("missing", {"model.norm.weight": None}, "missing weights: model.norm.weight)"),
        ("more", {"v_head.summary.weight": torch.zeros(1, 32)}, "not used: v_head.summary.weight"),
    ):
        weights = {key: value for key, value in model.state_dict().items() if key not in change}
        weights |= {key: value for key, value in change.items() if value is not None}
        model.save_pretrained(tmp_path / name, state_dict=weights)
        load_tokenizer(str(base)).save_pretrained(tmp_path / name)
        if name == "missing":
            assert told in refusal(new, tmp_path / name)
        else:
            new(tmp_path / name)
            assert told in capsys.readouterr().err


# --- attention, and the longest text ---


@pytest.mark.parametrize(
    ("model_type", "asked", "got", "said"),
    [
        ("bloom", "sdpa", "eager", ["no sdpa attention: using eager"]),
        (
            "bloom",
            "flash_attention_2",
            "eager",
            ["no flash_attention_2 attention: using sdpa", "no sdpa attention: using eager"],
        ),
        ("llama", "sdpa", "sdpa", []),
        ("llama", "eager", "eager", []),
    ],
)
def test_attention_that_an_architecture_lacks(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    model_type: str,
    asked: str,
    got: str,
    said: list[str],
) -> None:
    folder = save_tiny_model(model_type, tmp_path / "base")
    capsys.readouterr()
    model, _ = new_reward_model(str(folder), asked, seed=0)
    assert model.config._attn_implementation == got
    lines = [line for line in capsys.readouterr().err.splitlines() if "attention" in line]
    assert lines == [f"{folder}: its architecture has {line}" for line in said]


LONGROPE = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 64}
LONGROPE |= {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4}


@pytest.mark.parametrize(
    ("model_type", "more", "tokens"),
    [
        ("llama", {}, 128),
        ("bloom", {}, None),
        ("mpt", {}, 128),
        ("phi3", {"rope_parameters": LONGROPE, "original_max_position_embeddings": 64}, 64),
    ],
)
def test_the_longest_text(model_type: str, more: Any, tokens: int | None) -> None:
    config = tiny_config(CONFIG_MAPPING[model_type], pad_token_id=0, **more)
    assert context_length(config) == tokens


# --- the pad token ---


def words(pad: str) -> Any:
    tokenizer = make_tokenizer()
    tokenizer.pad_token = pad
    return tokenizer


@pytest.mark.parametrize(
    ("tokenizer", "spare", "added", "pad", "more_rows"),
    [
        (words("<pad>"), 0, {}, "<pad>", 0),
        (words("</s>"), 0, {}, "<unk>", 0),
        *(
            (make_sentencepiece_tokenizer(unk_token=None, pad_token=taken), 0, {}, "<|pad|>", 1)
            for taken in (None, "</s>", "<s>")
        ),
        (make_sentencepiece_tokenizer(unk_token=None), 20, {}, "<|pad|>", 20),
        # [PAD] was added to the tokenizer, and not to the model.
        (make_sentencepiece_tokenizer(), 0, {"pad_token": "[PAD]"}, "[PAD]", 1),
        (
            make_sentencepiece_tokenizer(pad_token="<unk>"),
            *(0, {"additional_special_tokens": ["<think>"]}, "<unk>", 1),
        ),
    ],
    ids=["own", "unknown", "none", "EOS", "BOS", "spare row", "only in tokenizer", "other token"],
)
def test_a_pad_token_is_not_eos_nor_bos_and_has_an_embedding(
    tmp_path: Path, tokenizer: Any, spare: int, added: Any, pad: str, more_rows: int
) -> None:
    known = len(tokenizer)
    model = llama(tokenizer, known + spare)
    tokenizer.add_special_tokens(added)
    folder = save(model, tokenizer, tmp_path / "base")
    models = []
    for state in (1, 2):  # it is the same in every run
        torch.manual_seed(state)
        model, given = new(folder)
        assert given.pad_token == pad
        assert given.pad_token_id not in (given.eos_token_id, given.bos_token_id)
        assert model.config.pad_token_id == given.pad_token_id
        assert model.get_input_embeddings().num_embeddings == known + more_rows
        assert model.config.vocab_size == known + more_rows
        models.append(model.state_dict())
    assert all(torch.equal(weight, models[1][name]) for name, weight in models[0].items())
    if more_rows == 1:
        assert not model.get_input_embeddings().weight[-1].any()
    assert load(save(model, given, tmp_path / "saved"))[1].pad_token_id == given.pad_token_id


@pytest.mark.parametrize(
    ("pad", "problem"), [(2, "the EOS token"), (None, "not set"), (-1, "no token's")]
)
def test_a_pad_at_which_the_reward_would_be_read_is_refused(
    reward_model: Path, tmp_path: Path, pad: int | None, problem: str
) -> None:
    assert make_tokenizer().eos_token_id == 2
    folder = copy(reward_model, tmp_path / "rm", pad_token_id=pad)
    assert f"pad_token_id is {problem}" in refusal(load, folder)


def test_any_other_pad_gives_the_same_reward(reward_model: Path, tmp_path: Path) -> None:
    """Pooling takes the last token that is no pad, and EOS ends every text."""
    rewards = []
    for pad in (0, 1, 20):
        model, _ = load(copy(reward_model, tmp_path / str(pad), pad_token_id=pad))
        with torch.no_grad():
            rewards.append(model(torch.tensor([[5, 1, 6, 20, 2, *[pad] * 3]])).logits.item())
    assert rewards == pytest.approx(rewards[:1] * 3, abs=1e-6)


@both
def test_the_tokenizer_of_another_model_is_refused(
    reward_model: Path, tmp_path: Path, function: Any
) -> None:
    """Or some token of some row, hours later, would have no embedding."""
    folder = copy(reward_model, tmp_path / "other")
    make_sentencepiece_tokenizer(pad_token="<unk>").save_pretrained(folder)
    assert "they do not belong together" in refusal(function, folder)


# --- models that cannot be used ---


def test_a_base_model_is_no_reward_model(base: Path) -> None:
    assert "missing weights: score.weight, unexpected: lm_head.weight" in refusal(load, base)


def test_several_labels_are_refused(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    model = llama(tokenizer, kind=LlamaForSequenceClassification, num_labels=2)
    folder = save(model, tokenizer, tmp_path / "two")
    assert "has 2 labels; a reward model has one" in refusal(load, folder)
    assert "has 2 labels, and that of a reward model one; --init_value_head" in refusal(new, folder)
    assert new_reward_model(str(folder), "sdpa", 0, init_value_head=True)[0].score.out_features == 1


SMALL = {"vocab_size": 86, "num_labels": 1, "num_layers": 1}
BERT = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 32, "num_heads": 2}


@both
@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (BertForSequenceClassification, BertConfig(**SMALL, **BERT)),
        (T5ForSequenceClassification, T5Config(**SMALL, **T5)),
    ],
)
def test_encoders_are_refused(tmp_path: Path, function: Any, kind: Any, config: Any) -> None:
    folder = save(kind(config), make_tokenizer(), tmp_path / "encoder")
    assert "no linear head `score` on a decoder" in refusal(function, folder)


@both
@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.safetensors", None),
        ("model.safetensors", b""),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n"),
        ("config.json", None),
        ("config.json", b"{"),
        ("config.json", b'{"model_type": "unheard of"}'),
        ("tokenizer.json", None),
        ("tokenizer.json", b'{"version": '),
        ("tokenizer.json", b"{}"),
    ],
)
def test_broken_files(
    reward_model: Path, tmp_path: Path, function: Any, file: str, content: bytes | None
) -> None:
    folder = copy(reward_model, tmp_path / "broken")
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    assert "cannot be loaded as a model: " in refusal(function, folder)


def test_weights_that_do_not_belong_to_the_config(reward_model: Path, tmp_path: Path) -> None:
    """Those of a GPT-2, of another shape, cut off by a broken download, or without a shard."""
    folder = copy(reward_model, tmp_path / "gpt2")
    config = GPT2Config(vocab_size=86, n_embd=32, n_layer=1, n_head=2, num_labels=1)
    GPT2ForSequenceClassification(config).save_pretrained(tmp_path / "weights")
    shutil.copy(tmp_path / "weights" / "model.safetensors", folder)
    assert "is not a whole reward model (missing weights" in refusal(load, folder)
    folder = copy(reward_model, tmp_path / "shapes", intermediate_size=48)
    assert "shapes of its weights are not those of its config.json" in refusal(load, folder)
    weights = copy(reward_model, tmp_path / "cut") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "cannot be loaded as a model" in refusal(load, tmp_path / "cut")
    model, tokenizer = load(reward_model)
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    tokenizer.save_pretrained(tmp_path / "shards")
    assert torch.equal(load(tmp_path / "shards")[0].score.weight, model.score.weight)
    shards = sorted((tmp_path / "shards").glob("*.safetensors"))
    assert len(shards) > 2
    shards[1].unlink()
    assert shards[1].name in refusal(load, tmp_path / "shards")


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"nonsense")
    (tmp_path / "empty").mkdir()
    for path, message in [
        (tmp_path / "model.gguf", "no such file"),
        (tmp_path / "model", "no such folder"),
        (tmp_path / "bad.gguf", "cannot be loaded as a model"),
        (tmp_path / "empty", "has no config.json"),
        ("no/body", "no such folder here, and it cannot be fetched from the hub"),
    ]:
        assert message in refusal(new, path)
    with pytest.raises(UserError, match="cannot be loaded"):
        load_tokenizer("nobody/nothing")
    with pytest.raises(UserError, match="no such folder"):
        load_language_model("./nothing")
