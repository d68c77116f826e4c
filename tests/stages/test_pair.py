"""`pair`: which solutions become preference pairs."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gcrm.cli import run_stage
from gcrm.config.pair import PairOptions
from gcrm.pair import make_pairs, run


def row(question: str, solution: str, is_correct: bool) -> dict:
    return {"question": question, "generated_solution": solution, "is_correct": is_correct}


def write(path: Path, *rows: dict) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def pair(*words: object) -> int:
    return run_stage(PairOptions, run, [str(word) for word in words])


def test_pairs_come_from_all_files_of_one_question(tmp_path, capsys):
    files = [
        write(tmp_path / "output-rs0.jsonl", row("a", "right", True), row("b", "right", True)),
        write(tmp_path / "output-rs1.jsonl", row("a", "wrong", False), row("b", "also", True)),
    ]
    output = tmp_path / "pairs" / "pairs.jsonl"
    assert pair("--completions", *files, "--output", output) == 0
    assert [json.loads(line) for line in output.read_text().splitlines()] == [
        {"question": "a", "correct": "right", "incorrect": "wrong"}
    ]
    assert "pair: 1 pairs from 1 of 2 problems" in capsys.readouterr().err
    provenance = json.loads(Path(f"{output}.provenance.json").read_text())
    assert (provenance["pairs"], provenance["problems"]) == (1, 2)


def test_no_pairs_at_all_is_an_error_that_says_why(tmp_path, capsys):
    file = write(tmp_path / "output-rs0.jsonl", row("a", "x", True), row("b", "y", True))
    assert pair("--completions", file, "--output", tmp_path / "pairs.jsonl") == 1
    error = capsys.readouterr().err
    assert "none of 2 problems in 1 files has both" in error
    assert "2 of 2 solutions are correct" in error
    assert not (tmp_path / "pairs.jsonl").exists()


def test_a_problem_has_as_many_pairs_as_combinations_of_texts():
    rows = [row("q", text, True) for text in ("r1", "r2", "r2", "r3")]
    rows += [row("q", text, False) for text in ("w1", "w1", "w2")]
    pairs = {(one["correct"], one["incorrect"]) for one in make_pairs(rows, most=9, seed=0)}
    assert pairs == {(right, wrong) for right in ("r1", "r2", "r3") for wrong in ("w1", "w2")}
    assert len(make_pairs(rows, most=1, seed=0)) == 1


def test_empty_solutions_and_contradicting_labels_make_no_pair():
    rows = [row("q", " ", False), row("q", "same", True), row("q", "same", False)]
    assert make_pairs([*rows, row("q", "good", True)], most=2, seed=0) == []


ROWS = st.lists(
    st.builds(row, st.sampled_from("abc"), st.sampled_from("stuvw"), st.booleans()), max_size=40
)


@given(rows=ROWS, most=st.integers(1, 3), data=st.data())
def test_pairs_are_true_to_the_labels_whatever_the_order(rows, most, data):
    pairs = make_pairs(rows, most, seed=3)
    assert len({tuple(one.values()) for one in pairs}) == len(pairs)
    for kind, label in (("correct", True), ("incorrect", False)):
        assert {(one["question"], one[kind]) for one in pairs} <= {
            (one["question"], one["generated_solution"])
            for one in rows
            if one["is_correct"] is label
        }
    for question in "abc":
        assert sum(one["question"] == question for one in pairs) <= most
    shuffled = make_pairs(data.draw(st.permutations(rows)), most, seed=3)
    assert sorted(map(json.dumps, shuffled)) == sorted(map(json.dumps, pairs))
