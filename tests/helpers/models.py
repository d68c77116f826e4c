"""Very small real models for tests: the real transformers classes, with random weights."""

import json
from pathlib import Path

import torch
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
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


def save_base_model(
    folder: Path,
    hidden_size: int = 32,
    seed: int = 0,
    tokenizer: PreTrainedTokenizerFast | None = None,
    context: int = 128,
) -> Path:
    """A Llama of two layers with random weights, and its tokenizer, in `folder`."""
    tokenizer = tokenizer or make_tokenizer()
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=hidden_size,
            intermediate_size=2 * hidden_size,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=context,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_reward_model(folder: Path, base: Path, seed: int = 0, scale: float = 1) -> Path:
    """A reward model with a new head on the base model `base`; `scale` makes rewards differ."""
    from gcrm.modeling.loading import new_reward_model

    model, tokenizer = new_reward_model(str(base), "sdpa", seed=seed)
    with torch.no_grad():
        model.get_submodule("score").weight.mul_(scale)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


TEXTS = [
    "Tom has 3 apples. He buys 4 more; how many apples does he have now?",
    "3 + 4 = 7, so Tom has 7 apples.\nThe answer is 7.\n\nAnn has 10 - 2 = 8 pears!",
    "How many does Ann have? The answer is \\boxed{8}.  She had   2 more (before).\r\n",
]
MARKED_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
INST_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate user/assistant') }}{% endif %}"
    "{% if message['role'] == 'user' %}[INST] {{ message['content'] | trim }} [/INST]"
    "{% else %} {{ message['content'] | trim }}{{ eos_token }}{% endif %}{% endfor %}"
)


def make_byte_tokenizer(swallow: bool = False, **options) -> PreTrainedTokenizerFast:
    """A byte-level BPE as GPT's and Qwen's, without BOS: every text is the sum of its tokens.

    With `swallow` its special tokens take the white space on both sides with them.
    """
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    )
    marks = ["<|endoftext|>", "<|pad|>", "<|user|>", "<|assistant|>", "<|system|>"]
    backend.add_special_tokens(
        [AddedToken(mark, lstrip=swallow, rstrip=swallow, normalized=False) for mark in marks]
    )
    names = {"eos_token": "<|endoftext|>", "pad_token": "<|pad|>", "chat_template": MARKED_TEMPLATE}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **(names | options))


def make_sentencepiece_tokenizer(modern: bool = False, **options) -> PreTrainedTokenizerFast:
    """A BPE as Llama 2's: spaces are ▁, one is put in front, bytes for unknown letters, BOS added.

    With `modern` the space in front is the pre-tokenizer's, of the first word only.
    """
    marks = ["<unk>", "<s>", "</s>"]
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=300, show_progress=False))
    learnt = json.loads(raw.to_str())["model"]
    words = [*marks, *(f"<0x{byte:02X}>" for byte in range(256))]
    words += [word for word in learnt["vocab"] if word not in words]
    backend = Tokenizer(
        models.BPE(
            vocab={word: i for i, word in enumerate(words)},
            merges=[tuple(merge) for merge in learnt["merges"]],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    if modern:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        backend.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    backend.add_special_tokens([AddedToken(mark, normalized=False) for mark in marks])
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    names["chat_template"] = INST_TEMPLATE
    return PreTrainedTokenizerFast(tokenizer_object=backend, **(names | options))
