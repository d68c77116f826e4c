"""`python -m gcrm.export`: a score table as the authors' JSON lines."""

import json
from pathlib import Path

import pytest

from gcrm.cli import run_stage
from gcrm.config.export import ExportOptions
from gcrm.export import run
from helpers.score_rows import pair_metrics, score_file


def test_export_writes_the_rows_and_where_they_come_from(tmp_path: Path) -> None:
    scores, output = score_file(tmp_path / "scores.parquet"), tmp_path / "greedy" / "output.jsonl"
    assert run_stage(ExportOptions, run, ["--scores", str(scores), "--output", str(output)]) == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(rows) == 40
    assert rows[0]["question"] == "question 0?"
    provenance = json.loads((output.parent / "output.jsonl.provenance.json").read_text())
    assert provenance["inputs"][str(scores)]


def test_a_missing_table_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--scores", str(tmp_path / "none.parquet"), "--output", str(tmp_path / "o.jsonl")]
    assert run_stage(ExportOptions, run, words) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error == f"export: error: {tmp_path / 'none.parquet'}: no such file; `evaluate` makes it"


def test_pairs_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair_metrics(tmp_path / "hh.json")
    words = ["--scores", str(tmp_path / "hh.parquet"), "--output", str(tmp_path / "o.jsonl")]
    assert run_stage(ExportOptions, run, words) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    expected = "holds preference pairs; the authors' format has solutions only"
    assert error == f"export: error: {tmp_path / 'hh.parquet'}: {expected}"
    assert not (tmp_path / "o.jsonl").exists()
