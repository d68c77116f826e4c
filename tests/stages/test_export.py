"""`python -m gcrm.export`: a score table as the authors' JSON lines."""

import json
from pathlib import Path

import pytest

from gcrm.cli import run_stage
from gcrm.config.export import ExportOptions
from gcrm.export import run
from helpers.score_rows import pair_metrics, score_file


def export(folder: Path, name: str) -> int:
    words = ["--scores", folder / f"{name}.parquet", "--output", folder / "out" / "output.jsonl"]
    return run_stage(ExportOptions, run, list(map(str, words)))


def test_the_rows_and_where_they_come_from_are_written(tmp_path: Path) -> None:
    scores = score_file(tmp_path / "scores.parquet")
    assert export(tmp_path, "scores") == 0
    rows = (tmp_path / "out" / "output.jsonl").read_text().splitlines()
    assert len(rows) == 40 and json.loads(rows[0])["question"] == "question 0?"
    provenance = json.loads((tmp_path / "out" / "output.jsonl.provenance.json").read_text())
    assert provenance["inputs"][str(scores)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "none.parquet: no such file; `evaluate` makes it"),
        ("hh", "holds preference pairs; the authors' format has solutions only"),
    ],
)
def test_mistakes_end_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    pair_metrics(tmp_path / "hh.json")
    capsys.readouterr()
    assert export(tmp_path, name) == 1
    [error] = capsys.readouterr().err.strip().splitlines()
    assert error.startswith("export: error: ") and error.endswith(message)
    assert not (tmp_path / "out" / "output.jsonl").exists()
