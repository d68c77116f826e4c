"""Resampling of problems, AUROC, intervals and tests.

Problems are resampled, not rows, since solutions of one problem are not independent. All statistics
of a benchmark share their resamples, so that differences between them are paired.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gcrm.data.questions import question_key

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

LEVEL = 0.95
CONSTANT = 1e-9
"""scores that vary less in a resample, as a share of their variance, have no correlation in it"""
CHUNK = 1 << 18
"""entries of the resampling matrix that are worked on at once: they fit into a core's cache"""
KEPT = 1 << 26
"""entries of the resampling matrix, 2 bytes each, that are kept from one statistic to the next"""
KEPT_AS_FLOATS = 1 << 23
"""entries that are kept as 8 bytes each, so that no statistic converts them again"""
SIGN_FLIPS = 9_999


def codes(keys: Sequence[str]) -> tuple[Ints, list[str]]:
    """The number of each key, and the distinct keys, sorted: the order of rows changes no draw."""
    distinct = sorted(set(keys))
    number = {key: i for i, key in enumerate(distinct)}
    return np.array([number[key] for key in keys], np.int64), distinct


class Bootstrap:
    """Resamples of problems, drawn with replacement; the same ones however often they are asked.

    Args:
        problem: problem of each row, 0 to P-1, every one at least once; shape (n,).
        resamples: number of resamples R.
        seed: of the draws.
        keys: question key of each problem, where it has one.
    """

    def __init__(self, problem: ArrayLike, resamples: int, seed: int, keys: Sequence[str] = ()):
        self.problem: Ints = np.asarray(problem, np.int64)
        self.problems = int(self.problem.max()) + 1 if self.problem.size else 0
        self.resamples, self.seed, self.keys = resamples, seed, keys
        self._kept: list[NDArray[Any]] = []

    @classmethod
    def over_prompts(cls, prompts: Iterable[str], resamples: int, seed: int) -> "Bootstrap":
        """For rows with these prompts, of which all spellings of one question are one problem."""
        problem, keys = codes([question_key(text) for text in prompts])
        return cls(problem, resamples, seed, keys)

    def counts(self) -> Iterator[Floats]:
        """How often each problem is in each resample: matrices (P, r), all r adding up to R."""
        if self._kept:
            yield from (counts.astype(np.float64, copy=False) for counts in self._kept)
            return
        entries = self.problems * self.resamples
        kept = []
        for counts in self._draw():
            floats = counts.astype(np.float64)
            if entries <= KEPT:
                kept.append(floats if entries <= KEPT_AS_FLOATS else counts)
            yield floats
        self._kept = kept

    def _draw(self) -> Iterator[NDArray[np.uint16]]:
        generator = np.random.default_rng(self.seed)
        at_once = max(1, CHUNK // max(self.problems, 1))
        for first in range(0, self.resamples, at_once):
            size = min(at_once, self.resamples - first)
            drawn = generator.integers(0, self.problems, (size, self.problems))
            cells = drawn * size + np.arange(size)[:, None]
            counts = np.bincount(cells.ravel(), minlength=self.problems * size)
            # No problem is drawn 65,536 times.
            yield counts.reshape(self.problems, size).astype(np.uint16)


def auroc(scores: ArrayLike, labels: ArrayLike) -> float | None:
    """Chance that a correct row scores above an incorrect one, ties at half; None for one class.

    Args:
        scores: finite numbers, shape (n,).
        labels: whether each row is correct, shape (n,).
    """
    scores, labels = np.asarray(scores), np.asarray(labels, bool)
    positive, negative = scores[labels], np.sort(scores[~labels])
    if not len(positive) or not len(negative):
        return None
    below = np.searchsorted(negative, positive, "left").sum()
    not_above = np.searchsorted(negative, positive, "right").sum()
    return float((below + not_above) / (2 * len(positive) * len(negative)))


def auroc_replicates(scores: ArrayLike, labels: ArrayLike, bootstrap: Bootstrap) -> Floats:
    """AUROC in each resample; NaN where a resample has one class only.

    Args:
        scores: one or several scores of each row, shape (n,) or (m, n).
        labels: whether each row is correct, shape (n,).

    Returns:
        shape (R,) or (m, R)
    """
    columns, labels = np.atleast_2d(np.asarray(scores)), np.asarray(labels, bool)
    positive_rows, negative_rows = np.flatnonzero(labels), np.flatnonzero(~labels)
    plans = []
    for column in columns:
        order = negative_rows[np.argsort(column[negative_rows], kind="stable")]
        sorted_scores = column[order]
        low = np.searchsorted(sorted_scores, column[positive_rows], "left")
        high = np.searchsorted(sorted_scores, column[positive_rows], "right")
        plans.append((bootstrap.problem[order], low, high))
    results = []
    for counts in bootstrap.counts():
        positive = counts[bootstrap.problem[positive_rows]]
        pairs = positive.sum(axis=0) * counts[bootstrap.problem[negative_rows]].sum(axis=0)
        chunk = np.full((len(columns), counts.shape[1]), np.nan)
        both = pairs > 0
        for row, (negative_problems, low, high) in enumerate(plans):
            # Row k of `below` is how many negatives are among the k lowest, in each resample.
            below = np.zeros((len(negative_problems) + 1, counts.shape[1]))
            np.cumsum(counts[negative_problems], axis=0, out=below[1:])
            wins = np.einsum("ij,ij->j", positive, below[low])
            if np.array_equal(low, high):
                chunk[row, both] = wins[both] / pairs[both]
            else:
                wins += np.einsum("ij,ij->j", positive, below[high])
                chunk[row, both] = wins[both] / (2 * pairs[both])
        results.append(chunk)
    replicates = np.concatenate(results, axis=1)
    return replicates if np.ndim(scores) == 2 else replicates[0]


def interval(replicates: Floats) -> tuple[float, float] | None:
    """95 % percentile interval of the replicates that are numbers; None where none is."""
    valid = replicates[np.isfinite(replicates)]
    if not valid.size:
        return None
    low, high = np.quantile(valid, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def sum_by(problem: Ints, values: NDArray[Any], problems: int) -> Floats:
    """Sum of the rows' values for each problem, shape (P,)."""
    return np.bincount(problem, values, problems).astype(np.float64)


def mean_replicates(values: Floats, bootstrap: Bootstrap) -> Floats:
    """Mean over problems in each resample of values of shape (P,) or (m, P): (R,) or (m, R)."""
    chunks = [values @ counts for counts in bootstrap.counts()]
    return np.concatenate(chunks, axis=-1) / bootstrap.problems


def ratio_replicates(above: Floats, below: Floats, bootstrap: Bootstrap) -> Floats:
    """Sum of `above` over sum of `below`, both of shape (P,), in each resample."""
    sums = mean_replicates(np.stack([above, below]), bootstrap)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[0] / sums[1])


def correlation_replicates(x: Floats, y: Floats, bootstrap: Bootstrap) -> Floats:
    """Pearson correlation in each resample, shape (R,); NaN where one of the two is constant.

    Args:
        x, y: two scores of mean 0 and variance 1 over all rows, shape (n,).
    """
    moments = np.stack([np.ones(len(x)), x, y, x**2, y**2, x * y])
    # Problems are resampled whole: their rows' moments can be added up beforehand.
    by_problem = np.stack([sum_by(bootstrap.problem, row, bootstrap.problems) for row in moments])
    count, *sums = mean_replicates(by_problem, bootstrap)
    mean_x, mean_y, xx, yy, xy = (total / count for total in sums)
    variance_x, variance_y = xx - mean_x**2, yy - mean_y**2
    varied = np.minimum(variance_x, variance_y) > CONSTANT
    replicates = np.full(bootstrap.resamples, np.nan)
    spread = np.sqrt(variance_x[varied] * variance_y[varied])
    replicates[varied] = np.clip((xy - mean_x * mean_y)[varied] / spread, -1, 1)
    return replicates


def sign_flip_p(differences: ArrayLike, seed: int) -> float:
    """Two-sided p of a paired test: the chance of as large a sum if every sign were random.

    Exact for up to 13 differences that are not zero, else by 9,999 random flips: the p of
    scipy.stats.permutation_test, which takes 4 times as long on 300 differences, 16 on 5,000.
    """
    values = np.asarray(differences, np.float64)
    values = values[values != 0]
    count = len(values)
    if count == 0:
        return 1.0
    observed = abs(values.sum()) - 1e-9
    if count <= 13:
        numbers = np.arange(1 << count)
        flips = 1 - 2 * ((numbers[:, None] >> np.arange(count)) & 1)
        return float(np.mean(np.abs(flips @ values) >= observed))
    generator = np.random.default_rng(seed)
    extreme, left = 0, SIGN_FLIPS
    while left:
        size = min(left, max(1, CHUNK // count))
        signs = 1.0 - 2.0 * generator.integers(0, 2, (size, count))
        extreme += int(np.sum(np.abs(signs @ values) >= observed))
        left -= size
    return (1 + extreme) / (1 + SIGN_FLIPS)


def unpaired_t_test(first: Floats, second: Floats) -> float | None:
    """Two-sided p of Student's t-test as the authors use it, although their values are paired.

    None where both are constant, or there are fewer than two values in each.
    """
    from scipy.stats import ttest_ind  # takes a second to import

    if len(first) < 2 or (np.ptp(first) == 0 and np.ptp(second) == 0):
        return None
    return float(ttest_ind(first, second).pvalue)


def holm(p_values: list[float]) -> list[float]:
    """P-values corrected for their number (Holm's step-down), in the order given."""
    order = np.argsort(p_values, kind="stable")
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected
