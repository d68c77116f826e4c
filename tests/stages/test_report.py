"""`python -m gcrm.report`: everything that it writes, from metrics, scores and training logs."""

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gcrm.cli import run_stage
from gcrm.compare import run as run_compare
from gcrm.config.compare import CompareOptions
from gcrm.config.metrics import MetricsOptions
from gcrm.config.report import ReportOptions
from gcrm.metrics import run as run_metrics
from gcrm.report import run
from gcrm.reporting import contents
from gcrm.reporting.cells import variants_table
from gcrm.reporting.contents import FOR_TOKENS
from gcrm.reporting.figure_content import FIGURES
from gcrm.reporting.formats import number
from gcrm.reporting.results import read_results
from gcrm.reporting.summary import summary
from gcrm.reporting.tables import TABLES, Numbers
from gcrm.reporting.text import Content, report_text
from helpers.models import make_byte_tokenizer
from helpers.score_rows import columns, pair_metrics, score_file, write_columns
from helpers.workflow_runs import ROOT

VARIANTS = ("vanilla", "contrastive")
BENCHMARKS = ("gsm8k", "math", "mawps")
WHOLE = contents.Scope(VARIANTS, benchmarks=True, sampled=True, compared=True, heldout=True)


def same_solutions(path: Path, model: int, per_problem: int = 1) -> Path:
    """Scores of the same solutions by another model."""
    scores = columns(per_problem=per_problem, seed=model)
    given = columns(per_problem=per_problem)
    keys = ("prompt", "expected_answer", "completion", "predicted_answer", "label")
    write_columns(path, scores | {key: given[key] for key in keys})
    return path


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two variants, two seeds, three benchmarks; samples for gsm8k; one class only in mawps."""
    folder = tmp_path_factory.mktemp("run")
    for name, variant in enumerate(VARIANTS):
        for seed in (0, 1):
            model = folder / "models" / variant / f"seed{seed}"
            make_byte_tokenizer().save_pretrained(model)
            lines = [
                {"step": step, "preference_loss": 0.7 - 0.01 * step, "accuracy": 0.5}
                for step in range(1, 9)
            ]
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (model / "training_log.jsonl").write_text(text)
            for benchmark in BENCHMARKS:
                scores = folder / "scores" / variant / f"seed{seed}" / benchmark
                greedy = same_solutions(scores / "greedy/scores.parquet", 2 * name + seed)
                if benchmark == "mawps":
                    wrong = {"label": np.zeros(40, bool)}
                    write_columns(greedy, columns() | wrong)
                samples = None
                if benchmark == "gsm8k":
                    samples = same_solutions(scores / "all/scores.parquet", 2 * name + seed, 4)
                output = folder / "metrics" / variant / f"seed{seed}" / f"{benchmark}.json"
                run_metrics(
                    MetricsOptions(
                        scores=greedy, sample_scores=samples, output=output, bootstrap_resamples=50
                    )
                )
    for benchmark in BENCHMARKS:
        scores, samples = (
            [
                path
                for variant in VARIANTS
                for path in sorted(folder.glob(f"scores/{variant}/*/{benchmark}/{split}/*.parquet"))
            ]
            for split in ("greedy", "all")
        )
        run_compare(
            CompareOptions(
                scores=scores,
                sample_scores=samples,
                output=folder / "comparisons" / f"{benchmark}.json",
                bootstrap_resamples=50,
            )
        )
    pairs = []
    for variant in VARIANTS:
        for seed in ("seed0", "seed1"):
            metrics = folder / "metrics" / variant / seed / "dialogues.json"
            pair_metrics(metrics, int(seed[-1]))
            pairs.append(folder / "scores" / variant / seed / "dialogues/pairs/scores.parquet")
            pairs[-1].parent.mkdir(parents=True)
            metrics.with_suffix(".parquet").rename(pairs[-1])
    output = folder / "comparisons" / "dialogues.json"
    run_compare(CompareOptions(scores=pairs, output=output, bootstrap_resamples=50))
    return folder


def metrics_of(folder: Path) -> list[Path]:
    return [
        folder / "metrics" / variant / f"seed{seed}" / f"{benchmark}.json"
        for variant in VARIANTS
        for seed in (0, 1)
        for benchmark in BENCHMARKS
    ]


def options(folder: Path, save_dir: Path, **changes: Any) -> ReportOptions:
    given: dict[str, Any] = {
        "run": "tiny",
        "metrics": metrics_of(folder),
        "comparisons": [folder / "comparisons" / f"{benchmark}.json" for benchmark in BENCHMARKS],
        "heldout_metrics": sorted(folder.glob("metrics/*/*/dialogues.json"), reverse=True),
        "heldout_comparisons": [folder / "comparisons/dialogues.json"],
        "scores_dir": folder / "scores",
        "models_dir": folder / "models",
        "save_dir": save_dir,
    }
    return ReportOptions(**(given | changes))


@pytest.fixture(scope="module")
def report(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of all these, as of a synthetic run."""
    save_dir = tmp_path_factory.mktemp("report")
    run(options(run_folder, save_dir, synthetic=True, in_distribution=["gsm8k"]))
    return save_dir


def content(paths: list[Path], **changes: Any) -> Content:
    """What there is to tell, without the figures, which take their time."""
    given = ReportOptions(
        run="tiny", metrics=paths, save_dir=Path("results/tiny/report"), **changes
    )
    numbers = Numbers(read_results(paths, given.comparisons))
    return Content(given, "tiny", numbers, [], False)


# --- the files -------------------------------------------------------------------------------


def test_figures_of_a_variant_that_is_gone_go(tmp_path: Path, run_folder: Path) -> None:
    model = run_folder / "metrics" / "vanilla" / "seed0" / "gsm8k.json"
    other = run_folder / "metrics" / "contrastive" / "seed0" / "gsm8k.json"
    for metrics in ([model, other], [model]):
        given = ReportOptions(
            run="tiny", metrics=metrics, save_dir=tmp_path, scores_dir=run_folder / "scores"
        )
        run(given)
        figures = {file.name for file in (tmp_path / "figures").iterdir()}
        assert "q_values_vanilla.svg" in figures
        assert ("q_values_contrastive.png" in figures) == (other in metrics)
        if other in metrics:  # what somebody has put there, or has changed, is theirs
            (tmp_path / "figures" / "mine.svg").write_text("<svg/>")
            (tmp_path / "figures" / "q_values_contrastive.svg").write_text("<svg/>")
    assert {"mine.svg", "q_values_contrastive.svg"} <= figures


def test_everything_that_the_rule_declares_is_written_and_nothing_else(report: Path) -> None:
    parts = contents.figures(WHOLE)
    files = {name for part in parts for name in contents.figure_files(part)}
    tables = contents.tables(WHOLE)
    files |= {name for part in tables for name in contents.table_files(part)}
    files |= {"report.md", "summary.txt", "provenance.json", contents.SOLUTIONS}
    assert {str(p.relative_to(report)) for p in report.rglob("*") if p.is_file()} == files
    assert all((report / name).stat().st_size > 100 for name in files)


def test_every_part_has_a_maker_and_a_caption() -> None:
    figures = contents.figures(WHOLE)
    tables = contents.tables(WHOLE)
    assert {part.kind for part in figures} == set(FIGURES)
    assert {part.kind for part in tables} == set(TABLES)
    captions = {path.stem for path in (ROOT / "workflow/report").glob("*.rst")}
    assert captions == {part.kind for part in [*figures, *tables]} | {"workflow", "solutions"}


def test_what_the_report_links_to_is_there(report: Path) -> None:
    links = re.findall(r"\]\(([^)]+)\)", (report / "report.md").read_text())
    assert len(links) > 20
    assert [link for link in links if not (report / link).is_file()] == []


def test_made_benchmarks_are_marked_everywhere(report: Path) -> None:
    for path in [*report.glob("*.md"), *report.glob("*.txt"), *report.glob("*.html")]:
        assert "synthetic stand-in" in path.read_text(), path
    for path in report.glob("tables/*"):
        assert "synthetic stand-in" in path.read_text(), path


def test_the_report_is_the_same_bytes_every_time(
    run_folder: Path, report: Path, tmp_path: Path
) -> None:
    run(options(run_folder, tmp_path, synthetic=True, in_distribution=["gsm8k"]))
    for path in report.rglob("*"):
        # The summary says where it lies, and provenance when it was made.
        if path.is_file() and path.name not in ("provenance.json", "summary.txt"):
            assert (tmp_path / path.relative_to(report)).read_bytes() == path.read_bytes(), path


def test_provenance_names_all_that_was_read(report: Path, run_folder: Path) -> None:
    inputs = json.loads((report / "provenance.json").read_text())["inputs"]
    read = {str(path) for path in run_folder.glob("metrics/*/*/*.json")} - {
        str(path) for path in run_folder.glob("metrics/*/*/*.provenance.json")
    }
    read |= {str(run_folder / "comparisons" / f"{n}.json") for n in (*BENCHMARKS, "dialogues")}
    read |= {str(path) for path in run_folder.glob("scores/*/*/*/greedy/scores.parquet")}
    read |= {str(path) for path in run_folder.glob("models/*/*/training_log.jsonl")}
    read |= {str(p) for name in FOR_TOKENS for p in run_folder.glob(f"models/*/seed0/{name}")}
    assert set(inputs) == read
    assert None not in inputs.values()


def test_metrics_alone_make_a_report(run_folder: Path, tmp_path: Path) -> None:
    paths = [path for path in metrics_of(run_folder) if "seed0" in path.parts]
    more: dict[str, Any] = {"comparisons": [], "heldout_metrics": [], "heldout_comparisons": []}
    run(options(run_folder, tmp_path, metrics=paths, scores_dir=None, models_dir=None, **more))
    made = {path.stem for path in tmp_path.glob("figures/*.svg")}
    assert made == {"auroc", "partial_auroc_reward", "partial_auroc_q_value", "votes"}
    assert not (tmp_path / contents.SOLUTIONS).exists()
    text = (tmp_path / "report.md").read_text()
    assert "### Every seed" not in text
    assert "synthetic" not in text


@pytest.mark.parametrize("variant", ["v", "beta-0.25"])
def test_without_q_values_and_samples_there_is_less_to_tell(tmp_path: Path, variant: str) -> None:
    model = f"{variant}/seed0"
    scores = score_file(
        tmp_path / f"scores/{model}/gsm8k/greedy/scores.parquet", with_q_values=False
    )
    output = tmp_path / f"metrics/{model}/gsm8k.json"
    run_metrics(MetricsOptions(scores=scores, output=output, bootstrap_resamples=20))
    make_byte_tokenizer().save_pretrained(tmp_path / f"models/{model}")
    (tmp_path / f"models/{model}/training_log.jsonl").write_text("")
    alone = {"metrics": [output], "comparisons": [], "heldout_metrics": []}
    run(options(tmp_path, tmp_path / "report", heldout_comparisons=[], **alone))
    declared = contents.figures(contents.Scope([variant], benchmarks=True))
    made = {
        str(path.relative_to(tmp_path / "report")) for path in tmp_path.glob("report/figures/*")
    }
    assert made == {file for part in declared for file in contents.figure_files(part)}
    assert (tmp_path / "report" / contents.SOLUTIONS).is_file()
    assert "## Votes" not in (tmp_path / "report/report.md").read_text()


def test_partial_solutions_are_drawn_beside_the_length(report: Path) -> None:
    for score in ("reward", "q_value"):
        drawn = (report / f"figures/partial_auroc_{score}.svg").read_text()
        assert "<!-- length alone (shorter is better), at the end -->" in drawn


def test_lines_of_many_variants_are_parted_among_figures(tmp_path: Path) -> None:
    """With the first variant in each of them, and no other twice."""
    names = [f"v{i}" for i in range(12)]
    metrics = []
    for name in names:
        scores = score_file(tmp_path / f"scores/{name}/seed0/gsm8k/greedy/scores.parquet")
        metrics.append(tmp_path / f"metrics/{name}/seed0/gsm8k.json")
        run_metrics(MetricsOptions(scores=scores, output=metrics[-1], bootstrap_resamples=20))
    given = {"comparisons": [], "heldout_metrics": [], "heldout_comparisons": []}
    where = {"metrics": metrics, "scores_dir": None, "models_dir": None}
    run(options(tmp_path, tmp_path / "report", **given, **where))
    made = {path.stem for path in tmp_path.glob("report/figures/*.svg")}
    kinds = ("partial_auroc_reward", "partial_auroc_q_value")
    assert made == {"auroc", *(f"{kind}_{i}" for kind in kinds for i in (1, 2, 3))}
    assert made == {
        part.name
        for part in contents.figures(contents.Scope(names, benchmarks=True))
        if part.kind in ("auroc", "partial_auroc")
    }
    shown = [
        {name for name in names if f"<!-- {name} -->" in (tmp_path / file).read_text()}
        for file in (f"report/figures/partial_auroc_reward_{i}.svg" for i in (1, 2, 3))
    ]
    assert [len(one) for one in shown] == [6, 6, 2]
    assert set.union(*shown) == set(names) and set.intersection(*shown) == {"v0"}
    text = (tmp_path / "report/report.md").read_text()
    assert (
        "![AUROC: partial solutions, reward: v0, v11](figures/partial_auroc_reward_3.svg)" in text
    )


# --- what they say ---------------------------------------------------------------------------


def test_the_table_has_the_mean_over_seeds_and_each_seed(report: Path, run_folder: Path) -> None:
    text = (report / "report.md").read_text()
    paths = [run_folder / f"metrics/vanilla/seed{seed}/gsm8k.json" for seed in (0, 1)]
    first, second = (json.loads(path.read_text())["auroc"]["reward"] for path in paths)
    assert f"{(first['value'] + second['value']) / 2:.3f} [" in text
    for estimate in (first, second):
        assert number(estimate) in text
    assert "Averages over 2 seeds" in text and "Fewer than 5 seeds" in text
    assert "| mawps | 40 | 0.0 | – | – | – |" in text
    assert "mawps: no AUROC: all 40 solutions are incorrect" in text
    assert "### As the authors count" in text


def test_the_csv_files_have_every_number(report: Path, run_folder: Path) -> None:
    rows = list(csv.DictReader((report / "tables/auroc.csv").open()))
    # models, benchmarks, scores; averages over seeds, but of mawps
    assert len(rows) == 4 * 3 * 4 + 2 * 2 * 4
    row = next(r for r in rows if r["benchmark"] == "math" and r["score"] == "reward")
    expected = json.loads((run_folder / "metrics/vanilla/seed0/math.json").read_text())
    assert float(row["value"]) == expected["auroc"]["reward"]["value"]
    assert [float(row["low"]), float(row["high"])] == expected["auroc"]["reward"]["interval"]
    votes = {"gcrm": [], "official": []}
    for name in ("votes", "filter", "official_votes"):
        for row in csv.DictReader((report / f"tables/{name}.csv").open()):
            votes[row["rules"]].append(row)
    for path in metrics_of(run_folder):
        metrics = json.loads(path.read_text())
        voting = metrics.get("voting", {})
        official = numbers(voting.pop("official", {}))
        model = (metrics["variant"], str(metrics["seed"]), metrics["benchmark"])
        for rules, expected in (("gcrm", numbers(voting)), ("official", official)):
            rows = [
                row
                for row in votes[rules]
                if (row["variant"], row["seed"], row["benchmark"]) == model
            ]
            found = [float(row["value"]) for row in rows if row["value"]]
            found += [float(row["p"]) for row in rows if row["p"]]
            assert sorted(found) == pytest.approx(sorted(expected))
    partial = list(csv.DictReader((report / "tables/partial_auroc.csv").open()))
    assert len(partial) == (4 * 3 + 2 * 2) * 2 * 11 * 3  # each also above both lengths
    correlations = list(csv.DictReader((report / "tables/correlation.csv").open()))
    assert len(correlations) == (4 * 3 + 2 * 3) * 4 * 2
    compared = json.loads((run_folder / "comparisons/gsm8k.json").read_text())["variants"]
    averages = [row for row in partial if row["benchmark"] == "gsm8k" and not row["seed"]]
    assert len(averages) == 2 * 2 * 11 * 3
    for row in averages:
        found = compared[row["variant"]]["partial_auroc"][row["score"]][row["percentile"]]
        assert float(row["value"]) == found["value"]
        assert [float(row["low"]), float(row["high"])] == found["interval"]


def numbers(part: Any) -> list[float]:
    """All values and p of a section of a metrics file."""
    if isinstance(part, dict) and "value" in part:
        return [one for one in (part["value"], part.get("p")) if one is not None]
    if isinstance(part, dict):
        return [one for inner in part.values() for one in numbers(inner)]
    if isinstance(part, list):
        return [one for inner in part for one in numbers(inner)]
    return [part] if isinstance(part, int | float) else []


def test_what_a_filter_changes_is_tested(report: Path, run_folder: Path) -> None:
    """Over seeds as `compare` has it, corrected over benchmarks; and a control by length."""
    rows = (report / "tables/filter.md").read_text().splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]
    head, body = cells[0], cells[2:]
    assert head[:4] == ["benchmark", "filter", "threshold", "votes right: change"]
    assert [row[:3] for row in body] == [
        ["gsm8k", "vanilla", "0"],
        ["gsm8k", "vanilla", "chosen"],
        ["gsm8k", "contrastive", "0"],
        ["gsm8k", "contrastive", "chosen"],
        ["gsm8k", "length alone", "chosen"],
    ]
    found = json.loads((run_folder / "comparisons/gsm8k.json").read_text())["variants"]
    for row, section in ((body[2], "filtered"), (body[3], "filter_chosen")):
        change = found["contrastive"]["voting"][section]["difference"]
        assert row[3].lstrip("+") == f"{number(change, percent=True)}, p = {change['p']:.3f}"
    metrics = json.loads(metrics_of(run_folder)[0].read_text())["voting"]["length_filter_chosen"]
    assert body[4][4] == number(metrics["tokens_saved"], percent=True)


def test_variants_stand_side_by_side_by_means_over_benchmarks(run_folder: Path) -> None:
    paths = [p for p in metrics_of(run_folder) if "seed0" in p.parts and p.stem != "mawps"]
    results = read_results(paths)
    head, vanilla, contrastive = variants_table(results, ["math"])
    assert head[:3] == ["variant", "AUROC in distribution", "AUROC out of distribution"]
    assert head[-3:] == ["majority", "Q-filtered", "tokens saved"]
    math, gsm8k = (
        number(results.mean("vanilla", name, "auroc", "reward")) for name in ("math", "gsm8k")
    )
    assert vanilla[1:3] == [math, gsm8k]
    assert contrastive[0] == "contrastive"
    everything = variants_table(results, [])
    assert everything[0][1] == "AUROC"
    both = [results.mean("vanilla", name, "auroc", "reward") for name in ("math", "gsm8k")]
    assert everything[1][1].startswith(f"{np.mean([one['value'] for one in both if one]):.3f} ")


def test_what_prepare_found_is_in_the_report(tmp_path: Path, run_folder: Path) -> None:
    found = {
        "made": True,
        "training": {"pretrain": {"rows": 1000}, "/home/me/pairs.jsonl": {"rows": 7}},
        "benchmarks": {"gsm8k": {"problems": 40, "shared_with_training": 2, "shared": ["q"]}},
    }
    (tmp_path / "data.json").write_text(json.dumps(found))
    text = report_text(content(metrics_of(run_folder), data_report=tmp_path / "data.json"))
    assert "| gsm8k | 40 | 2 |" in text
    assert "- pretrain: 1000 rows" in text
    assert "- pairs.jsonl: 7 rows" in text
    assert "/home" not in text
    assert "- pairs.jsonl: 7 rows" in text
    assert "/home" not in text


def test_a_star_needs_more_than_length_either_way(tmp_path: Path, run_folder: Path) -> None:
    metrics = json.loads(metrics_of(run_folder)[0].read_text())
    for longer, starred in ((0.01, True), (-0.01, False)):
        metrics["auroc"]["reward_minus_length"] |= {"value": 0.2, "interval": [0.1, 0.3]}
        metrics["auroc"]["reward_minus_longer"] |= {"value": 0.2, "interval": [longer, 0.3]}
        (tmp_path / "m.json").write_text(json.dumps(metrics))
        text = summary(content([tmp_path / "m.json"]))
        row = next(line for line in text.splitlines() if line.startswith("gsm8k"))
        assert row.endswith("*") == starred


def test_after_half_of_the_tokens_a_star_needs_as_much(tmp_path: Path, run_folder: Path) -> None:
    metrics = json.loads(metrics_of(run_folder)[0].read_text())
    early = metrics["partial_auroc"]
    early["q_value"]["0.5"] = {"value": 0.7, "interval": [0.6, 0.8], "n": 40}
    early["q_value_minus_length"]["0.5"] |= {"value": 0.2, "interval": [0.1, 0.3]}
    for longer, starred in ((0.01, True), (-0.01, False)):
        early["q_value_minus_longer"]["0.5"] |= {"value": 0.2, "interval": [longer, 0.3]}
        (tmp_path / "m.json").write_text(json.dumps(metrics))
        text = report_text(content([tmp_path / "m.json"]))
        assert ("0.700 [0.600, 0.800] * |" in text) == starred
        assert "After half of the tokens" in text
    for curve in early.values():
        del curve["0.5"]
    (tmp_path / "m.json").write_text(json.dumps(metrics))
    assert "After half" not in report_text(content([tmp_path / "m.json"]))


# --- differences of variants -----------------------------------------------------------------


def test_differences_of_variants_have_a_section_and_tables(report: Path, run_folder: Path) -> None:
    compared = run_folder / "comparisons" / "gsm8k.json"
    [found] = json.loads(compared.read_text())["differences"]
    text = (report / "report.md").read_text()
    assert "## Differences of variants" in text and "Fewer than five" in text
    difference = found["auroc"]["reward"]
    low, high = difference["interval"]
    assert f"{difference['value']:+.3f} [{low:.3f}, {high:.3f}], p = " in text
    rows = list(csv.DictReader((report / "tables/differences.csv").open()))
    assert not [row for row in rows if row["measure"].startswith("voting")]
    [value] = [
        float(row["value"])
        for row in rows
        if (row["benchmark"], row["measure"], row["seed"]) == ("gsm8k", "auroc.reward", "")
    ]
    assert value == difference["value"]
    votes = list(csv.DictReader((report / "tables/vote_differences.csv").open()))
    assert votes and all(row["measure"].startswith("voting") for row in votes)
    provenance = json.loads((report / "provenance.json").read_text())
    assert str(compared) in provenance["inputs"]


def test_averages_over_seeds_are_those_of_compare(report: Path, run_folder: Path) -> None:
    compared = json.loads((run_folder / "comparisons" / "gsm8k.json").read_text())
    over_seeds = compared["variants"]["vanilla"]["auroc"]["reward"]
    low, high = over_seeds["interval"]
    cell = f"{over_seeds['value']:.3f} [{low:.3f}, {high:.3f}]"
    assert cell in (report / "report.md").read_text()
    assert cell not in report_text(content(metrics_of(run_folder)))


def test_comparisons_of_other_seeds_are_refused(
    tmp_path: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(path) for path in metrics_of(run_folder) if path.parent.name == "seed0"]
    words = ["--metrics", *paths, "--save_dir", str(tmp_path)]
    words += ["--comparisons", str(run_folder / "comparisons/gsm8k.json")]
    assert "gsm8k: vanilla has seeds [0, 1], in its metrics [0]" in refused(capsys, *words)


# --- the summary -----------------------------------------------------------------------------


def test_the_summary_is_short_and_says_where_all_is(report: Path) -> None:
    lines = (report / "summary.txt").read_text().splitlines()
    assert lines[0] == "Goal-conditioned reward models: tiny (synthetic stand-in)"
    assert lines[2].startswith("AUROC")
    assert len(lines) < 36
    assert max(map(len, lines[:-4])) <= 110
    for line, name in zip(
        lines[-4:], ("report.md", "tables", "figures", "solutions.html"), strict=True
    ):
        assert str(report / name) in line


def test_the_summary_of_many_variants_stays_short(tmp_path: Path, run_folder: Path) -> None:
    paths = []
    for variant in range(9):
        for path in metrics_of(run_folder)[:3]:
            metrics = json.loads(path.read_text()) | {"variant": f"ablation-number-{variant}" * 2}
            paths.append(tmp_path / f"{variant}-{path.name}")
            paths[-1].write_text(json.dumps(metrics))
    lines = summary(content(paths)).splitlines()
    assert len(lines) < 40
    assert max(map(len, lines[:-3])) <= 110
    assert sum(line.startswith("ablation-number-") for line in lines) == 2 * 9
    assert any(line.startswith("length alone") for line in lines)


# --- mistakes --------------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run_stage(ReportOptions, run, ["--run", "x", *words]) == 1
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file; `metrics` makes it"),
        ("{", "not valid JSON"),
        ("{}", "does not name its variant"),
        ("[]", "expected a JSON object"),
        ('{"variant": ["a"], "seed": 0, "benchmark": "b"}', "does not name its variant"),
        ('{"variant": "a", "seed": 0}', "does not name its variant"),
    ],
)
def test_mistakes_are_one_clear_line(
    tmp_path: Path, text: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gsm8k.json"
    if text is not None:
        path.write_text(text)
    assert message in refused(capsys, "--metrics", str(path), "--save_dir", str(tmp_path))


def test_the_same_model_twice_is_refused(
    tmp_path: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(metrics_of(run_folder)[0])
    told = refused(capsys, "--metrics", path, path, "--save_dir", str(tmp_path))
    assert "second file for vanilla, seed 0, gsm8k" in told


def test_missing_scores_and_logs_are_one_clear_line(
    tmp_path: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--metrics", str(metrics_of(run_folder)[0]), "--save_dir", str(tmp_path / "report")]
    told = refused(capsys, *words, "--scores_dir", str(tmp_path))
    assert "vanilla/seed0/gsm8k/greedy/scores.parquet: no such file; `evaluate` makes it" in told
    told = refused(capsys, *words, "--models_dir", str(tmp_path))
    assert "vanilla/seed0/training_log.jsonl: no such file" in told


def test_a_model_without_tokenizer_is_one_clear_line(
    tmp_path: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run_folder / "models", tmp_path / "models")
    (tmp_path / "models/vanilla/seed0/tokenizer.json").unlink()
    words = ["--metrics", str(metrics_of(run_folder)[0]), "--save_dir", str(tmp_path / "report")]
    words += ["--scores_dir", str(run_folder / "scores"), "--models_dir", str(tmp_path / "models")]
    assert "has no tokenizer that can be read" in refused(capsys, *words)
