"""Metrics of partial scores against the true values of steps, by hand and against slow loops."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from gcrm.config.metrics import MetricsSettings
from gcrm.data.questions import question_hash, question_key
from gcrm.data.scores import ScoreTable, read_scores, write_scores
from gcrm.stats.compute import compute_metrics
from helpers.score_rows import columns, steps_of

FAST = MetricsSettings(bootstrap_resamples=50)
NAN = float("nan")


def made(seed: int, knows: float) -> dict[str, Any]:
    """Samples of 40 problems whose solutions have steps of three tokens, then EOS.

    Args:
        knows: how much of the true values is in the scores.
    """
    table = columns(problems=40, per_problem=4, seed=seed)
    rng = np.random.default_rng(seed)
    rows: dict[str, list[Any]] = {"true_values": [], "partial_rewards": [], "q_values": []}
    for right in table["label"]:
        tokens, known = steps_of(right, rng)
        rows["true_values"].append(tokens)
        noise = rng.normal(0, 1, (2, len(tokens)))
        rows["partial_rewards"].append(knows * known + noise[0])
        rows["q_values"].append(np.tanh(knows * known + noise[1] - 0.5))
    table |= rows | {"num_tokens": [len(row) for row in rows["true_values"]]}
    return table | {"reward": [row[-1] for row in rows["partial_rewards"]]}


def value(found: pd.DataFrame, metric: str) -> float:
    (row,) = found[found["metric"] == metric].to_dict("records")
    return row["value"]


def measure(table: dict[str, Any]) -> pd.DataFrame:
    return compute_metrics(ScoreTable.of("all", table), settings=FAST)


def step_scores(table: dict[str, Any], name: str) -> list[list[tuple[float, float]]]:
    """For each row, the score and the true value at the end of each step."""
    return [
        [(float(np.float32(s)), v) for s, v in zip(scores, values, strict=True) if not np.isnan(v)]
        for scores, values in zip(table[name], table["true_values"], strict=True)
    ]


@pytest.mark.parametrize("name", ["partial_rewards", "q_values"])
def test_correlation_is_that_of_scipy(name):
    table = made(1, knows=1.0)
    flat = [both for row in step_scores(table, name) for both in row]
    expected = spearmanr(*zip(*flat, strict=True)).statistic
    score = {"partial_rewards": "reward", "q_values": "q_value"}[name]
    assert value(measure(table), f"value_correlation.{score}") == pytest.approx(expected)


def slow_f1(table: dict[str, Any], name: str) -> tuple[float, float, float]:
    """F1 with a threshold of the other half, by loops over rows and thresholds."""
    rows = step_scores(table, name)
    thresholds = sorted(
        set(np.quantile([s for row in rows for s, _ in row], np.linspace(0, 1, 101)).tolist())
    )
    second = [int(question_hash(question_key(q))[-1], 16) % 2 == 1 for q in table["prompt"]]

    def exact(row: list[tuple[float, float]], limit: float) -> tuple[bool, bool]:
        predicted = next((n for n, (s, _) in enumerate(row) if s < limit), None)
        truth = next((n for n, (_, v) in enumerate(row) if v == 0), None)
        return truth is not None, predicted == truth

    def shares(half: bool, limit: float) -> tuple[list[bool], list[bool]]:
        found = [exact(row, limit) for row, its in zip(rows, second, strict=True) if its == half]
        return [hit for wrong, hit in found if wrong], [hit for wrong, hit in found if not wrong]

    def f1(wrong: list[bool], right: list[bool]) -> float:
        a, b = np.mean(wrong), np.mean(right)
        return float(2 * a * b / (a + b)) if a + b else 0.0

    wrong: list[bool] = []
    right: list[bool] = []
    for half in (False, True):
        best = max(thresholds, key=lambda limit: f1(*shares(not half, limit)))
        hits = shares(half, best)
        wrong += hits[0]
        right += hits[1]
    return f1(wrong, right), float(np.mean(wrong)), float(np.mean(right))


@pytest.mark.parametrize("name", ["partial_rewards", "q_values"])
@pytest.mark.parametrize("knows", [0.0, 3.0])
def test_first_errors_are_those_of_a_slow_loop(name, knows):
    table = made(2, knows)
    score = {"partial_rewards": "reward", "q_values": "q_value"}[name]
    found = measure(table)
    names = [f"first_error.{kind}.{score}" for kind in ("f1", "wrong", "right")]
    assert [value(found, one) for one in names] == pytest.approx(slow_f1(table, name))


def test_scores_equal_to_the_truth_are_perfect():
    table = made(3, knows=1.0)
    for name in ("partial_rewards", "q_values"):
        table[name] = [pd.Series(row).ffill().fillna(1) for row in table["true_values"]]
    table["reward"] = [row.iloc[-1] for row in table["partial_rewards"]]
    found = measure(table)
    for score in ("reward", "q_value"):
        assert value(found, f"value_correlation.{score}") == pytest.approx(1)
        assert value(found, f"first_error.f1.{score}") == 1


def test_savings_of_the_truth_by_hand():
    """The second sample of three is dropped after 3 of 7 tokens; of the second problem, none is
    kept otherwise, so that none is dropped."""
    right, wrong = [NAN, NAN, 0.5, NAN, NAN, 1, NAN], [NAN, NAN, 0, NAN, NAN, 0, NAN]
    rows = [("a", "1", True, right), ("a", "2", False, wrong), ("a", "1", True, right)]
    rows += [("b", "2", False, wrong)]
    table = {
        "prompt": [row[0] for row in rows],
        "predicted_answer": [row[1] for row in rows],
        "label": [row[2] for row in rows],
        "sample": [0, 1, 2, 0],
        "reward": [1.0, 0, 1, 0],
        "partial_rewards": [[0.0] * 7] * 4,
        "num_tokens": [7] * 4,
        "truncated": [False] * 4,
        "true_values": [row[3] for row in rows],
    }
    found = measure(table)
    assert value(found, "oracle.tokens_saved") == pytest.approx(4 / 28)
    assert value(found, "oracle.majority@n") == 0.5


def test_tables_without_true_values_have_none_of_these_metrics():
    metrics = set(measure(columns(problems=10, per_problem=3))["metric"])
    assert not [name for name in metrics if "first_error" in name or "oracle" in name]


def test_true_values_are_kept_in_files(tmp_path):
    table = made(4, knows=1.0) | {"expected_answer": ["18"] * 160, "completion": ["x"] * 160}
    write_scores(tmp_path / "scores.parquet", ScoreTable.of("all", table))
    found = read_scores(tmp_path / "scores.parquet").true_values
    assert found is not None
    for row, expected in enumerate(table["true_values"]):
        np.testing.assert_array_equal(found[row], np.float32(expected))
