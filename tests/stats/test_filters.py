"""Filters and their thresholds on literals worked by hand, and against slow loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcrm.data.questions import question_hash
from gcrm.data.ragged import Ragged
from gcrm.stats.bootstrap import codes
from gcrm.stats.filters import Filter, Filtered, choose, cross_fitted, length_filter, q_filter
from gcrm.stats.samples import Samples


def votes_of(problem: list[int] | np.ndarray) -> Samples:
    """Samples of these problems, each with the same answer."""
    return Samples(np.array(problem), ["1"] * len(problem), np.ones(len(problem), bool))


def by_q(rows: list[list[float]], problem: list[int], skip: int, official: bool = False) -> Filter:
    return q_filter(votes_of(problem), Ragged.of(rows), skip, official)


def test_q_filter_by_hand() -> None:
    q_values = [
        [-1, -1, 0.5, 0.5, -0.1, 0.9],  # falls below 0 at token 4: one token saved
        [0.5, 0.5, 0.5, 0.5, 0.5, 0.5],
        [0.5, 0.5, -0.5, -0.9],  # falls at token 2: one saved
        [-1, -1],  # no longer than the skipped tokens: kept
        [0.9, 0.9, -0.5],  # all of this problem would be dropped: none is
        [0.9, 0.9, -0.6, 0.9],
    ]
    ours, official = (by_q(q_values, [0, 0, 0, 0, 1, 1], 2, official) for official in (False, True))
    for by, saved, tokens in ((ours, 2, [18, 7]), (official, 4, [10, 3])):
        found = by.apply(0.0)
        assert found.keep.tolist() == [False, True, False, True, True, True]
        assert found.dropped.tolist() == [2, 0]
        assert found.saved.tolist() == [saved, 0]
        assert by.tokens().tolist() == tokens
    assert ours.crossing(0.0).tolist() == [4, -1, 2, -1, 2, 2]
    assert ours.smallest == pytest.approx([-0.1, 0.5, -0.9, np.inf, -0.5, -0.6])


def test_a_q_value_at_the_threshold_is_kept() -> None:
    by = by_q([[0.25], [0.0], [-0.0]], [0, 0, 0], 0)
    assert by.apply(0.25).keep.tolist() == [True, False, False]
    assert by.apply(0.0).keep.tolist() == [True, True, True]
    # Thresholds are not rounded to the precision of the Q-values.
    assert by.apply(1e-300).keep.tolist() == [True, False, False]


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=9)),
        min_size=1,
        max_size=14,
    ),
    st.floats(-1, 1),
    st.integers(0, 6),
    st.booleans(),
)
@settings(max_examples=80)
def test_the_q_filter_agrees_with_slow_loops(
    rows: list[tuple[int, list[float]]], threshold: float, skip: int, official: bool
) -> None:
    problem, keys = codes([str(number) for number, _ in rows])
    by = q_filter(votes_of(problem), Ragged.of(row for _, row in rows), skip, official)
    found = by.apply(threshold)
    crossing = [
        next((i for i, q in enumerate(row) if i >= skip and q < threshold), None) for _, row in rows
    ]
    for number in range(len(keys)):
        mine = [i for i in range(len(rows)) if problem[i] == number]
        dropped = [i for i in mine if crossing[i] is not None]
        dropped = [] if len(dropped) == len(mine) else dropped
        assert [i for i in mine if not found.keep[i]] == dropped
        assert found.dropped[number] == len(dropped)
        after = [len(rows[i][1]) - (crossing[i] or 0) for i in dropped]
        assert found.saved[number] == sum(after) - (0 if official else len(after))
        counted = [len(rows[i][1][skip if official else 0 :]) for i in mine]
        assert by.tokens()[number] == sum(counted)
    lowest = [min(row[skip:], default=np.inf) for _, row in rows]
    assert by.smallest == pytest.approx(np.array(lowest, np.float32))


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 12)), min_size=1, max_size=14),
    st.floats(-12, 1, width=32),
    st.integers(0, 6),
)
@settings(max_examples=60)
def test_the_length_filter_is_a_filter_of_minus_the_position(
    rows: list[tuple[int, int]], threshold: float, skip: int
) -> None:
    votes = votes_of(codes([str(number) for number, _ in rows])[0])
    lengths = np.array([length for _, length in rows])
    by_position = q_filter(votes, Ragged.of(-np.arange(length) for length in lengths), skip)
    by_length = length_filter(votes, lengths, skip)
    assert by_length.crossing(threshold).tolist() == by_position.crossing(threshold).tolist()
    assert by_length.smallest == pytest.approx(by_position.smallest)


def point(threshold: float, accuracy: list[float], saved: list[float]) -> Filtered:
    none = np.zeros(len(accuracy))
    return Filtered(threshold, none == 0, np.array(accuracy), none, np.array(saved))


CURVE = [
    point(-1.0, [1, 0, 1], [0, 0, 0]),
    point(0.1, [1, 0, 1], [2, 2, 0]),
    point(0.2, [0, 1, 0], [3, 3, 9]),
    point(0.3, [0, 0, 0], [9, 9, 9]),
]
UNFILTERED = np.array([1.0, 0.0, 1.0])


def test_the_threshold_with_most_savings_at_no_lower_accuracy_is_chosen() -> None:
    # On problems 0 and 1 the threshold 0.2 is as good as no filter; on all three it is not.
    two, three = np.array([True, True, False]), np.ones(3, bool)
    assert choose(CURVE, UNFILTERED, two).threshold == 0.2
    assert choose(CURVE, UNFILTERED, three).threshold == 0.1
    # Of thresholds that save as much, the lowest is chosen.
    curve = [*CURVE[:2], point(0.15, [1, 0, 1], [2, 2, 0])]
    assert choose(curve, UNFILTERED, three).threshold == 0.1


def half_of(key: str) -> int:
    return int(question_hash(key)[-1], 16) % 2


def test_each_half_is_reported_at_the_threshold_of_the_other() -> None:
    names = [str(number) for number in range(100)]
    first, second = ([name for name in names if half_of(name) == half] for half in (0, 1))
    keys = [first[0], second[0], first[1]]
    halves = np.array([half_of(key) for key in keys])
    found = cross_fitted(CURVE, UNFILTERED, keys)
    assert found is not None
    thresholds, accuracy, saved = found
    for half, threshold in enumerate(thresholds):
        reported = halves == half
        chosen = choose(CURVE, UNFILTERED, chosen_on=~reported)
        assert chosen.threshold == threshold
        assert (accuracy[reported] == chosen.accuracy[reported]).all()
        assert (saved[reported] == chosen.saved[reported]).all()
    assert cross_fitted(CURVE, UNFILTERED, ["a", "a", "a"]) is None  # one half alone


def test_a_curve_begins_without_the_filter_and_ends_with_the_highest_q_value() -> None:
    q_values = Ragged.of([[0.9, 0.1], [0.9, 0.5], [0.9, 0.7]])
    votes = Samples(np.zeros(3, np.int64), ["1", "2", "2"], np.array([True, False, False]))
    curve = q_filter(votes, q_values, 0).curve()
    assert [round(each.threshold, 6) for each in curve] == [0.1, 0.5, 0.7]
    assert [each.dropped.tolist() for each in curve] == [[0], [1], [2]]
    assert [each.accuracy.tolist() for each in curve] == [[0], [0], [0]]
    # Each sample crosses at its last token: no tokens are left to save.
    assert [each.saved.tolist() for each in curve] == [[0], [0], [0]]
    assert q_filter(votes, q_values, 2).curve() == []
