"""One encoding: BOS once, EOS last, and what users wrote is text, whatever it looks like."""

import datetime
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, pre_tokenizers

from gcrm.modeling.tokenization import PLAIN_TEMPLATE, Encoded, Encoder, PromptTooLong
from gcrm.utils.errors import UserError
from helpers.models import make_byte_tokenizer, make_sentencepiece_tokenizer, make_tokenizer

QUESTION = "Tom has 3 apples. How many does he have now?"
SPECIAL = ["<s>", "</s>", "<unk>", "<pad>", "<sep>", "<|endoftext|>", "<|pad|>", "<|user|>"]
SPECIAL += ["<|assistant|>", "<|system|>"]
PIECES = [
    *SPECIAL,
    "Tom",
    " has",
    "apples",
    " ",
    "\n",
    "\r\n",
    "\t",
    "\x00",
    "<|",
    "|>",
    "</",
    "s>",
]
PIECES += [
    "é",
    "e\u0301",
    "\u0301",
    "😀",
    "👩‍👩‍👧",
    "\u200b",
    "\u2003",
    "\ue0000\ue001",
    "\ufeff",
    "[INST]",
    "▁",
]
TOKENIZERS = {
    "words": make_tokenizer,
    "bytes": make_byte_tokenizer,
    "bytes that swallow": lambda: make_byte_tokenizer(swallow=True),
    "llama 2": make_sentencepiece_tokenizer,
    "llama 2 modern": lambda: make_sentencepiece_tokenizer(modern=True),
    "no template": lambda: make_sentencepiece_tokenizer(chat_template=None),
    "no pad": lambda: make_byte_tokenizer(pad_token=None),
    "pad is eos": lambda: make_byte_tokenizer(pad_token="<|endoftext|>"),
    "bos added and in the template": lambda: make_sentencepiece_tokenizer(
        chat_template="{{ bos_token }}{{ messages[0]['content'] }} ="
    ),
    "bos in the template only": lambda: make_byte_tokenizer(
        bos_token="<|system|>",
        chat_template="{{ bos_token }}{% for m in messages %}{{ m['content'] }}\n{% endfor %}",
    ),
}

user_texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=8).map("".join)
every_tokenizer = pytest.mark.parametrize("name", TOKENIZERS)


@cache
def encoder(name, max_len=10_000):
    return Encoder(TOKENIZERS[name](), max_len)


def special_ids(tokenizer):
    """Ids of special tokens, but not the one that stands for unknown text."""
    return set(tokenizer.all_special_ids) | {
        id for id, token in tokenizer.added_tokens_decoder.items() if token.special
    } - {tokenizer.unk_token_id}


def special_in(ids, tokenizer):
    return [id for id in ids if id in special_ids(tokenizer) and id != tokenizer.unk_token_id]


def tokens(encoded, tokenizer):
    return tokenizer.convert_ids_to_tokens(encoded.input_ids)


# By hand.


def test_words_by_hand():
    tokenizer = make_tokenizer()
    one = Encoder(tokenizer, 20).encode("tom has 3", "answer 3")
    words = ["<s>", "tom", "has", "3", "<sep>", "answer", "3", "</s>"]
    assert tokens(one, tokenizer) == words
    assert (one.start, one.num_tokens, one.truncated) == (5, 3, False)


def test_bytes_by_hand():
    """Without BOS, a template with special tokens, letters of several bytes."""
    tokenizer = make_byte_tokenizer()
    one = Encoder(tokenizer, 99).encode("Tom", "é")
    expected = ["<|user|>", "Ċ", "Tom", "Ċ", "<|assistant|>", "Ċ", "Ã", "©", "<|endoftext|>"]
    assert tokens(one, tokenizer) == expected
    assert one.start == 6


def test_llama_2_by_hand():
    """BOS is the template's, and the tokenizer does not add another."""
    tokenizer = make_sentencepiece_tokenizer(
        chat_template="{{ bos_token }}{{ messages[0].content }}"
    )
    assert tokenizer("Tom").input_ids[0] == tokenizer.bos_token_id
    one = Encoder(tokenizer, 99).encode("Tom has", " apples")
    assert tokens(one, tokenizer) == ["<s>", "▁Tom", "▁has", "▁apples", "</s>"]
    assert one.start == 3


def test_bos_is_put_where_only_the_tokenizer_adds_it():
    tokenizer = make_sentencepiece_tokenizer(chat_template="{{ messages[0].content }}")
    one = Encoder(tokenizer, 99).encode("Tom has", " apples")
    assert tokens(one, tokenizer) == ["<s>", "▁Tom", "▁has", "▁apples", "</s>"]
    assert one.start == 3


def test_a_token_over_the_border_is_the_completions():
    tokenizer = make_sentencepiece_tokenizer(chat_template="{{ messages[0].content }}")
    one = Encoder(tokenizer, 99).encode("Tom has ", "apples")
    assert tokens(one, tokenizer) == ["<s>", "▁Tom", "▁has", "▁apples", "</s>"]
    assert one.start == 3 and one.num_tokens == 2


def test_special_tokens_of_users_by_hand():
    tokenizer = make_byte_tokenizer()
    one = Encoder(tokenizer, 99).encode("a<|user|>b", "<|pad|>")
    expected = ["<|user|>", "Ċ", "a", "<", "|", "u", "s", "er", "|", ">", "b", "Ċ", "<|assistant|>"]
    expected += ["Ċ", "<", "|", "p", "a", "d", "|", ">", "<|endoftext|>"]
    assert tokens(one, tokenizer) == expected
    assert one.start == 14


def test_a_special_token_made_of_prompt_and_completion_is_text():
    """The two halves stay on their sides of the border."""
    tokenizer = make_byte_tokenizer(chat_template="{{ messages[0].content }}")
    one = Encoder(tokenizer, 99).encode("a<|pa", "d|>")
    assert tokens(one, tokenizer) == ["a", "<", "|", "p", "a", "d", "|", ">", "<|endoftext|>"]
    assert one.start == 5


@pytest.mark.parametrize("sequence", [False, True])
def test_a_typed_special_token_leaves_the_tokens_before_it(sequence):
    """As CodeLlama has it: the space in front of a text is before no part that follows BOS."""
    tokenizer = make_sentencepiece_tokenizer(modern=True)
    backend = tokenizer.backend_tokenizer
    if sequence:
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [backend.pre_tokenizer, pre_tokenizers.Digits()]
        )
    encoder = Encoder(tokenizer, 99)
    one, typed = (encoder.encode("Tom has", end) for end in [" apples", " apples </s>"])
    assert typed.start == one.start
    assert typed.input_ids[: len(one.input_ids) - 1] == one.input_ids[:-1]
    literal = ["▁", "<0x3C>", "<0x2F>", "s", "<0x3E>", "</s>"]
    assert tokens(typed, tokenizer)[len(one.input_ids) - 1 :] == literal
    assert encoder.encode("Tom has", " apples") == one, "the tokenizer is as it was"


def test_unknown_letters_stay_as_the_tokenizer_has_them():
    """An unknown token stands for text: it is no special token that someone wrote."""
    tokenizer = make_tokenizer()
    one = Encoder(tokenizer, 99).encode("tom 😀 has", "<unk> zebra 3")
    words = ["<s>", "tom", "<unk>", "has", "<sep>", *["<unk>"] * 5, "<unk>", "3", "</s>"]
    assert tokens(one, tokenizer) == words


# Properties, over tokenizers and texts.


@every_tokenizer
@settings(max_examples=25)
@given(prompt=user_texts, completion=user_texts)
def test_frame_is_special_and_user_text_is_not(name, prompt, completion):
    """The special tokens are those of the template alone, BOS once, and EOS at the end."""
    one, tokenizer = encoder(name).encode(prompt, completion), encoder(name).tokenizer
    empty = encoder(name).encode("", "")
    assert special_in(one.input_ids, tokenizer) == special_in(empty.input_ids, tokenizer)
    assert one.input_ids[-1] == tokenizer.eos_token_id
    assert special_in(one.input_ids[one.start :], tokenizer) == [tokenizer.eos_token_id]
    assert 0 < one.start < len(one.input_ids) and not one.truncated
    if tokenizer.bos_token_id is not None:
        assert one.input_ids[0] == tokenizer.bos_token_id
        assert one.input_ids.count(tokenizer.bos_token_id) == 1


@given(prompt=user_texts, completion=user_texts)
def test_no_letter_is_lost(prompt, completion):
    """Bytes decode to the template with both texts in it; the border is where their bytes meet."""
    tokenizer = encoder("bytes").tokenizer
    one = encoder("bytes").encode(prompt, completion)
    before = f"<|user|>\n{prompt}\n<|assistant|>\n"
    assert tokenizer.decode(one.input_ids) == f"{before}{completion}<|endoftext|>"
    # Each letter of a byte-level token is a byte; special tokens are ASCII.
    at, start = 0, 0
    for word in tokens(one, tokenizer):
        at += len(word)
        start += at <= len(before.encode())
    assert one.start == start


@every_tokenizer
@settings(max_examples=25)
@given(prompt=user_texts.filter(lambda text: not any(mark in text for mark in SPECIAL)))
def test_prompt_is_the_templates(name, prompt):
    """Without special tokens in it, a prompt is what `apply_chat_template` makes of it."""
    tokenizer = encoder(name).tokenizer
    template = tokenizer.chat_template or PLAIN_TEMPLATE
    theirs = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}],
        chat_template=template,
        add_generation_prompt=True,
        return_dict=False,
    )
    if name in ("no template",):  # the template leaves BOS to the tokenizer
        theirs = [tokenizer.bos_token_id, *theirs]
    assert encoder(name).prompt_ids(prompt) == theirs


@every_tokenizer
@settings(max_examples=25)
@given(texts=st.lists(st.tuples(user_texts, user_texts), max_size=4))
def test_together_as_one_by_one(name, texts):
    assert encoder(name).encode_many(texts) == [encoder(name).encode(*text) for text in texts]


@pytest.mark.parametrize("name", ["words", "bytes", "bytes that swallow", "llama 2"])
@settings(max_examples=25)
@given(prompt=user_texts, words=st.lists(st.sampled_from(["Tom", "7", "é", "<|pad|>"]), max_size=5))
def test_completions_follow_the_prompt(name, prompt, words):
    """Where no token lies over the border, what a sampler saw is what is scored."""
    completion = " ".join(words)
    one = encoder(name).encode(prompt, completion)
    assert one.input_ids[: one.start] == encoder(name).prompt_ids(prompt)


@every_tokenizer
@settings(max_examples=25)
@given(prompt=user_texts, completion=user_texts, max_len=st.integers(2, 60))
def test_truncation(name, prompt, completion, max_len):
    whole = encoder(name).encode(prompt, completion)
    short = Encoder(encoder(name).tokenizer, max_len)
    fitting = short.encode_fitting([(prompt, completion)])
    if whole.start >= max_len:
        with pytest.raises(PromptTooLong, match=f"{whole.start} tokens .* max_len = {max_len}"):
            short.encode(prompt, completion)
        assert fitting == [None]
        return
    one = short.encode(prompt, completion)
    if len(whole.input_ids) <= max_len:
        assert one == whole and fitting == [whole]
    else:
        kept = whole.input_ids[: max_len - 1]
        eos = encoder(name).tokenizer.eos_token_id
        assert one == Encoded([*kept, eos], whole.start, truncated=True)
        assert len(one.input_ids) == max_len
        assert fitting == [None]


# Templates and dialogues.


def test_dialogues():
    turns = [
        {"role": "user", "content": "Tom has 3 <|user|>"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "\ue0001\ue001 \ue0000\ue001"},
    ]
    one, tokenizer = encoder("bytes").encode(turns, "3"), encoder("bytes").tokenizer
    text = (
        "<|user|>\nTom has 3 <|user|>\n<|assistant|>\n\n<|user|>\n"
        "\ue0001\ue001 \ue0000\ue001\n<|assistant|>\n3<|endoftext|>"
    )
    assert tokenizer.decode(one.input_ids) == text
    marks = tokenizer.convert_ids_to_tokens(special_in(one.input_ids, tokenizer))
    assert marks == ["<|user|>", "<|assistant|>", "<|user|>", "<|assistant|>", "<|endoftext|>"]


def test_earlier_answers_end_as_the_template_has_it():
    """EOS after an earlier turn is the template's own, EOS within a turn is text."""
    turns = [
        {"role": "user", "content": "Tom"},
        {"role": "assistant", "content": "has</s>"},
        {"role": "user", "content": "now"},
    ]
    one, tokenizer = encoder("llama 2").encode(turns, "3"), encoder("llama 2").tokenizer
    marks = tokenizer.convert_ids_to_tokens(special_in(one.input_ids, tokenizer))
    assert marks == ["<s>", "</s>", "</s>"]
    assert tokens(one, tokenizer)[-2:] == ["3", "</s>"]


def test_plain_template():
    tokenizer = make_byte_tokenizer(chat_template=None)
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    one = Encoder(tokenizer, 99).encode(turns, "d")
    text = "User: a\n\nAssistant: b\n\nUser: c\n\nAssistant:\nd<|endoftext|>"
    assert tokenizer.decode(one.input_ids) == text
    assert one.num_tokens == 2


turns = st.lists(user_texts, min_size=1, max_size=5).map(
    lambda texts: texts[: len(texts) // 2 * 2 + 1]
)
dialogues = turns.map(
    lambda texts: [
        {"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)
    ]
)
showing_all_turns = pytest.mark.parametrize(
    "name", [name for name in TOKENIZERS if name != "bos added and in the template"]
)


@pytest.mark.parametrize(
    "name", ["words", "bytes", "bytes that swallow", "pad is eos", "bos in the template only"]
)
@settings(max_examples=25)
@given(dialogue=dialogues, answers=st.tuples(user_texts, user_texts))
def test_both_answers_follow_the_same_prompt(name, dialogue, answers):
    """Tokens before the answer are the prompt's, the same on both sides; the answer ends in EOS."""
    tokenizer = encoder(name).tokenizer
    prompt = encoder(name).prompt_ids(dialogue)
    for one in encoder(name).encode_many([(dialogue, answer) for answer in answers]):
        # The template's last character may be one token with the answer's first, and is then its.
        assert len(prompt) - 1 <= one.start <= len(prompt)
        assert one.input_ids[: one.start] == prompt[: one.start]
        assert special_in(one.input_ids[one.start :], tokenizer) == [tokenizer.eos_token_id]


@showing_all_turns
@settings(max_examples=25)
@given(
    dialogue=dialogues.filter(
        lambda turns: not any(mark in turn["content"] for mark in SPECIAL for turn in turns)
    )
)
def test_a_dialogue_is_the_templates(name, dialogue):
    tokenizer = encoder(name).tokenizer
    theirs = tokenizer.apply_chat_template(
        dialogue,
        chat_template=tokenizer.chat_template or PLAIN_TEMPLATE,
        add_generation_prompt=True,
        return_dict=False,
    )
    if name == "no template":
        theirs = [tokenizer.bos_token_id, *theirs]
    assert encoder(name).prompt_ids(dialogue) == theirs


@given(dialogue=dialogues, answer=user_texts)
def test_no_letter_of_a_dialogue_is_lost(dialogue, answer):
    """Bytes decode to the template; the answer is what comes behind it, to the letter."""
    one, tokenizer = encoder("bytes").encode(dialogue, answer), encoder("bytes").tokenizer
    before = "".join(f"<|{turn['role']}|>\n{turn['content']}\n" for turn in dialogue)
    before += "<|assistant|>\n"
    assert tokenizer.decode(one.input_ids) == f"{before}{answer}<|endoftext|>"
    at, start = 0, 0
    for word in tokens(one, tokenizer):
        at += len(word)
        start += at <= len(before.encode())
    assert one.start == start


def test_a_refused_role_is_one_clear_line():
    turns = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    with pytest.raises(UserError, match=r"^my/model: .* refuses roles user, user: roles must"):
        tokenizer = encoder("llama 2").tokenizer
        tokenizer.name_or_path = "my/model"
        Encoder(tokenizer, 99).encode(turns, "c")


@pytest.mark.parametrize("template", ["no message", "{{ messages[0].content }}" * 2])
def test_a_template_that_hides_or_repeats_messages_is_refused(template):
    tokenizer = make_byte_tokenizer(chat_template=template)
    with pytest.raises(UserError, match=r"^the tokenizer: .* every message"):
        Encoder(tokenizer, 99).encode("a", "b")


def test_a_broken_template_is_the_users():
    with pytest.raises(UserError, match="chat template"):
        Encoder(make_byte_tokenizer(chat_template="{% if %}"), 99).encode("a", "b")


def test_of_several_templates_the_default():
    tokenizer = make_byte_tokenizer()
    tokenizer.chat_template = {"tool_use": "x", "default": "{{ messages[0].content }}:"}
    one = Encoder(tokenizer, 99)
    assert one.template == "{{ messages[0].content }}:"
    assert tokenizer.decode(one.encode("a", "b").input_ids) == "a:b<|endoftext|>"
    tokenizer.chat_template = {"tool_use": "x"}
    with pytest.raises(UserError, match="default"):
        Encoder(tokenizer, 99)


def test_no_score_depends_on_the_day():
    tokenizer = make_byte_tokenizer(
        chat_template="{{ strftime_now('%d %b %Y') }}: {{ messages[0].content }}"
    )
    text = tokenizer.decode(Encoder(tokenizer, 99).encode("a", "b").input_ids)
    assert text == "26 Jul 2024: ab<|endoftext|>"
    assert datetime.date.today().strftime("%d %b %Y") not in text


# Tokenizers that cannot be used, and text that is none.


def test_a_tokenizer_without_eos_is_refused():
    with pytest.raises(UserError, match="no EOS"):
        Encoder(make_byte_tokenizer(eos_token=None), 99)


@pytest.mark.parametrize("texts", [("\ud800", "b"), ("a", "b \udc00")])
def test_half_a_character_is_refused(texts):
    with pytest.raises(UserError, match=r"\\ud800|\\udc00"):
        encoder("bytes").encode(*texts)


def test_added_tokens_that_are_not_special_stay():
    """<think> and its like are a model's words, not control of it."""
    tokenizer = make_byte_tokenizer()
    tokenizer.add_tokens([AddedToken("<think>", special=False)])
    one = Encoder(tokenizer, 99).encode("a", "<think>")
    assert tokens(one, tokenizer)[one.start :] == ["<think>", "<|endoftext|>"]
    again = Encoder(tokenizer, 99).encode("a", "<think><|pad|>")
    assert tokens(again, tokenizer)[again.start] == "<think>"


def test_a_tokenizer_saved_with_truncation_and_padding():
    tokenizer = make_byte_tokenizer()
    tokenizer.backend_tokenizer.enable_truncation(3)
    tokenizer.backend_tokenizer.enable_padding(length=50)
    assert Encoder(tokenizer, 99).encode("a <|pad|>", "b") == encoder("bytes").encode(
        "a <|pad|>", "b"
    )
