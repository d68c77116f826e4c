"""`gcrm convert`: logs of lm-eval and lighteval as completions, by literal and by real logs."""

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcrm.cli import run_stage
from gcrm.config.convert import ConvertOptions
from gcrm.convert import run
from gcrm.data.completions import read_completions
from gcrm.lineage.steps import steps_to
from helpers.rows import write_rows

GREEDY = {"until": ["\n\n"], "do_sample": False, "temperature": 0.0}
SAMPLED = {"until": ["\n\n"], "do_sample": True, "temperature": 0.7}
WORKED = "3 + 4 = 7\n#### 7"


def lm_eval(*solutions: str, **others: Any) -> dict[str, Any]:
    """A row of a log as lm-eval writes it."""
    row: dict[str, Any] = {
        "doc_id": 0,
        "doc": {"question": "How many?", "answer": WORKED},
        "target": WORKED,
        "arguments": {"gen_args_0": {"arg_0": "Question: How many?\nAnswer:", "arg_1": GREEDY}},
        "resps": [list(solutions)],
        "filtered_resps": ["7"],
        "filter": "strict-match",
        "metrics": ["exact_match"],
        "doc_hash": "0",
        "prompt_hash": "1",
        "target_hash": "2",
        "exact_match": 1.0,
    }
    return row | others


def sampled(*solutions: str, **others: Any) -> dict[str, Any]:
    arguments = {"gen_args_0": {"arg_0": "How many?", "arg_1": SAMPLED}}
    return lm_eval(*solutions, arguments=arguments, **others)


def lighteval(*solutions: str, **metric: float) -> dict[str, Any]:
    """A row of a log as lighteval writes it."""
    doc = {
        "query": "Question: How many?\nAnswer:",
        "choices": [f" {WORKED}"],
        "gold_index": [0],
        "specific": {"extracted_golds": ["7", "7"], "extracted_predictions": ["8", "8"]},
    }
    return {
        "doc": doc,
        "metric": metric or {"extractive_match": 0.0},
        "model_response": {"text": list(solutions)},
    }


def parquet(path: Path, *rows: dict[str, Any]) -> Path:
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


def convert(folder: Path, *words: str | Path) -> int:
    return run_stage(ConvertOptions, run, ["--save_dir", str(folder / "c/b"), *map(str, words)])


def converted(folder: Path, name: str = "greedy") -> list[dict[str, Any]]:
    lines = (folder / "c/b" / f"output-{name}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


SOLUTION = {
    "question": "How many?",
    "expected_answer": "7",
    "generated_solution": "It is 7.",
    "predicted_answer": "7",
    "is_correct": True,
}


def test_a_greedy_log_of_lm_eval(tmp_path: Path) -> None:
    """Answer and label are those of the log; what the filter did not find is no answer."""
    rows = [lm_eval("It is 7."), lm_eval("No.", filtered_resps=["[invalid]"], exact_match=0.0)]
    assert convert(tmp_path, "--greedy", write_rows(tmp_path / "log.jsonl", *rows)) == 0
    wrong = {"generated_solution": "No.", "predicted_answer": None, "is_correct": False}
    assert converted(tmp_path) == [SOLUTION, SOLUTION | wrong]
    assert read_completions(tmp_path / "c", "b", "greedy") == [
        row | {"sample": 0} for row in converted(tmp_path)
    ]


def test_one_of_several_filters_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flexible = lm_eval("It is 7.", filter="flexible-extract", filtered_resps=["8"], exact_match=0)
    log = write_rows(tmp_path / "log.jsonl", lm_eval("It is 7."), flexible)
    assert convert(tmp_path, "--greedy", log) == 1
    error = capsys.readouterr().err
    assert "has the filters strict-match, flexible-extract; choose by --filter" in error
    assert convert(tmp_path, "--greedy", log, "--filter", "flexible-extract") == 0
    assert converted(tmp_path) == [SOLUTION | {"predicted_answer": "8", "is_correct": False}]


def test_repeats_are_labelled_by_their_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log has one label for all of them. Each log and repeat becomes a file."""
    first = write_rows(tmp_path / "1.jsonl", sampled("It is 7.0.", "It is 8."), sampled("No."))
    second = write_rows(tmp_path / "2.jsonl", sampled("It is 9, or: it is 7."))
    assert convert(tmp_path, "--samples", first, second) == 1
    assert "has 2 solutions, and not a label for each" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()
    pattern = r"[Ii]t is (\d+)"
    assert convert(tmp_path, "--samples", first, second, "--answer_pattern", pattern) == 0
    found = [
        [(row["generated_solution"], row["predicted_answer"], row["is_correct"]) for row in rows]
        for rows in (converted(tmp_path, f"rs{k}") for k in range(3))
    ]
    assert found == [
        [("It is 7.0.", "7", True), ("No.", None, False)],
        [("It is 8.", "8", False)],
        [("It is 9, or: it is 7.", "7", True)],
    ]


def test_logs_of_lighteval(tmp_path: Path) -> None:
    greedy = parquet(tmp_path / "greedy.parquet", lighteval("It is 8."))
    samples = parquet(tmp_path / "samples.parquet", lighteval("It is 8.", "It is 7."))
    words = ["--question_pattern", r"Question: (.*)\n"]
    assert convert(tmp_path, "--greedy", greedy, *words) == 0
    row = {"generated_solution": "It is 8.", "predicted_answer": "8", "is_correct": False}
    assert converted(tmp_path) == [SOLUTION | row]
    words += ["--samples", str(samples), "--answer_pattern", r"\d+"]
    assert convert(tmp_path, "--greedy", greedy, *words) == 0
    assert [converted(tmp_path, f"rs{k}") for k in (0, 1)] == [[SOLUTION | row], [SOLUTION]]
    assert converted(tmp_path) == [SOLUTION | row]


LOGS = Path(__file__).parents[1] / "helpers" / "evaluation_logs"
"""four problems of a small model that adds: `benchmarks/clients/evaluation_logs.py` makes them"""


def test_logs_that_the_tools_wrote(tmp_path: Path) -> None:
    """lm-eval 0.4.13 and lighteval 0.13.0, on the same problems, which both judged alike."""
    pattern = ["--answer_pattern", r"answer (\d+)"]
    greedy, samples = LOGS / "lm-eval-greedy.jsonl", LOGS / "lm-eval-sampled.jsonl"
    expected = [("0", "0", True), ("6", "6", True), ("1", "0", False), ("7", "6", False)]
    for words in (
        ["--greedy", greedy],
        ["--greedy", greedy, *pattern],
        ["--greedy", LOGS / "lighteval.parquet"],
    ):
        assert convert(tmp_path, *words) == 0
        found = converted(tmp_path)
        keys = ("expected_answer", "predicted_answer", "is_correct")
        assert [tuple(row[key] for key in keys) for row in found] == expected
        assert [row["question"].strip() for row in found] == [
            f"what is {sum} ?" for sum in ("0 + 0", "0 + 6", "1 + 0", "1 + 6")
        ]
    assert convert(tmp_path, "--greedy", greedy, "--samples", samples, *pattern) == 0
    labels = [[row["is_correct"] for row in converted(tmp_path, f"rs{k}")] for k in (0, 1)]
    assert labels == [[True, True, False, False], [True, False, True, False]]
    assert converted(tmp_path, "rs1")[1]["generated_solution"] == "2 + 6 = 1 . answer 8"


def test_questions_of_other_columns_and_of_prompts(tmp_path: Path) -> None:
    prompt = "Question: 1?\nAnswer: 1\n\nQuestion: 2?\nAnswer:"
    arguments = {"gen_args_0": {"arg_0": prompt, "arg_1": GREEDY}}
    row = lm_eval("It is 7.", doc={"Q": "2?", "A": "2"}, arguments=arguments)
    log = write_rows(tmp_path / "log.jsonl", row)
    for words in (["--question_column", "Q"], ["--question_pattern", r"Question: (.*)\n"]):
        assert convert(tmp_path, "--greedy", log, *words) == 0
        assert converted(tmp_path) == [SOLUTION | {"question": "2?"}]


def test_the_history_of_a_result_names_the_log(tmp_path: Path) -> None:
    log = write_rows(tmp_path / "log.jsonl", lm_eval("It is 7."))
    assert convert(tmp_path, "--greedy", log) == 0
    [step] = steps_to(tmp_path / "c/b/provenance.json")
    assert (step.stage, [one.name for one in step.inputs]) == ("convert", [str(log)])
    assert step.differs == []


MISTAKES = [
    ({"a": 1}, [], "row 1: neither a log of lm-eval (columns doc, target,"),
    (lm_eval("7", filter="x"), ["--filter", "y"], "log.jsonl: has no filter 'y'; there are: x"),
    (lm_eval(), [], "row 1: resps has no generated solutions"),
    (lm_eval("7", resps=[[["-1.5", "True"]], [["-2.5", "False"]]]), [], "generate_until"),
    (lm_eval("7", arguments={"gen_args_0": {"arg_0": "a", "arg_1": " b"}}), [], "generate_until"),
    (lm_eval("7", exact_match=0.4), [], "exact_match is 0.4; expected 0 or 1"),
    (lm_eval("7", metrics=["acc", "f1"]), [], "has the metrics acc, f1; choose by --metric"),
    (lm_eval("7"), ["--metric", "acc"], "acc is None; expected 0 or 1"),
    (lm_eval("7", doc={"Q": "?"}), [], "doc has no column of a question (there are: Q)"),
    (lm_eval("7", doc={"question": "?", "context": "It rains."}), [], "context can belong to"),
    (lm_eval("7"), ["--question_column", "Q"], "doc has no column 'Q'"),
    (lm_eval("7"), ["--question_pattern", "Q: (.*)"], "--question_pattern finds no question"),
    (lm_eval("7"), ["--question_pattern", "("], "is not a regular expression"),
    (lm_eval("7"), ["--answer_pattern", "(a)(b)"], "must have one group at most"),
    (lm_eval("7", "8"), [], "its solutions are samples; give the log as --samples"),
    (sampled("7"), [], "its solutions are samples; give the log as --samples"),
    (lm_eval("7", target=" "), [], "row 1: target is empty"),
]


@pytest.mark.parametrize(("row", "words", "message"), MISTAKES)
def test_mistakes_end_in_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    row: dict[str, Any],
    words: list[str],
    message: str,
) -> None:
    log = write_rows(tmp_path / "log.jsonl", row)
    assert convert(tmp_path, "--greedy", log, *words) == 1
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("convert: error: ") and message in line
    assert not (tmp_path / "c").exists()


def test_other_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = write_rows(tmp_path / "log.jsonl", lm_eval("7"))
    details = parquet(tmp_path / "log.parquet", lighteval("7"))
    several = parquet(tmp_path / "golds.parquet", lighteval("7") | {"doc": {"query": "a?"}})
    scores = parquet(tmp_path / "scores.parquet", lighteval("7") | {"model_response": {"a": 1}})
    both = ["--question_column", "a", "--question_pattern", "b"]
    for words, message in (
        ([], "give --greedy, --samples, or both"),
        (["--greedy", log, *both], "give either --question_column or --question_pattern"),
        (["--samples", log], "its solutions are greedy; give the log as --greedy"),
        (["--greedy", details, *both[:2]], "lighteval logs no columns of its data"),
        (["--greedy", several], "doc.choices and doc.gold_index must name one expected answer"),
        (["--greedy", scores], "model_response.text has no generated solutions"),
        (["--greedy", tmp_path / "none.jsonl"], "no such file"),
    ):
        assert convert(tmp_path, *words) == 1
        assert message in capsys.readouterr().err
    write_rows(tmp_path / "c/b/output-rs0.jsonl", SOLUTION)
    assert convert(tmp_path, "--greedy", log) == 1
    assert "has output-rs0.jsonl, which this command does not write" in capsys.readouterr().err
    inside = shutil.copy(log, tmp_path / "c/b/output-rs1.jsonl")
    assert convert(tmp_path, "--samples", inside) == 1
    assert "would be overwritten; give another --save_dir" in capsys.readouterr().err


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS, st.booleans()), min_size=1, max_size=5))
def test_every_solution_is_kept_character_by_character(
    problems: list[tuple[str, str, bool]],
) -> None:
    """Whatever the texts are; questions here begin with words that no transcript begins with."""
    rows = [
        lm_eval(text, doc={"question": f"What is {question}"}, exact_match=float(right))
        for question, text, right in problems
    ]
    with TemporaryDirectory() as name:
        folder = Path(name)
        assert convert(folder, "--greedy", write_rows(folder / "log.jsonl", *rows)) == 0
        found = read_completions(folder / "c", "b", "greedy")
    assert [(row["question"], row["generated_solution"], row["is_correct"]) for row in found] == [
        (f"What is {question}", text, right) for question, text, right in problems
    ]
