"""Saving a model as a checkpoint that transformers 4 reads, too.

Tools may be pinned to it, as RewardBench and lighteval are. Without the names that it knows, it
refuses the tokenizer, and silently takes its defaults for the rotary embeddings.
"""

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gcrm.utils.io import read_json, write_json

OLD_ROPE = ("rope_theta", "partial_rotary_factor")
"""what stands beside `rope_scaling` in configs of transformers 4, and in `rope_parameters` since"""


def save_checkpoint(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, **options: Any
) -> None:
    """Write weights, config and tokenizer to a folder.

    Args:
        options: of `model.save_pretrained`.
    """
    model.save_pretrained(folder, **options)
    tokenizer.save_pretrained(folder)
    config, words = (folder / name for name in ("config.json", "tokenizer_config.json"))
    write_json(config, _old_rope(read_json(config, "train")))
    # Generic tokenizers of transformers 4 would give token types, which no decoder takes.
    inputs = {"model_input_names": list(tokenizer.model_input_names)}
    write_json(words, inputs | _old_tokenizer(read_json(words, "train")))


def _old_rope(config: dict[str, Any]) -> dict[str, Any]:
    """The config with the rotary embeddings in the names of transformers 4, too.

    Architectures with rotary embeddings for each kind of layer (Gemma 3) stay as they are: they had
    no common names.
    """
    rope = config.get("rope_parameters")
    if not isinstance(rope, dict) or "rope_type" not in rope:
        return config
    old = {name: rope[name] for name in OLD_ROPE if name in rope}
    if rope["rope_type"] != "default":
        old["rope_scaling"] = {key: value for key, value in rope.items() if key not in OLD_ROPE}
    return old | config


def _old_tokenizer(config: dict[str, Any]) -> dict[str, Any]:
    """The tokenizer's config with the class and the special tokens that transformers 4 knows.

    Both names of the class are the same class in transformers 5.
    """
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(config.get("extra_special_tokens"), list):
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    return config
