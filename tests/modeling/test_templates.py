"""Dialogues are tokenised as `apply_chat_template` does, except that users' texts are text."""

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken

from gcrm.modeling.official import OfficialEncoder
from gcrm.modeling.tokenization import Encoder
from gcrm.utils.errors import UserError
from helpers.chat_templates import ASK, CHATML, LOOP, TEMPLATES
from helpers.models import make_byte_tokenizer

PIECES = [
    *("<think>\n", "</think>", "hm", "/no_think", "/think", "Tom", "apples", "user", "content"),
    *("[INST]", "<<SYS>>", "final", "<", "|", '"', "\\", "é", "e\u0301", "😀", "7", ".", "\x1f"),
    *(" ", "\n", "\n\n", "\t", "\u2003", "\u200b"),
]
LOOK_ALIKES = ["<|user|>", "<|pad|>", "<|endoftext|>", "<|assistant|>"]
FEW = settings(max_examples=30)
every_template = pytest.mark.parametrize("name", TEMPLATES)


@cache
def encoder(name: str) -> Encoder:
    tokenizer = make_byte_tokenizer(chat_template=TEMPLATES[name])
    tokenizer.add_tokens([AddedToken(tag, special=False) for tag in ("<think>", "</think>")])
    return Encoder(tokenizer, 10_000)


@st.composite
def dialogues(draw: st.DrawFn, pieces: list[str]) -> list[dict[str, str]]:
    contents = st.lists(st.sampled_from(pieces) | st.text(max_size=3), max_size=6).map("".join)
    roles = ["user", "assistant", "user", "assistant", "user"][: draw(st.sampled_from([1, 3, 5]))]
    return [{"role": role, "content": draw(contents)} for role in roles]


def theirs(name: str, messages: Any, **options: Any) -> Any:
    """What transformers makes of messages."""
    template = TEMPLATES[name].replace("strftime_now('%d %b %Y')", "'26 Jul 2024'")
    options = {"add_generation_prompt": True, "return_dict": False} | options
    return encoder(name).tokenizer.apply_chat_template(messages, chat_template=template, **options)


@every_template
@FEW
@given(messages=dialogues(PIECES))
def test_tokens_are_those_of_apply_chat_template(name: str, messages: Any) -> None:
    assert encoder(name).prompt_ids(messages) == theirs(name, messages)


@every_template
@FEW
@given(messages=dialogues(PIECES + LOOK_ALIKES))
def test_special_tokens_of_users_are_text(name: str, messages: Any) -> None:
    """The special tokens are those of the dialogue with all look-alikes spelled differently."""
    ids, tokenizer = encoder(name).prompt_ids(messages), encoder(name).tokenizer
    assert tokenizer.decode(ids) == theirs(name, messages, tokenize=False)
    harmless = [
        {**message, "content": message["content"].replace("<|", "(|")} for message in messages
    ]
    special = {tokenizer.convert_tokens_to_ids(mark) for mark in [*LOOK_ALIKES, "<|system|>"]}
    expected = [id for id in theirs(name, harmless) if id in special]
    assert [id for id in ids if id in special] == expected


@pytest.mark.parametrize(
    ("template", "contents"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}", ["a<|us", "er|>b<|", "pad|>"]),
        ("{% for m in messages %}<{{ m.content }}\n{% endfor %}", ["|user|>"]),
        ("{% for m in messages %}{{ m.content }}|>\n{% endfor %}", ["a<|user"]),
    ],
)
def test_special_tokens_in_parts_are_text(template: str, contents: list[str]) -> None:
    tokenizer = make_byte_tokenizer(chat_template=template)
    roles = ["user", "assistant", "user"]
    messages = [
        {"role": role, "content": text} for role, text in zip(roles, contents, strict=False)
    ]
    ids = Encoder(tokenizer, 999).prompt_ids(messages)
    assert not {*tokenizer.convert_tokens_to_ids(LOOK_ALIKES)} & {*ids}
    assert tokenizer.decode(ids) == tokenizer.apply_chat_template(messages, tokenize=False)


OPENED = TEMPLATES["reasoning stripped, block opened"]
CLOSED = OPENED.replace("{{ c }}<|endoftext|>", "{% if loop.last and m.role == 'assistant' %}"
    "<think></think>{% endif %}{{ c }}")  # fmt: skip
NEVER_CLOSED = (
    "{% for m in messages %}<|{{ m.role }}|>{{ '<think>\n' if m.role == 'assistant' }}"
    + ("{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}")
)
LAST = TEMPLATES["reasoning only in the last turn"]
NO_THINK = TEMPLATES["obeys /no_think"]
CHANNELS = TEMPLATES["channels"]
A = "<|user|>\na<|endoftext|>\n<|assistant|>\n"
EMPTY = "<think>\n\n</think>\n\n"
HELD = "<think>\nhm\n</think>\n\n7"


@pytest.mark.parametrize("make", [Encoder, OfficialEncoder])
@pytest.mark.parametrize(
    ("template", "question", "completion", "text"),
    [
        # What the generation prompt opens is opened once, and an answer stands in no open block.
        (OPENED, "a", HELD, "<|user|>a<|endoftext|><|assistant|><think>\n‖hm\n</think>\n\n7"),
        (OPENED, "a", "hm</think>7", "<|user|>a<|endoftext|><|assistant|><think>\n‖hm</think>7"),
        (OPENED, "a", "<think>hm", "<|user|>a<|endoftext|><|assistant|><think>\n‖hm"),
        (OPENED, "a", " 7", "<|user|>a<|endoftext|><|assistant|>‖ 7"),
        (CLOSED, "a", "7", "<|user|>a<|assistant|><think></think>‖7"),
        (NEVER_CLOSED, "a", "7", "<|user|>a<|assistant|>‖7"),
        # The template shows an answer without reasoning behind an empty block.
        (LAST, "a", HELD, f"{A}‖{HELD}"),
        (LAST, "a", "hm</think>7", A + "<think>\n‖hm</think>7"),
        (LAST, "a", "7", f"{A}{EMPTY}‖7"),
        # An empty block gives way to the completion's own.
        (NO_THINK, "a /no_think", HELD, f"{A}‖{HELD}"),
        (NO_THINK, "a /no_think", "7", f"{A}{EMPTY}‖7"),
        (NO_THINK, "a", "7", f"{A}‖7"),
        # Where answers stand, by a template without a generation prompt, or with more after it.
        (TEMPLATES["knows no generation prompt"], "a", "7", f"{A}‖7"),
        (CHANNELS, "a", "7", "<|user|><|pad|>a<|endoftext|><|assistant|>final<|pad|>‖7"),
        # Templates without reasoning leave it as it is.
        (CHATML, "a", HELD, f"{A}‖{HELD}"),
    ],
)  # fmt: skip
def test_reasoning_of_a_completion(
    make: Any, template: str, question: str, completion: str, text: str
) -> None:
    tokenizer = make_byte_tokenizer(chat_template=template)
    dialogue = [{"role": "user", "content": question}]
    [one] = make(tokenizer, 999).encode_each([(dialogue, completion)])
    before, after = text.split("‖")
    ids = one.input_ids
    if make is Encoder:
        found = tokenizer.decode(ids[: one.start]), tokenizer.decode(ids[one.start :])
        assert found == (before, after + "<|endoftext|>")
    else:  # it counts the completion's tokens alone
        assert tokenizer.decode(ids) == before + after


TOOLS = LOOP + (
    "<|{{ m.role }}|>{% if m.content is undefined %}{% for call in m.tool_calls %}"
    "{{ call.function.name }}{{ call.function.arguments | tojson }}{% endfor %}{% else %}"
    "{{ m.content }}{% endif %}"
) + ASK  # fmt: skip
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": "1<|pad|>"}}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
REASONED = {"role": "assistant", "content": "b", "reasoning": "hm"}
USER = {"role": "user", "content": "a"}


def test_fields_that_the_template_shows() -> None:
    tokenizer = make_byte_tokenizer(chat_template=TOOLS)
    ids = Encoder(tokenizer, 999).prompt_ids([USER, CALLED])
    assert tokenizer.decode(ids) == '<|user|>a<|assistant|>add{"a": "1<|pad|>"}<|assistant|>\n'
    assert tokenizer.convert_tokens_to_ids("<|pad|>") not in ids
    reasoned = CHATML.replace("{{ m.content }}", "{{ m.reasoning_content }}{{ m.content }}")
    tokenizer = make_byte_tokenizer(chat_template=reasoned)
    assert "<|assistant|>\nhmb<|endoftext|>" in Encoder(tokenizer, 999).layout([REASONED], "")[0]


def test_other_fields_are_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = make_byte_tokenizer(chat_template=CHATML)
    tool = {"role": "tool", "name": "add", "tool_call_id": "x", "content": "3"}
    assert Encoder(tokenizer, 999).render([USER, tool])
    messages = [{**USER, "country": "Chad", "id": "x"}]
    texts = [(prompt, "b") for prompt in (messages, [USER], messages)]
    one, other, _ = Encoder(tokenizer, 999).encode_many(texts)
    assert one == other
    assert capsys.readouterr().err.count("has country, which the chat template of") == 1


@pytest.mark.parametrize(
    ("template", "messages", "told"),
    [
        (CHATML, [USER, CALLED], r"file, row 7: message 2 \(assistant\) has tool_calls, which"),
        (CHATML, [USER, REASONED], r"file, row 7: message 2 \(assistant\) has reasoning, which"),
        (CHATML, [{**USER, "name": "Tom"}], r"file, row 7: message 1 \(user\) has name, which"),
        (CHATML, [{"role": "<|pad|>", "content": "a"}], r"file, row 7: a role .* <\|pad\|>"),
        (TOOLS, [{**CALLED, "tool_calls": [{"function": {"arguments": {"<|pad|>": 1}}}]}],
         r"file, row 7: a role or a key .* <\|pad\|>"),
        (TEMPLATES["model turns, no system"], [{"role": "system", "content": "a"}],
         "file, row 7: .* refuses roles system: no system role"),
        (TEMPLATES["model turns, no system"], [USER, USER], "file, row 7: .* roles must alternate"),
        # What a template does with a special token in a text cannot be seen in another text.
        ("{% for m in messages %}{% if '<|pad|>' in m.content %}!{% endif %}<|user|>{{ m.content }}"
         "{% endfor %}", [{"role": "user", "content": "<|pad|>"}], r"file, row 7: .* <\|pad\|>"),
    ],
)  # fmt: skip
def test_dialogues_that_are_refused(template: str, messages: Any, told: str) -> None:
    tokenizer = make_byte_tokenizer(chat_template=template)
    where = ["file, row 6", "file, row 7"]
    for encoder in (Encoder(tokenizer, 999), OfficialEncoder(tokenizer, 999)):
        with pytest.raises(UserError, match=told):
            encoder.encode_fitting([([USER], "b"), (messages, "b")], where)
