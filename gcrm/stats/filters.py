"""Filters that drop samples from the vote before they are complete, and their thresholds.

A threshold that is chosen and reported on the same problems looks better than it is; so it is
chosen on one half of them and reported on the other, both ways.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gcrm.data.questions import question_hash
from gcrm.data.scores import Ragged
from gcrm.stats.bootstrap import Bools, Floats, Ints
from gcrm.stats.voting import Samples

POINTS = 41
"""thresholds of a curve: quantiles of the samples' smallest Q-values"""
TOKENS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Filtered:
    """What a threshold does; each array has shape (n,)."""

    keep: Bools
    """samples that vote"""
    saved: Ints
    """tokens of each sample that need not be generated"""
    tokens: Ints
    """tokens of each sample that count"""


class Filter:
    """Drops a sample at the first token whose value is below a threshold.

    Args:
        lengths: tokens of n samples.
        problem: problem of each sample, 0 to P-1; shape (n,).
        skip_tokens: first tokens that the filter does not look at.
    """

    def __init__(self, lengths: Ints, problem: Ints, skip_tokens: int):
        self.lengths, self.problem, self.skip = lengths, problem, skip_tokens

    def smallest(self) -> Floats:
        """Smallest value of each sample after the skipped tokens; +inf for samples without any."""
        raise NotImplementedError

    def crossing(self, threshold: float) -> Ints:
        """Position of the first token below `threshold` in each sample; -1 where there is none."""
        raise NotImplementedError

    def apply(self, threshold: float, official: bool = False) -> Filtered:
        """Drop the samples with a value below `threshold`.

        Where all samples of a problem would be dropped, none is, and nothing is saved.

        Args:
            official: count as the authors do: the crossing token is saved, too, and the skipped
                tokens do not count.
        """
        crossing = self.crossing(threshold)
        dropped = crossing >= 0
        all_dropped = np.bincount(self.problem, ~dropped) == 0
        keep = np.asarray(~dropped | all_dropped[self.problem])
        left = self.lengths - crossing - (0 if official else 1)
        counted = np.maximum(self.lengths - self.skip, 0) if official else self.lengths
        return Filtered(keep, np.where(keep, 0, left), counted)


class QFilter(Filter):
    """Drops samples by their smallest Q-value after the first tokens, for any threshold at once.

    A sample falls below a threshold first where its Q-values reach a new low, so only those tokens
    are kept (a handful a sample): a threshold costs no pass over all tokens.

    Args:
        q_values: Q-values of the tokens of n samples.
        problem, skip_tokens: as for `Filter`.
    """

    def __init__(self, q_values: Ragged, problem: Ints, skip_tokens: int):
        super().__init__(q_values.lengths, problem, skip_tokens)
        lows = list(_new_lows(q_values, skip_tokens))
        self._row = np.concatenate([row for row, _, _ in lows])
        self._position = np.concatenate([position for _, position, _ in lows])
        self._value = np.concatenate([value for _, _, value in lows]).astype(np.float64)
        self._first = np.searchsorted(self._row, np.arange(len(problem)))
        self._count = np.bincount(self._row, minlength=len(problem))

    def smallest(self) -> Floats:
        """See `Filter.smallest`."""
        result = np.full(len(self.problem), np.inf)
        has = self._count > 0
        result[has] = self._value[(self._first + self._count - 1)[has]]
        return result

    def crossing(self, threshold: float) -> Ints:
        """See `Filter.crossing`."""
        above = np.bincount(self._row, self._value >= threshold, len(self.problem)).astype(np.int64)
        below = above < self._count
        crossing = np.full(len(self.problem), -1)
        crossing[below] = self._position[(self._first + above)[below]]
        return crossing


class LengthFilter(Filter):
    """The control for `QFilter`: drops the samples that are too long, whatever is in them.

    The value of the token at position i is -i.
    """

    def smallest(self) -> Floats:
        """See `Filter.smallest`."""
        return np.where(self.lengths > self.skip, 1.0 - self.lengths, np.inf)

    def crossing(self, threshold: float) -> Ints:
        """See `Filter.crossing`."""
        first = max(self.skip, int(np.floor(-threshold)) + 1)
        return np.where(self.lengths > first, first, -1)


def _new_lows(q_values: Ragged, skip: int) -> Iterator[tuple[Ints, Ints, NDArray[np.float32]]]:
    """(row, position, value) of the tokens from `skip` on that are below all before them."""
    offsets = q_values.offsets
    first = 0
    while first < len(q_values):
        last = int(np.searchsorted(offsets, offsets[first] + TOKENS_AT_ONCE, "right")) - 1
        last = min(max(last, first + 1), len(q_values))
        values = q_values.values[offsets[first] : offsets[last]]
        row = np.repeat(np.arange(first, last), q_values.lengths[first:last])
        position = np.arange(offsets[first], offsets[last]) - offsets[row]
        looked_at = position >= skip
        values, row, position = values[looked_at], row[looked_at], position[looked_at]
        # Whole numbers in the order of the floats, each row's below those of the row before: the
        # running minimum over all rows then is that of each row.
        bits = (values + np.float32(0)).view(np.int32).astype(np.int64)  # + 0 makes -0 be 0
        order = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits) - (row - first) * (1 << 33)
        low = np.ones(len(order), bool)
        if len(order):
            low[1:] = order[1:] < np.minimum.accumulate(order)[:-1]
        yield row[low], position[low], values[low]
        first = last


@dataclass(frozen=True)
class CurvePoint:
    """What one threshold does, problem by problem; each array has shape (P,)."""

    threshold: float
    accuracy: Floats
    """of the majority vote of the samples that are left"""
    dropped: Floats
    """number of samples"""
    saved: Floats
    """number of tokens"""


def filter_curve(votes: Samples, by: Filter) -> list[CurvePoint]:
    """The filter at thresholds that drop nothing, some, ... all of the samples, in this order.

    Empty where all samples are shorter than the tokens that the filter skips.
    """
    smallest = by.smallest()
    smallest = smallest[np.isfinite(smallest)]
    if not smallest.size:
        return []
    curve = []
    # The lowest threshold is the smallest Q-value of all: nothing is below it.
    for threshold in np.unique(np.quantile(smallest, np.linspace(0, 1, POINTS), method="lower")):
        filtered = by.apply(float(threshold))
        curve.append(
            CurvePoint(
                float(threshold),
                votes.majority(filtered.keep),
                votes.sum_by_problem(~filtered.keep),
                votes.sum_by_problem(filtered.saved),
            )
        )
    return curve


@dataclass(frozen=True)
class CrossFitted:
    """The filter at thresholds of which each was chosen on the other half of the problems."""

    thresholds: tuple[float, float]
    accuracy: Floats
    """of each problem's vote, at the threshold chosen without it, (P,)"""
    saved: Floats
    """number of tokens, (P,)"""


def cross_fitted(
    curve: Sequence[CurvePoint], unfiltered: Floats, keys: Sequence[str]
) -> CrossFitted | None:
    """The chosen threshold of each half of the problems, reported on the other one.

    Resamples of what it gives are at these thresholds: they are not chosen anew in each.

    Args:
        unfiltered: accuracy of the unfiltered vote, (P,).
        keys: the problems' question keys; halves go by their hash, and not by the file's order.

    Returns:
        None where there are too few problems for two halves.
    """
    second_half = np.array([int(question_hash(key)[-1], 16) % 2 == 1 for key in keys])
    if second_half.all() or not second_half.any():
        return None
    accuracy, saved = np.empty(len(keys)), np.empty(len(keys))
    thresholds = []
    for reported in (~second_half, second_half):
        point = choose_threshold(curve, unfiltered, chosen_on=~reported)
        accuracy[reported], saved[reported] = point.accuracy[reported], point.saved[reported]
        thresholds.append(point.threshold)
    return CrossFitted((thresholds[0], thresholds[1]), accuracy, saved)


def choose_threshold(
    curve: Sequence[CurvePoint], unfiltered: Floats, chosen_on: Bools
) -> CurvePoint:
    """The point that saves most tokens at an accuracy not below the unfiltered one.

    Args:
        curve: its first point drops nothing.
        unfiltered: accuracy of the unfiltered vote, (P,).
        chosen_on: the problems that decide, (P,).
    """
    floor = unfiltered[chosen_on].sum() - 1e-9
    good = [point for point in curve if point.accuracy[chosen_on].sum() >= floor]
    # Of several that save as much, the lowest threshold.
    return max([curve[0], *good], key=lambda point: float(point.saved[chosen_on].sum()))
