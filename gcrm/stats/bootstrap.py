"""Resampling of problems, AUROC, intervals and tests.

Problems are resampled, not rows, since solutions of one problem are not independent. All statistics
of a benchmark share their resamples, so that differences between them are paired.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from gcrm.data.questions import question_key

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

LEVEL = 0.95
CONSTANT = 1e-9
"""scores that vary less in a resample, as a share of their variance, have no correlation in it"""
CHUNK = 1 << 20
"""entries of the resampling matrix that are processed at once: they fit into a cache"""
SIGN_FLIPS = 9_999
SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")


def codes(keys: Iterable[str]) -> tuple[Ints, list[str]]:
    """The number of each key, and the distinct keys, sorted: the order of rows changes no draw."""
    numbers, distinct = pd.factorize(np.array([*keys], object), sort=True)
    return numbers.astype(np.int64), list(distinct)


@dataclass(frozen=True)
class Bootstrap:
    """Resamples of problems, drawn with replacement; every call gives the same ones.

    Attributes:
        problem: problem of each row, 0 to P-1, every one at least once; shape (n,).
        resamples: number of resamples R.
        seed: of the draws.
        keys: question key of each problem, where it has one.
    """

    problem: Ints
    resamples: int
    seed: int
    keys: Sequence[str] = ()

    @classmethod
    def over_prompts(cls, prompts: Iterable[str], resamples: int, seed: int) -> "Bootstrap":
        """For rows with these prompts; all spellings of one question are one problem."""
        problem, keys = codes(map(question_key, prompts))
        return cls(problem, resamples, seed, keys)

    @cached_property
    def problems(self) -> int:
        """Number of problems P."""
        return int(self.problem.max()) + 1 if self.problem.size else 0

    def counts(self) -> Iterator[Floats]:
        """How often each problem is in each resample: matrices (P, r), all r adding up to R."""
        return (counts.astype(np.float64) for counts in self._drawn)

    @cached_property
    def _drawn(self) -> list[NDArray[np.uint16]]:
        generator = np.random.default_rng(self.seed)
        at_once = max(1, CHUNK // max(self.problems, 1))
        chunks = []
        for first in range(0, self.resamples, at_once):
            size = min(at_once, self.resamples - first)
            drawn = generator.integers(0, self.problems, (size, self.problems))
            cells = drawn * size + np.arange(size)[:, None]
            counts = np.bincount(cells.ravel(), minlength=self.problems * size)
            # No problem is drawn 65,536 times.
            chunks.append(counts.reshape(self.problems, size).astype(np.uint16))
        return chunks


def auroc(scores: ArrayLike, labels: Bools, group: Ints | None = None) -> Floats:
    """Chance that a correct row of a group scores above an incorrect one, ties at a half.

    Args:
        scores: finite numbers, shape (n,).
        labels: whether each row is correct, or chosen, shape (n,).
        group: 0 to G-1, shape (n,); default: all rows are one group.

    Returns:
        Shape (G,); NaN where a group has one class only.
    """
    labels = np.asarray(labels, bool)
    group = np.zeros(len(labels), np.int64) if group is None else group
    rank = pd.Series(np.asarray(scores)).groupby(group).rank().to_numpy()
    sizes = np.bincount(group)
    positive = np.bincount(group, labels, len(sizes))
    wins = np.bincount(group[labels], rank[labels], len(sizes)) - positive * (positive + 1) / 2
    with np.errstate(invalid="ignore"):
        return np.asarray(wins / (positive * (sizes - positive)))


def auroc_replicates(
    scores: ArrayLike, labels: ArrayLike, bootstrap: Bootstrap, among: Bools | None = None
) -> Floats:
    """AUROC in each resample, shape (m, R); NaN where a resample has one class only.

    Args:
        scores: m scores of each row, shape (m, n).
        labels: whether each row is correct, shape (n,).
        among: the rows that are ranked, shape (n,); default: all.
    """
    from scipy.sparse import csr_array  # takes a moment to import

    columns, labels = np.asarray(scores), np.asarray(labels, bool)
    if 2 * labels.sum() > len(labels):
        # The same AUROC; it is faster with fewer correct rows.
        columns, labels = -columns, ~labels
    among = np.ones(len(labels), bool) if among is None else among
    positive_rows, negative_rows = np.flatnonzero(among & labels), np.flatnonzero(among & ~labels)
    positives, negatives = (bootstrap.problem[rows] for rows in (positive_rows, negative_rows))
    plans = []
    for column in columns:
        order = np.argsort(column[positive_rows], kind="stable")
        ordered, others = column[positive_rows][order], column[negative_rows]
        # A negative is below the positives from its place on; a half of it if the two tie.
        places = np.concatenate([np.searchsorted(ordered, others, side) for side in SIDES])
        entries = np.full(len(places), 0.5), (places, np.tile(negatives, 2))
        steps = csr_array(entries, shape=(len(order) + 1, bootstrap.problems))
        plans.append((positives[order], steps))
    results = []
    for counts in bootstrap.counts():
        pairs = counts[positives].sum(axis=0) * counts[negatives].sum(axis=0)
        wins = [_wins(counts[ordered], steps @ counts) for ordered, steps in plans]
        with np.errstate(invalid="ignore"):
            results.append(np.stack(wins) / pairs)
    return np.concatenate(results, axis=1)


def _wins(positives: Floats, negatives: Floats) -> Floats:
    """Couples of a positive and a negative at an earlier or the same place, (places, r) to (r,)."""
    below = negatives[: len(positives)]
    for earlier, here in pairwise(below):
        here += earlier  # np.cumsum goes column by column, and takes three times as long
    return np.asarray(np.einsum("ij,ij->j", positives, below))


def interval(replicates: Floats) -> tuple[float, float]:
    """95 % percentile interval of the replicates that are numbers; NaN where none is."""
    valid = replicates[np.isfinite(replicates)]
    if not valid.size:
        return np.nan, np.nan
    low, high = np.quantile(valid, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def draw_weights(units: int, resamples: int, seed: int, stream: int = 0) -> Floats:
    """The share of each unit in each resample of a mean, shape (U, R): U - 1 drawn out of U.

    One draw fewer than units, so that the variance between resamples is that of their mean, however
    few there are (Rao and Wu, 1988, Journal of the American Statistical Association 83, 231-241).
    The same numbers give the same weights, so that all variants with as many units share them.

    Args:
        stream: another one gives independent draws. None is that of the problems.
    """
    if units == 1:
        return np.ones((1, resamples))
    generator = np.random.default_rng([seed, 1 + stream])
    drawn = generator.multinomial(units - 1, np.full(units, 1 / units), resamples)
    return np.asarray(drawn.T / (units - 1), np.float64)


def sum_by(problem: Ints, values: ArrayLike, problems: int) -> Floats:
    """Sum of the rows' values for each problem, (n,) to (P,)."""
    return np.bincount(problem, values, problems).astype(np.float64)


def mean_replicates(values: Floats, bootstrap: Bootstrap) -> Floats:
    """Mean over problems in each resample of values of shape (P,) or (m, P): (R,) or (m, R)."""
    chunks = [values @ counts for counts in bootstrap.counts()]
    return np.concatenate(chunks, axis=-1) / bootstrap.problems


def ratio_replicates(above: Floats, below: Floats, bootstrap: Bootstrap) -> Floats:
    """Sum of `above`, (P,) or (m, P), over sum of `below`, (P,), in each resample."""
    sums = mean_replicates(np.vstack([above, below]), bootstrap)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.asarray(sums[:-1] / sums[-1])
    return ratios if np.ndim(above) == 2 else ratios[0]


def correlation_replicates(x: Floats, y: Floats, bootstrap: Bootstrap) -> Floats:
    """Pearson correlation in each resample, shape (R,); NaN where one of the two is constant.

    Args:
        x, y: two scores of mean 0 and variance 1 over all rows, shape (n,).
    """
    moments = (np.ones(len(x)), x, y, x**2, y**2, x * y)
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
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    corrected = np.empty(len(values))
    corrected[order] = np.maximum.accumulate(np.minimum(1.0, factors * values[order]))
    return [float(p) for p in corrected]
