"""Filters that drop samples from the vote before they are complete, and their thresholds.

A threshold that is chosen and reported on the same problems looks better than it is. So it is
chosen on one half of them and reported on the other, both ways.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gcrm.data.questions import question_hash
from gcrm.data.ragged import Ragged
from gcrm.stats.bootstrap import Bools, Floats, Ints
from gcrm.stats.samples import Samples

POINTS = 41
"""thresholds of a curve: quantiles of the samples' smallest values"""
ROWS = 256
"""rows that are worked on at once: padded to one length, they fit into a cache"""


@dataclass(frozen=True)
class Filtered:
    """The votes at a threshold."""

    threshold: float
    keep: Bools
    """samples that vote, (n,)"""
    accuracy: Floats
    """of the majority vote on each problem, (P,)"""
    dropped: Floats
    """number of samples of each problem, (P,)"""
    saved: Floats
    """number of tokens of each problem that need not be generated, (P,)"""


@dataclass(frozen=True)
class Filter:
    """Drops a sample at the first token whose value is below a threshold.

    Attributes:
        votes: the n samples.
        lengths: their tokens, (n,).
        skip: first tokens that the filter does not look at.
        smallest: smallest value of each sample after the skipped tokens; +inf where all are.
        crossing: for a threshold, position of the first token below it in each sample, or -1.
        official: count as the authors do: the crossing token is saved, too, and the skipped tokens
            do not count; see also `gcrm.stats.samples`.
    """

    votes: Samples
    lengths: Ints
    skip: int
    smallest: Floats
    crossing: Callable[[float], Ints]
    official: bool = False

    def majority(self, keep: Bools | None = None) -> Floats:
        """Accuracy of the majority vote on each problem, (P,)."""
        votes = self.votes
        return votes.official_majority(keep) if self.official else votes.majority(keep)

    def tokens(self) -> Floats:
        """Tokens of each problem that count, (P,)."""
        counted = np.maximum(self.lengths - self.skip, 0) if self.official else self.lengths
        return self.votes.sum_by_problem(counted)

    def apply(self, threshold: float) -> Filtered:
        """Drop the samples with a value below `threshold`.

        Where all samples of a problem would be dropped, none is, and nothing is saved.
        """
        crossing = self.crossing(threshold)
        dropped = crossing >= 0
        all_dropped = self.votes.sum_by_problem(~dropped) == 0
        keep = np.asarray(~dropped | all_dropped[self.votes.problem])
        left = self.lengths - crossing - (0 if self.official else 1)
        saved = self.votes.sum_by_problem(np.where(keep, 0, left))
        return Filtered(
            threshold, keep, self.majority(keep), self.votes.sum_by_problem(~keep), saved
        )

    def curve(self) -> list[Filtered]:
        """The votes at ascending thresholds that drop from none to all of the samples.

        Empty where all samples are shorter than the tokens that are skipped.
        """
        smallest = self.smallest[np.isfinite(self.smallest)]
        if not smallest.size:
            return []
        # The lowest threshold is the smallest value of all: nothing is below it.
        thresholds = np.quantile(smallest, np.linspace(0, 1, POINTS), method="lower")
        return [self.apply(threshold) for threshold in np.unique(thresholds).tolist()]


def q_filter(votes: Samples, q_values: Ragged, skip: int, official: bool = False) -> Filter:
    """Drops samples by the Q-values of their tokens.

    A sample falls below a threshold first where its Q-values reach a new low, so only those tokens
    are kept (a handful a sample): a threshold needs no pass over all tokens.
    """
    row, low = _new_lows(q_values, skip)
    count = np.bincount(row, minlength=len(q_values)) + 1  # with an end mark each
    first = np.cumsum(count) - count
    position = np.full(count.sum(), -1)
    position[np.arange(len(row)) + row] = low
    row = np.repeat(np.arange(len(q_values)), count)
    value = q_values.values[q_values.offsets[row] + position].astype(np.float64)
    value[position < 0] = -np.inf

    def crossing(threshold: float) -> Ints:
        above = np.bincount(row, value >= threshold).astype(np.int64)
        return np.asarray(position[first + above])

    # The last new low is the smallest value; the end mark stands alone where there is none.
    smallest = np.where(count > 1, value[first + count - 2], np.inf)
    return Filter(votes, q_values.lengths, skip, smallest, crossing, official)


def _new_lows(values: Ragged, skip: int) -> tuple[Ints, Ints]:
    """Row and position of the values below all before them, from position `skip` on; in order."""
    rows, positions = [], []
    for first in range(0, len(values), ROWS):
        part = values.slice(first, first + ROWS)
        padded = part.padded(np.inf)[:, skip:]
        before = np.minimum.accumulate(padded, axis=1)[:, :-1]
        before = np.pad(before, ((0, 0), (1, 0)), constant_values=np.inf)
        row, position = np.nonzero(padded < before)
        rows.append(row + first)
        positions.append(position + skip)
    return np.concatenate(rows), np.concatenate(positions)


def length_filter(votes: Samples, lengths: Ints, skip: int) -> Filter:
    """The control for `q_filter`: drops the longest samples, whatever is in them.

    The value of the token at position i is -i.
    """

    def crossing(threshold: float) -> Ints:
        first = max(skip, int(np.floor(-threshold)) + 1)
        return np.where(lengths > first, first, -1)

    smallest = np.where(lengths > skip, 1.0 - lengths, np.inf)
    return Filter(votes, lengths, skip, smallest, crossing)


def in_second_half(keys: Sequence[str]) -> Bools:
    """Which problems are in the second of two halves, by the hash of their question key, (P,)."""
    return np.array([int(question_hash(key)[-1], 16) % 2 == 1 for key in keys], bool)


def cross_fitted(
    curve: Sequence[Filtered], unfiltered: Floats, keys: Sequence[str]
) -> tuple[list[float], Floats, Floats] | None:
    """The chosen threshold of each half of the problems, reported on the other one.

    The thresholds are not chosen anew in each resample.

    Args:
        unfiltered: accuracy of the unfiltered vote, (P,).
        keys: the problems' question keys; their hashes tell the halves, not the file's order.

    Returns:
        Thresholds at which the first and the second half are reported; accuracy and tokens saved
        of each problem, (P,). None where there are too few problems for two halves.
    """
    second_half = in_second_half(keys)
    if second_half.all() or not second_half.any():
        return None
    first, second = (choose(curve, unfiltered, half) for half in (second_half, ~second_half))
    accuracy = np.where(second_half, second.accuracy, first.accuracy)
    saved = np.where(second_half, second.saved, first.saved)
    return [first.threshold, second.threshold], accuracy, saved


def choose(curve: Sequence[Filtered], unfiltered: Floats, chosen_on: Bools) -> Filtered:
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
