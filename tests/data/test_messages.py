"""Dialogues as lists of messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcrm.data.preferences import Preference
from helpers.preference_rows import (
    ANSWER,
    DIALOGUES,
    OTHER,
    READ_AS_DIALOGUE,
    SIDES,
    USER,
    read,
    refusal,
    said,
    write,
)

CALL = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "count"}}]}


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([said("human", "a"), said("gpt", "b"), said("human", "c")], "user assistant user"),
        ([{"role": "MODEL", "content": "b"}, {"role": "User", "content": "a"}], "assistant user"),
        ([{"role": "prompter", "content": "a"}], "user"),
    ],
)
def test_role_names_of_data_sets(tmp_path, messages, expected):
    [pair] = read(tmp_path, {"prompt": messages} | SIDES)
    assert " ".join(message["role"] for message in pair.prompt) == expected


def test_parts_of_content_are_joined(tmp_path):
    parts = [{"type": "input_text", "text": "How"}, {"type": "text", "text": "many?", "n": None}]
    [pair] = read(tmp_path, {"prompt": [USER | {"content": parts}]} | SIDES)
    assert pair.prompt == [{"role": "user", "content": "How\nmany?"}]


def test_other_fields_of_messages_are_kept_for_the_template(tmp_path):
    called = {"role": "tool", "content": "7", "tool_call_id": "x"}
    turns = [USER, CALL | {"id": "x", "name": None}, called]
    [pair] = read(tmp_path, {"prompt": turns} | SIDES)
    assert pair.prompt == [USER, CALL, called]
    assert pair.question == "How many?\n\n7"
    assert pair.where == f"{tmp_path / 'pairs.jsonl'}, row 1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"content": ""}, "chosen: the answer is empty; leave out the row"),
        ({"content": None}, "chosen, message 2: the content must be text, not missing or null"),
        (CALL, "chosen: the answer has the field tool_calls beside its text"),
        ({"reasoning_content": "3 + 4"}, "chosen: the answer has the field reasoning_content"),
        ({"role": "critic"}, "chosen, message 2: the role 'critic' is unknown; known are system"),
        ({"content": [{"type": "image"}]}, "message 2: the content has a part of type 'image'"),
        ({"content": [{"type": "text", "text": None}]}, "message 2: the content has a part of"),
        ({"content": ["a"]}, "message 2: the content has a part of type 'str'"),
    ],
)
def test_messages_that_cannot_be_read_are_named(tmp_path, change, message):
    path = write(tmp_path / "pairs.jsonl", DIALOGUES | {"chosen": [USER, ANSWER | change]})
    assert refusal(path).startswith(f"{path}, row 1: ")
    assert message in refusal(path)


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": [USER, ANSWER], "rejected": [USER, OTHER]},
        {"prompt": "How many?", "chosen": [USER, ANSWER], "rejected": [USER, OTHER]},
        {"prompt": [USER], "chosen": [USER, ANSWER], "rejected": [USER, OTHER]},
        {"prompt": [USER], "chosen": [ANSWER], "rejected": [OTHER]},
        {"prompt": "How many?", "chosen": [ANSWER], "rejected": [OTHER]},
        {"prompt": [USER], "chosen": "It is 7.", "rejected": "It is 8."},
        {"prompt": [USER | {"id": 1}], "chosen": [ANSWER | {"score": 9}], "rejected": [OTHER]},
    ],
)
def test_lists_of_messages(tmp_path, row):
    """As on the hub: with or without the prompt in both sides, or in a column of its own."""
    assert read(tmp_path, row) == [READ_AS_DIALOGUE]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"chosen": [USER, ANSWER], "rejected": [ANSWER]}, "equal except for the last message"),
        ({"chosen": [ANSWER], "rejected": [OTHER]}, "equal except for the last message"),
        ({"chosen": [], "rejected": []}, "equal except for the last message"),
        (
            {"prompt": "Other?", "chosen": [USER, ANSWER], "rejected": [USER, OTHER]},
            "prompt can belong to the prompt",
        ),
        (
            {
                "prompt": [{"role": "system", "content": "Be brief."}, USER],
                "chosen": [USER, ANSWER],
                "rejected": [USER, OTHER],
            },
            "prompt can belong to the prompt",
        ),
        (
            {"chosen": [USER, ANSWER, USER], "rejected": [USER, ANSWER, USER | {"content": "?"}]},
            "the last message has the role user, not assistant",
        ),
        ({"chosen": [USER, {"role": "assistant"}], "rejected": [USER, OTHER]}, "missing or null"),
        ({"chosen": ["a", "b"], "rejected": ["a", "c"]}, "role and content"),
        ({"chosen": [USER, ANSWER | {"content": 7}], "rejected": [USER, OTHER]}, "must be text"),
        ({"chosen": [USER, ANSWER | {"role": None}], "rejected": [USER, OTHER]}, "role 'None' is"),
        ({"chosen": [USER, ANSWER], "rejected": "a"}, "chosen must be text, not list"),
        ({"prompt": [], "chosen": "a", "rejected": "b"}, "prompt must be text, not list"),
        ({"prompt": "a", "chosen": "a", "rejected": [OTHER]}, "rejected must be text, not list"),
        ({"prompt": 5, "chosen": [ANSWER], "rejected": [OTHER]}, "prompt must be text, not int"),
    ],
)
def test_invalid_messages_are_named(tmp_path, row, message):
    path = write(tmp_path / "pairs.jsonl", row)
    assert refusal(path).startswith(f"{path}, row 1: ")
    assert message in refusal(path)


@given(
    turns=st.lists(st.text(max_size=6), min_size=1, max_size=5).filter(lambda all: len(all) % 2),
    answers=st.tuples(st.text(max_size=6), st.text(max_size=6)),
    form=st.sampled_from(["whole", "prompt beside", "prompt in both"]),
)
def test_lists_of_messages_are_split_into_prompt_and_answers(
    tmp_path_factory, turns, answers, form
):
    prompt = [
        {"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)
    ]
    lead = [] if form == "prompt beside" else prompt
    texts = (answers[0] + "!", answers[1] + "?")
    chosen, rejected = ([*lead, {"role": "assistant", "content": text}] for text in texts)
    row = {"chosen": chosen, "rejected": rejected}
    row |= {"prompt": prompt} if form != "whole" else {}
    [one] = read(tmp_path_factory.mktemp("pairs"), row)
    assert one == Preference(prompt, *texts)
