"""Votes and the Q-filter on literals worked by hand, and against slow loops."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcrm.data.scores import Ragged
from gcrm.stats.bootstrap import codes
from gcrm.stats.voting import LengthFilter, QFilter, Samples


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


def test_q_filter_by_hand() -> None:
    q_values = Ragged.of(
        [
            [-1, -1, 0.5, 0.5, -0.1, 0.9],  # falls below 0 at token 4: one token saved
            [0.5, 0.5, 0.5, 0.5, 0.5, 0.5],
            [0.5, 0.5, -0.5, -0.9],  # falls at token 2: one saved
            [-1, -1],  # no longer than what is skipped: kept
            [0.9, 0.9, -0.5],  # all of this problem are dropped: none is
            [0.9, 0.9, -0.6, 0.9],
        ]
    )
    q_filter = QFilter(q_values, np.array([0, 0, 0, 0, 1, 1]), skip_tokens=2)
    found = q_filter.apply(0.0)
    assert found.keep.tolist() == [False, True, False, True, True, True]
    assert found.saved.tolist() == [1, 0, 1, 0, 0, 0]
    assert found.tokens.tolist() == [6, 6, 4, 2, 3, 4]
    official = q_filter.apply(0.0, official=True)
    assert official.keep.tolist() == found.keep.tolist()
    assert official.saved.tolist() == [2, 0, 2, 0, 0, 0]
    assert official.tokens.tolist() == [4, 4, 2, 0, 1, 2]
    assert q_filter.smallest() == pytest.approx([-0.1, 0.5, -0.9, np.inf, -0.5, -0.6])


def test_a_q_value_at_the_threshold_is_kept() -> None:
    q_filter = QFilter(Ragged.of([[0.25], [0.0], [-0.0]]), np.array([0, 0, 0]), 0)
    assert q_filter.apply(0.25).keep.tolist() == [True, False, False]
    assert q_filter.apply(0.0).keep.tolist() == [True, True, True]


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


@given(sample_rows, st.floats(-1, 1), st.integers(0, 6))
@settings(max_examples=80)
def test_filter_and_votes_agree_with_slow_loops(
    rows: list[tuple[int, str | None, bool, list[float], float]], threshold: float, skip: int
) -> None:
    problem, keys = codes([str(row[0]) for row in rows])
    answers, correct = [row[1] for row in rows], np.array([row[2] for row in rows])
    votes = Samples(problem, answers, correct)
    q_values = [row[3] for row in rows]
    filtered = QFilter(Ragged.of(q_values), problem, skip).apply(threshold)

    crossing = [
        next((i for i, q in enumerate(row) if i >= skip and q < threshold), None)
        for row in q_values
    ]
    for number in range(len(keys)):
        mine = [i for i in range(len(rows)) if problem[i] == number]
        all_dropped = all(crossing[i] is not None for i in mine)
        for i in mine:
            dropped = crossing[i] is not None and not all_dropped
            assert filtered.keep[i] == (not dropped)
            expected = len(q_values[i]) - (crossing[i] or 0) - 1 if dropped else 0
            assert filtered.saved[i] == expected

        voters = [i for i in mine if filtered.keep[i] and answers[i] is not None]
        counts = Counter(answers[i] for i in voters)
        best = [a for a, count in counts.items() if count == max(counts.values())]
        right = [np.mean([correct[i] for i in mine if answers[i] == a]) for a in best]
        expected_accuracy = float(np.mean(right)) if right else 0.0
        assert votes.majority(filtered.keep)[number] == pytest.approx(expected_accuracy)


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


@given(sample_rows, st.floats(-1, 1), st.integers(0, 6))
@settings(max_examples=80)
def test_official_rules_agree_with_slow_loops(
    rows: list[tuple[int, str | None, bool, list[float], float]], threshold: float, skip: int
) -> None:
    problem, keys = codes([str(row[0]) for row in rows])
    correct, q_values = np.array([row[2] for row in rows]), [row[3] for row in rows]
    votes = Samples(problem, [repr(row[1]) for row in rows], correct)
    filtered = QFilter(Ragged.of(q_values), problem, skip).apply(threshold, official=True)
    accuracy = votes.official_majority(filtered.keep)
    for number in range(len(keys)):
        mine = [i for i in range(len(rows)) if problem[i] == number]
        kept = [i for i in mine if min(q_values[i][skip:], default=1) >= threshold]
        voters = kept or mine
        right = sum(correct[i] for i in voters)
        wrong = Counter(repr(rows[i][1]) for i in voters if not correct[i])
        assert accuracy[number] == (right > 0 and right >= max(wrong.values(), default=0))
        for i in mine:
            below = [k for k, q in enumerate(q_values[i]) if k >= skip and q < threshold]
            assert filtered.saved[i] == (len(q_values[i]) - below[0] if below and kept else 0)
            assert filtered.tokens[i] == len(q_values[i][skip:])


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 12)), min_size=1, max_size=14),
    st.floats(-12, 1),
    st.integers(0, 6),
)
@settings(max_examples=80)
def test_the_control_by_length_is_a_filter_of_minus_the_position(
    rows: list[tuple[int, int]], threshold: float, skip: int
) -> None:
    problem, _ = codes([str(number) for number, _ in rows])
    lengths = np.array([length for _, length in rows])
    positions = Ragged.of([-np.arange(length) for length in lengths])
    by_position = QFilter(positions, problem, skip)
    by_length = LengthFilter(lengths, problem, skip)
    threshold = float(np.float32(threshold))
    expected, found = by_position.apply(threshold), by_length.apply(threshold)
    assert found.keep.tolist() == expected.keep.tolist()
    assert found.saved.tolist() == expected.saved.tolist()
    assert found.tokens.tolist() == expected.tokens.tolist()
    assert by_length.smallest() == pytest.approx(by_position.smallest())


def test_long_tables_are_worked_through_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    q_values = Ragged.of([generator.uniform(-1, 1, n) for n in generator.integers(1, 40, 200)])
    problem = generator.integers(0, 20, 200)
    whole = QFilter(q_values, problem, 5).apply(-0.8)
    monkeypatch.setattr("gcrm.stats.voting.TOKENS_AT_ONCE", 30)
    parts = QFilter(q_values, problem, 5).apply(-0.8)
    assert np.array_equal(whole.keep, parts.keep)
    assert np.array_equal(whole.saved, parts.saved)
