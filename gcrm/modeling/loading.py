"""Loading models: base models and reward models, from a hub id, a folder or a .gguf file.

Weights are safetensors or GGUF; older `.bin` files are read by torch's reader for weights alone,
which runs no code in them. Code that comes with a model runs only with `trust_remote_code`.
"""

import os
import re
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
    GgufConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.hub import cached_file

from gcrm.config.layout import FACTS
from gcrm.modeling.heads import HEAD, MLP_KEY, MLPHead, class_with_mlp_head, first_values
from gcrm.modeling.onednn import use_onednn
from gcrm.utils.errors import UserError
from gcrm.utils.io import read_json
from gcrm.utils.logging import say
from gcrm.utils.paths import is_local

REWARD_CONFIG = {
    "num_labels": 1,
    "id2label": {0: "reward"},
    "label2id": {"reward": 0},
    "problem_type": "regression",
}
"""of the config of every reward model; for a regression, no tool puts a sigmoid on the reward"""
ATTENTION = ("flash_attention_2", "sdpa", "eager")
"""kinds of attention, each with the next one for architectures that lack it"""
NO_ATTENTION = re.compile("does not support (Flash Attention|an attention implementation)")
OLD_HEAD = "old_head."
REPLACED_HEAD: dict[str, Any] = {
    "ignore_mismatched_sizes": True,
    "key_mapping": {rf"^{HEAD}\.": OLD_HEAD},
}
"""how to load a model whose head, of any shape, a new one replaces; ZeRO-3 ignores no shapes, but
takes no weights of other names"""
NOT_NEEDED = ("lm_head.", "embed_out.", OLD_HEAD)
"""weights of a base model that everyone expects to be dropped"""
REASONS = {
    "ignore_mismatched_sizes": "the shapes of its weights are not those of its config.json",
    "AutoModel: AutoModelForSequenceClassification": "transformers has no sequence classifier for "
    "this architecture, so no standard checkpoint can be made; docs/models.md lists what works",
    "contains custom code": "it comes with code of its own, which runs only where it is asked for: "
    "read it and, where you trust it, give --trust_remote_code",
    "couldn't find them in the cached files": "there is no such folder here, and it cannot be "
    "fetched from the hub (no connection, and not in its cache)",
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


def use_chat_template(tokenizer: PreTrainedTokenizerBase, file: Path | None) -> None:
    """Give the tokenizer the chat template of a Jinja file, if there is one.

    Raises:
        UserError: the file cannot be read.
    """
    if file is None:
        return
    try:
        tokenizer.chat_template = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read as a chat template: {error}") from None


def load_language_model(source: str, trust_remote_code: bool = False) -> PreTrainedModel:
    """A causal language model in fp32, ready to generate.

    Raises:
        UserError: no whole model at `source`.
    """
    model: PreTrainedModel
    model, info = _load(
        AutoModelForCausalLM,
        source,
        dtype=torch.float32,
        trust_remote_code=trust_remote_code,
        output_loading_info=True,
    )
    if missing := _some(info["missing_keys"]):  # they would be random numbers
        raise UserError(f"{source}: is not a whole model (missing weights: {missing})")
    use_onednn(model)
    model.eval()
    return model


def load_generator(
    source: str, chat_template: Path | None = None, trust_remote_code: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model and its tokenizer, with the chat template of a file if there is one.

    Raises:
        UserError: see `load_tokenizer`, `use_chat_template`, `load_language_model` and
            `check_vocabulary`.
    """
    tokenizer = load_tokenizer(source, trust_remote_code)
    use_chat_template(tokenizer, chat_template)
    model = load_language_model(source, trust_remote_code)
    check_vocabulary(model, tokenizer.vocab_size, source)
    return model, tokenizer


def language_model_without_weights(source: str, trust_remote_code: bool = False) -> PreTrainedModel:
    """A causal language model of which only the shapes of the weights are known, by its config.

    Raises:
        UserError: there is no config of a language model at `source`.
    """
    config = _load(AutoConfig, source, trust_remote_code=trust_remote_code)
    with torch.device("meta"):
        try:
            model: PreTrainedModel = AutoModelForCausalLM.from_config(
                config, trust_remote_code=trust_remote_code
            )
        except ValueError:
            raise UserError(
                f"{source}: its config is not that of a causal language model"
            ) from None
    return model


def new_reward_model(
    source: str,
    attention: str,
    seed: int,
    trust_remote_code: bool = False,
    head: str = "linear",
    official: bool = False,
    init_value_head: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A base model with a reward head, in fp32, and its tokenizer with a pad of its own.

    A base model that is a reward model keeps its head; any other gets a new one.

    Args:
        head: "linear", or a kind of MLP in `heads.MLP_DIVISORS`.
        official: see `heads.first_values`, by which a new head starts.
        init_value_head: draw a new head in any case.

    Raises:
        UserError: no whole model at `source`, one whose head is not `score` on a decoder, or one
            that has another kind of reward head or several labels.
    """
    tokenizer = load_tokenizer(source, trust_remote_code)
    stored = _load(AutoConfig, source, trust_remote_code=trust_remote_code)
    other = _other_head(stored, head)
    config = _load(AutoConfig, source, trust_remote_code=trust_remote_code, **REWARD_CONFIG)
    if head != "linear":
        setattr(config, MLP_KEY, head)
    elif hasattr(config, MLP_KEY):
        delattr(config, MLP_KEY)
    options = REPLACED_HEAD if init_value_head or other else {}
    model, info = _load_model(
        source, config, attention, torch.float32, trust_remote_code, **options
    )
    score = check_head(model, source)
    _check_base_weights(source, info)
    if other and not init_value_head:
        raise UserError(f"{source}: {other}; --init_value_head draws a new one")
    if not init_value_head and not any(map(is_heads, info["missing_keys"])):
        say(f"{source}: is a reward model, whose head is kept; --init_value_head draws a new one")
    else:
        values = first_values(score, seed, official)
        for parameter, first in zip(score.parameters(), values, strict=True):
            with torch.no_grad(), _whole(parameter):
                parameter.copy_(first)
    check_vocabulary(model, tokenizer.vocab_size, source)
    _give_pad_token(model, tokenizer)
    return model, tokenizer


def _check_base_weights(source: str, info: dict[str, Any]) -> None:
    """Check that a base model has all weights but the head's; say which are not used.

    Raises:
        UserError: some are missing, or of another shape: they would be random numbers.
    """
    if any(not is_heads(key) for key, *_ in info["mismatched_keys"]):
        reason = REASONS["ignore_mismatched_sizes"]
        raise UserError(f"{source}: cannot be loaded as a model: {reason}")
    if missing := _some(key for key in info["missing_keys"] if not is_heads(key)):
        raise UserError(f"{source}: is not a whole model (missing weights: {missing})")
    unused = (key for key in info["unexpected_keys"] if not key.startswith(NOT_NEEDED))
    if names := _some(unused):
        say(f"{source}: these weights are not part of a reward model, and are not used: {names}")


def _other_head(config: PretrainedConfig, wanted: str) -> str | None:
    """What is wrong with the reward head of a base model, if it has one, by its config.json."""
    if not any("Classification" in name for name in config.architectures or []):
        return None
    found = getattr(config, MLP_KEY, "linear")
    if found != wanted:
        return f"its reward head is of the kind {found}, and value_head_strategy is {wanted}"
    if config.num_labels != 1:
        return f"its head has {config.num_labels} labels, and that of a reward model one"
    return None


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
    if getattr(config, MLP_KEY, "linear") != "linear":
        say(f"{source}: has an MLP as its head, which gcrm alone can load (no standard checkpoint)")
    model, info = _load_model(source, config, attention, dtype, trust_remote_code)
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


def is_heads(key: str) -> bool:
    """Whether a weight is the reward head's."""
    return key.partition(".")[0] == HEAD


def context_length(config: PretrainedConfig) -> int | None:
    """The longest text that a model reads, in tokens; None where there is no limit (BLOOM).

    With longrope (Phi-3), a text beyond the original context changes the positions of all texts in
    its batch, so that their scores would depend on it: the original context is the limit.
    """
    text = config.get_text_config()
    rope = getattr(text, "rope_parameters", None) or {}
    kinds = [kind for kind in (rope, *rope.values()) if isinstance(kind, dict)]
    limits = [getattr(text, name, None) for name in ("max_position_embeddings", "max_seq_len")]
    limits += [
        kind.get("original_max_position_embeddings")
        for kind in kinds
        if kind.get("rope_type") == "longrope"
    ]
    return min((int(limit) for limit in limits if limit), default=None)


def fitting_length(config: PretrainedConfig, max_len: int) -> int:
    """The longest text of at most `max_len` tokens that a model reads."""
    return min(max_len, context_length(config) or max_len)


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
    embeddings = embeddings_of(model)
    if tokens > embeddings.num_embeddings:
        raise UserError(
            f"{source}: its tokenizer has {tokens} tokens, but its model has embeddings of "
            f"{embeddings.num_embeddings}: they do not belong together; give the model's own "
            "tokenizer"
        )


def embeddings_of(model: PreTrainedModel) -> nn.Embedding:
    """The embeddings of a model's tokens."""
    embeddings = model.get_input_embeddings()
    assert isinstance(embeddings, nn.Embedding)
    return embeddings


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
    """Set a pad token other than EOS and BOS: transformers pools the last token that is not it."""
    taken = (tokenizer.eos_token_id, tokenizer.bos_token_id)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in taken:
        if tokenizer.unk_token_id is not None and tokenizer.unk_token_id not in taken:
            tokenizer.pad_token = tokenizer.unk_token
        else:
            tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
    known = embeddings_of(model).num_embeddings
    needed = max(tokenizer.get_vocab().values()) + 1
    if needed > known:  # tokens were added to the tokenizer, and not to the model
        # New rows are 0; the library would draw them at random.
        weight = model.resize_token_embeddings(needed, mean_resizing=False).weight
        with torch.no_grad(), _whole(weight):
            weight[known:] = 0
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    model.config.pad_token_id = tokenizer.pad_token_id


def _load_model(
    source: str,
    config: PretrainedConfig,
    attention: str,
    dtype: torch.dtype,
    trust_remote_code: bool,
    **options: Any,
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """A sequence classifier, and what transformers says of its weights.

    Where its class refuses the kind of attention, it gets the next of ATTENTION.
    """
    loader: Any = AutoModelForSequenceClassification
    if getattr(config, MLP_KEY, "linear") != "linear":
        loader = class_with_mlp_head(config, source)
    kinds = ATTENTION[ATTENTION.index(attention) :]
    for kind, other in zip(kinds, [*kinds[1:], None], strict=True):
        try:
            model, info = _load(
                loader,
                source,
                config=config,
                attn_implementation=kind,
                dtype=dtype,
                trust_remote_code=trust_remote_code,
                output_loading_info=True,
                **options,
            )
            break
        except UserError as error:
            if other is None or not NO_ATTENTION.search(str(error)):
                raise
            say(f"{source}: its architecture has no {kind} attention: using {other}")
    use_onednn(model)
    return model, info


def _load(auto_class: Any, source: str, **options: Any) -> Any:
    # Otherwise transformers asks the hub, in the user's name, to convert weights to safetensors.
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    path, folder = Path(source), source
    one_of = ["config.json", *(["tokenizer.json"] if auto_class is AutoTokenizer else [])]
    if path.suffix == ".gguf":
        if not path.is_file():
            raise UserError(f"{source}: no such file")
        folder, options["gguf_file"] = str(path.parent), path.name
        if auto_class not in (AutoConfig, AutoTokenizer):
            # Plain fp32 weights: the Trainer refuses to train quantized ones.
            options["quantization_config"] = GgufConfig(dequantize=True)
    elif not path.is_dir() and is_local(source):
        raise UserError(f"{source}: no such folder; give a hub id, a folder or a .gguf file")
    elif path.is_dir() and not any((path / name).is_file() for name in one_of):
        raise UserError(
            f"{source}: cannot be loaded as a model: it has no config.json, so that it is not whole"
        )
    try:
        return auto_class.from_pretrained(folder, **options)
    except Exception as error:  # each format's reader raises its own
        words = " ".join(str(error).split()) or type(error).__name__
        reason = next((told for said, told in REASONS.items() if said in words), words[:300])
        raise UserError(f"{source}: cannot be loaded as a model: {reason}") from None
