"""Votes on literals worked by hand, and against slow loops."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcrm.stats.bootstrap import codes
from gcrm.stats.samples import Samples


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


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from([None, "1", "2", "3"]),
            st.booleans(),
            st.sampled_from([0.0, 0.5, 1.0]),
            st.booleans(),
        ),
        min_size=1,
        max_size=14,
    )
)
@settings(max_examples=60)
def test_votes_agree_with_slow_loops(
    rows: list[tuple[int, str | None, bool, float, bool]],
) -> None:
    problem, keys = codes([str(row[0]) for row in rows])
    answers, correct = [row[1] for row in rows], np.array([row[2] for row in rows])
    reward, keep = np.array([row[3] for row in rows]), np.array([row[4] for row in rows])
    votes = Samples(problem, answers, correct)
    official = Samples(problem, [repr(answer) for answer in answers], correct)
    for number in range(len(keys)):
        mine = [i for i in range(len(rows)) if problem[i] == number]

        def accuracy(weights: dict[str, float], mine: list[int] = mine) -> float:
            """Mean over the winners of the share of their samples that are correct."""
            winners = [a for a, w in weights.items() if math.isclose(w, max(weights.values()))]
            right = [np.mean([correct[i] for i in mine if answers[i] == a]) for a in winners]
            return float(np.mean(right)) if right else 0.0

        counts = Counter(answers[i] for i in mine if keep[i] and answers[i] is not None)
        assert votes.majority(keep)[number] == pytest.approx(accuracy(counts))
        weights: dict[str, float] = {}
        for i in mine:
            if answers[i] is not None:
                weights[answers[i]] = weights.get(answers[i], 0) + math.exp(reward[i])
        assert votes.reward_weighted(reward)[number] == pytest.approx(accuracy(weights))
        best = [correct[i] for i in mine if reward[i] == max(reward[mine])]
        assert votes.best_of_n(reward)[number] == pytest.approx(np.mean(best))
        # pass@n is the unbiased pass@k, 1 - C(n - c, k) / C(n, k), at k = n.
        n, c = len(mine), sum(correct[mine])
        assert votes.pass_at_n()[number] == 1 - math.comb(n - c, n) / math.comb(n, n)
        wrong = Counter(answers[i] for i in mine if keep[i] and not correct[i])
        right = sum(keep[mine] & correct[mine])
        expected = right > 0 and right >= max(wrong.values(), default=0)
        assert official.official_majority(keep)[number] == expected
