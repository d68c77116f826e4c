"""`python -m gcrm.metrics`: both ways in, against scikit-learn and on literals."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from gcrm.cli import run_stage
from gcrm.config.metrics import MetricsOptions, MetricsSettings
from gcrm.data.authors_format import write_authors_jsonl
from gcrm.data.questions import question_hash, question_key
from gcrm.data.scores import Ragged, ScoreTable, read_scores
from gcrm.metrics import benchmark_metrics, run
from gcrm.stats.answers import canonical
from gcrm.stats.vote_metrics import unpaired_t_test
from gcrm.stats.voting import QFilter, Samples
from helpers.score_rows import columns, score_file, write_columns

FAST = MetricsSettings(bootstrap_resamples=50)


def made(tmp_path: Path, settings: MetricsSettings = FAST, **change: Any) -> dict[str, Any]:
    """Metrics of a greedy table with the changed columns, and of four samples a problem."""
    greedy = columns() | change
    write_columns(tmp_path / "greedy.parquet", greedy)
    samples = read_scores(score_file(tmp_path / "all.parquet", per_problem=4, seed=1))
    return benchmark_metrics(read_scores(tmp_path / "greedy.parquet"), samples, settings)


def test_aurocs_and_correlations_are_those_of_the_libraries(tmp_path: Path) -> None:
    found, greedy = made(tmp_path), columns()
    correct, lengths = greedy["label"], greedy["num_tokens"]
    by_length = roc_auc_score(correct, -lengths)
    reward = roc_auc_score(correct, greedy["reward"])
    assert found["auroc"]["reward"]["value"] == pytest.approx(reward)
    assert found["auroc"]["length"]["value"] == pytest.approx(by_length)
    assert found["auroc"]["reward_minus_length"]["value"] == pytest.approx(reward - by_length)
    assert found["auroc"]["reward_minus_longer"]["value"] == pytest.approx(reward - 1 + by_length)
    assert found["solutions"]["correct"]["value"] == pytest.approx(np.mean(correct))
    for share, index in (("0", lambda n: 0), ("0.5", lambda n: n // 2 - 1), ("1", lambda n: n - 1)):
        for name, column in (("reward", "partial_rewards"), ("q_value", "q_values")):
            values = [row[max(index(len(row)), 0)] for row in greedy[column]]
            auroc = roc_auc_score(correct, values)
            for score, expected in (
                (name, auroc),
                (f"{name}_minus_length", auroc - by_length),
                (f"{name}_minus_longer", auroc - 1 + by_length),
            ):
                value = found["partial_auroc"][score][share]["value"]
                assert value == pytest.approx(expected)
    assert found["partial_auroc"]["reward"]["1"]["value"] == found["auroc"]["reward"]["value"]
    assert set(found["q_value_correlation"]) == {"0.2", "0.4", "0.6", "0.8"}
    at = [max(int(n * 0.4) - 1, 0) for n in lengths]
    pair = [
        [row[i] for i, row in zip(at, greedy[name], strict=True)]
        for name in ("q_values", "partial_rewards")
    ]
    correlations = found["q_value_correlation"]["0.4"]
    assert correlations["pearson"]["value"] == pytest.approx(stats.pearsonr(*pair).statistic)
    assert correlations["spearman"]["value"] == pytest.approx(stats.spearmanr(*pair).statistic)


@pytest.mark.parametrize(("sign", "name"), [(-1, "length"), (1, "longer")])
def test_a_score_that_is_the_length_does_not_beat_it(tmp_path: Path, sign: int, name: str) -> None:
    lengths = columns()["num_tokens"]
    q_values = [np.full(n, sign * n) for n in lengths]
    found = made(tmp_path, reward=sign * lengths, q_values=q_values)
    early = found["partial_auroc"][f"q_value_minus_{name}"]
    for estimate in (found["auroc"][f"reward_minus_{name}"], *early.values()):
        assert estimate["value"] == pytest.approx(0)
        assert estimate["interval"] == pytest.approx([0, 0])


def test_every_estimate_has_its_interval(tmp_path: Path) -> None:
    def check(part: Any) -> int:
        if isinstance(part, list):
            return sum(map(check, part))
        if not isinstance(part, dict):
            return 0
        if "value" not in part:
            return sum(check(inner) for inner in part.values())
        low, high = part["interval"]
        assert low <= part["value"] <= high
        assert part["n"] > 0
        return 1

    assert check(made(tmp_path)) > 100


def test_the_order_of_rows_changes_no_value_and_no_interval(tmp_path: Path) -> None:
    def flat(part: Any) -> list[Any]:
        parts = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        return [leaf for inner in parts for leaf in flat(inner)] if parts else [part]

    order = np.random.default_rng(5).permutation(160)
    found = []
    for rows in (np.arange(160), order):
        table = {name: [values[i] for i in rows] for name, values in columns(40, 4).items()}
        write_columns(tmp_path / "all.parquet", table)
        greedy = {name: [v[i] for i in rows if i % 4 == 0] for name, v in columns(40, 4).items()}
        write_columns(tmp_path / "greedy.parquet", greedy)
        tables = (read_scores(tmp_path / f"{split}.parquet") for split in ("greedy", "all"))
        found.append(flat(benchmark_metrics(*tables, FAST)))
    assert len(found[0]) > 500
    for one, other in zip(*found, strict=True):
        assert one == (pytest.approx(other) if isinstance(other, float) else other)


def votes_of(
    tmp_path: Path, rows: list[tuple[str, str | None, bool, list[float]]]
) -> dict[str, Any]:
    """The voting section of samples (question, answer, label, Q-values); greedy: the first row."""
    questions, answers, correct, q_values = zip(*rows, strict=True)
    table: dict[str, Any] = {
        "prompt": questions,
        "expected_answer": answers,
        "completion": questions,
        "predicted_answer": answers,
        "label": correct,
        "sample": range(len(rows)),
        "reward": np.arange(len(rows)),
        "partial_rewards": q_values,
        "q_values": q_values,
        "num_tokens": [len(row) for row in q_values],
        "truncated": [False] * len(rows),
    }
    write_columns(tmp_path / "all.parquet", table)
    write_columns(tmp_path / "greedy.parquet", {name: list(v)[:1] for name, v in table.items()})
    tables = (read_scores(tmp_path / f"{split}.parquet") for split in ("greedy", "all"))
    found: dict[str, Any] = benchmark_metrics(*tables, FAST)["voting"]
    return found


def test_voting_section_by_hand(tmp_path: Path) -> None:
    high, low = [0.9] * 6 + [0.9] * 4, [0.9] * 6 + [-0.9] + [0.9] * 3
    found = votes_of(
        tmp_path,
        [
            ("How many apples?", "18", True, high),
            ("How many apples?", "$18.00", True, high),
            ("How many  apples", "7", False, low),  # the same question, spelt differently
            ("How many apples?", "7", False, low),
            ("How many apples?", "7", False, low),
            ("And pears?", "3", False, low),  # all of this problem are dropped: none is
            ("And pears?", "4", True, low),
            ("Plums?", None, False, [0.9]),  # no answer, and shorter than what is skipped
        ],
    )
    assert (found["problems"], found["samples"]) == (3, 8)
    assert found["samples_per_problem"] == {"least": 1, "mean": 8 / 3, "most": 5}
    assert found["samples_without_answer"] == 1
    assert found["majority"]["accuracy"]["value"] == pytest.approx((0 + 1 / 2 + 0) / 3)
    assert found["majority"]["accuracy_official_ties"]["value"] == pytest.approx((0 + 1 + 0) / 3)
    assert found["pass_at_n"]["value"] == pytest.approx(2 / 3)
    assert found["best_of_n"]["value"] == pytest.approx(1 / 3)
    filtered = found["filtered"]
    assert filtered["accuracy"]["value"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert filtered["difference"]["value"] == pytest.approx(1 / 3)
    assert filtered["difference"]["p"] == 1.0  # one problem changed: either sign is as likely
    assert filtered["samples_dropped"]["value"] == pytest.approx(3 / 8)
    assert filtered["tokens_saved"]["value"] == pytest.approx(3 * 3 / 71)
    assert filtered["correct_share_before"]["value"] == pytest.approx((2 / 5 + 1 / 2 + 0) / 3)
    assert filtered["correct_share_after"]["value"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    # The greedy row votes too: 3 correct samples against 3 sevens, and win the tie.
    official = found["official"]
    assert official["majority"]["accuracy"]["value"] == pytest.approx((1 + 1 + 0) / 3)
    assert official["filtered"]["tokens_saved"]["value"] == pytest.approx(3 * 4 / (8 * 5))


def test_the_curve_starts_at_the_plain_vote(tmp_path: Path) -> None:
    voting = made(tmp_path)["voting"]
    first, *_, last = voting["filter_curve"]
    assert first["accuracy"] == voting["majority"]["accuracy"]
    assert first["tokens_saved"]["value"] == first["samples_dropped"]["value"] == 0
    assert last["threshold"] > first["threshold"]
    assert last["tokens_saved"]["value"] > 0
    assert len(voting["filter_chosen"]["thresholds"]) == 2


def test_the_chosen_threshold_comes_from_the_other_half_of_the_problems(tmp_path: Path) -> None:
    found = made(tmp_path)["voting"]
    rows = read_scores(tmp_path / "all.parquet")
    assert rows.q_values is not None
    assert rows.predicted_answer is not None
    problem = np.arange(len(rows)) // 4
    keys = [question_key(question) for question in rows.prompt[::4]]
    half = np.array([int(question_hash(key)[-1], 16) % 2 for key in keys])
    answers = [canonical(answer) for answer in rows.predicted_answer]
    votes = Samples(problem, answers, rows.label)
    q_filter = QFilter(rows.q_values, problem, skip_tokens=5)
    accuracy, saved, thresholds = np.zeros(len(keys)), 0.0, []
    for reported in (0, 1):
        choices = []
        for point in found["filter_curve"]:
            filtered = q_filter.apply(point["threshold"])
            right = votes.majority(filtered.keep)
            spared = np.bincount(problem, filtered.saved)
            choosing = half != reported
            if right[choosing].sum() >= votes.majority()[choosing].sum() - 1e-9:
                choices.append((spared[choosing].sum(), -point["threshold"], right, spared))
        _, threshold, right, spared = max(choices, key=lambda choice: choice[:2])
        thresholds.append(-threshold)
        accuracy[half == reported] = right[half == reported]
        saved += spared[half == reported].sum()
    chosen = found["filter_chosen"]
    assert chosen["thresholds"] == thresholds
    assert len(set(thresholds)) == 2  # the halves differ, or the test would not tell them apart
    assert chosen["accuracy"]["value"] == pytest.approx(accuracy.mean())
    assert chosen["tokens_saved"]["value"] == pytest.approx(saved / rows.num_tokens.sum())


def test_vanilla_has_rewards_and_says_why_there_is_no_more(tmp_path: Path) -> None:
    scores = score_file(tmp_path / "greedy.parquet")
    samples = score_file(tmp_path / "all.parquet", per_problem=3)
    output = tmp_path / "metrics" / "vanilla" / "seed3" / "gsm8k.json"
    words = ["--scores", scores, "--sample_scores", samples, "--output", output, "--vanilla"]
    words += ["--bootstrap_resamples", 20]
    assert run_stage(MetricsOptions, run, list(map(str, words))) == 0
    found = json.loads(output.read_text())
    assert (found["variant"], found["seed"], found["benchmark"]) == ("vanilla", 3, "gsm8k")
    assert found["auroc"]["reward"]["value"] is not None
    for section in (
        found["partial_auroc"]["q_value"],
        found["partial_auroc"]["q_value_minus_longer"],
        found["q_value_correlation"],
        found["voting"]["filtered"],
        found["voting"]["filter_chosen"],
        found["voting"]["official"]["filtered"],
    ):
        assert list(section) == ["reason"]
    assert found["voting"]["majority"]["accuracy"]["value"] is not None
    provenance = json.loads(Path(f"{output}.provenance.json").read_text())
    assert set(provenance["inputs"]) == {str(scores), str(samples)}


def test_metrics_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    scores = score_file(tmp_path / "greedy.parquet")
    samples = score_file(tmp_path / "all.parquet", per_problem=3)
    texts = []
    for name in ("first", "second"):
        output = tmp_path / name / "x" / "seed0" / "math.json"
        run(
            MetricsOptions(
                scores=scores, sample_scores=samples, output=output, bootstrap_resamples=50
            )
        )
        texts.append(output.read_text())
    assert texts[0] == texts[1]


def test_a_single_class_gives_null_and_the_reason(tmp_path: Path) -> None:
    found = made(tmp_path, label=np.ones(40, bool))
    for name in ("reward", "length", "reward_minus_length"):
        assert found["auroc"][name]["value"] is None
        assert found["auroc"][name]["reason"].startswith("all 40 solutions are correct")
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_duplicated_questions_count_as_one_problem(tmp_path: Path) -> None:
    twice = [f"Question {i // 2} ." if i % 2 else f"question  {i // 2}" for i in range(40)]
    found = made(tmp_path, prompt=twice)["solutions"]
    assert (found["n"], found["problems"]) == (40, 20)


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
    words = ["--model_name", "my-model", "--eval_results_dir", str(folder)]
    words += ["--filter_threshold", "0.0", "--benchmarks", "gsm8k", "svamp"]
    words += ["--percentiles", "0.5", "1.0", "--bootstrap-resamples", "50"]
    assert run_stage(MetricsOptions, run, words + ["--vanilla"] * vanilla) == 0
    printed = capsys.readouterr().out
    reward = roc_auc_score(columns()["label"], columns()["reward"])
    assert "gsm8k      40  " in printed
    assert f"{reward:.3f} [" in printed
    assert "gsm8k: votes over samples" in printed
    assert "svamp: votes over samples" not in printed
    assert ("Q-values" in printed) == (not vanilla)
    assert ("tokens saved" in printed and "majority, Q >= 0" in printed) == (not vanilla)
    assert max(map(len, printed.splitlines())) <= 110


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
        (["--scores", "x.parquet"], "--scores and --pair_scores need --output"),
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


def test_the_unpaired_t_test_is_scipys() -> None:
    first, second = np.random.default_rng(0).normal(size=(2, 30))
    expected = stats.ttest_ind(first, second + 0.4).pvalue
    assert unpaired_t_test(first, second + 0.4) == pytest.approx(expected)
    assert unpaired_t_test(np.ones(5), np.ones(5)) is None


row_of_scores = st.tuples(
    st.integers(0, 4),
    st.sampled_from([None, "", "1", "1.0", "$1", "2", "a sentence of words", "['1', '2']"]),
    st.booleans(),
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=9),
    st.floats(-(2.0**100), 2.0**100, width=32),
)
rows_of_scores = st.lists(row_of_scores, min_size=1, max_size=10)


def table_of(rows: list[tuple[int, str | None, bool, list[float], float]]) -> ScoreTable:
    number, answer, correct, values, reward = zip(*rows, strict=True)
    return ScoreTable(
        split="all",
        group=np.array(number, np.int32),
        prompt=np.array([f"question {n}" for n in number], object),
        label=np.array(correct),
        sample=np.arange(len(rows), dtype=np.int32),
        reward=np.array(reward, np.float32),
        num_tokens=np.array([len(one) for one in values], np.int32),
        truncated=np.zeros(len(rows), bool),
        predicted_answer=np.array(answer, object),
        partial_rewards=Ragged.of(
            [[*one[:-1], last] for one, last in zip(values, reward, strict=True)]
        ),
        q_values=Ragged.of(values),
    )


@given(rows_of_scores, st.none() | rows_of_scores, st.floats(-1, 1))
@settings(max_examples=40)
def test_any_scores_have_metrics(greedy: Any, samples: Any, threshold: float) -> None:
    """One row, one class, no answer, problems of one file only: numbers, or null with a reason."""
    options = MetricsSettings(bootstrap_resamples=20, filter_threshold=threshold)
    found = benchmark_metrics(
        table_of(greedy), None if samples is None else table_of(samples), options
    )
    assert json.loads(json.dumps(found, allow_nan=False)) is not None
    between = [found["solutions"]["correct"], found["auroc"]["reward"], found["auroc"]["length"]]
    if samples is not None:
        voting = found["voting"]
        between += [voting["pass_at_n"], voting["best_of_n"], voting["majority"]["accuracy"]]
        between += [voting["filtered"][name] for name in ("accuracy", "tokens_saved")]
        between.append(voting["official"]["filtered"]["accuracy"])
    for estimate in between:
        assert estimate["reason"] if estimate["value"] is None else 0 <= estimate["value"] <= 1
