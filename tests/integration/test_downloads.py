"""`prepare` with downloads from a local web server, through its command and through Snakemake."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gcrm.cli import run_stage
from gcrm.config.prepare import PrepareOptions
from gcrm.prepare import run
from gcrm.utils.io import read_jsonl
from helpers.originals import FOLDER, jsonl, pair, pairs_zip, prediction, predictions_zip
from helpers.web import Site, serve
from helpers.workflow_runs import SMALL, copy_project, snakemake, would_run, write_config

PAIRS = [pair(f"How many legs have {i} dogs?") for i in range(20)] + [pair("gsm8k 1?")]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    solutions = [prediction(f"q{i}?", i % 2 == 0, f"{i}") for i in (0, 1, 1, 2)]
    solutions += [prediction("q0?", False, "wrong")]
    with serve(
        {
            "pairs.zip": pairs_zip(tmp_path, PAIRS),
            "predictions.zip": predictions_zip({"gsm8k": 2, "svamp": 0}),
            "solutions/train.jsonl": jsonl(solutions),
        }
    ) as found:
        yield found


def entries(site: Site) -> dict[str, Any]:
    return {
        "authors": {"format": "pairs", "files": [{"url": site.url("pairs.zip")}]},
        "rebuilt": {
            "format": "solutions",
            "files": [{"url": site.url("solutions/train.jsonl")}],
        },
        "predictions": {
            "format": "completions",
            "folder": FOLDER,
            "samples": {"gsm8k": 2},
            "files": [{"url": site.url("predictions.zip")}],
        },
    }


def prepare(folder: Path, downloads: dict[str, Any], *words: str) -> int:
    given = [
        *("--downloads", json.dumps(downloads), "--download_dir", str(folder / "downloads")),
        *("--preferences_dir", str(folder / "preferences")),
        *("--completions_data_path", str(folder / "completions")),
        *("--dataset", str(folder / "preferences" / "authors.jsonl")),
        *("--report", str(folder / "data" / "report.json"), "--benchmarks", *words),
    ]
    return run_stage(PrepareOptions, run, given)


def test_what_is_fetched_is_converted_checked_and_recorded(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "run"
    assert prepare(home, entries(site), "gsm8k", "svamp") == 0
    assert read_jsonl(home / "preferences/authors.jsonl") == PAIRS
    assert [row["incorrect"] for row in read_jsonl(home / "preferences/rebuilt.jsonl")] == ["wrong"]
    assert (home / "completions/gsm8k/output-rs1.jsonl").is_file()
    report = json.loads((home / "data/report.json").read_text())
    assert report["training"][str(home / "preferences/authors.jsonl")]["rows"] == 21
    assert report["benchmarks"]["gsm8k"]["all"]["files"] == 2
    assert report["benchmarks"]["gsm8k"]["shared"] == ["gsm8k 1?"]
    content = site.files["pairs.zip"]
    assert report["downloads"]["authors"] == {
        "pairs": 21,
        "files": [
            {
                "url": site.url("pairs.zip"),
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
        ],
    }
    assert report["downloads"]["predictions"]["solutions"] == {"gsm8k": 3, "svamp": 3}
    provenance = json.loads((home / "data/report.json.provenance.json").read_text())
    assert provenance["downloads"] == report["downloads"]
    assert len(list((home / "downloads").iterdir())) == 3
    assert "WARNING: training data and benchmarks share 1 questions" in capsys.readouterr().err


def test_a_second_time_nothing_is_fetched(site: Site, tmp_path: Path) -> None:
    assert prepare(tmp_path, entries(site), "gsm8k", "svamp") == 0
    before = (tmp_path / "preferences/authors.jsonl").read_bytes()
    shutil.rmtree(tmp_path / "preferences")
    asked = len(site.asked)
    assert prepare(tmp_path, entries(site), "gsm8k", "svamp") == 0
    assert len(site.asked) == asked
    assert (tmp_path / "preferences/authors.jsonl").read_bytes() == before


def test_without_the_file_nothing_half_done_is_left(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del site.files["predictions.zip"]
    assert prepare(tmp_path / "run", entries(site), "gsm8k") == 1
    error = capsys.readouterr().err
    assert f"prepare: error: {site.url('predictions.zip')}: HTTP 404" in error
    assert not (tmp_path / "run/completions").exists()
    assert not (tmp_path / "run/data/report.json").exists()


@pytest.mark.parametrize("files_of_samples", [2, 3])
def test_nothing_unpacked_is_left(
    site: Site, tmp_path: Path, files_of_samples: int, capsys: pytest.CaptureFixture[str]
) -> None:
    downloads = entries(site)
    downloads["predictions"]["samples"]["gsm8k"] = files_of_samples  # of which two exist
    assert prepare(tmp_path, downloads, "gsm8k") == (files_of_samples > 2)
    assert ("output-rs2.jsonl (in that folder" in capsys.readouterr().err) == (files_of_samples > 2)
    assert not [path for path in (tmp_path / "downloads").iterdir() if path.is_dir()]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--downloads", "{broken"], "--downloads: Value error, must be a JSON object"),
        (["--downloads", '{"a": {"format": "x", "files": []}}'], "downloads.a.format"),
        (
            ["--downloads", '{"a": {"format": "pairs", "files": [{"url": "https://h.org/x"}]}}'],
            "--downloads needs --download_dir",
        ),
    ],
)
def test_wrong_flags_are_one_line(
    words: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_stage(PrepareOptions, run, ["--benchmarks", "gsm8k", *words]) == 1
    error = capsys.readouterr().err
    assert problem.replace("Value error, ", "") in error
    assert error.count("\n") == 1


# --- through Snakemake ------------------------------------------------------------------------


def config(site: Site, **changes: Any) -> dict[str, Any]:
    making = ("prepare", "pretrain", "sample", "pair")
    return {key: value for key, value in SMALL.items() if key not in making} | {
        "run": "web",
        "base_model": "owner/model",
        "preferences": "download:authors",
        "completions": "download:predictions",
        "downloads": entries(site),
        **changes,
    }


def test_a_run_fetches_what_it_needs_once(site: Site, tmp_path: Path) -> None:
    """Local pairs and downloaded ones, after an error of the server; then another source."""
    project = copy_project(tmp_path / "project")
    (project / "own.jsonl").write_text(json.dumps(pair("mine?")) + "\n")
    sources = ["own.jsonl", "download:authors"]
    write_config(project / "web.yaml", config(site, preferences=sources))
    report = project / "results/web/data/report.json"

    def run(target: Path, *words: str) -> str:
        words = ("--configfile", "web.yaml", "--cores", "1", *words)
        done = snakemake(project, str(target.relative_to(project)), *words, no_proxy="127.0.0.1")
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    site.statuses = [404]
    screen = run(report, "--retries", "1")
    assert "prepare: fetch and check the data that the run brings" in screen
    assert "HTTP 404 Not Found" in screen
    assert "cost: unknown, because the size of owner/model is" in screen
    training = json.loads(report.read_text())["training"]
    assert [found["rows"] for found in training.values()] == [1, 21]
    assert not (project / "results/web/preferences/rebuilt.jsonl").exists()

    os.utime(project / "own.jsonl", (1, 1))
    jobs = would_run(project, "--configfile", "web.yaml")
    assert not any(message.startswith("prepare") for message in jobs)
    assert "evaluate: vanilla, seed 0, gsm8k (all)" in jobs
    assert "evaluate: vanilla, seed 0, svamp (all)" not in jobs

    # Only the other source is fetched; earlier downloads stay.
    asked = len(site.asked)
    pairs = project / "results/web/preferences/rebuilt.jsonl"
    run(pairs, "--config", "preferences=download:rebuilt")
    assert [path for path, _ in site.asked[asked:]] == ["solutions/train.jsonl"]
    assert [row["incorrect"] for row in read_jsonl(pairs)] == ["wrong"]
