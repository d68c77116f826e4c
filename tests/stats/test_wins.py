"""Wins over a baseline, problem by problem."""

import numpy as np
import pytest

from gcrm.stats.bootstrap import Bootstrap
from gcrm.stats.wins import compare


def test_win_rates_by_hand():
    """Two rows of the first question; wins 1 and 0.5 of it, a loss and a tie of the others."""
    bootstrap = Bootstrap(np.array([0, 0, 1, 2]), 1_000, 0)
    found = compare([3, 2, 0, 5], [1, 2, 4, 5], bootstrap)
    assert found.value == pytest.approx((2.5 + 0 + 5) / 3)
    assert found.difference == pytest.approx((1 - 4 + 0) / 3)
    assert (found.wins, found.ties, found.losses) == pytest.approx((1 / 6, 1 / 2, 1 / 3))
    assert found.win_rate == pytest.approx((0.75 + 0 + 0.5) / 3)
    assert found.win_rate_low <= found.win_rate <= found.win_rate_high
    assert found.p == 1.0  # +0.25 and -0.5: any signs make a sum of at least 0.25


def test_the_interval_is_paired():
    """Two methods that differ by a constant: the problems' own spread does not matter."""
    values = np.random.default_rng(0).normal(0, 100, 50)
    found = compare(values + 1, values, Bootstrap(np.arange(50), 500, 0))
    assert found.difference_low == pytest.approx(1) == pytest.approx(found.difference_high)
    assert (found.wins, found.win_rate, found.win_rate_low) == (1, 1, 1)
    assert found.p < 0.001


def test_no_difference_has_an_interval_around_one_half():
    rng = np.random.default_rng(1)
    found = compare(rng.normal(size=300), rng.normal(size=300), Bootstrap(np.arange(300), 500, 0))
    assert found.win_rate_low < 0.5 < found.win_rate_high
    assert found.p > 0.05
