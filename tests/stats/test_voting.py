"""Metrics of votes by hand and against slow loops."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gcrm.config.metrics import MetricsSettings
from gcrm.data.questions import question_hash, question_key
from gcrm.data.scores import ScoreTable
from gcrm.stats.answers import canonical
from gcrm.stats.compute import compute_metrics
from gcrm.stats.filters import q_filter
from gcrm.stats.samples import Samples
from gcrm.utils.errors import UserError
from helpers.score_rows import columns, pick

FAST = MetricsSettings(bootstrap_resamples=50)


def metrics(greedy: dict[str, Any] | None, samples: dict[str, Any]) -> pd.DataFrame:
    """The metrics of sampled solutions, beside greedy ones."""
    tables = [] if greedy is None else [ScoreTable.of("greedy", greedy)]
    found = compute_metrics(*tables, ScoreTable.of("all", samples), settings=FAST)
    return found[found["split"] == "all"]


def by_hand(rows: list[tuple[str, str | None, bool, list[float]]]) -> pd.DataFrame:
    """Of samples (question, answer, label, Q-values); the greedy solution is the first row."""
    questions, answers, correct, q_values = zip(*rows, strict=True)
    table: dict[str, Any] = {
        "prompt": questions,
        "predicted_answer": answers,
        "label": correct,
        "sample": range(len(rows)),
        "reward": np.arange(len(rows)),
        "partial_rewards": q_values,
        "q_values": q_values,
        "num_tokens": [len(row) for row in q_values],
        "truncated": [False] * len(rows),
    }
    return metrics({name: list(values)[:1] for name, values in table.items()}, table)


def test_votes_by_hand() -> None:
    high, low = [0.9] * 6 + [0.9] * 4, [0.9] * 6 + [-0.9] + [0.9] * 3
    found = by_hand(
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
    plain = {
        "num_problems": 3,
        "num_completions": 8,
        "samples_per_problem.min": 1,
        "samples_per_problem.mean": 8 / 3,
        "samples_per_problem.max": 5,
        "num_without_answer": 1,
        "pass@1": (2 / 5 + 1 / 2 + 0) / 3,
        "majority@n": (0 + 1 / 2 + 0) / 3,
        "majority@n.official_ties": (0 + 1 + 0) / 3,
        "pass@n": 2 / 3,
        "rm_best@n": 1 / 3,
        # The greedy row votes too: 3 correct samples against 3 sevens, and win the tie.
        "official.majority@n": (1 + 1 + 0) / 3,
    }
    filtered = {
        "filtered.majority@n": (1 + 1 / 2 + 0) / 3,
        "filtered.change": 1 / 3,
        "filtered.samples_dropped": 3 / 8,
        "filtered.tokens_saved": 3 * 3 / 71,
        "filtered.correct_before": (2 / 5 + 1 / 2 + 0) / 3,
        "filtered.correct_after": (1 + 1 / 2 + 0) / 3,
        "filtered.correct_change": (3 / 5) / 3,
        "official.filtered.tokens_saved": 3 * 4 / (8 * 5),
    }
    for at, expected in ((None, plain), (FAST.filter_threshold, filtered)):
        for name, value in expected.items():
            assert pick(found, name, at).value == pytest.approx(value), name
    # One problem changed: either sign is as likely.
    assert pick(found, "filtered.change", 0).p == 1.0
    assert 0 < pick(found, "official.filtered.correct_change", 0).p < 1


@pytest.mark.parametrize("ties", [False, True])
def test_the_best_samples_by_reward_are_sorted_problem_by_problem(ties: bool) -> None:
    """Of equal rewards, the sample of the lower number is first, wherever its row is."""
    made = columns(problems=30, per_problem=8)
    made = {name: list(values) for name, values in made.items()}
    if ties:
        made["reward"] = list(np.round(made["reward"]) // 2)
    shuffled = np.random.default_rng(0).permutation(240)
    table = {name: [values[i] for i in shuffled] for name, values in made.items()}
    options = MetricsSettings(bootstrap_resamples=20, top_k=[1, 3, 8, 20])
    found = compute_metrics(ScoreTable.of("all", table), settings=options)
    for k in (1, 3, 8):
        votes, correct = [], []
        for p in range(30):
            rows = sorted(range(8 * p, 8 * p + 8), key=lambda i: (-made["reward"][i], i))[:k]
            correct.append(np.mean([made["label"][i] for i in rows]))
            answers = [canonical(made["predicted_answer"][i]) for i in rows]
            counts = {a: answers.count(a) for a in answers if a is not None}
            winners = [a for a in counts if counts[a] == max(counts.values())]
            votes.append(np.mean([a == "18" for a in winners]) if winners else 0)
        assert pick(found, "top_k.majority", k).value == pytest.approx(np.mean(votes))
        assert pick(found, "top_k.correct", k).value == pytest.approx(np.mean(correct))
    assert pick(found, "top_k.majority", 8).value == pick(found, "majority@n").value
    for name in ("majority", "correct"):
        assert pick(found, f"top_k.{name}", 20).reason == "no problem has 20 samples"


def test_the_curve_starts_at_the_plain_vote() -> None:
    found = metrics(columns(), columns(per_problem=4, seed=1))
    curve = found[found["metric"].str.startswith("filter_curve.")]
    curve = curve.pivot(index="at", columns="metric", values="value").sort_index()
    assert len(curve) > 10
    first, last = curve.iloc[0], curve.iloc[-1]
    assert first["filter_curve.majority@n"] == pick(found, "majority@n").value
    assert first["filter_curve.tokens_saved"] == first["filter_curve.samples_dropped"] == 0
    assert last["filter_curve.tokens_saved"] > 0


def test_the_chosen_threshold_comes_from_the_other_half_of_the_problems() -> None:
    made = columns(per_problem=4, seed=1)
    found, rows = metrics(None, made), ScoreTable.of("all", made)
    assert rows.q_values is not None
    keys = [question_key(question) for question in rows.prompt[::4]]
    half = np.array([int(question_hash(key)[-1], 16) % 2 for key in keys])
    answers = [canonical(answer) for answer in made["predicted_answer"]]
    votes = Samples(np.arange(len(rows)) // 4, answers, rows.label)
    by = q_filter(votes, rows.q_values, 5)
    accuracy, saved, thresholds = np.zeros(len(keys)), 0.0, []
    for reported in (0, 1):
        choices = []
        for at in found["at"][found["metric"] == "filter_curve.majority@n"]:
            filtered, choosing = by.apply(at), half != reported
            if filtered.accuracy[choosing].sum() >= votes.majority()[choosing].sum() - 1e-9:
                choices.append((filtered.saved[choosing].sum(), -at, filtered))
        _, threshold, filtered = max(choices, key=lambda choice: choice[:2])
        thresholds.append(-threshold)
        accuracy[half == reported] = filtered.accuracy[half == reported]
        saved += filtered.saved[half == reported].sum()
    chosen = [pick(found, "chosen_filter.threshold", fold).value for fold in (0, 1)]
    assert chosen == thresholds
    assert len(set(thresholds)) == 2  # the halves differ, or the test would not tell them apart
    assert pick(found, "chosen_filter.majority@n").value == pytest.approx(accuracy.mean())
    share = pick(found, "chosen_filter.tokens_saved").value
    assert share == pytest.approx(saved / rows.num_tokens.sum())


def without(*names: str) -> dict[str, Any]:
    return {name: v for name, v in columns(per_problem=4).items() if name not in names}


@pytest.mark.parametrize(
    ("greedy", "samples", "kinds", "reason"),
    [
        (
            columns(with_q_values=False),
            without("q_values"),
            ("filtered", "chosen_filter", "filter_curve", "official.filtered"),
            "there are no Q-values",
        ),
        (columns(with_q_values=False), without(), ("official.filtered",), "there are no Q-values"),
        (None, without(), ("official", "official.filtered"), "there are no greedy solutions"),
        (
            None,
            {name: list(values)[:4] for name, values in columns(per_problem=4).items()},
            ("chosen_filter", "length_filter"),
            "too few problems",
        ),
    ],
)
def test_missing_votes_have_a_reason(
    greedy: dict[str, Any] | None, samples: dict[str, Any], kinds: tuple[str, ...], reason: str
) -> None:
    found = metrics(greedy, samples)
    for kind in kinds:
        row = pick(found, f"{kind}.majority@n")
        assert math.isnan(row.value) and reason in row.reason
    assert pick(found, "majority@n").value >= 0


def test_votes_without_the_column_of_answers_are_refused() -> None:
    with pytest.raises(UserError, match="no column predicted_answer to vote by"):
        metrics(None, without("predicted_answer"))
