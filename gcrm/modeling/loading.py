"""Loading models: base models and reward models, from a hub id, a folder or a .gguf file.

Weights are safetensors or GGUF; older `.bin` files are read by torch's reader for weights alone,
which runs no code in them. Code that comes with a model runs only with `trust_remote_code`.
"""

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.hub import cached_file

from gcrm.modeling.heads import MLP_DIVISORS, MLP_KEY, MLPHead, class_with_mlp_head, first_values
from gcrm.utils.errors import UserError
from gcrm.utils.io import read_json
from gcrm.utils.logging import say
from gcrm.utils.paths import is_local

FACTS = "reward_model.json"
"""what `train` says of a reward model, beside its weights"""
REASONS = {
    "ignore_mismatched_sizes": "the shapes of its weights are not those of its config.json",
    "contains custom code": "it comes with code of its own, which runs only where it is asked for: "
    "read it and, where you trust it, give --trust_remote_code",
    "couldn't find them in the cached files": "there is no such folder here, and it is not to be "
    "had from the hub (no connection, and not in its cache)",
    "Couldn't instantiate the backend tokenizer": "it has no tokenizer that can be read; expected "
    "tokenizer.json in its folder",
}
"""what transformers says where a model cannot be loaded, and what it means to the user"""


def load_tokenizer(source: str, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of a model.

    Raises:
        UserError: there is none at `source`.
    """
    tokenizer: PreTrainedTokenizerBase = _load(
        AutoTokenizer, source, trust_remote_code=trust_remote_code
    )
    return tokenizer


def load_language_model(source: str, trust_remote_code: bool = False) -> PreTrainedModel:
    """A causal language model in fp32, ready to generate."""
    model: PreTrainedModel = _load(
        AutoModelForCausalLM, source, dtype=torch.float32, trust_remote_code=trust_remote_code
    )
    model.eval()
    return model


def new_reward_model(
    source: str,
    attention: str,
    seed: int,
    trust_remote_code: bool = False,
    head: str = "linear",
    official: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A base model with a fresh reward head, in fp32, and its tokenizer with a pad of its own.

    Args:
        head: "linear", or a kind of MLP in `heads.MLP_DIVISORS`.
        official: see `heads.first_values`, by which the head starts.

    Raises:
        UserError: no model at `source`, or one whose head is not `score` on a decoder.
    """
    tokenizer = load_tokenizer(source, trust_remote_code)
    labels = {"num_labels": 1, "id2label": {0: "reward"}, "label2id": {"reward": 0}}
    loading = {
        "dtype": torch.float32,
        "attn_implementation": attention,
        "trust_remote_code": trust_remote_code,
    }
    if head in MLP_DIVISORS:
        config = _load(AutoConfig, source, trust_remote_code=trust_remote_code, **labels)
        setattr(config, MLP_KEY, head)
        loader: Any = class_with_mlp_head(config, source)
        model: PreTrainedModel = _load(loader, source, config=config, **loading)
    else:
        model = _load(AutoModelForSequenceClassification, source, **labels, **loading)
    score = check_head(model, source)
    parameters = list(score.parameters())
    for parameter, values in zip(parameters, first_values(score, seed, official), strict=True):
        with torch.no_grad(), _whole(parameter):
            parameter.copy_(values)
    check_vocabulary(model, tokenizer.vocab_size, source)
    _give_pad_token(model, tokenizer)
    return model, tokenizer


def load_reward_model(
    source: str, dtype: torch.dtype, attention: str, trust_remote_code: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A trained reward model and its tokenizer.

    Raises:
        UserError: no model at `source`, weights are missing (the head's, say), or its pad token
            is not set, or EOS, so that pooling would read a wrong token.
    """
    tokenizer = load_tokenizer(source, trust_remote_code)
    config = _load(AutoConfig, source, trust_remote_code=trust_remote_code)
    loader: Any = AutoModelForSequenceClassification
    if getattr(config, MLP_KEY, "linear") != "linear":
        say(f"{source}: has an MLP as its head, which gcrm alone can load (no standard checkpoint)")
        loader = class_with_mlp_head(config, source)
    model, info = _load(
        loader,
        source,
        dtype=dtype,
        attn_implementation=attention,
        trust_remote_code=trust_remote_code,
        output_loading_info=True,
    )
    missing, unexpected = _some(info["missing_keys"]), _some(info["unexpected_keys"])
    if missing or unexpected:
        raise UserError(
            f"{source}: is not a whole reward model (missing weights: {missing or 'none'}, "
            f"unexpected: {unexpected or 'none'}); give a folder that `train` wrote"
        )
    check_head(model, source)
    check_vocabulary(model, max(tokenizer.get_vocab().values()) + 1, source)
    pad = model.config.get_text_config().pad_token_id
    if pad is None or pad == tokenizer.eos_token_id or pad < 0:
        problem = "not set" if pad is None else "no token's" if pad < 0 else "the EOS token"
        raise UserError(
            f"{source}: pad_token_id is {problem}, so the reward would be read at a wrong token; "
            "set another pad token in config.json"
        )
    return model.eval(), tokenizer


def _some(keys: Iterable[str]) -> str:
    names = sorted(keys)
    rest = [f"and {len(names) - 5} more"] if len(names) > 5 else []
    return ", ".join([*names[:5], *rest])


def read_facts(source: str) -> dict[str, Any]:
    """What `train` wrote of a reward model; empty for a model that it did not make.

    Raises:
        UserError: the file is there, but broken.
    """
    path: str | None = str(Path(source) / FACTS)
    if not Path(source).is_dir():
        path = cached_file(
            source,
            FACTS,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    return read_json(Path(path), "train") if path and Path(path).is_file() else {}


def check_head(model: PreTrainedModel, source: str) -> nn.Linear:
    """The reward head: a linear layer `score` with one output (or an MLP), on a decoder.

    Raises:
        UserError: the architecture has another head (encoders have), or several labels.
    """
    head = getattr(model, "score", None)
    if not isinstance(head, nn.Linear) or model.config.is_encoder_decoder:
        raise UserError(
            f"{source}: {type(model).__name__} has no linear head `score` on a decoder; "
            "reward models are made from decoder-only language models (Llama, Mistral, Qwen, …)"
        )
    if head.out_features != 1 and not isinstance(head, MLPHead):
        raise UserError(f"{source}: has {head.out_features} labels; a reward model has one")
    return head


def check_vocabulary(model: PreTrainedModel, tokens: int, source: str) -> None:
    """See that a model has embeddings for the `tokens` of its tokenizer.

    Raises:
        UserError: it has fewer, as where the tokenizer is another model's.
    """
    embeddings = model.get_input_embeddings()
    assert isinstance(embeddings, nn.Embedding)
    if tokens > embeddings.num_embeddings:
        raise UserError(
            f"{source}: its tokenizer has {tokens} tokens, but its model has embeddings of "
            f"{embeddings.num_embeddings}: they do not belong together; give the model's own "
            "tokenizer"
        )


def _whole(weight: Tensor) -> AbstractContextManager[Any]:
    """Within the block `weight` is whole, and the same in all processes, under ZeRO-3 as well."""
    if not hasattr(weight, "ds_id"):
        return nullcontext()
    import deepspeed

    gathered: AbstractContextManager[Any] = deepspeed.zero.GatheredParameters(
        [weight], modifier_rank=0
    )
    return gathered


def _give_pad_token(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Set a pad token other than EOS and BOS: transformers pools the last token that is no pad."""
    taken = (tokenizer.eos_token_id, tokenizer.bos_token_id)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in taken:
        if tokenizer.unk_token_id is not None and tokenizer.unk_token_id not in taken:
            tokenizer.pad_token = tokenizer.unk_token
        else:
            tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
    embeddings = model.get_input_embeddings()
    assert isinstance(embeddings, nn.Embedding)
    known = embeddings.num_embeddings
    needed = max(tokenizer.get_vocab().values()) + 1
    if needed > known:  # tokens were added to the tokenizer, and not to the model
        # New rows are 0; the library would draw them at random.
        weight = model.resize_token_embeddings(needed, mean_resizing=False).weight
        with torch.no_grad(), _whole(weight):
            weight[known:] = 0
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    model.config.pad_token_id = tokenizer.pad_token_id


def _load(auto_class: Any, source: str, **options: Any) -> Any:
    # Or transformers asks the hub, in the user's name, to convert weights that are no safetensors.
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    path, folder = Path(source), source
    if path.suffix == ".gguf":
        if not path.is_file():
            raise UserError(f"{source}: no such file")
        folder, options["gguf_file"] = str(path.parent), path.name
    elif not path.is_dir() and is_local(source):
        raise UserError(f"{source}: no such folder; give a hub id, a folder or a .gguf file")
    elif path.is_dir() and not (path / "config.json").is_file():
        raise UserError(
            f"{source}: cannot be loaded as a model: it has no config.json, so that it is not whole"
        )
    try:
        loaded = auto_class.from_pretrained(folder, **options)
    except Exception as error:  # each format's reader raises its own
        words = " ".join(str(error).split()) or type(error).__name__
        reason = next((told for said, told in REASONS.items() if said in words), words[:300])
        raise UserError(f"{source}: cannot be loaded as a model: {reason}") from None
    if "gguf_file" in options and hasattr(loaded, "hf_quantizer"):
        # The weights are plain fp32 now; with these marks the Trainer would refuse to train them.
        loaded.hf_quantizer, loaded.is_quantized = None, False
        del loaded.config.quantization_config
    return loaded
