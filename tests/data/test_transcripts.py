"""Dialogues that are written as one text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcrm.data.preferences import Preference
from helpers.preference_rows import (
    ANSWER,
    OTHER,
    READ_AS_DIALOGUE,
    SIDES,
    USER,
    read,
    refusal,
    write,
)


def test_what_only_looks_like_a_dialogue_is_text(tmp_path):
    """What one of two models has said, and what users ask about dialogues and messages."""
    for text in ("[INST] Go on.", json.dumps([USER]), "User: a\n\nAssistant: b"):
        row = {"prompt": "How many?", "chosen": "It is 7.", "rejected": text}
        assert read(tmp_path, row) == [Preference(*row.values())]
    asked = (
        "Go on:\n\nHuman: a\n\nAssistant: b",
        "User: a\nAssistant: b\nUser: c",
        '[{"value": 1, "from": "here"}]',
        json.dumps([USER]) + " What is wrong?",
        "<s> is a tag",
    )
    for prompt in asked:
        assert read(tmp_path, {"prompt": prompt} | SIDES) == [Preference(prompt, *SIDES.values())]


@pytest.mark.parametrize("end", ["", "\n\nAssistant:", "\n\nAssistant: "])
@pytest.mark.parametrize("begin", ["", "\n\nAssistant: "])
@pytest.mark.parametrize("as_messages", [False, True])
def test_the_answers_marker_stands_anywhere(tmp_path, end, begin, as_messages):
    row = {"prompt": f"\n\nHuman: a\n\nAssistant: b\n\nHuman: c{end}"}
    if as_messages:
        sides = {"chosen": [ANSWER], "rejected": OTHER}
    else:
        sides = {key: begin + text for key, text in SIDES.items()}
    [pair] = read(tmp_path, row | sides)
    assert [message["content"] for message in pair.prompt] == ["a", "b", "c"]
    assert (pair.chosen, pair.rejected) == tuple(SIDES.values())


def test_whole_transcripts_beside_their_prompt(tmp_path):
    lead = "\n\nHuman: How many?\n\nAssistant:"
    sides = {key: f"{lead} {text}" for key, text in SIDES.items()}
    for prompt in ("How many?", lead):
        assert read(tmp_path, {"prompt": prompt} | sides) == [READ_AS_DIALOGUE]
    path = write(tmp_path / "pairs.jsonl", {"prompt": "Other?"} | sides)
    assert "prompt can belong to the prompt" in refusal(path)


TURNS = {
    "system": "Be\n\nbrief.",
    "user": "How many?",
    "assistant": "Which?\nUser: none",
    "": "The pears.",
}


@pytest.mark.parametrize(
    ("text", "roles"),
    [
        ("{user}\n<extra_id_1>Assistant\n{assistant}\n<extra_id_1>User\n{}", "user assistant user"),
        (
            "<extra_id_0>System\n{system}\n<extra_id_1>User\n{user}\n<extra_id_1>Assistant\n",
            "system user",
        ),
        ("<extra_id_0>System\n<extra_id_1>User\n{user}\n<extra_id_1>Assistant", "user"),
        ("\n\nUser: {user}\n\nAssistant:", "user"),
        ("\r\n\r\nHuman: {user}\r\n\r\nAssistant: ", "user"),
        ("{system}\n\nHuman: {user}\n\nAssistant:", "system user"),
        ("Human: {user}\nAssistant:", "user"),
    ],
)
def test_marks_of_speakers(tmp_path, text, roles):
    """Those of HelpSteer2 first; the same in both sides, where the text ends before an answer."""
    lead = text.format(TURNS[""], **TURNS)
    expected = [TURNS[role] for role in roles.split()]
    expected[-1] = TURNS[""] if "{}" in text else expected[-1]
    rows = [{"prompt": lead} | SIDES]
    if "{}" not in text:
        space = "\n" if lead.endswith("Assistant") else ""
        rows.append({key: lead + space + side for key, side in SIDES.items()})
    for row in rows:
        [pair] = read(tmp_path, row)
        assert [(turn["role"], turn["content"]) for turn in pair.prompt] == [
            *zip(roles.split(), expected, strict=True)
        ]
        assert (pair.chosen, pair.rejected) == tuple(SIDES.values())


def test_transcripts_by_hand(tmp_path):
    lead = "\n\nHuman: Who are you?\n\nAssistant: A model:\n\nreally.\n\nHuman: And I?"
    row = {
        "chosen": lead + "\n\nAssistant: You are Tom.",
        "rejected": lead + "\n\nAssistant: You are Ann.\n\nHuman: No.\n\nAssistant: Oh.",
    }
    assert read(tmp_path, row) == [
        Preference(
            [
                {"role": "user", "content": "Who are you?"},
                {"role": "assistant", "content": "A model:\n\nreally."},
                {"role": "user", "content": "And I?"},
            ],
            "You are Tom.",
            "You are Ann.\n\nHuman: No.\n\nAssistant: Oh.",
        )
    ]


@pytest.mark.parametrize(
    ("lead", "turns"),
    [
        ("Human: a", [("user", "a")]),  # without the empty lines in front
        ("Be brief: please.\n\nHuman: a", [("system", "Be brief: please."), ("user", "a")]),
        ("\n\nHuman: a\n\nHuman: b", [("user", "a\n\nb")]),
        (
            "\n\nHuman: a\n\nAssistant: b\n\nAssistant: c\n\nHuman: d",
            [("user", "a"), ("assistant", "b\n\nc"), ("user", "d")],
        ),
        ("\n\nHuman: Human: a", [("user", "Human: a")]),
        ("\n\nHuman:", [("user", "")]),
    ],
)
def test_irregular_transcripts_have_alternating_roles(tmp_path, lead, turns):
    """Most chat templates require it; no text is lost."""
    row = {"chosen": lead + "\n\nAssistant: yes", "rejected": lead + "\n\nAssistant:"}
    prompt = [{"role": role, "content": content} for role, content in turns]
    assert read(tmp_path, row) == [Preference(prompt, "yes", "")]


turn = st.text("ab: ", max_size=6)


@given(turns=st.lists(st.tuples(turn, turn), min_size=1, max_size=3), answers=st.tuples(turn, turn))
def test_transcripts_are_split_into_their_turns(tmp_path_factory, turns, answers):
    lead = "".join(f"\n\nHuman: {a}\n\nAssistant: {b}" for a, b in turns[:-1])
    lead += f"\n\nHuman: {turns[-1][0]}\n\nAssistant: "
    row = {"chosen": lead + answers[0] + "!", "rejected": lead + answers[1] + "?"}
    [one] = read(tmp_path_factory.mktemp("pairs"), row)
    contents = [text.strip() for pair in turns for text in pair][:-1]
    assert [message["content"] for message in one.prompt] == contents
    assert [message["role"] for message in one.prompt] == (["user", "assistant"] * len(turns))[:-1]
    assert (one.chosen, one.rejected) == ((answers[0] + "!").strip(), (answers[1] + "?").strip())
