"""Reading labelled solutions."""

import hashlib
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcrm.config.layout import completion_files
from gcrm.data.completions import read_completions
from gcrm.utils.errors import UserError
from helpers.rows import write_rows

ROW = {
    "question": "How many?",
    "expected_answer": "7",
    "generated_solution": "3 + 4 = 7",
    "predicted_answer": "7",
    "is_correct": True,
}


def write(folder, name, *rows, benchmark="gsm8k"):
    return write_rows(folder / benchmark / name, *rows)


def questions(rows):
    return {row["question"] for row in rows}


def test_files_are_read_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 2, 0, 1):
        write(tmp_path, f"output-rs{number}.jsonl", ROW | {"generated_solution": str(number)})
    for other in ("output-greedy.jsonl", "output-rsx.jsonl", "output-rs1.jsonl.bak", "rs3.jsonl"):
        write(tmp_path, other, ROW)
    files = [file.name for file in completion_files(tmp_path, "gsm8k", "all")]
    assert files == [f"output-rs{number}.jsonl" for number in (0, 1, 2, 10)]
    rows = read_completions(tmp_path, "gsm8k", "all")
    found = [(row["sample"], row["generated_solution"]) for row in rows]
    assert found == [(number, str(number)) for number in (0, 1, 2, 10)]
    assert [row["sample"] for row in read_completions(tmp_path, "gsm8k", "greedy")] == [0]


@pytest.mark.parametrize(
    ("key", "given", "read"),
    [
        ("predicted_answer", "7", "7"),
        ("predicted_answer", "", ""),
        ("predicted_answer", "é\r\n", "é\r\n"),
        ("predicted_answer", None, None),
        ("predicted_answer", float("nan"), None),
        ("predicted_answer", 7, "7"),
        ("predicted_answer", 7.5, "7.5"),
        ("predicted_answer", -1, "-1"),
        ("predicted_answer", ["5", "15"], '["5", "15"]'),
        ("predicted_answer", [5, 7.5], '["5", "7.5"]'),
        ("is_correct", 1, True),
        ("is_correct", 0, False),
        ("is_correct", False, False),
    ],
)
def test_answers_and_labels(tmp_path, key, given, read):
    write(tmp_path, "output-greedy.jsonl", ROW | {key: given})
    [row] = read_completions(tmp_path, "gsm8k", "greedy")
    assert row == ROW | {key: read, "sample": 0} and type(row[key]) is type(read)


def test_optional_and_unknown_keys(tmp_path):
    needed = {key: ROW[key] for key in ("question", "generated_solution", "is_correct")}
    write(tmp_path, "output-greedy.jsonl", needed | {"why": "a quirk", "sample": 99})
    [row] = read_completions(tmp_path, "gsm8k", "greedy")
    assert row == needed | {"expected_answer": None, "predicted_answer": None, "sample": 0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step_ends": [3]}, "step_values must be a list of numbers, not null"),
        ({"step_ends": "3", "step_values": [1]}, "step_ends must be a list of whole numbers"),
        ({"step_ends": [3.5], "step_values": [1]}, "step_ends must be a list of whole numbers"),
        ({"step_ends": [3], "step_values": [True]}, "step_values must be a list of numbers"),
        ({"step_ends": [3], "step_values": [0.5, 1]}, "has 1 step_ends, but 2 step_values"),
        ({"step_ends": [5, 3], "step_values": [1, 1]}, "step_ends must ascend, from 1 to the 9"),
        ({"step_ends": [10], "step_values": [1]}, "step_ends must ascend, from 1 to the 9"),
        ({"step_ends": [0], "step_values": [1]}, "step_ends must ascend, from 1 to the 9"),
        ({"step_ends": [3], "step_values": [1.5]}, "step_values must be probabilities"),
        ({"step_ends": [3], "step_values": [float("nan")]}, "step_values must be probabilities"),
        ({"is_correct": "true"}, "is_correct must be true or false, not str 'true'"),
        ({"is_correct": None}, "is_correct must be true or false, not null"),
        ({"is_correct": 2}, "is_correct must be true or false"),
        ({"is_correct": []}, "is_correct must be true or false"),
        ({"question": None}, "question must be text, not null"),
        ({"generated_solution": ["a"]}, "generated_solution must be text, not list"),
        ({"context": "3 and 4"}, "context can belong to the prompt, but is not in what is read as"),
        ({"system": "Be brief."}, "system can belong to the prompt"),
        ({"prompt": "Be brief."}, "prompt can belong to the prompt"),
        ({"question": "<|user|>\nHow many?"}, "question has the marks of a chat template already"),
        ({"question": "\n\nHuman: a\n\nAssistant:"}, "question is a dialogue in one text"),
    ],
)
def test_invalid_values_are_named_with_their_line(tmp_path, change, message):
    """Blank lines count."""
    path = write(tmp_path, "output-greedy.jsonl", ROW)
    with path.open("a") as file:
        file.write("\n\n" + json.dumps(ROW | change) + "\n")
    with pytest.raises(UserError) as error:
        read_completions(tmp_path, "gsm8k", "greedy")
    assert str(error.value).startswith(f"{path}, row 4: {message}")


def test_the_question_may_be_there_again_as_it_stood_in_a_prompt(tmp_path):
    again = {
        "prompt": f"Solve:  {ROW['question'].replace(' ', '  ')}\n",
        "problem": ROW["question"],
        "context": "",
    }
    write(tmp_path, "output-greedy.jsonl", ROW | again)
    assert read_completions(tmp_path, "gsm8k", "greedy") == [ROW | {"sample": 0}]


@pytest.mark.parametrize("key", ["question", "generated_solution", "is_correct"])
def test_missing_keys_are_named(tmp_path, key):
    write(tmp_path, "output-rs3.jsonl", {name: ROW[name] for name in ROW if name != key})
    with pytest.raises(UserError, match=rf"output-rs3.jsonl, row 1: key '{key}' is missing"):
        read_completions(tmp_path, "gsm8k", "all")


def test_missing_benchmark_is_reported_with_those_found(tmp_path):
    write(tmp_path, "output-rs0.jsonl", ROW, benchmark="svamp")
    with pytest.raises(UserError, match=r"gsm8k/output-greedy\.jsonl: no such file.*: svamp\)"):
        read_completions(tmp_path, "gsm8k", "greedy")
    with pytest.raises(UserError, match=r"svamp/output-greedy\.jsonl: no such file"):
        read_completions(tmp_path, "svamp", "greedy")
    with pytest.raises(UserError, match=r"output-rs0\.jsonl: no such file.*: none\)"):
        read_completions(tmp_path / "nowhere", "gsm8k", "all")


def test_max_problems_keeps_the_same_problems_of_both_splits(tmp_path):
    """For any order and spelling, with all rows of a problem."""
    rows = [ROW | {"question": f"How many are {i}?"} for i in range(30)]
    write(tmp_path, "output-greedy.jsonl", *rows)
    write(tmp_path, "output-rs0.jsonl", *reversed(rows))
    respelt = [row | {"question": row["question"].upper() + " "} for row in rows]
    write(tmp_path, "output-rs1.jsonl", *respelt)
    greedy = read_completions(tmp_path, "gsm8k", "greedy", 10)
    sampled = read_completions(tmp_path, "gsm8k", "all", 10)
    assert len(greedy) == 10 and len(sampled) == 20
    assert questions(greedy) == questions(sampled[:10])
    assert {text.strip().capitalize() for text in questions(sampled[10:])} == questions(greedy)
    fewer = read_completions(tmp_path, "gsm8k", "greedy", 4)
    assert questions(fewer) < questions(greedy)
    assert len(read_completions(tmp_path, "gsm8k", "greedy", 99)) == 30
    kept = [row["question"] for row in greedy]
    assert kept == [row["question"] for row in rows if row["question"] in kept]


def test_too_large_sample_numbers_are_refused(tmp_path):
    write(tmp_path, "output-rs2147483647.jsonl", ROW)
    assert read_completions(tmp_path, "gsm8k", "all")[0]["sample"] == 2**31 - 1
    write(tmp_path, "output-rs2147483648.jsonl", ROW)
    with pytest.raises(UserError, match=r"rs2147483648.jsonl: its number is above 2147483647"):
        read_completions(tmp_path, "gsm8k", "all")


def test_duplicate_sample_numbers_are_refused(tmp_path):
    """Otherwise the samples of both files would count as one sample."""
    for name in ("greedy", "rs0", "rs00"):
        write(tmp_path, f"output-{name}.jsonl", ROW)
    with pytest.raises(UserError, match=r"output-rs00.jsonl: has the same number as output-rs0"):
        read_completions(tmp_path, "gsm8k", "all")
    assert len(read_completions(tmp_path, "gsm8k", "greedy")) == 1


@given(
    greedy=st.sets(st.integers(0, 20), min_size=1),
    samples=st.lists(st.sets(st.integers(0, 20), min_size=1), min_size=1, max_size=3),
    most=st.integers(1, 22),
)
def test_max_problems_counts_the_problems_of_both_splits(tmp_path_factory, greedy, samples, most):
    """Each split keeps its rows of the problems that are first by hash in both splits together."""
    folder = tmp_path_factory.mktemp("cap")
    for name, numbers in [("greedy", greedy), *((f"rs{k}", s) for k, s in enumerate(samples))]:
        rows = [ROW | {"question": f"How many are {i}?"} for i in sorted(numbers)]
        write(folder, f"output-{name}.jsonl", *rows)
    union = greedy.union(*samples)
    digest = {i: hashlib.sha256(f"how many are {i}".encode()).hexdigest() for i in union}
    kept = {f"How many are {i}?" for i in sorted(union, key=digest.__getitem__)[:most]}
    for split, there in (("greedy", greedy), ("all", set().union(*samples))):
        found = questions(read_completions(folder, "gsm8k", split, most))
        assert found == kept & {f"How many are {i}?" for i in there}


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values |= st.lists(values, max_size=2) | st.dictionaries(st.text(max_size=3), values, max_size=2)


@given(row=st.dictionaries(st.sampled_from([*ROW, "id", "\x1b[1m\n"]), values), base=st.booleans())
def test_rows_of_any_types_are_read_or_reported(tmp_path_factory, row, base):
    folder = tmp_path_factory.mktemp("types")
    path = write(folder, "output-greedy.jsonl", (ROW if base else {}) | row)
    try:
        [found] = read_completions(folder, "gsm8k", "greedy")
    except UserError as error:
        assert str(error).startswith(f"{path}, row 1: ")
    else:
        assert type(found["is_correct"]) is bool and found["sample"] == 0
        for key in ("question", "generated_solution"):
            assert type(found[key]) is str
        for key in ("expected_answer", "predicted_answer"):
            assert found[key] is None or type(found[key]) is str


def test_100_000_rows_are_read_in_seconds(tmp_path):
    """About 2 s on one core; a reader that is not linear takes minutes."""
    row = ROW | {"generated_solution": "3 + 4 = 7, and so on. " * 20}
    lines = (json.dumps(row | {"question": f"How many are {i % 5_000}?"}) for i in range(100_000))
    path = tmp_path / "gsm8k" / "output-greedy.jsonl"
    path.parent.mkdir()
    path.write_text("\n".join(lines))
    started = time.process_time()
    assert len(read_completions(tmp_path, "gsm8k", "greedy", 5_000)) == 100_000
    assert time.process_time() - started < 15
