"""Preference accuracy in the report, with and without benchmarks beside it."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gcrm.cli import run_stage
from gcrm.compare import run as run_compare
from gcrm.config.compare import CompareOptions
from gcrm.config.metrics import MetricsOptions
from gcrm.config.report import ReportOptions
from gcrm.metrics import run as run_metrics
from gcrm.report import run
from gcrm.reporting.results import SHARE, average
from helpers.score_rows import pair_metrics, score_file


@pytest.fixture(scope="module")
def heldout(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two variants, two seeds, two held-out sets; `good` is far above length."""
    folder = tmp_path_factory.mktemp("metrics")
    return [
        pair_metrics(folder / variant / f"seed{seed}" / f"{name}.json", seed, lift, seed)
        for variant, lift in (("vanilla", 0.0), ("contrastive", 3.0))
        for seed in (0, 1)
        for name in ("helpful", "harmless")
    ]


def report(save_dir: Path, **options: Any) -> Path:
    run(ReportOptions(run="hh", save_dir=save_dir, **options))
    return save_dir


def of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_a_metrics_file_names_what_it_is_of(heldout: list[Path]) -> None:
    found = of(heldout[-1])
    assert (found["variant"], found["seed"]) == ("contrastive", 1)
    assert found["benchmark"] == "harmless"
    provenance = json.loads(Path(f"{heldout[-1]}.provenance.json").read_text())
    assert list(provenance["inputs"]) == [str(heldout[-1].with_suffix(".parquet"))]


def test_what_is_published_stands_in_a_report_of_held_out_sets(
    tmp_path: Path, heldout: list[Path]
) -> None:
    published = tmp_path / "published.jsonl"
    claim = {"base_model": "org/base", "source": "paper, abstract", "claim": "2.3 % better"}
    published.write_text(json.dumps(claim))
    options = {"heldout_metrics": heldout, "published": published}
    folder = report(tmp_path / "theirs", base_model="org/base", **options)
    assert "- 2.3 % better (paper, abstract)" in (folder / "report.md").read_text()
    folder = report(tmp_path / "others", base_model="org/other", **options)
    assert "ublished" not in (folder / "report.md").read_text()


def test_a_report_of_held_out_sets_alone(tmp_path: Path, heldout: list[Path]) -> None:
    folder = report(tmp_path, heldout_metrics=heldout)
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {
        *("report.md", "summary.txt", "provenance.json"),
        *(f"tables/preferences.{kind}" for kind in ("html", "md", "tex", "csv")),
        *(f"figures/preferences.{kind}" for kind in ("svg", "png")),
    }
    text = (folder / "report.md").read_text()
    assert "## Preference accuracy" in text and "AUROC" not in text
    seeds = [of(path)["accuracy"]["reward"] for path in (heldout[4], heldout[6])]
    mean = 100 * (seeds[0]["value"] + seeds[1]["value"]) / 2
    low = 100 * (average(seeds, SHARE) or {})["interval"][0]
    assert f"{mean:.1f} [{low:.1f}, " in text
    summary = (folder / "summary.txt").read_text()
    [line] = [line for line in summary.splitlines() if line.startswith("helpful")]
    assert f"{mean:.1f} [{low:.1f}, " in line and line.endswith(" *")
    assert line.count("*") == 1  # vanilla's 50 % is not above length
    assert str(folder / "tables") in summary and str(folder / "figures") in summary
    assert max(map(len, summary.splitlines()[:-3])) <= 110


def test_differences_of_variants_are_in_the_report(tmp_path: Path, heldout: list[Path]) -> None:
    comparisons = []
    for name in ("helpful", "harmless"):
        paths = []
        for path in heldout:
            if path.stem == name:
                *_, variant, seed, _ = path.parts
                paths.append(tmp_path / variant / seed / name / "pairs" / "scores.parquet")
                paths[-1].parent.mkdir(parents=True)
                shutil.copy(path.with_suffix(".parquet"), paths[-1])
        comparisons.append(tmp_path / f"{name}.json")
        run_compare(CompareOptions(scores=paths, output=comparisons[-1], bootstrap_resamples=200))
    folder = report(tmp_path / "r", heldout_metrics=heldout, heldout_comparisons=comparisons)
    found = of(comparisons[0])
    (difference,) = found["differences"]
    value = difference["accuracy"]["reward"]["value"]
    text = (folder / "report.md").read_text()
    assert "### Differences in preference accuracy" in text
    assert f"| helpful | contrastive | vanilla | +{100 * value:.1f} [" in text
    mean = found["variants"]["contrastive"]["accuracy"]["reward"]  # over seeds and prompts
    low, high = (100 * end for end in mean["interval"])
    assert f"{100 * mean['value']:.1f} [{low:.1f}, {high:.1f}] *" in text
    summary = (folder / "summary.txt").read_text()
    assert f"+{100 * value:.1f} [" in summary
    assert max(map(len, summary.splitlines()[:-3])) <= 110
    rows = list(csv.DictReader((folder / "tables/preference_differences.csv").open()))
    assert {row["benchmark"] for row in rows} == {"helpful", "harmless"}


def test_ties_and_pairs_left_out_are_shown(tmp_path: Path, heldout: list[Path]) -> None:
    text = (report(tmp_path, heldout_metrics=heldout) / "report.md").read_text()
    [row] = [line for line in text.splitlines() if line.startswith("| helpful | vanilla")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    truncated = ", ".join(str(of(path)["pairs"]["truncated"]) for path in heldout[:3:2])
    assert cells[-3:] == ["0", truncated, "0, 1"]  # each seed, where they differ


def test_the_csv_has_every_number(tmp_path: Path, heldout: list[Path]) -> None:
    folder = report(tmp_path, heldout_metrics=heldout)
    rows = list(csv.DictReader((folder / "tables/preferences.csv").open()))
    # files, averages over two seeds; final scores, margin, percentiles
    assert len(rows) == (8 + 4) * (6 + 1 + 2 * 11)
    wanted = {"variant": "contrastive", "seed": "1", "heldout": "harmless"}
    row = next(
        row
        for row in rows
        if wanted.items() <= row.items() and (row["score"], row["percentile"]) == ("q_value", "0.5")
    )
    expected = of(heldout[-1])["partial_accuracy"]["q_value"]["0.5"]
    assert [float(row[key]) for key in ("value", "low", "high")] == [
        *(expected["value"], *expected["interval"]),
    ]


def test_beside_benchmarks(tmp_path: Path, heldout: list[Path]) -> None:
    benchmark = tmp_path / "vanilla" / "seed0" / "gsm8k.json"
    scores = score_file(tmp_path / "greedy.parquet")
    run_metrics(MetricsOptions(scores=scores, output=benchmark, bootstrap_resamples=20))
    found = {
        "benchmarks": {"gsm8k": {"problems": 40, "shared_with_training": 0}},
        "heldout": {"hh.jsonl": {"rows": 60, "questions": 59, "shared_with_training": 7}},
        "training": {},
    }
    (tmp_path / "data.json").write_text(json.dumps(found))
    folder = report(
        tmp_path / "report",
        metrics=[benchmark],
        heldout_metrics=heldout,
        data_report=tmp_path / "data.json",
    )
    text = (folder / "report.md").read_text()
    assert "## Reward against correctness (AUROC)" in text
    assert "## Preference accuracy" in text
    assert "| hh.jsonl | 59 | 7 |" in text
    summary = (folder / "summary.txt").read_text()
    assert "AUROC of the final reward" in summary and "Held-out pairs" in summary
    assert (folder / "figures/auroc.svg").exists() and (folder / "tables/preferences.csv").exists()


def test_nothing_to_report_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--run", "x", "--save_dir", str(tmp_path)]
    assert run_stage(ReportOptions, run, words) == 1
    assert "give --metrics, --heldout_metrics or both" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pair_scores", "x.parquet"], "--scores and --pair_scores need --output"),
        (["--pair_scores", "x", "--scores", "y", "--output", "z"], "either --scores or --pair"),
        (["--pair_scores", "x", "--sample_scores", "y", "--output", "z"], "goes with --scores"),
        (["--pair_scores", "no.parquet", "--output", "o.json"], "no.parquet: no such file"),
    ],
)
def test_mistakes_of_metrics_are_one_clear_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_stage(MetricsOptions, run_metrics, words) == 1
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
