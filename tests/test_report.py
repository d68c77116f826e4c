"""`python -m gcrm.report`: tables, summary and figure from metrics files."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from score_rows import columns, score_file

from gcrm.cli import run_stage
from gcrm.compare import run as run_compare
from gcrm.metrics import run as run_metrics
from gcrm.report import run
from gcrm.report_tables import average
from gcrm.scores import write_scores
from gcrm.settings.compare import CompareOptions
from gcrm.settings.metrics import MetricsOptions
from gcrm.settings.report import ReportOptions


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two variants, two seeds, three benchmarks; samples for gsm8k; one class only in mawps."""
    folder = tmp_path_factory.mktemp("metrics")
    paths = []
    for number, (variant, seed) in enumerate(
        [("vanilla", 0), ("vanilla", 1), ("contrastive", 0), ("contrastive", 1)]
    ):
        for benchmark in ("gsm8k", "math", "mawps"):
            scores = score_file(folder / "greedy.parquet", seed=number)
            if benchmark == "mawps":
                write_scores(scores, columns() | {"is_correct": np.zeros(40, bool)})
            samples = score_file(folder / "all.parquet", per_problem=4, seed=number)
            output = folder / variant / f"seed{seed}" / f"{benchmark}.json"
            run_metrics(
                MetricsOptions(
                    scores=scores,
                    sample_scores=samples if benchmark == "gsm8k" else None,
                    output=output,
                    bootstrap_resamples=50,
                )
            )
            paths.append(output)
    return paths


@pytest.fixture(scope="module")
def comparisons(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of two variants with two seeds, and the metrics of the same scores before them."""
    folder = tmp_path_factory.mktemp("comparisons")
    greedy, metrics = [], []
    for number, (variant, seed) in enumerate(
        [("vanilla", 0), ("vanilla", 1), ("contrastive", 0), ("contrastive", 1)]
    ):
        path = folder / variant / f"seed{seed}" / "gsm8k" / "greedy" / "scores.parquet"
        rewards = np.random.default_rng(number).normal(size=40)
        write_scores(path, columns() | {"reward": rewards})
        output = folder / variant / f"seed{seed}" / "gsm8k.json"
        run_metrics(MetricsOptions(scores=path, output=output, bootstrap_resamples=50))
        greedy.append(path)
        metrics.append(output)
    output = folder / "comparisons" / "gsm8k.json"
    run_compare(CompareOptions(scores=greedy, output=output, bootstrap_resamples=50))
    return [*metrics, output]


def test_differences_of_variants_have_a_section_and_a_table(
    tmp_path: Path, comparisons: list[Path]
) -> None:
    *metrics, compared = comparisons
    folder = made(tmp_path, metrics, comparisons=[compared])
    text = (folder / "report.md").read_text()
    found = json.loads(compared.read_text())
    difference = found["differences"][0]["auroc"]["reward"]
    low, high = difference["interval"]
    assert "## Differences of variants" in text
    assert f"{difference['value']:+.3f} [{low:.3f}, {high:.3f}], p = " in text
    assert "Fewer than five" in text
    rows = list(csv.DictReader((folder / "differences.csv").open()))
    assert float(rows[0]["value"]) == difference["value"]
    provenance = json.loads((folder / "provenance.json").read_text())
    assert str(compared) in provenance["inputs"]


def test_averages_over_seeds_have_intervals_over_seeds(
    tmp_path: Path, comparisons: list[Path]
) -> None:
    *metrics, compared = comparisons
    over_seeds = json.loads(compared.read_text())["variants"]["vanilla"]["auroc"]["reward"]
    low, high = over_seeds["interval"]
    cell = f"{over_seeds['value']:.3f} [{low:.3f}, {high:.3f}]"
    assert cell in (made(tmp_path / "a", metrics, comparisons=[compared]) / "report.md").read_text()
    assert cell not in (made(tmp_path / "b", metrics) / "report.md").read_text()


def test_comparisons_of_other_seeds_are_refused(
    tmp_path: Path, comparisons: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--run", "x", "--metrics", str(comparisons[0]), str(comparisons[2])]
    words += ["--comparisons", str(comparisons[-1]), "--save_dir", str(tmp_path)]
    assert run_stage(ReportOptions, run, words) == 1
    assert "gsm8k: vanilla has seeds [0, 1], in its metrics [0]" in capsys.readouterr().err


def made(save_dir: Path, metrics: list[Path], **options: Any) -> Path:
    run(ReportOptions(run="tiny", metrics=metrics, save_dir=save_dir, **options))
    return save_dir


@pytest.fixture(scope="module")
def report(metrics: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of all these metrics."""
    return made(tmp_path_factory.mktemp("report"), metrics)


def test_the_report_has_tables_figure_and_provenance(report: Path, metrics: list[Path]) -> None:
    assert {path.name for path in report.iterdir()} == {
        *("report.md", "summary.txt", "auroc.svg", "auroc.png", "provenance.json"),
        *("auroc.csv", "partial_auroc.csv", "voting.csv"),
    }
    text = (report / "report.md").read_text()
    first, second = (json.loads(metrics[i].read_text())["auroc"]["reward"] for i in (0, 3))
    mean = (first["value"] + second["value"]) / 2
    assert f"{mean:.3f} [" in text
    for estimate in (first, second):  # each seed is shown
        low, high = estimate["interval"]
        assert f"{estimate['value']:.3f} [{low:.3f}, {high:.3f}]" in text
    assert "| mawps | 40 | 0.0 | – | – | – |" in text
    assert "mawps: no AUROC: all 40 solutions are incorrect" in text
    assert "## Votes over samples" in text
    assert "### As the authors count" in text
    assert "synthetic" not in text


def test_the_summary_fits_the_terminal_and_says_where_all_is(report: Path) -> None:
    summary = (report / "summary.txt").read_text()
    lines = summary.splitlines()
    assert max(map(len, lines[:-2])) <= 110
    assert str(report / "report.md") in lines[-2]
    assert str(report / "auroc.png") in lines[-1]
    assert "Averages over seeds (vanilla: 2, contrastive: 2)" in summary


def test_many_variants_are_put_in_blocks(tmp_path: Path, metrics: list[Path]) -> None:
    paths = []
    for number in range(7):
        content = json.loads(metrics[0].read_text()) | {"variant": f"ablation-number-{number}" * 2}
        paths.append(tmp_path / f"{number}.json")
        paths[-1].write_text(json.dumps(content))
    lines = (made(tmp_path / "report", paths) / "summary.txt").read_text().splitlines()
    assert max(map(len, lines[:-2])) <= 110
    assert sum(line.startswith("gsm8k ") for line in lines) > 2


def test_made_benchmarks_are_marked_everywhere(
    tmp_path: Path, metrics: list[Path], report: Path
) -> None:
    folder = made(tmp_path, metrics, synthetic=True)
    for name in ("report.md", "summary.txt"):
        assert "(synthetic stand-in)" in (folder / name).read_text().splitlines()[0]
    assert (folder / "auroc.svg").read_bytes() != (report / "auroc.svg").read_bytes()


def test_the_report_is_the_same_bytes_every_time(report: Path, metrics: list[Path]) -> None:
    first = {p.name: p.read_bytes() for p in report.iterdir() if p.name != "provenance.json"}
    made(report, metrics)
    assert all((report / name).read_bytes() == content for name, content in first.items())


def test_the_csv_files_have_every_number(report: Path, metrics: list[Path]) -> None:
    rows = list(csv.DictReader((report / "auroc.csv").open()))
    assert len(rows) == 4 * 3 * 4  # models, benchmarks, scores
    row = next(r for r in rows if r["benchmark"] == "math" and r["score"] == "reward")
    expected = json.loads(metrics[1].read_text())["auroc"]["reward"]
    assert float(row["value"]) == expected["value"]
    assert [float(row["low"]), float(row["high"])] == expected["interval"]
    votes = list(csv.DictReader((report / "voting.csv").open()))
    assert {row["benchmark"] for row in votes} == {"gsm8k"}
    assert {row["rules"] for row in votes} == {"gcrm", "official"}
    assert len(list(csv.DictReader((report / "partial_auroc.csv").open()))) == 4 * 3 * 2 * 11


def test_vanilla_and_one_seed_alone_make_a_report(tmp_path: Path) -> None:
    scores = score_file(tmp_path / "g.parquet", with_q_values=False)
    samples = score_file(tmp_path / "a.parquet", with_q_values=False, per_problem=3)
    output = tmp_path / "vanilla" / "seed0" / "gsm8k.json"
    run_metrics(
        MetricsOptions(scores=scores, sample_scores=samples, output=output, bootstrap_resamples=20)
    )
    text = (made(tmp_path / "report", [output]) / "report.md").read_text()
    assert "### Every seed" not in text
    assert "| gsm8k | vanilla | " in text


def test_what_prepare_found_is_in_the_report(tmp_path: Path, metrics: list[Path]) -> None:
    found = {
        "made": True,
        "training": {"pretrain": {"rows": 1000}, "/home/me/pairs.jsonl": {"rows": 7}},
        "benchmarks": {"gsm8k": {"problems": 40, "shared_with_training": 2, "shared": ["q"]}},
    }
    (tmp_path / "data.json").write_text(json.dumps(found))
    folder = made(tmp_path / "report", metrics, data_report=tmp_path / "data.json")
    text = (folder / "report.md").read_text()
    assert "| gsm8k | 40 | 2 |" in text
    assert "- pretrain: 1000 rows" in text
    assert "- pairs.jsonl: 7 rows" in text
    assert "/home" not in text


def test_a_star_needs_more_than_length_either_way(tmp_path: Path, metrics: list[Path]) -> None:
    content = json.loads(metrics[0].read_text())
    for longer, starred in ((0.01, True), (-0.01, False)):
        content["auroc"]["reward_minus_length"] |= {"value": 0.2, "interval": [0.1, 0.3]}
        content["auroc"]["reward_minus_longer"] |= {"value": 0.2, "interval": [longer, 0.3]}
        (tmp_path / "m.json").write_text(json.dumps(content))
        text = (made(tmp_path / "r", [tmp_path / "m.json"]) / "summary.txt").read_text()
        row = next(line for line in text.splitlines() if line.startswith("gsm8k"))
        assert row.endswith("*") == starred


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; `metrics` makes it"),
        ("{", "not valid JSON"),
        ("{}", "does not name its variant"),
        ("[]", "does not name its variant"),
        ('{"variant": ["a"], "seed": 0, "benchmark": "b"}', "does not name its variant"),
        ('{"variant": "a", "seed": 0}', "does not name its variant"),
    ],
)
def test_mistakes_are_one_clear_line(
    tmp_path: Path, content: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gsm8k.json"
    if content is not None:
        path.write_text(content)
    words = ["--run", "x", "--metrics", str(path), "--save_dir", str(tmp_path / "report")]
    assert run_stage(ReportOptions, run, words) == 1
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


def test_the_same_model_twice_is_refused(
    tmp_path: Path, metrics: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--run", "x", "--metrics", str(metrics[0]), str(metrics[0])]
    assert run_stage(ReportOptions, run, [*words, "--save_dir", str(tmp_path)]) == 1
    assert "second file for vanilla, seed 0, gsm8k" in capsys.readouterr().err


def test_average_by_hand() -> None:
    one = {"value": 0.6, "interval": [0.5, 0.7], "n": 9}
    other = {"value": 0.8, "interval": [0.6, 0.9], "n": 9}
    mean = average([one, other, {"value": None, "interval": None, "n": 9}])
    assert mean == {"value": pytest.approx(0.7), "interval": pytest.approx([0.55, 0.8]), "n": 9}
    assert average([]) is None
