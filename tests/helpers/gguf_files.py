"""A tiny language model as a .gguf file with weights of 8 bits, and the same model in a folder."""

import json
from pathlib import Path

import gguf
import torch
from gguf.quants import dequantize, quantize
from transformers import Qwen2Config, Qwen2ForCausalLM

from helpers.models import make_byte_tokenizer


def save_gguf_and_folder(folder: Path) -> tuple[Path, Path]:
    """The paths of `model.gguf` and of a folder that has the weights it stands for, in fp32."""
    tokenizer = make_byte_tokenizer(bos_token="<|endoftext|>")
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    model = Qwen2ForCausalLM(config)
    path = folder / "model.gguf"
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)

    kind = gguf.GGMLQuantizationType.Q8_0
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config.num_hidden_layers)
    weights = model.state_dict()
    for name, tensor in weights.items():
        stored = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if tensor.dim() == 2:
            blocks = quantize(tensor.numpy(), kind)
            writer.add_tensor(stored, blocks, raw_dtype=kind)
            weights[name] = torch.from_numpy(dequantize(blocks, kind))
        else:
            writer.add_tensor(stored, tensor.numpy())
    model.load_state_dict(weights)

    words = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    special = set(tokenizer.all_special_tokens) | set(tokenizer.get_added_vocab())
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in words["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    from gcrm.modeling.loading import load_tokenizer  # both are read by the same tokenizer

    model.save_pretrained(folder / "model")
    load_tokenizer(str(path)).save_pretrained(folder / "model")
    return path, folder / "model"
