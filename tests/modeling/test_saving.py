"""Saved reward models have the names that transformers 4 reads; nothing changes for later ones."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
)

from gcrm.modeling.saving import save_checkpoint
from helpers.models import make_tokenizer

SIZES: dict[str, Any] = {
    "vocab_size": 90,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "pad_token_id": 0,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}


def saved(folder: Path, config: PreTrainedConfig) -> tuple[dict[str, Any], Any]:
    """The content of config.json, and the model."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    save_checkpoint(model, make_tokenizer(), folder)
    return json.loads((folder / "config.json").read_text()), model


@pytest.mark.parametrize("scaling", [{"rope_type": "default"}, LLAMA3])
def test_rotary_embeddings_have_both_names(tmp_path: Path, scaling: dict[str, Any]) -> None:
    rope = {"rope_theta": 500_000.0, **scaling}
    config, model = saved(tmp_path, LlamaConfig(rope_parameters=dict(rope), num_labels=1, **SIZES))
    assert config["rope_theta"] == 500_000.0
    assert config.get("rope_scaling") == (scaling if scaling is LLAMA3 else None)
    assert config["rope_parameters"] == rope
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert again.config.rope_parameters == rope
    tokens = torch.arange(5, 45)[None]
    with torch.no_grad():
        assert torch.equal(again(tokens).logits, model.eval()(tokens).logits)


def test_a_share_of_rotary_dimensions_is_kept(tmp_path: Path) -> None:
    config = AutoConfig.for_model("stablelm", partial_rotary_factor=0.5, num_labels=1, **SIZES)
    content, _ = saved(tmp_path, config)
    assert content["partial_rotary_factor"] == 0.5
    again = AutoConfig.from_pretrained(tmp_path)
    assert again.rope_parameters["partial_rotary_factor"] == 0.5


def test_models_without_them_stay_as_they_are(tmp_path: Path) -> None:
    config = GPT2Config(vocab_size=90, n_embd=16, n_layer=1, n_head=2, pad_token_id=0, num_labels=1)
    content, _ = saved(tmp_path, config)
    assert not [name for name in content if "rope" in name or "rotary" in name]


def test_the_tokenizer_has_the_old_names_and_is_the_same(tmp_path: Path) -> None:
    saved(tmp_path, LlamaConfig(num_labels=1, **SIZES))
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert config["model_input_names"] == ["input_ids", "attention_mask"]
    assert config["additional_special_tokens"] == ["<sep>"] and "extra_special_tokens" not in config
    tokenizer, again = make_tokenizer(), AutoTokenizer.from_pretrained(tmp_path)
    text = "<s> tom has 3 apples . <sep> answer 7 </s>"
    assert again(text).input_ids == tokenizer(text).input_ids
    assert again.all_special_tokens == tokenizer.all_special_tokens
    assert again.chat_template == tokenizer.chat_template
    assert again.decode(again(text).input_ids, skip_special_tokens=True) == tokenizer.decode(
        tokenizer(text).input_ids, skip_special_tokens=True
    )
