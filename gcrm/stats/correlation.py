"""Correlation of two scores of the same rows, with an interval over problems."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from gcrm.stats.bootstrap import Bootstrap, Estimate, Floats, interval, mean_replicates, sum_by

CONSTANT = 1e-9
"""Scores that vary less in a resample, as a share of their variance, have no correlation in it."""


def ranks(values: ArrayLike) -> Floats:
    """Ranks from 1, ties at their mean.

    As scipy.stats.rankdata, whose import would take longer than the metrics of a benchmark.
    """
    values = np.asarray(values)
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray(((last - counts + 1 + last) / 2)[inverse], np.float64)


def correlation(
    x: ArrayLike, y: ArrayLike, bootstrap: Bootstrap, method: Literal["pearson", "spearman"]
) -> Estimate:
    """Correlation of two scores, (n,) each, and its interval (Spearman: of the same ranks)."""
    first, second = np.asarray(x, np.float64), np.asarray(y, np.float64)
    n = len(first)
    if n < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        reason = "fewer than 3 solutions" if n < 3 else "one of the two is constant"
        return Estimate(None, None, n, reason)
    if method == "spearman":
        first, second = ranks(first), ranks(second)
    first = (first - first.mean()) / first.std()
    second = (second - second.mean()) / second.std()
    replicates = correlation_replicates(first, second, bootstrap)
    value = float(np.clip(np.mean(first * second), -1, 1))
    return Estimate(value, interval(replicates), n)


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
