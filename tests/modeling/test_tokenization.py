"""One encoding: BOS once, EOS last, and texts of users are text, whatever they look like."""

import datetime
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from gcrm.modeling.templates import PLAIN_TEMPLATE
from gcrm.modeling.tokenization import Encoded, Encoder, PromptTooLong
from gcrm.utils.errors import UserError
from helpers.models import make_byte_tokenizer, make_sentencepiece_tokenizer, make_tokenizer

SPECIAL = (
    "<s> </s> <unk> <pad> <sep> <|endoftext|> <|pad|> <|user|> <|assistant|> <|system|>".split()
)
PIECES = [
    *SPECIAL,
    *"Tom apples <| |> </ s> é e\u0301 \u0301 😀 👩‍👩‍👧 [INST] ▁".split(),
    " has",
    " ",
]
PIECES += ["\n", "\r\n", "\t", "\x00", "\x1f", "\u200b", "\u2003", "\ue0000\ue001", "\ufeff"]
CONTENT_ONLY = "{{ messages[0].content }}"
BOS_AND_CONTENT = "{{ bos_token }}" + CONTENT_ONLY
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
        chat_template=BOS_AND_CONTENT + " ="
    ),
    "bos in the template only": lambda: make_byte_tokenizer(
        bos_token="<|system|>",
        chat_template="{{ bos_token }}{% for m in messages %}{{ m['content'] }}\n{% endfor %}",
    ),
}
every_tokenizer = pytest.mark.parametrize("name", TOKENIZERS)
few_examples = settings(max_examples=25)
user_texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=8).map("".join)
texts_without_special = user_texts.filter(lambda text: not any(mark in text for mark in SPECIAL))


@cache
def encoder(name: str, max_len: int = 10_000) -> Encoder:
    return Encoder(TOKENIZERS[name](), max_len)


def special_in(ids: list[int], tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """The special tokens among the ids, but not the one that stands for unknown text."""
    added = tokenizer.added_tokens_decoder.items()
    special = {*tokenizer.all_special_ids, *(id for id, token in added if token.special)}
    return [id for id in ids if id in special - {tokenizer.unk_token_id}]


def tokens(encoded: Encoded, tokenizer: PreTrainedTokenizerFast) -> str:
    return " ".join(tokenizer.convert_ids_to_tokens(encoded.input_ids))


def messages(*contents: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(contents)]


# --- by hand ---


@pytest.mark.parametrize(
    ("tokenizer", "prompt", "completion", "expected"),
    [
        (make_tokenizer(), "tom has 3", "answer 3", "<s> tom has 3 <sep> | answer 3 </s>"),
        # Without BOS, a template with special tokens, letters of several bytes.
        (
            make_byte_tokenizer(),
            *("Tom", "é"),
            "<|user|> Ċ Tom Ċ <|assistant|> Ċ | Ã © <|endoftext|>",
        ),
        # BOS is the template's, and the tokenizer does not add another; or only the tokenizer's.
        *(
            (
                make_sentencepiece_tokenizer(chat_template=template),
                *("Tom has", " apples"),
                "<s> ▁Tom ▁has | ▁apples </s>",
            )
            for template in (BOS_AND_CONTENT, CONTENT_ONLY)
        ),
        # A token across the border belongs to the completion.
        (
            make_sentencepiece_tokenizer(chat_template=CONTENT_ONLY),
            *("Tom has ", "apples"),
            "<s> ▁Tom ▁has | ▁apples </s>",
        ),
        # Special tokens that users wrote, one of them made of prompt and completion.
        (
            make_byte_tokenizer(),
            *("a<|user|>b", "<|pad|>"),
            "<|user|> Ċ a < | u s er | > b Ċ <|assistant|> Ċ | < | p a d | > <|endoftext|>",
        ),
        (
            make_byte_tokenizer(chat_template=CONTENT_ONLY),
            *("a<|pa", "d|>"),
            "a < | p a | d | > <|endoftext|>",
        ),
        # The token of unknown text is no special token that someone wrote.
        (
            make_tokenizer(),
            *("tom 😀 has", "<unk> zebra 3"),
            "<s> tom <unk> has <sep> | <unk> <unk> <unk> <unk> <unk> <unk> 3 </s>",
        ),
    ],
)
def test_by_hand(
    tokenizer: PreTrainedTokenizerFast, prompt: str, completion: str, expected: str
) -> None:
    """A bar stands before the completion, unless it is a token."""
    one = Encoder(tokenizer, 99).encode(prompt, completion)
    found = tokens(one, tokenizer).split(" ")
    assert " ".join([*found[: one.start], "|", *found[one.start :]]) == expected
    assert (one.num_tokens, one.truncated) == (len(found) - one.start, False)


@pytest.mark.parametrize("sequence", [False, True])
def test_a_typed_special_token_leaves_the_tokens_before_it(sequence: bool) -> None:
    """CodeLlama puts a space before a text, and not before a part that follows BOS."""
    tokenizer = make_sentencepiece_tokenizer(modern=True)
    backend = tokenizer.backend_tokenizer
    if sequence:
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [backend.pre_tokenizer, pre_tokenizers.Digits()]
        )
    encoder = Encoder(tokenizer, 99)
    one, typed = (encoder.encode("Tom has", end) for end in [" apples", " apples </s>"])
    assert typed.start == one.start
    assert tokens(typed, tokenizer) == (
        tokens(one, tokenizer).removesuffix("</s>") + "▁ <0x3C> <0x2F> s <0x3E> </s>"
    )
    assert encoder.encode("Tom has", " apples") == one


# --- properties, over tokenizers and texts ---


@every_tokenizer
@few_examples
@given(prompt=user_texts, completion=user_texts)
def test_only_the_template_has_special_tokens(name: str, prompt: str, completion: str) -> None:
    """The special tokens are those of the template, BOS once, and EOS at the end."""
    one, tokenizer = encoder(name).encode(prompt, completion), encoder(name).tokenizer
    empty = encoder(name).encode("", "")
    assert special_in(one.input_ids, tokenizer) == special_in(empty.input_ids, tokenizer)
    assert one.input_ids[-1] == tokenizer.eos_token_id
    assert special_in(one.input_ids[one.start :], tokenizer) == [tokenizer.eos_token_id]
    assert 0 < one.start < len(one.input_ids) and not one.truncated
    if tokenizer.bos_token_id is not None:
        assert one.input_ids[0] == tokenizer.bos_token_id
        assert one.input_ids.count(tokenizer.bos_token_id) == 1


odd_numbers_of_texts = st.lists(user_texts, min_size=1, max_size=5).map(
    lambda texts: texts[: (len(texts) - 1) // 2 * 2 + 1]
)


@given(contents=odd_numbers_of_texts, completion=user_texts)
def test_no_letter_is_lost(contents: list[str], completion: str) -> None:
    """Bytes decode to the template with all texts in it; the border is where their bytes meet."""
    one, tokenizer = (
        encoder("bytes").encode(messages(*contents), completion),
        encoder("bytes").tokenizer,
    )
    before = "".join(f"<|{turn['role']}|>\n{turn['content']}\n" for turn in messages(*contents))
    before += "<|assistant|>\n"
    assert tokenizer.decode(one.input_ids) == f"{before}{completion}<|endoftext|>"
    # Each letter of a byte-level token is a byte; special tokens are ASCII.
    at, start = 0, 0
    for word in tokenizer.convert_ids_to_tokens(one.input_ids):
        at += len(word)
        start += at <= len(before.encode())
    assert one.start == start
    if len(contents) == 1:
        assert encoder("bytes").encode(contents[0], completion) == one


@every_tokenizer
@few_examples
@given(
    contents=st.lists(texts_without_special, min_size=5, max_size=5),
    turns=st.sampled_from([1, 3, 5]),
)
def test_a_prompt_is_what_the_chat_template_makes_of_it(
    name: str, contents: list[str], turns: int
) -> None:
    if name == "bos added and in the template":  # it shows the first turn only
        turns = 1
    tokenizer = encoder(name).tokenizer
    theirs = tokenizer.apply_chat_template(
        messages(*contents[:turns]),
        chat_template=tokenizer.chat_template or PLAIN_TEMPLATE,
        add_generation_prompt=True,
        return_dict=False,
    )
    if name == "no template":  # the template leaves BOS to the tokenizer
        theirs = [tokenizer.bos_token_id, *theirs]
    assert encoder(name).prompt_ids(messages(*contents[:turns])) == theirs


@every_tokenizer
@few_examples
@given(texts=st.lists(st.tuples(user_texts, user_texts), max_size=4))
def test_many_texts_are_encoded_as_one_by_one(name: str, texts: list[tuple[str, str]]) -> None:
    assert encoder(name).encode_many(texts) == [encoder(name).encode(*text) for text in texts]


@pytest.mark.parametrize(
    "name", ["words", "bytes", "bytes that swallow", "pad is eos", "bos in the template only"]
)
@few_examples
@given(contents=odd_numbers_of_texts, answers=st.tuples(user_texts, user_texts))
def test_answers_follow_the_same_prompt(
    name: str, contents: list[str], answers: tuple[str, str]
) -> None:
    """The tokens before an answer are those that a sampler sees, whatever the answer."""
    dialogue, tokenizer = messages(*contents), encoder(name).tokenizer
    prompt = encoder(name).prompt_ids(dialogue)
    for one in encoder(name).encode_many([(dialogue, answer) for answer in answers]):
        # The template's last character may be one token with the answer's first, and is then its.
        assert len(prompt) - 1 <= one.start <= len(prompt)
        assert one.input_ids[: one.start] == prompt[: one.start]
        assert special_in(one.input_ids[one.start :], tokenizer) == [tokenizer.eos_token_id]


@every_tokenizer
@few_examples
@given(prompt=user_texts, completion=user_texts, max_len=st.integers(2, 60))
def test_truncation(name: str, prompt: str, completion: str, max_len: int) -> None:
    whole = encoder(name).encode(prompt, completion)
    short = Encoder(encoder(name).tokenizer, max_len)
    fitting = short.encode_fitting([(prompt, completion)])
    [one] = short.encode_each([(prompt, completion)])
    if whole.start >= max_len:
        told = f"{whole.start} tokens .* max_len = {max_len}"
        with pytest.raises(PromptTooLong, match=told):
            short.encode(prompt, completion)
        assert isinstance(one, PromptTooLong) and fitting == [None]
    elif len(whole.input_ids) <= max_len:
        assert one == whole and fitting == [whole]
    else:
        ids = [*whole.input_ids[: max_len - 1], encoder(name).tokenizer.eos_token_id]
        assert one == Encoded(ids, whole.start, truncated=True)
        assert fitting == [None]


# --- templates ---


def test_earlier_answers_end_as_the_template_says() -> None:
    """EOS after an earlier turn is the template's own, EOS within a turn is text."""
    one = encoder("llama 2").encode(messages("Tom", "has</s>", "now"), "3")
    tokenizer = encoder("llama 2").tokenizer
    marks = tokenizer.convert_ids_to_tokens(special_in(one.input_ids, tokenizer))
    assert marks == ["<s>", "</s>", "</s>"]
    assert tokens(one, tokenizer).endswith(" 3 </s>")


DEFAULT = {"tool_use": "x", "default": CONTENT_ONLY + ":"}


@pytest.mark.parametrize(
    ("template", "prompt", "text"),
    [
        (None, messages("a", "b", "c"), "User: a\n\nAssistant: b\n\nUser: c\n\nAssistant:\n"),
        (DEFAULT, "a", "a:"),
        ("{{ strftime_now('%d %b %Y') }}: " + CONTENT_ONLY, "a", "26 Jul 2024: a"),
    ],
    ids=["plain", "the default of several", "no score depends on the day"],
)
def test_templates(template: Any, prompt: Any, text: str) -> None:
    tokenizer = make_byte_tokenizer()
    tokenizer.chat_template = template
    one = Encoder(tokenizer, 99).encode(prompt, "d")
    assert tokenizer.decode(one.input_ids) == f"{text}d<|endoftext|>"
    assert one.num_tokens == 2
    assert datetime.date.today().strftime("%d %b %Y") not in text


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("no message", r"^my/model: .* every message"),
        (CONTENT_ONLY * 2, r"^my/model: .* every message"),
        ("{% if %}", "^my/model: the chat template refuses"),
        ("{{ raise_exception('no!') }}", "^my/model: the chat template refuses roles user: no!"),
        ({"tool_use": "x"}, "^my/model: none of its chat templates is named 'default'"),
    ],
)
def test_templates_that_cannot_be_used(template: Any, message: str) -> None:
    tokenizer = make_byte_tokenizer()
    tokenizer.chat_template, tokenizer.name_or_path = template, "my/model"
    with pytest.raises(UserError, match=message):
        Encoder(tokenizer, 99).encode("a", "b")


# --- tokenizers and texts ---


def test_a_tokenizer_without_eos_is_refused() -> None:
    with pytest.raises(UserError, match="no EOS"):
        Encoder(make_byte_tokenizer(eos_token=None), 99)


@pytest.mark.parametrize("texts", [("\ud800", "b"), ("a", "b \udc00")])
def test_half_a_character_is_refused(texts: tuple[str, str]) -> None:
    with pytest.raises(UserError, match=r"\\ud800|\\udc00"):
        encoder("bytes").encode(*texts)


def test_added_tokens_that_are_not_special_stay() -> None:
    """<think> and its like are a model's words, not control of it."""
    tokenizer = make_byte_tokenizer()
    tokenizer.add_tokens([AddedToken("<think>", special=False)])
    one, typed = (
        Encoder(tokenizer, 99).encode("a", text) for text in ("<think>", "<think><|pad|>")
    )
    assert tokens(one, tokenizer).endswith(" Ċ <think> <|endoftext|>")
    assert tokens(typed, tokenizer).endswith(" Ċ <think> < | p a d | > <|endoftext|>")


def test_truncation_and_padding_of_the_tokenizer_are_not_used() -> None:
    tokenizer = make_byte_tokenizer()
    tokenizer.backend_tokenizer.enable_truncation(3)
    tokenizer.backend_tokenizer.enable_padding(length=50)
    texts = ("a <|pad|>", "b")
    assert Encoder(tokenizer, 99).encode(*texts) == encoder("bytes").encode(*texts)
