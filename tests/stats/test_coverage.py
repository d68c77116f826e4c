"""Intervals over problems hold the truth as often as they say, on simulated data.

A problem has several rows that depend on each other: an interval over rows would be too narrow.
The truth is the number on problems without end: that of 200,000 simulated ones.
"""

from collections.abc import Callable

import numpy as np
import pytest

from gcrm.stats.bootstrap import (
    Bootstrap,
    Floats,
    auroc,
    auroc_replicates,
    interval,
    mean_replicates,
    ratio_replicates,
    sum_by,
)
from gcrm.stats.ranking import correlation
from gcrm.stats.registry import Estimate
from gcrm.stats.seeds import BySeed, difference, over_seeds, two_sided_p
from gcrm.stats.voting import Samples

pytestmark = pytest.mark.slow

SIMULATIONS = 1_000
PROBLEMS = 150
ROWS = 6
RESAMPLES = 500
# With the true coverage, 950 ± 14 of 1,000 intervals hold the truth, in 19 of 20 runs.
LEAST, MOST = 0.92, 0.98
Interval = tuple[float, float] | None


def coverage(simulate: Callable[[np.random.Generator], Interval], truth: float) -> float:
    """Share of the simulations whose interval holds the truth."""
    generator = np.random.default_rng(20)
    held = 0
    for _ in range(SIMULATIONS):
        found = simulate(generator)
        assert found is not None
        held += found[0] <= truth <= found[1]
    share = held / SIMULATIONS
    print(f"\ncoverage {share:.3f} of 0.950", end="")
    return share


def ends(estimate: Estimate) -> Interval:
    assert estimate.replicates is not None
    return interval(estimate.replicates)


def rows_of(problems: int) -> Bootstrap:
    return Bootstrap(np.repeat(np.arange(problems), ROWS), RESAMPLES, seed=0)


def scored(
    generator: np.random.Generator, problems: int, better: float = 0.0
) -> tuple[Floats, np.ndarray]:
    """Scores of two models, (2, n), and labels; a problem's rows are alike in both."""
    ease, look = np.repeat(generator.normal(0, 1, (2, problems)), ROWS, axis=1)
    labels = generator.random(problems * ROWS) < 1 / (1 + np.exp(-2 * ease))
    seen = ease + look
    scores = [
        seen + strength * labels + generator.normal(0, 0.7, problems * ROWS)
        for strength in (0.6, 0.6 + better)
    ]
    return np.stack(scores), labels


def true_aurocs(better: float = 0.0) -> Floats:
    scores, labels = scored(np.random.default_rng(0), 200_000, better)
    return np.array([auroc(row, labels) for row in scores], np.float64)


def test_auroc() -> None:
    def simulate(generator: np.random.Generator) -> Interval:
        scores, labels = scored(generator, PROBLEMS)
        return interval(auroc_replicates(scores[0], labels, rows_of(PROBLEMS)))

    assert LEAST <= coverage(simulate, true_aurocs()[0]) <= MOST


def of_two_models(generator: np.random.Generator, better: float) -> list[BySeed]:
    scores, labels = scored(generator, PROBLEMS, better)
    replicates = auroc_replicates(scores, labels, rows_of(PROBLEMS))
    return [
        {0: Estimate("auroc", auroc(one, labels), row, len(labels))}
        for one, row in zip(scores, replicates, strict=True)
    ]


def test_difference_of_two_models() -> None:
    def simulate(generator: np.random.Generator) -> Interval:
        first, second = of_two_models(generator, better=0.4)
        return ends(difference(second, first, seed=0)[0])

    old, new = true_aurocs(better=0.4)
    assert LEAST <= coverage(simulate, new - old) <= MOST


def test_equal_models_differ_at_5_percent_as_often() -> None:
    generator = np.random.default_rng(3)
    found = [difference(*of_two_models(generator, 0.0), seed=0)[0] for _ in range(SIMULATIONS)]
    share = np.mean([(one.p or 0) < 0.05 for one in found])
    print(f"\np < 0.05 in {share:.3f} of 0.050", end="")
    assert 0.02 <= share <= 0.08


def votes(generator: np.random.Generator, problems: int) -> Floats:
    """Accuracy of the majority of five samples on each problem, ties in parts."""
    chance = generator.beta(1, 1, problems)
    right = generator.random((problems, 5)) < chance[:, None]
    wrong = generator.integers(1, 4, (problems, 5))
    answers = np.where(right, 0, wrong).ravel().astype(str).tolist()
    return Samples(np.repeat(np.arange(problems), 5), answers, right.ravel()).majority()


def test_mean_of_votes() -> None:
    def simulate(generator: np.random.Generator) -> Interval:
        bootstrap = Bootstrap(np.arange(PROBLEMS), RESAMPLES, seed=0)
        return interval(mean_replicates(votes(generator, PROBLEMS), bootstrap))

    truth = votes(np.random.default_rng(1), 200_000).mean()
    assert LEAST <= coverage(simulate, truth) <= MOST


def test_share_of_tokens() -> None:
    def simulate(generator: np.random.Generator) -> Interval:
        tokens = generator.integers(20, 200, PROBLEMS).astype(float)
        saved = tokens * generator.beta(0.4, 1.2, PROBLEMS)  # 1/4 on average
        bootstrap = Bootstrap(np.arange(PROBLEMS), RESAMPLES, seed=0)
        return interval(ratio_replicates(saved, tokens, bootstrap))

    assert LEAST <= coverage(simulate, 0.25) <= MOST


def test_share_correct_of_problems_with_several_rows() -> None:
    def simulate(generator: np.random.Generator) -> Interval:
        _, labels = scored(generator, PROBLEMS)
        problem = np.repeat(np.arange(PROBLEMS), ROWS)
        right = sum_by(problem, labels, PROBLEMS)
        rows = np.full(PROBLEMS, float(ROWS))
        bootstrap = Bootstrap(np.arange(PROBLEMS), RESAMPLES, seed=0)
        return interval(ratio_replicates(right, rows, bootstrap))

    assert LEAST <= coverage(simulate, 0.5) <= MOST


def test_correlation() -> None:
    def simulate(generator: np.random.Generator) -> Interval:
        scores, _ = scored(generator, PROBLEMS)
        return ends(correlation("pearson", *scores, rows_of(PROBLEMS)))

    truth = np.corrcoef(scored(np.random.default_rng(0), 200_000)[0])[0, 1]
    assert LEAST <= coverage(simulate, truth) <= MOST


@pytest.mark.parametrize(("seeds", "least"), [(2, 0.85), (3, 0.90), (5, 0.92), (10, 0.92)])
def test_means_over_seeds(seeds: int, least: float) -> None:
    """Seeds spread as much as resamples of the problems; too wide an interval is no mistake."""

    def simulate(generator: np.random.Generator) -> Interval:
        values = generator.normal(0, 0.1, (seeds, 1)) + generator.normal(0, 1, PROBLEMS)
        values = values + generator.normal(0, 1, (seeds, PROBLEMS))
        bootstrap = Bootstrap(np.arange(PROBLEMS), RESAMPLES, seed=0)
        counts = np.concatenate(list(bootstrap.counts()), axis=1) / PROBLEMS
        by_seed = {
            seed: Estimate("mean", float(row.mean()), row @ counts, PROBLEMS)
            for seed, row in enumerate(values)
        }
        return ends(over_seeds(by_seed, seed=0))

    assert coverage(simulate, 0.0) >= least


def test_an_interval_over_rows_would_be_too_narrow() -> None:
    """So that the tests above could fail: the simulated rows depend on each other enough."""

    def simulate(generator: np.random.Generator) -> Interval:
        scores, labels = scored(generator, PROBLEMS)
        rows = Bootstrap(np.arange(PROBLEMS * ROWS), RESAMPLES, seed=0)
        return interval(auroc_replicates(scores[0], labels, rows))

    assert coverage(simulate, true_aurocs()[0]) < 0.85


def test_p_and_interval_agree() -> None:
    generator = np.random.default_rng(4)
    for _ in range(SIMULATIONS):
        replicates = generator.normal(generator.normal(0, 2), 1, RESAMPLES)
        low, high = interval(replicates) or (0.0, 0.0)
        p = two_sided_p(replicates)
        assert p is not None
        # Alike but for resamples next to the interval's end.
        assert p > 0.05 - 4 / RESAMPLES if low <= 0 <= high else p < 0.05 + 4 / RESAMPLES
