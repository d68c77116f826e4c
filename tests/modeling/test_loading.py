"""Loading models: what is refused, and what a fresh reward model starts with."""

import json
import shutil

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    T5Config,
    T5ForSequenceClassification,
)

from gcrm.modeling.loading import (
    load_language_model,
    load_reward_model,
    load_tokenizer,
    new_reward_model,
)
from gcrm.utils.errors import UserError
from helpers.models import make_sentencepiece_tokenizer, make_tokenizer, save_base_model


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base_model(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def reward_model(base):
    model, tokenizer = new_reward_model(str(base), "sdpa", seed=0)
    folder = base.parent / "reward_model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def load(folder):
    return load_reward_model(str(folder), torch.float32, "sdpa")


def new(folder, seed=0):
    return new_reward_model(str(folder), "sdpa", seed)


def refusal(function, folder):
    """The one line that names the model."""
    with pytest.raises(UserError) as error:
        function(folder)
    assert "\n" not in str(error.value) and str(error.value).startswith(f"{folder}: ")
    return str(error.value)


def copy(folder, target):
    shutil.copytree(folder, target)
    return target


def change_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def save_llama(folder, tokenizer, rows=None, kind=LlamaForCausalLM, **options):
    """A Llama of one layer whose embeddings have `rows` rows, saved with a tokenizer."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=rows or len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **options,
    )
    kind(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


# The head.


def test_the_head_depends_on_the_seed_alone(base):
    heads = []
    for seed, state in ((3, 1), (3, 2), (4, 1)):
        torch.manual_seed(state)
        heads.append(new(base, seed)[0].score.weight.detach())
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert heads[0].shape == (1, 32) and heads[0].dtype == torch.float32


def test_the_head_starts_small(tmp_path):
    """Standard deviation 1 / (hidden_size + 1); with 1,024 values known to some 2 %."""
    head = new(save_base_model(tmp_path / "wide", hidden_size=1024))[0].score
    assert head.weight.std().item() == pytest.approx(1 / 1025, rel=0.1)
    assert abs(head.weight.mean().item()) < 4 / 1025 / 32
    assert head.bias is None


def test_the_rest_is_the_base_models(base):
    theirs = load_language_model(str(base)).state_dict()
    ours = new(base)[0].state_dict()
    assert set(theirs) - set(ours) == {"lm_head.weight"}
    assert set(ours) - set(theirs) == {"score.weight"}
    assert all(torch.equal(ours[name], theirs[name]) for name in set(ours) & set(theirs))


def test_the_config_says_what_the_label_is(base):
    config = new(base)[0].config
    assert (config.num_labels, config.id2label) == (1, {0: "reward"})


def test_a_saved_reward_model_is_loaded_ready_to_use(reward_model):
    model, tokenizer = load(reward_model)
    assert not model.training
    assert torch.equal(model.score.weight, new(reward_model.parent / "base")[0].score.weight)
    assert tokenizer.get_vocab() == make_tokenizer().get_vocab()


# The pad token.


def test_a_pad_token_of_its_own_is_kept(base):
    model, tokenizer = new(base)
    assert tokenizer.pad_token == "<pad>"
    assert model.config.pad_token_id == tokenizer.pad_token_id == 0


@pytest.mark.parametrize("pad", [None, "</s>", "<s>"])
def test_a_pad_token_that_is_lacking_or_taken_is_replaced(tmp_path, pad):
    """By one that is neither EOS nor BOS and has an embedding, the same in every run."""
    tokenizer = make_sentencepiece_tokenizer(unk_token=None, pad_token=pad)
    folder = save_llama(tmp_path / "base", tokenizer)
    models = []
    for state in (1, 2):
        torch.manual_seed(state)
        model, given = new(folder)
        assert given.pad_token_id not in (None, given.eos_token_id, given.bos_token_id)
        assert model.config.pad_token_id == given.pad_token_id
        assert given.pad_token_id == len(tokenizer)
        assert model.get_input_embeddings().num_embeddings == len(tokenizer) + 1
        assert model.config.vocab_size == len(tokenizer) + 1
        models.append(model.state_dict())
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    model.save_pretrained(tmp_path / "saved")
    given.save_pretrained(tmp_path / "saved")
    assert load(tmp_path / "saved")[1].pad_token_id == given.pad_token_id


def test_an_unknown_token_serves_as_pad(tmp_path):
    tokenizer = make_tokenizer()
    tokenizer.pad_token = "</s>"
    folder = save_llama(tmp_path / "base", tokenizer)
    model, given = new(folder)
    assert given.pad_token == "<unk>"
    assert model.get_input_embeddings().num_embeddings == len(tokenizer)


def test_spare_rows_of_the_embeddings_are_used(tmp_path):
    tokenizer = make_sentencepiece_tokenizer(unk_token=None)
    model, given = new(save_llama(tmp_path / "base", tokenizer, rows=len(tokenizer) + 20))
    assert given.pad_token_id == len(tokenizer)
    assert model.get_input_embeddings().num_embeddings == len(tokenizer) + 20


def test_a_pad_token_without_an_embedding_gets_one(tmp_path):
    """As where someone added [PAD] to a tokenizer, and not to the model."""
    tokenizer = make_sentencepiece_tokenizer()
    folder = save_llama(tmp_path / "base", tokenizer)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)
    model, given = new(folder)
    assert given.pad_token == "[PAD]"
    with torch.no_grad():
        rewards = model(torch.tensor([[5, 6, given.pad_token_id], [5, 6, 7]])).logits
    assert torch.isfinite(rewards).all()


@pytest.mark.parametrize("function", [load, new])
def test_the_tokenizer_of_another_model_is_refused(reward_model, tmp_path, function):
    """Or some token of some row, hours later, would have no embedding."""
    folder = copy(reward_model, tmp_path / "other")
    make_sentencepiece_tokenizer(pad_token="<unk>").save_pretrained(folder)
    assert "they do not belong together" in refusal(function, folder)


def test_a_token_that_only_the_tokenizer_has_gets_an_embedding(tmp_path):
    tokenizer = make_sentencepiece_tokenizer(pad_token="<unk>")
    folder = save_llama(tmp_path / "base", tokenizer)
    tokenizer.add_tokens(["<think>"])
    tokenizer.save_pretrained(folder)
    model, given = new(folder)
    assert given("<think>", add_special_tokens=False).input_ids[-1] == len(tokenizer) - 1
    assert model.get_input_embeddings().num_embeddings == len(tokenizer)
    assert model.get_input_embeddings().weight[-1].abs().sum() == 0


def test_pad_that_is_eos_or_not_set_is_refused(reward_model, tmp_path):
    """Or the reward would be pooled at a wrong token."""
    folder = copy(reward_model, tmp_path / "eos")
    change_json(folder / "config.json", pad_token_id=make_tokenizer().eos_token_id)
    assert "pad_token_id is the EOS token" in refusal(load, folder)
    folder = copy(reward_model, tmp_path / "none")
    change_json(folder / "config.json", pad_token_id=None)
    assert "pad_token_id is not set" in refusal(load, folder)

    folder = copy(reward_model, tmp_path / "none of all")
    change_json(folder / "config.json", pad_token_id=-1)
    assert "pad_token_id is no token's" in refusal(load, folder)


def test_pad_that_ends_no_text_is_taken(reward_model, tmp_path):
    """Pooling takes the last token that is no pad, and EOS ends every text."""
    ids = torch.tensor([[5, 1, 6, 20, make_tokenizer().eos_token_id]])
    rewards = []
    for pad in (0, 1, 20):
        folder = copy(reward_model, tmp_path / str(pad))
        change_json(folder / "config.json", pad_token_id=pad)
        padded = torch.cat([ids, torch.full((1, 3), pad)], dim=1)
        with torch.no_grad():
            rewards.append(load(folder)[0](padded).logits.item())
    assert rewards == pytest.approx(rewards[:1] * 3, abs=1e-6)


# Models that are none.


def test_a_base_model_is_no_reward_model(base):
    assert "missing weights: score.weight, unexpected: lm_head.weight" in refusal(load, base)


def test_several_labels_are_refused(tmp_path):
    tokenizer = make_tokenizer()
    folder = save_llama(
        tmp_path / "two", tokenizer, kind=LlamaForSequenceClassification, num_labels=2
    )
    assert "has 2 labels; a reward model has one" in refusal(load, folder)
    assert "shapes of its weights" in refusal(new, folder)


@pytest.mark.parametrize("function", [load, new])
def test_encoders_are_refused(tmp_path, function):
    small = {"vocab_size": 86, "num_labels": 1, "num_layers": 1}
    bert = BertConfig(
        **small,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    t5 = T5Config(**small, d_model=32, d_kv=8, d_ff=32, num_heads=2)
    for model in (BertForSequenceClassification(bert), T5ForSequenceClassification(t5)):
        folder = tmp_path / type(model).__name__
        model.save_pretrained(folder)
        make_tokenizer().save_pretrained(folder)
        assert "no linear head `score` on a decoder" in refusal(function, folder)


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
@pytest.mark.parametrize("function", [load, new])
def test_broken_files(reward_model, tmp_path, function, file, content):
    folder = copy(reward_model, tmp_path / "broken")
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    assert "cannot be loaded as a model: " in refusal(function, folder)


def test_weights_of_another_architecture(reward_model, tmp_path):
    """A Llama's config over the weights of a GPT-2."""
    folder = copy(reward_model, tmp_path / "gpt2")
    config = GPT2Config(vocab_size=86, n_embd=32, n_layer=1, n_head=2, num_labels=1)
    GPT2ForSequenceClassification(config).save_pretrained(tmp_path / "weights")
    shutil.copy(tmp_path / "weights" / "model.safetensors", folder)
    assert "is not a whole reward model (missing weights" in refusal(load, folder)


def test_a_download_that_broke_off(reward_model, tmp_path):
    folder = copy(reward_model, tmp_path / "cut")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "cannot be loaded as a model" in refusal(load, folder)


def test_a_missing_shard(reward_model, tmp_path):
    model, tokenizer = load(reward_model)
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    tokenizer.save_pretrained(tmp_path / "shards")
    assert torch.equal(load(tmp_path / "shards")[0].score.weight, model.score.weight)
    shards = sorted((tmp_path / "shards").glob("*.safetensors"))
    assert len(shards) > 2
    shards[1].unlink()
    assert shards[1].name in refusal(load, tmp_path / "shards")


def test_weights_of_another_shape(reward_model, tmp_path):
    folder = copy(reward_model, tmp_path / "shapes")
    change_json(folder / "config.json", intermediate_size=48)
    assert "shapes of its weights are not those of its config.json" in refusal(load, folder)


def test_paths_that_lead_nowhere(tmp_path):
    assert "no such file" in refusal(new, tmp_path / "model.gguf")
    assert "no such folder" in refusal(new, tmp_path / "model")
    (tmp_path / "bad.gguf").write_bytes(b"nonsense")
    assert "cannot be loaded as a model" in refusal(new, tmp_path / "bad.gguf")
    assert "no such folder here, and it is not to be had from the hub" in refusal(new, "no/body")
    (tmp_path / "empty").mkdir()
    assert "has no config.json" in refusal(new, tmp_path / "empty")
    with pytest.raises(UserError, match="cannot be loaded"):
        load_tokenizer("nobody/nothing")
    with pytest.raises(UserError, match="no such folder"):
        load_language_model("./nothing")
