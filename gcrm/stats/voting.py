"""Votes over the samples of each problem, with and without samples that Q-values rule out.

Every vote gives one accuracy a problem, so that votes can be compared problem by problem. Labels in
the data are authoritative: an answer is right to the share of its samples that are labelled correct
(nearly always 0 or 1), whatever the vote drops or weighs.

"Official" is what the authors' scripts do, for comparison with their numbers: null answers vote,
answers are compared as written, all correct samples count as one answer and win ties; the filter
saves the crossing token too, and leaves the first tokens out of all counts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gcrm.data.scores import Ragged
from gcrm.stats.bootstrap import codes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

TOKENS_AT_ONCE = 1 << 22


class Samples:
    """Labelled answers of the samples, grouped by problem.

    Args:
        problem: problem of each sample, 0 to P-1; shape (n,).
        answers: answer of each sample; equal answers are equal strings, None is no answer.
        correct: label of each sample, shape (n,).
    """

    def __init__(self, problem: Ints, answers: Sequence[str | None], correct: Bools):
        self.problem, self.correct = problem, np.asarray(correct, bool)
        self.problems = int(problem.max()) + 1
        self.sizes = np.bincount(problem, minlength=self.problems)
        answer, distinct = codes(["" if text is None else "=" + text for text in answers])
        is_null = np.array([text is None for text in answers], bool)
        pairs, inverse = np.unique(problem * len(distinct) + answer, return_inverse=True)
        # `group` is the (problem, answer) of each sample, -1 for those without an answer.
        self.group: Ints = np.where(is_null, -1, inverse)
        self.group_problem: Ints = pairs // len(distinct)
        votes = np.bincount(inverse, minlength=len(pairs))
        self.group_right: Floats = np.bincount(inverse, self.correct, len(pairs)) / votes

    def mean_correct(self, keep: Bools | None = None) -> Floats:
        """Share of correct samples among those kept, (P,); NaN for problems with none."""
        kept = np.ones(len(self.problem)) if keep is None else keep.astype(float)
        right = np.bincount(self.problem, kept * self.correct, self.problems)
        with np.errstate(invalid="ignore"):
            return np.asarray(right / np.bincount(self.problem, kept, self.problems))

    def majority(
        self,
        keep: Bools | None = None,
        weights: Floats | None = None,
        ties: Literal["split", "official"] = "split",
    ) -> Floats:
        """Accuracy of the majority vote on each problem, shape (P,); 0 where nothing voted.

        Args:
            keep: which samples vote (default: all); those without an answer never do.
            weights: what each vote counts, above 0 (default: 1 each).
            ties: `split`: expected accuracy of a random winner among the best answers (a tie of two
                counts one half); `official`: a tie is right if one of the best answers is.
        """
        votes = self.group >= 0 if keep is None else keep & (self.group >= 0)
        weight = None if weights is None else weights[votes]
        counts = np.bincount(self.group[votes], weight, len(self.group_right))
        most = np.zeros(self.problems, counts.dtype)
        np.maximum.at(most, self.group_problem, counts)
        # Sums of the same weights in another order may differ in their last digits.
        winner = (counts >= most[self.group_problem] * (1 - 1e-9)) & (counts > 0)
        problem, right = self.group_problem[winner], self.group_right[winner]
        accuracy = np.zeros(self.problems)
        if ties == "official":
            np.maximum.at(accuracy, problem, right)
            return accuracy
        winners = np.bincount(problem, minlength=self.problems)
        total = np.bincount(problem, right, self.problems)
        np.divide(total, winners, out=accuracy, where=winners > 0)
        return accuracy

    def reward_weighted(self, reward: NDArray[Any]) -> Floats:
        """Accuracy of the vote in which a sample counts exp(reward), shape (P,).

        Bradley-Terry rewards are determined up to a constant for each problem, which this vote does
        not depend on (unlike one that adds up rewards or their sigmoids).
        """
        votes = self.group >= 0
        best = self._best(np.where(votes, reward, -np.inf))[self.problem]
        relative = np.where(votes, reward, 0) - np.where(votes, best, 0)
        return self.majority(weights=np.exp(relative, dtype=np.float64))

    def best_of_n(self, reward: NDArray[Any]) -> Floats:
        """Accuracy of the sample with the highest reward (mean of several that tie), (P,)."""
        best = reward == self._best(reward)[self.problem]
        return self.mean_correct(best)

    def pass_at_n(self) -> Floats:
        """Whether any sample is correct, 0 or 1; shape (P,)."""
        return (np.bincount(self.problem, self.correct, self.problems) > 0).astype(float)

    def _best(self, reward: NDArray[Any]) -> Floats:
        best = np.full(self.problems, -np.inf)
        np.maximum.at(best, self.problem, reward)
        return best

    def official_majority(self, keep: Bools | None = None) -> Floats:
        """Majority vote as the authors count it, 0 or 1; shape (P,).

        The answers given must be those written, null ones included as an answer of their own.
        """
        votes = np.ones(len(self.problem), bool) if keep is None else keep
        wrong = votes & ~self.correct
        counts = np.bincount(self.group[wrong], minlength=len(self.group_right))
        most_wrong = np.zeros(self.problems, counts.dtype)
        np.maximum.at(most_wrong, self.group_problem, counts)
        right = np.bincount(self.problem[votes & self.correct], minlength=self.problems)
        return ((right > 0) & (right >= most_wrong)).astype(float)


@dataclass(frozen=True)
class Filtered:
    """What a threshold does: which samples vote, and what it spares."""

    keep: Bools
    """samples that vote, shape (n,)"""
    saved: Ints
    """tokens of each sample that need not be made, shape (n,)"""
    tokens: Ints
    """tokens of each sample that count, shape (n,)"""


class Filter(Protocol):
    """Drops samples for something that is known of them token by token, and never rises."""

    lengths: Ints
    """tokens of each sample, shape (n,)"""

    def smallest(self) -> Floats:
        """The lowest that each sample comes to after the first tokens; +inf for those without."""

    def apply(self, threshold: float) -> Filtered:
        """Drop the samples that come below `threshold`."""


class QFilter:
    """Drops samples by their smallest Q-value after the first tokens, for any threshold at once.

    A sample falls below a threshold first where its Q-values reach a new low, so only those tokens
    are kept (a handful a sample): a threshold costs no pass over all tokens.

    Args:
        q_values: Q-values of the tokens of n samples.
        problem: problem of each sample, 0 to P-1; shape (n,).
        skip_tokens: first tokens that the filter does not look at.
    """

    def __init__(self, q_values: Ragged, problem: Ints, skip_tokens: int):
        self.problem, self.lengths, self.skip = problem, q_values.lengths, skip_tokens
        lows = list(_new_lows(q_values, skip_tokens))
        self._row = np.concatenate([row for row, _, _ in lows])
        self._position = np.concatenate([position for _, position, _ in lows])
        self._value = np.concatenate([value for _, _, value in lows]).astype(np.float64)
        self._first = np.searchsorted(self._row, np.arange(len(problem)))
        self._count = np.bincount(self._row, minlength=len(problem))

    def smallest(self) -> Floats:
        """Smallest Q-value of each sample after the first tokens; +inf for those without any."""
        result = np.full(len(self.problem), np.inf)
        has = self._count > 0
        result[has] = self._value[(self._first + self._count - 1)[has]]
        return result

    def apply(self, threshold: float, official: bool = False) -> Filtered:
        """Drop the samples whose smallest Q-value is below `threshold`.

        Where all samples of a problem would be dropped, none is, and nothing is saved.
        """
        above = np.bincount(self._row, self._value >= threshold, len(self.problem)).astype(np.int64)
        dropped = above < self._count
        crossing = np.zeros(len(self.problem), np.int64)
        crossing[dropped] = self._position[(self._first + above)[dropped]]
        keep = _kept(self.problem, dropped)
        behind = self.lengths - crossing - (0 if official else 1)
        counted = np.maximum(self.lengths - self.skip, 0) if official else self.lengths
        return Filtered(keep, np.where(keep, 0, behind), counted)


class LengthFilter:
    """The control for `QFilter`: drops the samples that are too long, whatever is in them.

    As if the Q-value of the token at position i were -i.

    Args:
        lengths: tokens of n samples.
        problem, skip_tokens: as for `QFilter`.
    """

    def __init__(self, lengths: Ints, problem: Ints, skip_tokens: int):
        self.lengths, self.problem, self.skip = lengths, problem, skip_tokens

    def smallest(self) -> Floats:
        """Minus the position of each sample's last token; +inf for those that are all skipped."""
        return np.where(self.lengths > self.skip, 1.0 - self.lengths, np.inf)

    def apply(self, threshold: float) -> Filtered:
        """Drop the samples with a token behind position -`threshold`; see `QFilter.apply`."""
        crossing = max(self.skip, int(np.floor(-threshold)) + 1)
        keep = _kept(self.problem, self.lengths > crossing)
        return Filtered(keep, np.where(keep, 0, self.lengths - crossing - 1), self.lengths)


def _kept(problem: Ints, dropped: Bools) -> Bools:
    """What votes: where all samples of a problem would be dropped, none is."""
    kept = np.bincount(problem, ~dropped)
    return np.asarray(~dropped | (kept == 0)[problem])


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
