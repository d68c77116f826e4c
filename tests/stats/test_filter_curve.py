"""Which threshold is chosen, and on which problems, on literals."""

import numpy as np

from gcrm.data.questions import question_hash
from gcrm.data.scores import Ragged
from gcrm.stats.filter_curve import CurvePoint, choose_threshold, cross_fitted, filter_curve
from gcrm.stats.voting import QFilter, Samples


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
