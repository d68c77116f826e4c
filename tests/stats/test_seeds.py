"""Estimates over seeds: against the plain bootstrap, formulas, and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gcrm.stats.bootstrap import interval
from gcrm.stats.seeds import Measure, difference, over_seeds, seed_weights, seeds_note, two_sided_p

R = 4_000


def measures(*values: float, spread: float = 0.0) -> dict[int, Measure]:
    """A measure of each seed, whose replicates share a part, as on the same problems."""
    shared = np.random.default_rng(0).normal(0, spread, R) if spread else np.zeros(R)
    return {seed: Measure(value, value + shared, n=300) for seed, value in enumerate(values)}


def test_one_seed_is_the_bootstrap_over_problems() -> None:
    first = {4: Measure(0.6, np.random.default_rng(1).normal(0.6, 0.1, R), n=50)}
    second = {4: Measure(0.5, np.random.default_rng(2).normal(0.5, 0.1, R), n=50)}
    found = over_seeds(first, seed=0)
    assert found == {
        "value": 0.6,
        "interval": list(interval(first[4].replicates) or ()),
        "n": 50,
        "seeds": {"4": 0.6},
    }
    apart = first[4].replicates - second[4].replicates
    found = difference(first, second, seed=0)
    assert found["value"] == pytest.approx(0.1)
    assert found["interval"] == pytest.approx(interval(apart))
    assert found["p"] == two_sided_p(apart)
    assert found["seeds"] == {"4": pytest.approx(0.1)}


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_spread_of_the_resamples_is_the_standard_error_of_the_mean(seeds: int) -> None:
    values = np.random.default_rng(seeds).normal(size=seeds)
    weights = seed_weights(seeds, 200_000, seed=3)
    assert weights.sum(axis=0) == pytest.approx(1)
    drawn = values @ weights
    assert drawn.mean() == pytest.approx(values.mean(), abs=0.01)
    assert drawn.var() == pytest.approx(values.var(ddof=1) / seeds, rel=0.02)


def test_two_seeds_reach_from_one_to_the_other() -> None:
    assert over_seeds(measures(0.4, 0.7), seed=0)["interval"] == pytest.approx([0.4, 0.7])


def test_the_difference_is_taken_seed_by_seed() -> None:
    # Seeds differ widely, but in both variants alike: their difference does not.
    found = difference(measures(0.4, 0.8), measures(0.3, 0.7), seed=0)
    assert found["value"] == pytest.approx(0.1)
    assert found["interval"] == pytest.approx([0.1, 0.1])
    assert found["seeds"] == {"0": pytest.approx(0.1), "1": pytest.approx(0.1)}
    assert found["p"] == 2 / (1 + R)


def test_seeds_that_one_variant_alone_has_are_left_out() -> None:
    found = difference(measures(0.4, 0.8, 0.9), measures(0.3, 0.7), seed=0)
    assert found["value"] == pytest.approx(0.1)
    assert list(found["seeds"]) == ["0", "1"]


def test_variants_without_a_shared_seed_are_resampled_by_themselves() -> None:
    other = {7: measures(0.2)[0], 8: measures(0.5)[0]}
    found = difference(measures(0.4, 0.7), other, seed=0)
    assert found["value"] == pytest.approx(0.2)
    assert found["interval"] == pytest.approx([-0.1, 0.5])  # 0.4 - 0.5 and 0.7 - 0.2
    assert found["seeds"] == {}


def test_the_same_model_twice_does_not_differ() -> None:
    both = measures(0.4, 0.7, 0.6, spread=0.1)
    found = difference(both, both, seed=0)
    assert (found["value"], found["interval"], found["p"]) == (0, [0, 0], 1)


def test_a_seed_without_a_value_gives_the_reason() -> None:
    one = measures(0.4, 0.7)
    other = one | {1: Measure(None, np.full(R, np.nan), 300, "all 300 solutions are correct")}
    for found in (over_seeds(other, 0), difference(one, other, 0), difference(other, one, 0)):
        assert found["value"] is found["interval"] is None
        assert found["reason"] == "all 300 solutions are correct"


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


def test_few_seeds_are_said_to_be_few() -> None:
    assert "one seed" in (seeds_note(1) or "")
    assert "fewer than five" in (seeds_note(4) or "")
    assert seeds_note(5) is None
