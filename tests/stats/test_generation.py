"""Costs and accuracies of sampling, on literal values."""

from itertools import combinations

import numpy as np
import pytest

from gcrm.stats.bootstrap import Bootstrap
from gcrm.stats.generation import (
    Compared,
    Drawn,
    Sizes,
    Spent,
    at_samples,
    break_even,
    interval_with_infinity,
    reached,
)
from gcrm.stats.samples import Samples

CURVE = np.array([[0.5, 0.2], [0.5, 0.6], [0.7, 0.6]])


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ((0.4, 0.1), (1, 1)),
        ((0.5, 0.2), (1, 1)),
        ((0.6, 0.4), (2.5, 1.5)),
        ((0.7, 0.6), (3, 2)),
        ((0.9, 0.61), (3, 3)),
    ],
)
def test_where_a_rising_curve_reaches_a_level(level, expected) -> None:
    assert reached(CURVE, np.array(level)) == pytest.approx(expected)
    costs = np.array([[10.0, 1.0], [20.0, 2.0], [40.0, 3.0]])
    by_hand = [np.interp(k, [1, 2, 3], costs[:, i]) for i, k in enumerate(expected)]
    assert at_samples(costs, np.array(expected, float)) == pytest.approx(by_hand)


def test_a_curve_of_one_sample() -> None:
    assert reached(np.array([[0.5, 0.5]]), np.array([0.4, 0.9])).tolist() == [1, 1]
    assert at_samples(np.array([[7.0, 8.0]]), np.ones(2)).tolist() == [7, 8]


def test_it_pays_from_a_ratio_on_always_or_never() -> None:
    saved, extra = np.array([10.0, 10, 0, -5, 10]), np.array([30.0, -3, 5, 5, 0])
    assert break_even(saved, extra).tolist() == [3, 0, np.inf, np.inf, 0]


def test_an_end_of_an_interval_that_is_infinite_is_open() -> None:
    assert interval_with_infinity(np.array([1.0, 2, 3])) == pytest.approx((1.05, 2.95))
    many = np.concatenate([np.arange(90.0), np.full(10, np.inf)])
    assert interval_with_infinity(many) == (2, None)
    assert interval_with_infinity(np.full(10, np.inf)) == (None, None)


def drawn(answers: list[str | None], correct: list[bool], reward: list[float]) -> Drawn:
    """Two problems of three samples each."""
    problem = np.repeat([0, 1], 3)
    votes = Samples(problem, answers, np.array(correct))
    tokens = np.array([1, 2, 3, 4, 5, 6])
    kept = np.ones(6, bool)
    return Drawn(votes, np.array(reward), kept, tokens, 2 * tokens, np.array([[10, 20], [30, 40]]))


def test_plain_samples_are_expected_values_over_their_choice() -> None:
    """Against all subsets of a size; random orders differ from them by chance."""
    found = drawn(
        ["1", "1", "2", "3", None, "4"],
        [True, True, False, False, False, True],
        [0.1, 0.3, 0.2, 0.5, 0.1, 0.4],
    )
    for vote in ("majority", "best"):
        for k, one in enumerate(found.plain(vote, seed=0), start=1):
            subsets = [
                np.array([i % 3 in chosen for i in range(6)])
                for chosen in combinations(range(3), k)
            ]
            expected = np.mean([found.accuracy(vote, subset) for subset in subsets], axis=0)
            assert one.accuracy == pytest.approx(expected, abs=0 if k == 3 else 0.25)
            assert one.policy == pytest.approx([10 + 6 * k / 3, 30 + 15 * k / 3])
            read = [20 + 12 * k / 3, 40 + 30 * k / 3]
            assert one.reward_model == pytest.approx(read if vote == "best" and k > 1 else [0, 0])


def test_the_vote_and_the_best_are_of_the_samples_that_were_kept() -> None:
    found = drawn(
        ["1", "1", "2", "3", "3", "4"],
        [False, False, True, False, False, True],
        [0.1, 0.3, 0.2, 0.5, 0.1, 0.4],
    )
    kept = np.array([False, False, True, True, False, True])
    assert found.accuracy("majority").tolist() == [0, 0]
    assert found.accuracy("majority", kept).tolist() == [1, 0.5]
    assert found.accuracy("best").tolist() == [0, 0]
    assert found.accuracy("best", np.array([1, 0, 1, 0, 1, 1], bool)).tolist() == [1, 1]


def test_a_filter_beside_plain_samples_by_hand() -> None:
    """The policy has three times the parameters of the reward model."""
    ones = np.ones(4)
    plain = [
        Spent(np.array([0.0, 0, 1, 1]), 10 * ones, 0 * ones),
        Spent(np.array([0.0, 1, 1, 1]), 20 * ones, 0 * ones),
        Spent(np.array([1.0, 1, 1, 1]), 30 * ones, 0 * ones),
    ]
    ours = Spent(np.array([0.5, 1, 1, 1]), np.array([10.0, 12, 14, 16]), 15 * ones)
    bootstrap = Bootstrap(np.arange(4), 200, 0)
    rows = {row["metric"]: row for row in Compared(ours, plain, Sizes(30, 10), bootstrap).rows(0)}
    values = {name: row["value"] for name, row in rows.items()}
    assert values == pytest.approx(
        {
            "accuracy": 0.875,
            "change": -0.125,
            "cost": 60 * 13 + 20 * 15,
            "relative_cost": (60 * 13 + 20 * 15) / (60 * 30),
            "equal_samples": 2.5,
            "equal_cost": (60 * 13 + 20 * 15) / (60 * 25),
            "break_even": 15 / (25 - 13),
        }
    )
    assert rows["change"]["p"] == 1  # one problem alone differs
    for row in rows.values():
        if row["value"] is not None and row["high"] is not None:
            assert row["low"] <= row["value"] + 1e-9 and row["value"] <= row["high"] + 1e-9
    # With a reward model of the policy's size it costs more; the ratio says from where on it pays.
    for size, pays in ((10 * 15 / 12 - 0.1, False), (10 * 15 / 12 + 0.1, True)):
        found = Compared(ours, plain, Sizes(size, 10), bootstrap).rows(0)
        [cost] = [row["value"] for row in found if row["metric"] == "equal_cost"]
        assert (cost < 1) == pays
