"""Votes over the samples of each problem.

Every vote gives one accuracy a problem, so that votes can be compared problem by problem. Labels in
the data are authoritative: an answer is right to the share of its samples that are labelled correct
(nearly always 0 or 1), whatever the vote drops or weighs.

"Official" is what the authors' scripts do, for comparison with their numbers: null answers vote,
answers are compared as written, all correct samples count as one answer and win ties; the filter
saves the crossing token too, and leaves the first tokens out of all counts.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from gcrm.stats.bootstrap import Bools, Floats, Ints, codes, sum_by


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
        answer, distinct = codes("" if text is None else "=" + text for text in answers)
        is_null = np.array([text is None for text in answers], bool)
        pairs, inverse = np.unique(problem * len(distinct) + answer, return_inverse=True)
        # `group` is the (problem, answer) of each sample, -1 for those without an answer.
        self.group: Ints = np.where(is_null, -1, inverse)
        self.group_problem: Ints = pairs // len(distinct)
        votes = np.bincount(inverse, minlength=len(pairs))
        self.group_right: Floats = np.bincount(inverse, self.correct, len(pairs)) / votes

    def sum_by_problem(self, values: ArrayLike) -> Floats:
        """Sum of the samples' values for each problem, (n,) to (P,)."""
        return sum_by(self.problem, values, self.problems)

    def mean_correct(self, keep: Bools | None = None) -> Floats:
        """Share of correct samples among those kept, (P,); NaN for problems with none."""
        kept = np.ones(len(self.problem), bool) if keep is None else keep
        with np.errstate(invalid="ignore"):
            right = self.sum_by_problem(kept & self.correct)
            return np.asarray(right / self.sum_by_problem(kept))

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
        most = self._most(self.group_problem, counts)
        # Sums of the same weights in another order may differ in their last digits.
        winner = (counts >= most[self.group_problem] * (1 - 1e-9)) & (counts > 0)
        problem, right = self.group_problem[winner], self.group_right[winner]
        if ties == "official":
            return self._most(problem, right)
        winners = np.bincount(problem, minlength=self.problems)
        return np.asarray(np.bincount(problem, right, self.problems) / np.maximum(winners, 1))

    def reward_weighted(self, reward: Floats) -> Floats:
        """Accuracy of the vote in which a sample counts exp(reward), shape (P,).

        Bradley-Terry rewards are determined up to a constant for each problem, which this vote does
        not depend on (unlike one that adds up rewards or their sigmoids).
        """
        votes = self.group >= 0
        best = self._most(self.problem[votes], reward[votes], -np.inf)[self.problem]
        relative = np.where(votes, reward, 0) - np.where(votes, best, 0)
        return self.majority(weights=np.exp(relative, dtype=np.float64))

    def best_of_n(self, reward: Floats) -> Floats:
        """Accuracy of the sample with the highest reward (mean of several that tie), (P,)."""
        return self.mean_correct(reward == self._most(self.problem, reward, -np.inf)[self.problem])

    def ranks(self, reward: Floats, number: Ints) -> Ints:
        """Place of each sample among those of its problem by reward, 0 for the highest; (n,).

        Args:
            number: of equal rewards, the sample with the lower number comes first, shape (n,).
        """
        order = np.lexsort((number, -reward, self.problem))
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.arange(len(order)) - np.repeat(np.cumsum(self.sizes), self.sizes)
        return ranks + self.sizes[self.problem]

    def pass_at_n(self) -> Floats:
        """Whether any sample is correct, 0 or 1; shape (P,)."""
        return (self.sum_by_problem(self.correct) > 0).astype(float)

    def official_majority(self, keep: Bools | None = None) -> Floats:
        """Majority vote as the authors count it, 0 or 1; shape (P,).

        The answers given must be those written, null ones included as an answer of their own.
        """
        votes = np.ones(len(self.problem), bool) if keep is None else keep
        wrong = np.bincount(self.group[votes & ~self.correct], minlength=len(self.group_right))
        right = self.sum_by_problem(votes & self.correct)
        most_wrong = self._most(self.group_problem, wrong)
        return ((right > 0) & (right >= most_wrong)).astype(float)

    def _most(self, problem: Ints, values: ArrayLike, least: float = 0.0) -> Floats:
        """Largest value of each problem, and at least `least`; shape (P,)."""
        most = np.full(self.problems, least)
        np.maximum.at(most, problem, np.asarray(values, np.float64))
        return most
