"""Estimates over seeds: against the plain bootstrap, formulas, and by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gcrm.stats.bootstrap import interval
from gcrm.stats.registry import Estimate
from gcrm.stats.seeds import difference, draw_weights, over_seeds, two_sided_p

R = 4_000


def estimate(value: float, replicates: np.ndarray, n: int = 300) -> Estimate:
    return Estimate("auroc", value, replicates, n)


def by_seed(*values: float, spread: float = 0.0) -> dict[int, Estimate]:
    """An estimate of each seed, whose replicates share a part, as on the same problems."""
    shared = np.random.default_rng(0).normal(0, spread, R) if spread else np.zeros(R)
    return {seed: estimate(value, value + shared) for seed, value in enumerate(values)}


def ends(found: Estimate) -> tuple[float, float]:
    assert found.replicates is not None
    return interval(found.replicates)


def test_one_seed_is_the_bootstrap_over_problems() -> None:
    first = {4: estimate(0.6, np.random.default_rng(1).normal(0.6, 0.1, R), n=50)}
    second = {4: estimate(0.5, np.random.default_rng(2).normal(0.5, 0.1, R), n=50)}
    found = over_seeds(first, seed=0)
    assert (found.metric, found.value, found.n, found.p) == ("auroc", 0.6, 50, None)
    assert ends(found) == ends(first[4])
    apart = first[4].replicates - second[4].replicates
    found, each = difference(first, second, seed=0)
    assert found.value == pytest.approx(0.1)
    assert ends(found) == pytest.approx(interval(apart))
    assert found.p == two_sided_p(apart)
    assert {seed: one.value for seed, one in each.items()} == {4: pytest.approx(0.1)}


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_resamples_spread_by_the_standard_error_of_the_mean(seeds: int) -> None:
    values = np.random.default_rng(seeds).normal(size=seeds)
    weights = draw_weights(seeds, 200_000, seed=3)
    assert weights.sum(axis=0) == pytest.approx(1)
    drawn = values @ weights
    assert drawn.mean() == pytest.approx(values.mean(), abs=0.01)
    assert drawn.var() == pytest.approx(values.var(ddof=1) / seeds, rel=0.02)


def test_two_seeds_reach_from_one_to_the_other() -> None:
    assert ends(over_seeds(by_seed(0.4, 0.7), seed=0)) == pytest.approx((0.4, 0.7))


def test_counts_have_a_mean_and_no_interval_and_changes_a_p() -> None:
    counts = {seed: Estimate("num_ties", 2.0 + seed, None, 9) for seed in (0, 1)}
    assert over_seeds(counts, seed=0) == Estimate("num_ties", 2.5, None, 9)
    changes = {key: replace(one, p=0.3) for key, one in by_seed(0.1, 0.2).items()}
    found = over_seeds(changes, seed=0)
    assert found.replicates is not None and found.p == two_sided_p(found.replicates)


def test_the_difference_is_taken_seed_by_seed() -> None:
    # Seeds differ widely, but in both variants alike: their difference does not.
    found, each = difference(by_seed(0.4, 0.8), by_seed(0.3, 0.7), seed=0)
    assert found.value == pytest.approx(0.1)
    assert ends(found) == pytest.approx((0.1, 0.1))
    assert {key: one.value for key, one in each.items()} == pytest.approx({0: 0.1, 1: 0.1})
    assert found.p == 2 / (1 + R)


def test_seeds_of_only_one_variant_are_left_out() -> None:
    found, each = difference(by_seed(0.4, 0.8, 0.9), by_seed(0.3, 0.7), seed=0)
    assert found.value == pytest.approx(0.1)
    assert list(each) == [0, 1]


def test_variants_without_a_shared_seed_are_resampled_independently() -> None:
    other = {7: by_seed(0.2)[0], 8: by_seed(0.5)[0]}
    found, each = difference(by_seed(0.4, 0.7), other, seed=0)
    assert found.value == pytest.approx(0.2)
    assert ends(found) == pytest.approx((-0.1, 0.5))  # 0.4 - 0.5 and 0.7 - 0.2
    assert each == {}


def test_the_same_model_twice_does_not_differ() -> None:
    both = by_seed(0.4, 0.7, 0.6, spread=0.1)
    found, _ = difference(both, both, seed=0)
    assert (found.value, ends(found), found.p) == (0, (0, 0), 1)


def test_a_seed_without_a_value_gives_the_reason() -> None:
    one = by_seed(0.4, 0.7)
    other = one | {1: Estimate("auroc", None, None, 300, reason="all 300 solutions are correct")}
    found = over_seeds(other, 0), difference(one, other, 0)[0], difference(other, one, 0)[0]
    for estimate in found:
        assert estimate.value is None and estimate.replicates is None and estimate.p is None
        assert estimate.reason == "all 300 solutions are correct"


@given(hnp.arrays(np.float64, st.integers(1, 30), elements=st.integers(-3, 3).map(float)))
def test_p_is_where_the_interval_would_reach_zero(replicates: np.ndarray) -> None:
    p = two_sided_p(replicates)
    low, high = sum(replicates <= 0), sum(replicates >= 0)
    assert p == min(1, 2 * (1 + min(low, high)) / (1 + len(replicates)))
    assert 0 < p <= 1
    assert two_sided_p(-replicates) == p


def test_resamples_of_one_class_do_not_count_in_p() -> None:
    assert two_sided_p(np.array([np.nan, 1.0, 1.0, 1.0])) == 2 * 1 / 4
    assert two_sided_p(np.array([np.nan])) is None
