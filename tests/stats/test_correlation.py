"""Correlation against scipy and brute force."""

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from gcrm.stats.bootstrap import Bootstrap
from gcrm.stats.correlation import correlation, correlation_replicates, ranks


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_correlation_is_scipys(method: Literal["pearson", "spearman"]) -> None:
    generator = np.random.default_rng(0)
    x = np.round(generator.normal(size=300), 1)
    y = np.round(x + generator.normal(size=300), 1)
    estimate = correlation(x, y, Bootstrap(np.arange(300), 2_000, 0), method)
    function = stats.pearsonr if method == "pearson" else stats.spearmanr
    assert estimate.value == pytest.approx(function(x, y).statistic)
    assert estimate.interval is not None
    # Fisher's interval
    z, half = np.arctanh(estimate.value), 1.96 / np.sqrt(297)
    assert estimate.interval == pytest.approx(np.tanh([z - half, z + half]), abs=0.03)


def test_correlation_with_a_constant_has_a_reason() -> None:
    estimate = correlation([1, 1, 1], [1, 2, 3], Bootstrap(np.arange(3), 10, 0), "pearson")
    assert estimate.value is None
    assert estimate.reason == "one of the two is constant"


@given(hnp.arrays(np.float64, st.integers(1, 30), elements=st.integers(0, 4).map(float)))
def test_ranks_are_scipys(values: np.ndarray) -> None:
    assert np.array_equal(ranks(values), stats.rankdata(values))


@given(
    hnp.arrays(np.float64, (2, 12), elements=st.integers(0, 3).map(float)),
    hnp.arrays(np.int64, 12, elements=st.integers(0, 4)),
)
@settings(max_examples=40)
def test_replicates_are_the_correlation_of_the_resampled_rows(
    scores: np.ndarray, problem: np.ndarray
) -> None:
    if (np.ptp(scores, axis=1) == 0).any():
        return
    problem = np.unique(problem, return_inverse=True)[1]
    bootstrap = Bootstrap(problem, resamples=8, seed=1)
    x, y = (scores - scores.mean(axis=1, keepdims=True)) / scores.std(axis=1, keepdims=True)
    replicates = correlation_replicates(x, y, bootstrap)
    counts = np.concatenate(list(bootstrap.counts()), axis=1)
    for resample in range(8):
        # Slow: repeat every row as often as its problem was drawn.
        rows = np.repeat(np.arange(12), counts[problem, resample].astype(int))
        if np.ptp(x[rows]) == 0 or np.ptp(y[rows]) == 0:
            assert np.isnan(replicates[resample])
        else:
            expected = stats.pearsonr(x[rows], y[rows]).statistic if len(rows) > 1 else np.nan
            assert replicates[resample] == pytest.approx(expected, abs=1e-9)
