"""Votes on literals worked by hand, and against slow loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcrm.stats.bootstrap import codes
from gcrm.stats.voting import Samples


def samples(*rows: tuple[int, str | None, bool]) -> Samples:
    problem, answers, correct = zip(*rows, strict=True)
    return Samples(np.array(problem), list(answers), np.array(correct))


def test_majority_by_hand() -> None:
    votes = samples(
        *[(0, "18", True), (0, "18", True), (0, "7", False)],  # right wins
        *[(1, "3", True), (1, "4", False), (1, "4", False)],  # wrong wins
        *[(2, "5", True), (2, "6", False)],  # a tie of two: one half
        *[(3, "1", True), (3, "2", False), (3, "4", False)],  # a tie of three: one third
        *[(4, None, False), (4, None, False), (4, "9", True)],  # null answers do not vote
        *[(5, None, False)],  # nothing votes
        *[(6, "8", True), (6, "9", False), (6, "10", False), (6, "10", False)],  # out of the tie
    )
    assert votes.majority() == pytest.approx([1, 0, 1 / 2, 1 / 3, 1, 0, 0])
    assert votes.majority(ties="official") == pytest.approx([1, 0, 1, 1, 1, 0, 0])
    assert votes.mean_correct() == pytest.approx([2 / 3, 1 / 3, 1 / 2, 1 / 3, 1 / 3, 0, 1 / 4])
    assert votes.pass_at_n() == pytest.approx([1, 1, 1, 1, 1, 0, 1])


def test_an_answer_with_both_labels_is_right_in_part() -> None:
    votes = samples((0, "18", True), (0, "18", True), (0, "18", False))
    assert votes.majority() == pytest.approx([2 / 3])
    # Rightness is the answer's: dropping a sample does not change it.
    assert votes.majority(np.array([False, False, True])) == pytest.approx([2 / 3])


def test_equal_answers_of_different_problems_do_not_vote_together() -> None:
    votes = samples(
        (0, "1", False), (0, "2", True), (0, "2", True), (1, "1", True), (1, "2", False)
    )
    assert votes.majority() == pytest.approx([1, 1 / 2])


def test_official_majority_by_hand() -> None:
    votes = samples(
        *[(0, "a", True), (0, "b", True), (0, "c", False), (0, "c", False)],  # 2 right tie 2 wrong
        *[(1, "None", False), (1, "None", False), (1, "d", True)],  # null is an answer of its own
        *[(2, "e", False)],
    )
    assert votes.official_majority().tolist() == [1, 0, 0]
    assert votes.official_majority(np.array([1, 0, 1, 1, 0, 1, 1, 1], bool)).tolist() == [0, 1, 0]


def test_best_of_n_and_reward_weighted_by_hand() -> None:
    votes = samples(
        *[(0, "1", True), (0, "2", False), (0, "2", False)],
        *[(1, "1", True), (1, "2", False)],
        *[(2, None, False), (2, "3", True)],
    )
    reward = np.array([2.0, 1.0, 1.0, 5.0, 5.0, 900.0, -900.0], np.float32)
    # The best of problem 0 is right, problem 1 ties, the best of problem 2 has no answer.
    assert votes.best_of_n(reward) == pytest.approx([1, 1 / 2, 0])
    # e^2 = 7.4 beats 2 e = 5.4; a sample without an answer has no vote, however high its reward.
    assert votes.reward_weighted(reward) == pytest.approx([1, 1 / 2, 1])
    shifted = reward + np.array([10, 10, 10, -3, -3, 0, 0], np.float32)
    assert votes.reward_weighted(shifted) == pytest.approx([1, 1 / 2, 1])
    # 1 + 1 beats e^0.5
    reward[:3] = [0.5, 0, 0]
    assert votes.reward_weighted(reward)[0] == 0


def test_a_tie_of_equal_weights_in_another_order_is_a_tie() -> None:
    rewards = [0.3, 0.7, 0.9]
    # Answer 1 gets the weights in one order, answer 2 in the other: the sums may differ by 1e-16.
    for shift in range(40):
        weights = np.array([*rewards, *reversed(rewards)]) + shift / 10
        votes = samples(*[(0, "1", True)] * 3, *[(0, "2", False)] * 3)
        assert votes.reward_weighted(weights) == pytest.approx([1 / 2])


sample_rows = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from([None, "1", "2", "3"]),
        st.booleans(),
        st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=9),
        st.sampled_from([0.0, 0.5, 1.0]),
    ),
    min_size=1,
    max_size=14,
)


@given(sample_rows)
@settings(max_examples=80)
def test_votes_by_reward_agree_with_slow_loops(
    rows: list[tuple[int, str | None, bool, list[float], float]],
) -> None:
    problem, keys = codes([str(row[0]) for row in rows])
    correct, reward = np.array([row[2] for row in rows]), np.array([row[4] for row in rows])
    votes = Samples(problem, [row[1] for row in rows], correct)
    found = votes.best_of_n(reward), votes.reward_weighted(reward), votes.pass_at_n()
    for number in range(len(keys)):
        mine = [row for row, p in zip(rows, problem, strict=True) if p == number]
        highest = max(row[4] for row in mine)
        best_of_n = np.mean([row[2] for row in mine if row[4] == highest])
        weights: dict[str, float] = {}
        for row in mine:
            if row[1] is not None:
                weights[row[1]] = weights.get(row[1], 0) + math.exp(row[4])
        winners = [a for a, w in weights.items() if math.isclose(w, max(weights.values()))]
        right = [np.mean([row[2] for row in mine if row[1] == answer]) for answer in winners]
        assert found[0][number] == pytest.approx(best_of_n)
        assert found[1][number] == pytest.approx(np.mean(right) if right else 0)
        # pass@n is the unbiased pass@k, 1 - C(n - c, k) / C(n, k), at k = n.
        n, c = len(mine), sum(row[2] for row in mine)
        assert found[2][number] == 1 - math.comb(n - c, n) / math.comb(n, n)
