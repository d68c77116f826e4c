"""Stage `pair`: preference pairs from files of labelled solutions."""

import json
from pathlib import Path

from gcrm.cli import run_stage
from gcrm.config.pair import PairOptions
from gcrm.pair import run
from helpers.rows import write_rows


def row(question: str, solution: str, is_correct: bool) -> dict:
    return {"question": question, "generated_solution": solution, "is_correct": is_correct}


def pair(*words: object) -> int:
    return run_stage(PairOptions, run, [str(word) for word in words])


def test_solutions_of_a_question_are_paired_across_files(tmp_path, capsys):
    files = [
        write_rows(tmp_path / "output-rs0.jsonl", row("a", "right", True), row("b", "right", True)),
        write_rows(tmp_path / "output-rs1.jsonl", row("a", "wrong", False), row("b", "also", True)),
    ]
    output = tmp_path / "pairs" / "pairs.jsonl"
    assert pair("--completions", *files, "--output", output) == 0
    assert [json.loads(line) for line in output.read_text().splitlines()] == [
        {"question": "a", "correct": "right", "incorrect": "wrong"}
    ]
    assert "pair: 1 pairs from 1 of 2 problems" in capsys.readouterr().err
    provenance = json.loads(Path(f"{output}.provenance.json").read_text())
    assert (provenance["pairs"], provenance["problems"]) == (1, 2)


def test_missing_pairs_are_an_error_with_the_reason(tmp_path, capsys):
    file = write_rows(tmp_path / "output-rs0.jsonl", row("a", "x", True), row("b", "y", True))
    assert pair("--completions", file, "--output", tmp_path / "pairs.jsonl") == 1
    error = capsys.readouterr().err
    assert "none of 2 problems in 1 files has both" in error
    assert "2 of 2 solutions are correct" in error
    assert not (tmp_path / "pairs.jsonl").exists()


def test_label_noise_exchanges_a_share_of_the_pairs(tmp_path):
    rows = [row(f"q{n}", text, text == "right") for n in range(400) for text in ("right", "wrong")]
    file = write_rows(tmp_path / "output-rs0.jsonl", *rows)
    found = {}
    for noise in (0, 0.25):
        output = tmp_path / f"{noise}.jsonl"
        assert pair("--completions", file, "--output", output, "--label_noise", noise) == 0
        found[noise] = [json.loads(line) for line in output.read_text().splitlines()]
    assert all(one["correct"] == "right" for one in found[0])
    exchanged = sum(one["correct"] == "wrong" for one in found[0.25])
    assert 70 < exchanged < 130
    assert all({one["correct"], one["incorrect"]} == {"right", "wrong"} for one in found[0.25])
