"""Filters and their thresholds on literals worked by hand, and against slow loops."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcrm.data.questions import question_hash
from gcrm.data.scores import Ragged
from gcrm.stats.bootstrap import codes
from gcrm.stats.filters import (
    CurvePoint,
    LengthFilter,
    QFilter,
    choose_threshold,
    cross_fitted,
    filter_curve,
)
from gcrm.stats.voting import Samples


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
    monkeypatch.setattr("gcrm.stats.filters.TOKENS_AT_ONCE", 30)
    parts = QFilter(q_values, problem, 5).apply(-0.8)
    assert np.array_equal(whole.keep, parts.keep)
    assert np.array_equal(whole.saved, parts.saved)


def point(threshold: float, accuracy: list[float], saved: list[float]) -> CurvePoint:
    return CurvePoint(threshold, np.array(accuracy), np.zeros(len(accuracy)), np.array(saved))


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
    assert choose_threshold(CURVE, UNFILTERED, two).threshold == 0.2
    assert choose_threshold(CURVE, UNFILTERED, three).threshold == 0.1


def test_of_thresholds_that_save_as_much_the_lowest_is_chosen() -> None:
    curve = [CURVE[0], CURVE[1], point(0.15, [1, 0, 1], [2, 2, 0])]
    assert choose_threshold(curve, UNFILTERED, np.ones(3, bool)).threshold == 0.1


def half_of(key: str) -> int:
    return int(question_hash(key)[-1], 16) % 2


def test_each_half_is_reported_at_the_threshold_of_the_other() -> None:
    names = [str(number) for number in range(100)]
    first, second = ([name for name in names if half_of(name) == half] for half in (0, 1))
    keys = [first[0], second[0], first[1]]
    halves = [half_of(key) for key in keys]
    found = cross_fitted(CURVE, UNFILTERED, keys)
    assert found is not None
    for half, threshold in enumerate(found.thresholds):
        others = np.array(halves) != half
        chosen = choose_threshold(CURVE, UNFILTERED, chosen_on=others)
        assert chosen.threshold == threshold
        assert (found.accuracy[~others] == chosen.accuracy[~others]).all()
        assert (found.saved[~others] == chosen.saved[~others]).all()


def test_one_half_alone_has_no_threshold() -> None:
    assert cross_fitted(CURVE, UNFILTERED, ["a", "a", "a"]) is None


def test_a_curve_begins_without_the_filter_and_ends_with_the_highest_q_value() -> None:
    q_values = Ragged.of([[0.9, 0.1], [0.9, 0.5], [0.9, 0.7]])
    votes = Samples(np.zeros(3, np.int64), ["1", "2", "2"], np.array([True, False, False]))
    curve = filter_curve(votes, QFilter(q_values, np.zeros(3, np.int64), skip_tokens=0))
    assert [round(each.threshold, 6) for each in curve] == [0.1, 0.5, 0.7]
    assert [each.dropped.tolist() for each in curve] == [[0], [1], [2]]
    assert [each.accuracy.tolist() for each in curve] == [[0], [0], [0]]
    # The crossing token of each is its last: nothing is behind it.
    assert [each.saved.tolist() for each in curve] == [[0], [0], [0]]
    assert filter_curve(votes, QFilter(q_values, np.zeros(3, np.int64), skip_tokens=2)) == []
