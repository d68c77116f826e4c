"""Which columns of a row, and which parts of a dialogue, become prompt and completions."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcrm.data.attributes import select
from gcrm.data.preferences import Preference, load_preferences
from gcrm.utils.errors import UserError
from helpers.rows import write_rows

SYSTEM, USER, ANSWER, OTHER = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "How many?"},
    {"role": "assistant", "content": "It is 7."},
    {"role": "assistant", "content": "It is 8."},
)
SIDES = {"chosen": "It is 7.", "rejected": "It is 8."}
DIALOGUES = {"chosen": [USER, ANSWER], "rejected": [USER, OTHER]}
READ = Preference("How many?", "It is 7.", "It is 8.")
READ_AS_DIALOGUE = Preference([USER], "It is 7.", "It is 8.")
READ_WITH_SYSTEM = Preference([SYSTEM, USER], "It is 7.", "It is 8.")


def write(path, *rows):
    return str(write_rows(path, *rows))


def read(tmp_path, *rows):
    return load_preferences([write(tmp_path / "pairs.jsonl", *rows)])


def refusal(source):
    with pytest.raises(UserError) as error:
        load_preferences([source])
    assert "\n" not in str(error.value)
    return str(error.value)


def said(from_, value):
    return {"from": from_, "value": value}


# The columns.


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


# Messages.


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


def test_shared_prompt_of_two_texts(tmp_path):
    """The prompt is the common words; a word with only a common prefix is not part of it."""
    row = {"chosen": "Q: How many?\nA: seventeen", "rejected": "Q: How many?\nA: seventy"}
    assert read(tmp_path, row) == [Preference("Q: How many?\nA:", "seventeen", "seventy")]
    row = {"chosen": "Tom", "rejected": "Ann"}
    assert "share no prompt" in refusal(write(tmp_path / "pairs.jsonl", row))
