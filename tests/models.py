"""Very small real models for tests: the real transformers classes, with random weights."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WORDS = "tom ann has had buys eats apples pears how many does have now ? . + - * = answer".split()
NUMBERS = [str(n) for n in range(61)]
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['content'] }} <sep> {% endfor %}"
    "{% if add_generation_prompt %}{% endif %}"
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Words and numbers, one token each; pad, EOS and BOS differ."""
    vocabulary = ["<pad>", "<s>", "</s>", "<unk>", "<sep>", *WORDS, *NUMBERS]
    backend = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>")
    )
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<sep>"],
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def save_base_model(folder: Path, hidden_size: int = 32, seed: int = 0) -> Path:
    """A Llama of two layers with random weights, and its tokenizer, in `folder`."""
    tokenizer = make_tokenizer()
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=hidden_size,
            intermediate_size=2 * hidden_size,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=128,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
