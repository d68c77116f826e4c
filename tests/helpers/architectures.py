"""The architectures of transformers, as tiny models with random weights."""

import inspect
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    PretrainedConfig,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from helpers.models import make_sentencepiece_tokenizer

# The names that configurations have for their sizes.
SIZES = {
    **dict.fromkeys(["hidden_size", "n_embd", "d_model", "word_embed_proj_dim"], 32),
    **dict.fromkeys(["intermediate_size", "ffn_dim"], 48),
    **dict.fromkeys(["num_hidden_layers", "n_layer", "n_layers", "num_layers"], 2),
    **dict.fromkeys(["num_attention_heads", "n_head", "n_heads", "num_heads"], 4),
    **dict.fromkeys(["num_key_value_heads", "linear_num_value_heads"], 4),
    **dict.fromkeys(["max_position_embeddings", "n_positions", "max_seq_len"], 128),
    **dict.fromkeys(["num_experts", "num_local_experts", "n_routed_experts"], 4),
    **dict.fromkeys(["moe_intermediate_size", "shared_expert_intermediate_size"], 16),
    **dict.fromkeys(["head_dim", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"], 8),
    **dict.fromkeys(["linear_key_head_dim", "linear_value_head_dim", "mamba_headdim"], 8),
    **dict.fromkeys(["q_lora_rank", "kv_lora_rank", "mamba_d_state", "rotary_dim"], 8),
    **dict.fromkeys(["num_experts_per_tok", "linear_num_key_heads", "n_mamba_heads"], 2),
    **dict.fromkeys(["n_group", "topk_group", "first_k_dense_replace", "n_shared_experts"], 1),
    "mamba_dt_rank": 4,
    # Of the vision tower of a Gemma 3.
    **{"image_size": 28, "patch_size": 14, "mm_tokens_per_image": 4},
}
HYBRID: dict[str, Any] = {
    "num_hidden_layers": 4,
    "layers_block_type": ["linear_attention", "hybrid"] * 2,
}
ODD: dict[str, dict[str, Any]] = {
    "cohere_compass_text": {
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {"sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}
        | {"full_attention": None},
    },
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "opt": {"word_embed_proj_dim": 16},  # as the model of 350M parameters
    "zamba": HYBRID,
    "zamba2": HYBRID,
}
"""what else some configurations need, or have"""


def tiny_config(config_class: type[PretrainedConfig], **more: Any) -> PretrainedConfig:
    """A configuration with small values for all sizes that it knows, also of its parts."""
    known = set(inspect.signature(config_class.__init__).parameters)
    known |= set(getattr(config_class, "__dataclass_fields__", {}))
    given: dict[str, Any] = {name: size for name, size in SIZES.items() if name in known}
    for name, part in config_class.sub_configs.items():
        if part is not AutoConfig:
            given[name] = tiny_config(part, **more).to_dict()
    return config_class(**given | more)


def save_tiny_model(model_type: str, folder: Path, **more: Any) -> Path:
    """A base model of this type, and a tokenizer without a pad token, in `folder`."""
    tokenizer = make_sentencepiece_tokenizer(unk_token=None)
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}
    odd = ODD.get(model_type, {})
    config = tiny_config(CONFIG_MAPPING[model_type], vocab_size=len(tokenizer), **ids | odd | more)
    has_head = model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    torch.manual_seed(0)
    model = (AutoModelForCausalLM if has_head else AutoModel).from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
