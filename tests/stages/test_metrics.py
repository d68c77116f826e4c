"""`python -m gcrm.metrics`: both ways in."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from gcrm.cli import run_stage
from gcrm.config.metrics import MetricsOptions
from gcrm.data.authors_format import write_authors_jsonl
from gcrm.data.scores import read_scores, write_scores
from gcrm.metrics import run
from gcrm.stats.estimates import read_estimates
from helpers.score_rows import columns, pair_metrics, pair_table, pick, score_file


def metrics(*words: object) -> int:
    return run_stage(MetricsOptions, run, [*map(str, words), "--bootstrap_resamples", "20"])


def test_vanilla_has_rewards_and_reasons_for_the_rest(tmp_path: Path) -> None:
    scores = score_file(tmp_path / "greedy.parquet")
    samples = score_file(tmp_path / "all.parquet", per_problem=3)
    output = tmp_path / "metrics" / "vanilla" / "seed3" / "gsm8k.json"
    words = ["--scores", scores, "--sample_scores", samples, "--output", output, "--vanilla"]
    assert metrics(*words) == 0
    found = read_estimates(output)
    names = found[["variant", "seed", "benchmark"]].drop_duplicates().to_numpy().tolist()
    assert names == [["vanilla", 3, "gsm8k"]]
    assert pick(found, "auroc.reward").value > 0
    for metric in (
        *("partial_auroc.q_value", "partial_auroc.q_value_minus_longer", "correlation.pearson"),
        *("filtered.majority@n", "chosen_filter.change", "official.filtered.majority@n"),
    ):
        row = pick(found, metric)
        assert np.isnan(row.value) and "there are no Q-values" in row.reason
    assert pick(found, "majority@n").value > 0
    provenance = json.loads(Path(f"{output}.provenance.json").read_text())
    assert set(provenance["inputs"]) == {str(scores), str(samples)}


def test_metrics_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    scores = score_file(tmp_path / "greedy.parquet")
    samples = score_file(tmp_path / "all.parquet", per_problem=3)
    texts = []
    for name in ("first", "second"):
        output = tmp_path / name / "x" / "seed0" / "math.json"
        assert metrics("--scores", scores, "--sample_scores", samples, "--output", output) == 0
        texts.append(output.read_text().replace(name, ""))
    assert texts[0] == texts[1]


def test_the_table_says_whether_it_holds_solutions_or_pairs(tmp_path: Path) -> None:
    found = read_estimates(pair_metrics(tmp_path / "vanilla" / "seed0" / "hh.json", left_out=2))
    assert set(found["split"]) == {"pairs"}
    assert pick(found, "num_left_out").value == 2


def eval_results(tmp_path: Path, with_q_values: bool = True) -> Path:
    for benchmark, split, per_problem in (
        *(("gsm8k", "greedy", 1), ("gsm8k", "all", 4)),
        ("svamp", "greedy", 1),
    ):
        folder = tmp_path / "eval" / "my-model" / benchmark / split
        table = read_scores(
            score_file(tmp_path / "s.parquet", per_problem=per_problem, with_q_values=with_q_values)
        )
        write_authors_jsonl(folder / "output.jsonl", table)
    return tmp_path / "eval"


@pytest.mark.parametrize("vanilla", [False, True])
def test_the_original_command_prints_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], vanilla: bool
) -> None:
    folder = eval_results(tmp_path)
    words = ["--model_name", "my-model", "--eval_results_dir", folder, "--filter_threshold", "0.0"]
    words += ["--benchmarks", "gsm8k", "svamp", "--percentiles", "0.5", "1.0"]
    assert metrics(*words, *["--vanilla"] * vanilla) == 0
    printed = capsys.readouterr().out
    reward = roc_auc_score(columns()["label"], columns()["reward"])
    assert f"{reward:.3f} [" in printed
    assert "gsm8k: votes over samples" in printed
    ranked = r"AUROC \[95 %\] +couples in order % \[95 %\] +pooled % \[95 %\]\ngsm8k +\d\.\d{3} \["
    assert re.search(ranked, printed)
    for title in ("of problems right by vote of", "right of"):
        best = rf"\n% {title} the K samples with the highest rewards\nK +1\ngsm8k +\d"
        assert re.search(best, printed)
    assert "svamp: votes over samples" not in printed
    for vote in ("pass@1", "majority@n", "rm_majority@n", "rm_best@n", "pass@n"):
        assert f"\n{vote} " in printed
    title, shares = "AUROC of partial rewards of the tokens so far", r"after a share of +0\.5 +1"
    assert re.search(rf"{title}\n{shares}\ngsm8k +0\.\d\d\d", printed)
    assert ("Q-values" in printed) == (not vanilla)
    assert ("majority@n, Q >= 0" in printed) == (not vanilla)
    assert max(map(len, printed.splitlines())) <= 110


def test_printed_votes_have_intervals_and_p(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model_name", "my-model", "--eval_results_dir", eval_results(tmp_path)]
    assert metrics(*words, "--benchmarks", "gsm8k") == 0
    printed = capsys.readouterr().out
    share = r"\d+\.\d \[\d+\.\d, \d+\.\d\]"
    p = r"(\d\.\d{3}|<0\.001)"
    assert re.search(rf"\nmajority@n +{share} +{share} *\n", printed)
    assert re.search(rf"\nmajority@n, Q >= 0 +{share} +{share} +{p} +{share}\n", printed)


def test_benchmarks_are_printed_in_the_order_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model_name", "my-model", "--eval_results_dir", eval_results(tmp_path)]
    assert metrics(*words, "--benchmarks", "svamp", "gsm8k") == 0
    lines = capsys.readouterr().out.partition("votes over samples")[0].splitlines()
    tables = [line.split()[0] for line in lines if re.match(r"(svamp|gsm8k) ", line)]
    both, sampled = ["svamp", "gsm8k"], ["gsm8k"]
    assert tables == [*both, *sampled, *both, *both, *sampled, *sampled]


def test_pairs_are_printed_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = {
        "reward": [2.0, 1.0, 3.0, 3.0],
        "partial_rewards": [[2.0], [1.0], [0.0, 3.0], [3.0]],
        "num_tokens": [1, 1, 2, 1],
        "truncated": [False] * 4,
    }
    table = pair_table([("a", "yes", "no"), ("b", "yes", "no")], scores, left_out=5)
    write_scores(tmp_path / "eval" / "m" / "hh" / "pairs" / "scores.parquet", table)
    words = ["--model_name", "m", "--eval_results_dir", tmp_path / "eval", "--benchmarks", "hh"]
    assert metrics(*words) == 0
    printed = capsys.readouterr().out
    # pairs, accuracy, Q-value, shorter, longer, margin, ties, cut off, left out
    assert re.search(r"hh +2 +75.0 \[50.0, 100.0\] +- +25.0 +75.0 .*\] +1 +0 +5\n", printed)
    assert max(map(len, printed.splitlines())) <= 110


def test_one_class_prints_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "eval" / "m" / "gsm8k" / "greedy" / "output.jsonl"
    table = read_scores(score_file(tmp_path / "s.parquet"))
    write_authors_jsonl(file, table.take(np.flatnonzero(table.label)))
    words = ["--model_name", "m", "--eval_results_dir", tmp_path / "eval"]
    assert metrics(*words, "--benchmarks", "gsm8k") == 0
    assert "gsm8k: no AUROC: all 16 solutions are correct" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["output-greedy.jsonl", "output.jsonl"])
def test_a_greedy_file_among_the_samples_does_not_vote_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """The authors' all/ holds the greedy file, too; `evaluate` writes two files output.jsonl."""
    folder = eval_results(tmp_path) / "my-model" / "gsm8k"
    (folder / "all" / "output.jsonl").rename(folder / "all" / "output-rs0.jsonl")
    (folder / "greedy" / "output.jsonl").rename(folder / "greedy" / name)
    words = ["--model_name", "my-model", "--eval_results_dir", str(tmp_path / "eval")]
    words += ["--benchmarks", "gsm8k", "--bootstrap-resamples", "20"]
    assert run_stage(MetricsOptions, run, words) == 0
    without = capsys.readouterr().out
    shutil.copy(folder / "greedy" / name, folder / "all" / name)
    assert run_stage(MetricsOptions, run, words) == 0
    assert capsys.readouterr().out == without
    assert "votes over samples" in without


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--benchmarks", "gsm8k"], "give --eval_results_dir, --model_name and --benchmarks"),
        (["--scores", "x.parquet"], "--scores needs --output"),
        (
            ["--sample_scores", "x.parquet", "--output", "o.json"],
            "--output and --sample_scores go with --scores",
        ),
        (["--scores", "no.parquet", "--output", "o.json"], "no.parquet: no such file"),
        (
            ["--model_name", "m", "--eval_results_dir", "nowhere", "--benchmarks", "gsm8k"],
            "no such folder; `evaluate --save_dir` makes it",
        ),
    ],
)
def test_mistakes_are_one_clear_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_stage(MetricsOptions, run, words) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert message in lines[-1]


def test_a_benchmark_without_scores_names_those_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = eval_results(tmp_path)
    words = ["--model_name", "my-model", "--eval_results_dir", str(folder)]
    assert run_stage(MetricsOptions, run, [*words, "--benchmarks", "gsm8k", "mawps"]) == 1
    assert "benchmark 'mawps' (there are: gsm8k, svamp)" in capsys.readouterr().err


def test_no_torch_is_imported() -> None:
    code = (
        "import sys, gcrm.metrics, gcrm.report, gcrm.export; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'matplotlib', 'sympy')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
