"""Which columns of a row, and which parts of a dialogue, become prompt and completions."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcrm.data.attributes import select
from gcrm.data.preferences import Preference, load_preferences
from gcrm.utils.errors import UserError
from helpers.preference_rows import (
    ANSWER,
    DIALOGUES,
    OTHER,
    READ,
    READ_AS_DIALOGUE,
    READ_WITH_SYSTEM,
    SIDES,
    SYSTEM,
    USER,
    read,
    refusal,
    said,
    write,
)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param(
            {"system": "Be brief.", "question": "How many?"} | SIDES,
            READ_WITH_SYSTEM,
            id="Intel/orca_dpo_pairs",
        ),
        pytest.param(
            {
                **{"system": "", "input": "How many?", "status": "tie", "chosen_score": 8.0},
                **{"generations": ["It is 7.", "It is 8."], "order": ["chosen", "rejected"]},
                **{"labelling_prompt": [{"role": "user", "content": "Rate"}], **SIDES},
            },
            READ,
            id="argilla/distilabel-intel-orca-dpo-pairs",
        ),
        pytest.param(
            {
                **{"instruction": "How many?", "metadata": "{}", "chosen_rating": 9},
                **{"chosen_response": "It is 7.", "rejected_response": "It is 8."},
            },
            READ,
            id="argilla/distilabel-math-preference-dpo",
        ),
        pytest.param(
            {"instruction": "Count them.", "input": "a, b"} | SIDES,
            Preference("Count them.\na, b", "It is 7.", "It is 8."),
            id="alpaca",
        ),
        pytest.param(
            {"instruction": "How many?", "input": "", "history": [], "output": [*SIDES.values()]},
            READ,
            id="alpaca with outputs",
        ),
        pytest.param(
            {
                **{"prompt": "How many?", "prompt_id": "f0", "messages": [USER, ANSWER]},
                **{"score_chosen": 8.5, "score_rejected": 3.0, **DIALOGUES},
            },
            READ_AS_DIALOGUE,
            id="HuggingFaceH4/ultrafeedback_binarized",
        ),
        pytest.param(
            {"source": "s", "prompt": "How many?", "chosen_model": "m"} | DIALOGUES,
            READ_AS_DIALOGUE,
            id="allenai/tulu",
        ),
        pytest.param({"source": "s"} | DIALOGUES, READ_AS_DIALOGUE, id="Skywork"),
        pytest.param(
            {"system": "Be brief.", "prompt": "How many?"} | DIALOGUES,
            READ_WITH_SYSTEM,
            id="dialogues beside a system message",
        ),
        pytest.param(
            {
                **{"prompt": "\n\nHuman: How many?\n\nAssistant:", "response": " It is 7."},
                **{"chosen": " It is 7.", "rejected": " It is 8."},
            },
            READ_AS_DIALOGUE,
            id="Dahoas/full-hh-rlhf",
        ),
        pytest.param(
            {
                **{"post_id": "x", "domain": "d", "history": "How many?", "score_ratio": 2.0},
                **{"human_ref_A": "It is 8.", "human_ref_B": "It is 7.", "labels": 0},
            },
            READ,
            id="stanfordnlp/SHP",
        ),
        pytest.param(
            {
                "conversations": [said("system", "Be brief."), said("human", "How many?")],
                **{"chosen": said("gpt", "It is 7."), "rejected": said("gpt", "It is 8.")},
            },
            READ_WITH_SYSTEM,
            id="ShareGPT",
        ),
        pytest.param(
            {
                "input": {"messages": [USER], "tools": [], "parallel_tool_calls": True},
                **{"preferred_output": [ANSWER], "non_preferred_output": [OTHER]},
            },
            READ_AS_DIALOGUE,
            id="OpenAI",
        ),
        pytest.param(
            {"prompt": [SYSTEM, USER], "system_prompt": " Be brief. "} | SIDES,
            READ_WITH_SYSTEM,
            id="a system message twice",
        ),
        pytest.param(
            {"question": "How many?", "response_j": "It is 7.", "response_k": "It is 8."},
            READ,
            id="lvwerra/stack-exchange-paired",
        ),
        pytest.param(
            {"conversation": [{"input": "How many?", "output": "It is 7."}]} | DIALOGUES,
            READ_AS_DIALOGUE,
            id="argilla/distilabel-capybara-dpo",
        ),
        pytest.param(
            {"prompt": " How\r\nmany?\n"} | DIALOGUES, READ_AS_DIALOGUE, id="spaces of a prompt"
        ),
        pytest.param(
            {"prompt": "How many?", "correct": True, "incorrect": False} | SIDES,
            READ,
            id="flags with names of sides",
        ),
        pytest.param(
            {"question": "How many?", "prompt": "How many?", "context": None, "tools": "[]"}
            | SIDES,
            READ,
            id="a prompt twice",
        ),
    ],
)
def test_layouts_of_public_data(tmp_path, row, expected):
    assert read(tmp_path, row) == [expected]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"question": "How many?", "context": "There are 3 and 4."} | SIDES,
            "context can belong to the prompt, but is not in what is read as such (question)",
        ),
        ({"prompt": "How many?", "tools": [{"name": "f"}]} | SIDES, "tools can belong to"),
        ({"prompt": "How many?", "images": [{"bytes": "…"}]} | SIDES, "images can belong to"),
        ({"prompt": [USER], "input": "a"} | DIALOGUES, "input can belong to the prompt"),
        ({"instruction": "Go.", "history": [["a", "b"]]} | SIDES, "history can belong to"),
        ({"messages": [USER], "prompt": "Other?"} | DIALOGUES, "prompt can belong to"),
        ({"messages": [USER, ANSWER]} | SIDES, "messages ends with the assistant's turn, and so"),
        ({"system": "Be long.", "prompt": [SYSTEM, USER]} | SIDES, "say different things"),
        ({"system": "a", "system_prompt": "b", "prompt": "c"} | SIDES, "system_prompt can belong"),
        ({"system": ["a"], "prompt": "c"} | SIDES, "system must be text, not list"),
        ({"input": {"messages": [USER], "tools": ["f"]}} | SIDES, "input.tools cannot be read"),
        ({"user_prompt": "How many?"} | SIDES, "name it 'prompt' (columns with text that are not"),
        ({"system": "Be brief."} | SIDES, "read: system)"),
        ({"correct": "It is 7.", "incorrect": "It is 8."}, "no column is known to be the prompt"),
        ({"instruction": "a", "output": ["b"]}, "output must be a list of a better and a worse"),
        (
            {"history": "a", "human_ref_A": "b", "human_ref_B": "c", "labels": None},
            "labels must be 1 (the first is better) or 0, not None",
        ),
        (
            {"prompt": "a", "response_0": "b", "response_1": "c", "better_response_id": 1},
            "found prompt, response_0, response_1, better_response_id; write scores, rankings",
        ),
        ({"prompt": "a", "answers": [{"answer": "b", "rank": 1}]}, "write scores, rankings or"),
        ({"prompt": "a", "response": "b", "helpfulness": 4}, "found prompt, response, help"),
        ({"prompt": str([USER])} | SIDES, "prompt is a list of messages as text; give the list"),
        (
            {key: json.dumps(side) for key, side in DIALOGUES.items()},
            "chosen is a list of messages as text; give the list itself",
        ),
        (
            {"prompt": "<s>[INST] How many? [/INST]"} | SIDES,
            "prompt has the marks of a chat template already",
        ),
        (
            {key: f"<|im_start|>user\n{side}" for key, side in SIDES.items()},
            "chosen has the marks of a chat template already",
        ),
        *(
            ({"prompt": text} | SIDES, f"prompt {told}")
            for told, texts in {
                "has the marks of a chat template already": (
                    "<|prompter|>How many?<|endoftext|><|assistant|>",
                    "<｜begin▁of▁sentence｜><｜User｜>How many?<｜Assistant｜>",
                    "<BOS_TOKEN><|START_OF_TURN_TOKEN|><|USER_TOKEN|>How many?",
                    "[gMASK]<sop><|user|>\nHow many?",
                ),
                "is a list of messages as text": (
                    json.dumps([{"id": 1} | USER]),
                    json.dumps({"messages": [USER]}),
                ),
            }.items()
            for text in texts
        ),
    ],
)
def test_text_that_would_be_lost_is_refused(tmp_path, row, message):
    path = write(tmp_path / "pairs.jsonl", row)
    assert refusal(path).startswith(f"{path}, row 1: ")
    assert message in refusal(path)


def test_columns_that_are_not_read_are_said_once(tmp_path, capsys):
    row = {"prompt": "How many?", "rationale": "Since 3 + 4", "id": "a", "n": [1], **SIDES}
    path = write(tmp_path / "pairs.jsonl", row, row | {"note": "b"})
    load_preferences([path])
    line = f"{path}: reads the prompt from prompt, and not rationale, note\n"
    assert line in capsys.readouterr().err
    read(tmp_path, {"prompt": [USER], "chosen": [ANSWER | {"state": "Utah"}], "rejected": OTHER})
    assert "reads the prompt from prompt, and not chosen.state\n" in capsys.readouterr().err
    read(tmp_path, {key: row[key] for key in row if key != "rationale"})
    assert capsys.readouterr().err == ""


PROMPT = "How many are there?"


def repeated(prompt, *sides):
    return {"prompt": prompt} | dict(zip(SIDES, sides, strict=True))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (repeated(PROMPT, PROMPT + "\nIt is 7.", PROMPT + " 8."), (PROMPT, "It is 7.", "8.")),
        (repeated("Q: 3\nA:", "Q: 3\nA:7", "Q: 3\nA: 8"), ("Q: 3\nA:", "7", "8")),
        (repeated("Thank you", "Thank you too", "Thank you!"), None),
        (repeated("Thank you", "Thank you too", "Bye"), None),
        ({"question": PROMPT, "correct": PROMPT + " 7", "incorrect": PROMPT + " 8"}, None),
    ],
)
def test_a_prompt_that_both_sides_repeat_is_removed(tmp_path, row, expected):
    """But not where short texts begin alike, nor from solutions that restate their question."""
    assert read(tmp_path, row) == [Preference(*(expected or row.values()))]


def test_prompts_that_later_rows_repeat_are_counted(tmp_path, capsys):
    rows = [repeated("Hi", "a", "b"), repeated(PROMPT, PROMPT + " 7", PROMPT + " 8")]
    assert read(tmp_path, *rows) == [Preference(*row.values()) for row in rows]
    assert ": 1 pairs whose completions both begin with" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [repeated(PROMPT, PROMPT + " It is 7.", "It is 8.")],
            "row 1: one of the two completions begins with the prompt, the other does not",
        ),
        (
            [repeated(PROMPT, PROMPT + " 7", PROMPT + " 8"), repeated(PROMPT, PROMPT + " 7", "8")],
            "row 2: a completion does not begin with the prompt, as those of the first row do",
        ),
        (
            [repeated("\n\nHuman: a\n\nAssistant: b", "c", "d")],
            "row 1: the prompt ends within an answer",
        ),
        (
            [repeated("\n\nHuman: a", "Assistant: c", "Assistant:")],
            "row 1: an answer is empty; leave out the row",
        ),
        (
            [repeated("a", "c", "d") | {"dialogue": "\n\nHuman: a\n\nAssistant: x"}],
            "row 1: dialogue can belong to the prompt",
        ),
    ],
)
def test_half_repeated_prompts_are_refused(tmp_path, rows, message):
    assert message in refusal(write(tmp_path / "pairs.jsonl", *rows))


def test_responses_are_read_like_pairs(tmp_path):
    row = {"system": "Be brief.", "question": "How many?", "response": "It is 7.", "quality": 4}
    path = write(tmp_path / "r.jsonl", row)
    [(pair, _)] = select([path], ["quality"])
    assert (pair.prompt, pair.chosen) == ([SYSTEM, USER], "It is 7.")
    path = write(tmp_path / "r.jsonl", row | {"context": "There are 3 and 4."})
    with pytest.raises(UserError, match="row 1: context can belong to the prompt"):
        select([path], ["quality"])


text = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=8)
text = text.map(lambda text: f"<{text}>")  # no white space at the ends, which transcripts drop


@given(
    turns=st.lists(text, min_size=1, max_size=5).filter(lambda turns: len(turns) % 2),
    system=st.none() | text,
    answers=st.tuples(text, text).filter(lambda texts: texts[0] != texts[1]),
)
def test_a_dialogue_is_read_alike_from_every_layout(tmp_path_factory, turns, system, answers):
    names = ["user", "assistant"] * len(turns)
    messages = [{"role": role, "content": turn} for role, turn in zip(names, turns, strict=False)]
    lead = [] if system is None else [{"role": "system", "content": system}]
    columns = {"system": system}
    chosen, rejected = ([{"role": "assistant", "content": one}] for one in answers)
    speakers = {"user": "Human", "assistant": "Assistant"}
    transcript = (system or "") + "".join(
        f"\n\n{speakers[turn['role']]}: {turn['content']}" for turn in messages
    )
    parts = [turn | {"content": [{"type": "text", "text": turn["content"]}]} for turn in messages]
    shared = {"user": "human", "assistant": "gpt"}
    sharegpt = [said(shared[turn["role"]], turn["content"]) for turn in messages]
    sides = dict(zip(SIDES, answers, strict=True))
    rows = [
        {"prompt": lead + messages} | sides,
        {
            "system_prompt": system,
            "query": messages,
            "accepted": answers[0],
            "rejected": answers[1],
        },
        {"chosen": lead + messages + chosen, "rejected": lead + messages + rejected},
        columns | {"chosen": messages + chosen, "rejected": messages + rejected},
        columns | {"prompt": messages, "chosen": chosen, "rejected": rejected},
        columns | {"conversations": sharegpt, "output": [*answers]},
        columns | {"prompt": parts} | sides,
        {"input": {"messages": lead + messages}, "preferred_output": chosen[0]}
        | {"non_preferred_output": rejected[0]},
        {"prompt": f"{transcript}\n\nAssistant:"} | sides,
        {key: f"{transcript}\n\nAssistant: {one}" for key, one in sides.items()},
    ]
    if len(turns) == 1:
        rows += [
            columns | {name: turns[0]} | sides for name in ("question", "instruction", "input")
        ]
        rows += [columns | {"prompt": turns[0], "messages": lead + messages + chosen} | sides]
    folder = tmp_path_factory.mktemp("layouts")
    for number, row in enumerate(rows):
        [pair] = load_preferences([write(folder / f"{number}.jsonl", row)])
        prompt = pair.prompt
        if isinstance(prompt, str):
            prompt = [{"role": "user", "content": prompt}]
        assert (prompt, pair.chosen, pair.rejected) == (lead + messages, *answers), row


def test_shared_prompt_of_two_texts(tmp_path):
    """The prompt is the common words; a word with only a common prefix is not part of it."""
    row = {"chosen": "Q: How many?\nA: seventeen", "rejected": "Q: How many?\nA: seventy"}
    assert read(tmp_path, row) == [Preference("Q: How many?\nA:", "seventeen", "seventy")]
    row = {"chosen": "Tom", "rejected": "Ann"}
    assert "share no prompt" in refusal(write(tmp_path / "pairs.jsonl", row))
