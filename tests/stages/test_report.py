"""Stage `report`: its files, texts and error messages."""

import json
import re
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pandas import DataFrame, isna, read_csv

from gcrm.cli import run_stage
from gcrm.compare import run as run_compare
from gcrm.config.compare import CompareOptions
from gcrm.config.metrics import MetricsOptions
from gcrm.config.report import ReportOptions
from gcrm.metrics import run as run_metrics
from gcrm.report import run
from gcrm.reporting import contents
from gcrm.reporting.columns import Numbers
from gcrm.reporting.contents import FOR_TOKENS
from gcrm.reporting.figures import FIGURES
from gcrm.reporting.formats import number
from gcrm.reporting.kinds import TABLES
from gcrm.reporting.results import read_results
from gcrm.reporting.text import Content, report_text, summary
from gcrm.stats.estimates import estimates_frame, read_estimates, write_estimates
from gcrm.stats.goals import KINDS
from helpers.generated import generated
from helpers.models import make_byte_tokenizer
from helpers.rows import write_rows
from helpers.score_rows import columns, pair_metrics, pick, score_file, write_columns
from helpers.workflow_runs import ROOT

VARIANTS = ("vanilla", "contrastive")
BENCHMARKS = ("gsm8k", "math", "mawps")
WHOLE = contents.Scope(
    VARIANTS, True, sampled=True, compared=True, heldout=True, goals=VARIANTS, generated=VARIANTS
)
MODELS = [(variant, seed) for variant in VARIANTS for seed in (0, 1)]


def same_solutions(path: Path, model: int, per_problem: int = 1) -> Path:
    """Scores of the same solutions by different models."""
    scores = columns(per_problem=per_problem, seed=model)
    given = columns(per_problem=per_problem)
    keys = ("prompt", "expected_answer", "completion", "predicted_answer", "label")
    return write_columns(path, scores | {key: given[key] for key in keys})


def compare(folder: Path, benchmark: str, split: str, samples: str = "none") -> None:
    """The comparisons of all models, in the order of VARIANTS."""
    scores, sampled = (
        [
            path
            for variant in VARIANTS
            for path in sorted(folder.glob(f"scores/{variant}/*/{benchmark}/{one}/*.parquet"))
        ]
        for one in (split, samples)
    )
    output = folder / "comparisons" / f"{benchmark}.json"
    given = {"output": output, "bootstrap_resamples": 50}
    run_compare(CompareOptions(scores=scores, sample_scores=sampled, **given))


def measurements(variant: str, seed: int, benchmark: str = "gsm8k") -> list[dict[str, Any]]:
    """Of goal states; nothing is kept with a single rejected example."""
    names = {"variant": variant, "seed": seed, "benchmark": benchmark, "samples": 160}
    rows = []
    for kind, examples, draw in product(KINDS, (1, 100), range(2)):
        kept = None if (kind, examples) == ("rejected", 1) else 0.5 + 0.1 * draw + 0.02 * seed
        goal = {"kind": kind, "examples": examples, "draw": draw, "correct": 0.4}
        scores = {"correct_kept": kept, "dropped": 0.25, "auroc": 0.625, "auroc_lowest": None}
        rows.append(names | goal | scores)
    return rows


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two variants, two seeds, three benchmarks and a held-out set.

    Only gsm8k has samples; mawps has only incorrect solutions.
    """
    folder = tmp_path_factory.mktemp("run")
    for place, (variant, seed) in enumerate(MODELS):
        model = folder / "models" / variant / f"seed{seed}"
        make_byte_tokenizer().save_pretrained(model)
        steps = range(1, 9)
        log = [{"step": i, "preference_loss": 0.7 - 0.01 * i, "accuracy": 0.5} for i in steps]
        write_rows(model / "training_log.jsonl", *log)
        scores, metrics = (
            folder / kind / variant / f"seed{seed}" for kind in ("scores", "metrics")
        )
        for benchmark in BENCHMARKS:
            greedy = same_solutions(scores / benchmark / "greedy/scores.parquet", place)
            if benchmark == "mawps":
                write_columns(greedy, columns() | {"label": np.zeros(40, bool)})
            samples = None
            if benchmark == "gsm8k":
                samples = same_solutions(scores / benchmark / "all/scores.parquet", place, 4)
            output = metrics / f"{benchmark}.json"
            given = {"output": output, "bootstrap_resamples": 50}
            run_metrics(MetricsOptions(scores=greedy, sample_scores=samples, **given))
        write_rows(folder / "goals" / variant / f"seed{seed}.jsonl", *measurements(variant, seed))
        made = folder / "generate" / variant / f"seed{seed}" / "gsm8k" / "estimates.json"
        made.parent.mkdir(parents=True)
        write_estimates(made, estimates_frame(generated(variant, seed)))
        pairs = scores / "dialogues/pairs/scores.parquet"
        pairs.parent.mkdir(parents=True)
        made = pair_metrics(metrics / "dialogues.json", seed, lift=3.0 * (variant != "vanilla"))
        made.with_suffix(".parquet").rename(pairs)
    for benchmark in BENCHMARKS:
        compare(folder, benchmark, "greedy", "all")
    compare(folder, "dialogues", "pairs")
    return folder


def metrics_of(folder: Path, *benchmarks: str, seeds: tuple[int, ...] = (0, 1)) -> list[Path]:
    return [
        folder / "metrics" / variant / f"seed{seed}" / f"{benchmark}.json"
        for variant, seed in MODELS
        if seed in seeds
        for benchmark in benchmarks or (*BENCHMARKS, "dialogues")
    ]


def options(folder: Path, save_dir: Path, **changes: Any) -> ReportOptions:
    comparisons = sorted(folder.glob("comparisons/*.json"))
    given: dict[str, Any] = {
        "run": "tiny",
        "metrics": metrics_of(folder),
        "comparisons": [path for path in comparisons if "provenance" not in path.name],
        "goals": sorted(folder.glob("goals/*/*.jsonl"), reverse=True),
        "generated": sorted(folder.glob("generate/*/*/gsm8k/*.json"), reverse=True),
        "scores_dir": folder / "scores",
        "models_dir": folder / "models",
        "save_dir": save_dir,
    }
    return ReportOptions(**(given | changes))


ALONE: dict[str, Any] = {
    **{"comparisons": [], "goals": [], "generated": []},
    **{"scores_dir": None, "models_dir": None},
}
"""options of a report from metrics alone"""


@pytest.fixture(scope="module")
def report(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of `run_folder`, as a synthetic run."""
    save_dir = tmp_path_factory.mktemp("report")
    run(options(run_folder, save_dir, synthetic=True, in_distribution=["gsm8k"]))
    return save_dir


def content(paths: list[Path], **changes: Any) -> Content:
    """The content of a report without figures, which are slow."""
    given = ReportOptions(
        run="tiny", metrics=paths, save_dir=Path("results/tiny/report"), **changes
    )
    numbers = Numbers(read_results(paths, given.comparisons), in_distribution=["gsm8k"])
    return Content(given, "tiny", numbers, [], False)


def table(report: Path, name: str) -> DataFrame:
    return read_csv(report / "tables" / f"{name}.csv")


def cells(report: Path, name: str) -> list[list[str]]:
    """The cells of a Markdown table, the header first."""
    lines = (report / f"tables/{name}.md").read_text().splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [rows[0], *rows[2:]]


def text_of(estimate: Any, percent: bool = False) -> str:
    return number(estimate.value, estimate.low, estimate.high, percent=percent)


# --- the files -------------------------------------------------------------------------------


def test_figures_of_a_removed_variant_are_removed(tmp_path: Path, run_folder: Path) -> None:
    model, other = metrics_of(run_folder, "gsm8k", seeds=(0,))
    for metrics in ([model, other], [model]):
        given = ALONE | {"metrics": metrics, "scores_dir": run_folder / "scores"}
        run(options(run_folder, tmp_path, **given))
        figures = {file.name for file in (tmp_path / "figures").iterdir()}
        assert "q_values_vanilla.svg" in figures
        assert ("q_values_contrastive.png" in figures) == (other in metrics)
        if other in metrics:  # files that the user added or changed are kept
            (tmp_path / "figures" / "mine.svg").write_text("<svg/>")
            (tmp_path / "figures" / "q_values_contrastive.svg").write_text("<svg/>")
    assert {"mine.svg", "q_values_contrastive.svg"} <= figures


def test_files_equal_those_declared_by_the_rule(report: Path) -> None:
    files = {file for file, _ in contents.report_files(WHOLE)}
    files |= {"report.md", "summary.txt", "provenance.json"}
    assert {str(p.relative_to(report)) for p in report.rglob("*") if p.is_file()} == files
    assert all((report / name).stat().st_size > 100 for name in files)


def test_every_figure_and_table_has_a_function_and_a_caption() -> None:
    assert {item.kind for item in contents.figures(WHOLE)} == set(FIGURES)
    assert {item.kind for item in contents.tables(WHOLE)} == set(TABLES)
    captions = {path.stem for path in (ROOT / "workflow/report").glob("*.rst")}
    assert captions == {*FIGURES, *TABLES, "workflow", "solutions"}


def test_links_of_the_report_exist(report: Path) -> None:
    links = re.findall(r"\]\(([^)]+)\)", (report / "report.md").read_text())
    assert len(links) > 20
    assert [link for link in links if not (report / link).is_file()] == []


def test_synthetic_benchmarks_are_marked_in_all_files(report: Path) -> None:
    for pattern in ("*.md", "*.txt", "*.html", "tables/*"):
        for path in report.glob(pattern):
            assert "synthetic stand-in" in path.read_text(), path


def test_equal_reports_are_equal_bytes(
    run_folder: Path, report: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gcrm.report.figures", lambda scope: [])  # tested in test_figures.py
    run(options(run_folder, tmp_path, synthetic=True, in_distribution=["gsm8k"]))
    files = [*report.glob("tables/*"), report / contents.SOLUTIONS]
    assert len(files) > 40
    for path in files:
        assert (tmp_path / path.relative_to(report)).read_bytes() == path.read_bytes(), path


def test_provenance_has_all_inputs(report: Path, run_folder: Path) -> None:
    inputs = json.loads((report / "provenance.json").read_text())["inputs"]
    given = options(run_folder, report)
    read = {*map(str, given.metrics), *map(str, given.comparisons), *map(str, given.goals)}
    read |= {*map(str, given.generated)}
    read |= {str(path) for path in run_folder.glob("scores/*/*/*/greedy/scores.parquet")}
    read |= {str(path) for path in run_folder.glob("models/*/*/training_log.jsonl")}
    read |= {str(p) for name in FOR_TOKENS for p in run_folder.glob(f"models/*/seed0/{name}")}
    assert set(inputs) == read
    assert None not in inputs.values()


def test_report_from_metrics_alone(run_folder: Path, tmp_path: Path) -> None:
    paths = metrics_of(run_folder, *BENCHMARKS, seeds=(0,))
    run(options(run_folder, tmp_path, **(ALONE | {"metrics": paths})))
    made = {path.stem for path in tmp_path.glob("figures/*.svg")}
    curves = {
        f"{kind}_auroc_{by}" for kind in ("partial", "sample") for by in ("reward", "q_value")
    }
    assert made == {"auroc", "votes", "top_k", *curves}
    assert not (tmp_path / contents.SOLUTIONS).exists()
    text = (tmp_path / "report.md").read_text()
    assert "### Every seed" not in text and "synthetic" not in text


@pytest.mark.parametrize("variant", ["v", "beta-0.25"])
def test_report_without_q_values_and_samples(tmp_path: Path, variant: str) -> None:
    model = f"{variant}/seed0"
    scores = score_file(
        tmp_path / f"scores/{model}/gsm8k/greedy/scores.parquet", with_q_values=False
    )
    output = tmp_path / f"metrics/{model}/gsm8k.json"
    run_metrics(MetricsOptions(scores=scores, output=output, bootstrap_resamples=20))
    make_byte_tokenizer().save_pretrained(tmp_path / f"models/{model}")
    (tmp_path / f"models/{model}/training_log.jsonl").write_text("")
    run(options(tmp_path, tmp_path / "report", metrics=[output]))
    declared = contents.figures(contents.Scope([variant], benchmarks=True))
    made = {f"figures/{path.name}" for path in tmp_path.glob("report/figures/*")}
    assert made == {file for item in declared for file in contents.figure_files(item)}
    assert "has no Q-values" in (tmp_path / "report" / contents.SOLUTIONS).read_text()
    assert "## Votes" not in (tmp_path / "report/report.md").read_text()


def test_figures_of_partial_solutions_show_the_length(report: Path) -> None:
    for score in ("reward", "q_value"):
        drawn = (report / f"figures/partial_auroc_{score}.svg").read_text()
        assert "<!-- length alone (shorter is better), at the end -->" in drawn


def many(folder: Path, source: Path, names: list[str]) -> list[Path]:
    """Copies of a metrics file for several variants."""
    paths = []
    for name in names:
        paths.append(folder / name / "seed0" / source.name)
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        write_estimates(paths[-1], read_estimates(source).assign(variant=name))
    return paths


def test_lines_of_many_variants_are_split_among_figures(tmp_path: Path, run_folder: Path) -> None:
    """The first variant is in each of them, every other variant in one."""
    names = [f"v{i}" for i in range(12)]
    metrics = many(tmp_path, metrics_of(run_folder, "math")[0], names)
    run(options(tmp_path, tmp_path / "report", **(ALONE | {"metrics": metrics})))
    made = {path.stem for path in tmp_path.glob("report/figures/*.svg")}
    kinds = ("partial_auroc_reward", "partial_auroc_q_value")
    assert made == {"auroc", *(f"{kind}_{i}" for kind in kinds for i in (1, 2, 3))}
    assert made == {
        item.name
        for item in contents.figures(contents.Scope(names, benchmarks=True))
        if item.kind in ("auroc", "partial_auroc")
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


# --- texts and tables ------------------------------------------------------------------------


def test_report_has_averages_of_compare_and_every_seed(report: Path, run_folder: Path) -> None:
    text = (report / "report.md").read_text()
    for path in metrics_of(run_folder, "gsm8k"):
        assert text_of(pick(read_estimates(path), "auroc.reward")) in text
    compared = read_estimates(run_folder / "comparisons/gsm8k.json", "compare")
    mean = pick(compared, "auroc.reward", variant="vanilla", baseline=None, seed=None)
    assert text_of(mean) in text
    assert "Averages over 2 seeds" in text and "Fewer than 5 seeds" in text
    assert cells(report, "auroc")[3] == ["mawps", "40", "0.0", "–", "–", "–"]
    assert "mawps: no AUROC: all 40 solutions are incorrect" in text
    assert "### As the authors count" in text


def test_csv_files_have_all_estimates(report: Path, run_folder: Path) -> None:
    """The estimates of every seed as in the metrics files, and the averages."""
    names = "auroc partial_auroc correlation votes filter official_votes preferences".split()
    names += ["top_k", "sample_auroc", "pairwise"]
    rows = [row for name in names for row in table(report, name).itertuples()]
    key = ("variant", "seed", "benchmark", "split", "metric", "at", "value", "low", "high", "p")

    def values(row: Any) -> tuple:
        return tuple(None if isna(getattr(row, name)) else getattr(row, name) for name in key)

    written = {values(row) for row in rows}
    for path in metrics_of(run_folder):
        expected = {values(row) for row in read_estimates(path).itertuples()}
        assert expected <= written, path
    compared = read_estimates(run_folder / "comparisons/gsm8k.json", "compare")
    averages = compared[compared["baseline"].isna() & compared["seed"].isna()]
    assert {values(row) for row in averages.itertuples()} <= written
    assert {row.run for row in rows} == {"tiny (synthetic stand-in)"}


def test_table_of_filters_has_changes_of_compare_and_the_length_control(
    report: Path, run_folder: Path
) -> None:
    head, *body = cells(report, "filter")
    assert head[:4] == ["benchmark", "filter", "threshold", "correct votes: change"]
    assert [row[:3] for row in body] == [
        *(["gsm8k", name, threshold] for name in VARIANTS for threshold in ("0", "chosen")),
        ["gsm8k", "length alone", "chosen"],
    ]
    compared = read_estimates(run_folder / "comparisons/gsm8k.json", "compare")
    for row, kind in ((body[2], "filtered"), (body[3], "chosen_filter")):
        where = {"variant": "contrastive", "baseline": None, "seed": None}
        at = 0.0 if kind == "filtered" else None
        change = pick(compared, f"{kind}.change", at, **where)
        assert row[3].lstrip("+") == f"{text_of(change, percent=True)}, p = {change.p:.3f}"


def test_goal_states_have_a_mean_and_a_range_over_draws_and_seeds(report: Path) -> None:
    head, *rows = cells(report, "goals")
    assert head[:5] == ["benchmark", "variant", "goal state", "examples", "correct among the kept"]
    found = {tuple(row[:4]): row[4:] for row in rows}
    assert len(found) == 2 * 4 * 2
    kept, *others = found["gsm8k", "contrastive", "random token", "100"]
    assert (kept, *others) == (
        "56.0 [50.0, 62.0]",
        *("25.0 [25.0, 25.0]", "0.625 [0.625, 0.625]", "–"),
    )
    assert found["gsm8k", "vanilla", "rejected", "1"][0] == "–"
    assert len(table(report, "goals")) == 4 * 16
    text = (report / "report.md").read_text()
    section = text[text.index("### Goal states of few") :]
    section = re.sub(" +", " ", section[: section.index("###", 3)])
    assert "figures/goals_vanilla.svg" in section and "figures/goals_contrastive.svg" in section
    assert section.count("| 100 |") == 8 and "| 1 |" not in section


def test_filters_while_generating_stand_beside_plain_samples(report: Path) -> None:
    head, *rows = cells(report, "generate")
    assert head == [
        *("benchmark", "vote", "variant", "seed", "filter", "accuracy, %"),
        *("change from 4 plain samples", "cost, % of 4 plain samples", "plain samples as accurate"),
        *("cost, % of these", "pays from policy / reward model"),
    ]
    assert len(rows) == 2 * 2 * 2 * 3
    found = {tuple(row[:5]): row[5:] for row in rows}
    plain = found["gsm8k", "majority", "vanilla", "1", "none"]
    assert plain == ["70.0 [60.0, 80.0]", *["–"] * 5]
    never = found["gsm8k", "best by reward", "contrastive", "0", "Q-value below t"]
    assert never == [
        *("66.0 [56.0, 76.0]", "-4.0 [-14.0, 6.0], p = 0.250", "125.0 [115.0, 135.0]"),
        *("3.2 [3.1, 3.3]", "180.0 [170.0, 190.0]", "never [2.5, never]"),
    ]
    pays = found["gsm8k", "majority", "vanilla", "0", "worst by reward"]
    assert pays[-2:] == ["70.0 [60.0, 80.0]", "0.4 [any, 0.5]"]
    text = (report / "report.md").read_text()
    section = text[text.index("### Filters while generating") :]
    section = section[: section.index("###", 3)]
    for outcome in ("pays", "does not pay here"):
        assert section.count(f" filtering {outcome}: ") == 2
    assert "worst by reward (70.0 [60.0, 80.0] % of the cost)" in section
    assert "not shown to pay" not in section
    assert "figures/generate_vanilla.svg" in section


def test_report_includes_the_data_report(tmp_path: Path, run_folder: Path) -> None:
    found = {
        "made": True,
        "training": {"pretrain": {"rows": 1000}, "/home/me/pairs.jsonl": {"rows": 7}},
        "benchmarks": {"gsm8k": {"problems": 40, "shared_with_training": 2, "shared": ["q"]}},
        "heldout": {"hh.jsonl": {"rows": 60, "questions": 59, "shared_with_training": 7}},
    }
    (tmp_path / "data.json").write_text(json.dumps(found))
    paths = metrics_of(run_folder, "math", seeds=(0,))
    text = report_text(content(paths, data_report=tmp_path / "data.json"))
    assert re.search(r"\| gsm8k +\| +40 \| +2 \|", text)
    assert re.search(r"\| hh.jsonl +\| +59 \| +7 \|", text)
    assert "- pretrain: 1000 rows" in text
    assert "- pairs.jsonl: 7 rows" in text
    assert "/home" not in text


def test_differences_between_variants_have_sections_and_tables(
    report: Path, run_folder: Path
) -> None:
    text = (report / "report.md").read_text()
    assert "## Differences between variants" in text and "Fewer than five" in text
    assert "### Differences in preference accuracy" in text
    for benchmark, metric, name, percent in (
        ("gsm8k", "auroc.reward", "differences", False),
        ("dialogues", "pairwise_accuracy.reward", "preference_differences", True),
    ):
        compared = read_estimates(run_folder / f"comparisons/{benchmark}.json", "compare")
        found = pick(compared, metric, baseline="vanilla", seed=None)
        sign = "+" if found.value > 0 else ""
        assert f"| {sign}{text_of(found, percent)}, p " in re.sub(" +", " ", text)
        assert found.value in set(table(report, name)["value"])
    assert set(table(report, "differences")["split"]) == {"greedy"}
    assert set(table(report, "vote_differences")["split"]) == {"all"}
    assert set(table(report, "preference_differences")["benchmark"]) == {"dialogues"}


def test_scores_better_than_length_have_a_star(report: Path, run_folder: Path) -> None:
    head, row = cells(report, "preferences")
    assert head == ["held-out set", "pairs", "shorter is better", *VARIANTS]
    assert not row[3].endswith("*") and row[4].endswith(" *")
    [line] = [
        line
        for line in (report / "summary.txt").read_text().splitlines()
        if line.startswith("dialogues") and line.count("[") == 3
    ]
    assert line.split("  ")[-1].strip() == row[4]


# --- held-out sets, with and without benchmarks ----------------------------------------------


def test_report_of_heldout_sets_alone(tmp_path: Path, run_folder: Path) -> None:
    published = tmp_path / "published.jsonl"
    claim = {"base_model": "org/base", "source": "paper, abstract", "claim": "2.3 % better"}
    published.write_text(json.dumps(claim))
    given = ALONE | {"metrics": metrics_of(run_folder, "dialogues", seeds=(0,))}
    folder = tmp_path / "report"
    run(options(run_folder, folder, published=published, base_model="org/base", **given))
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {
        *("report.md", "summary.txt", "provenance.json"),
        *(f"tables/preferences.{kind}" for kind in ("html", "md", "tex", "csv")),
        *(f"figures/preferences.{kind}" for kind in ("svg", "png")),
    }
    text = (folder / "report.md").read_text()
    assert "## Preference accuracy" in text and "AUROC" not in text
    assert "- 2.3 % better (paper, abstract)" in text
    lines = (folder / "summary.txt").read_text().splitlines()
    assert str(folder / "tables") in lines[-2] and str(folder / "figures") in lines[-1]
    assert max(map(len, lines[:-3])) <= 110


def test_claims_about_other_base_models_are_not_shown(tmp_path: Path, run_folder: Path) -> None:
    given = ALONE | {"metrics": metrics_of(run_folder, "math", seeds=(0,))}
    given |= {"published": ROOT / "workflow/published.jsonl", "base_model": "org/other"}
    run(options(run_folder, tmp_path, **given))
    assert "ublished" not in (tmp_path / "report.md").read_text()


# --- the summary -----------------------------------------------------------------------------


def test_summary_is_short_and_names_the_files(report: Path) -> None:
    lines = (report / "summary.txt").read_text().splitlines()
    assert lines[0] == "Goal-conditioned reward models: tiny (synthetic stand-in)"
    assert lines[2].startswith("AUROC of the final reward")
    assert any(line.startswith("Held-out pairs") for line in lines)
    assert len(lines) < 36
    assert max(map(len, lines[:-4])) <= 110
    for line, name in zip(
        lines[-4:], ("report.md", "tables", "figures", "solutions.html"), strict=True
    ):
        assert str(report / name) in line


def test_summary_of_many_variants_is_short(tmp_path: Path, run_folder: Path) -> None:
    names = [f"ablation-number-{i}" * 2 for i in range(9)]
    sources = metrics_of(run_folder, seeds=(0,))[:4]
    paths = [path for source in sources for path in many(tmp_path, source, names)]
    lines = summary(content(paths)).splitlines()
    assert len(lines) < 52
    assert max(map(len, lines[:-3])) <= 110
    assert sum(line.startswith("ablation-number-") for line in lines) == 3 * 9
    assert sum(line.startswith("length alone") for line in lines) == 2


# --- errors ----------------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run_stage(ReportOptions, run, ["--run", "x", *words]) == 1
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_unreadable_and_inconsistent_files_are_reported(
    tmp_path: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--save_dir", str(tmp_path), "--metrics"]
    error = refused(capsys, *words, str(tmp_path / "gsm8k.json"))
    assert "gsm8k.json: no such file; `metrics` makes it" in error
    seeds = [str(path) for path in metrics_of(run_folder, "gsm8k")]
    assert "run `compare` on the scores of all" in refused(capsys, *words, *seeds)
    (tmp_path / "gsm8k.json").write_text("{")
    words += [seeds[0], "--comparisons", str(tmp_path / "gsm8k.json")]
    error = refused(capsys, *words)
    assert "gsm8k.json: Invalid JSON" in error and "not a table of estimates: `compare`" in error


def test_missing_scores_logs_and_tokenizers_are_reported(
    tmp_path: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--metrics", str(metrics_of(run_folder)[0]), "--save_dir", str(tmp_path / "report")]
    error = refused(capsys, *words, "--scores_dir", str(tmp_path))
    assert "vanilla/seed0/gsm8k/greedy/scores.parquet: no such file; `evaluate` makes it" in error
    error = refused(capsys, *words, "--models_dir", str(tmp_path))
    assert "vanilla/seed0/training_log.jsonl: no such file" in error
    shutil.copytree(run_folder / "models", tmp_path / "models")
    (tmp_path / "models/vanilla/seed0/tokenizer.json").unlink()
    words += ["--scores_dir", str(run_folder / "scores"), "--models_dir", str(tmp_path / "models")]
    assert "has no readable tokenizer" in refused(capsys, *words)
