"""Intervals over problems cover the true value of simulated data as often as they should.

A problem has several rows that depend on each other: an interval over rows would be too narrow.
The truth is the number on 200,000 simulated problems.
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
from gcrm.stats.ranking import correlation, group_mean_replicates
from gcrm.stats.registry import Estimate
from gcrm.stats.samples import Samples
from gcrm.stats.seeds import difference, over_seeds, two_sided_p

pytestmark = pytest.mark.slow

SIMULATIONS = 500
PROBLEMS = 150
ROWS = 6
RESAMPLES = 300
# With the true coverage, 475 ± 10 of 500 intervals cover the true value, in 19 of 20 runs.
LEAST, MOST = 0.915, 0.985
OLD, NEW = 0, 1
"""two models; the new one is better"""
Replicates = Callable[[np.random.Generator], Floats | None]


def coverage(replicates: Replicates, truth: float) -> float:
    """Share of the simulations whose interval covers the true value."""
    generator = np.random.default_rng(20)
    held = 0
    for _ in range(SIMULATIONS):
        found = replicates(generator)
        assert found is not None
        low, high = interval(found)
        held += low <= truth <= high
    print(f"\ncoverage {held / SIMULATIONS:.3f} of 0.950", end="")
    return held / SIMULATIONS


def rows_of(problems: int, rows: int = ROWS) -> Bootstrap:
    return Bootstrap(np.repeat(np.arange(problems), rows), RESAMPLES, seed=0)


def scored(generator: np.random.Generator, problems: int = PROBLEMS, better: float = 0.4):
    """Scores of two models, (2, n), and labels; a problem's rows are alike in both."""
    ease, look = np.repeat(generator.normal(0, 1, (2, problems)), ROWS, axis=1)
    labels = generator.random(problems * ROWS) < 1 / (1 + np.exp(-2 * ease))
    noise = generator.normal(0, 0.7, (2, problems * ROWS))
    return ease + look + np.array([[0.6], [0.6 + better]]) * labels + noise, labels


def votes(generator: np.random.Generator, problems: int = PROBLEMS) -> Floats:
    """Accuracy of the majority of five samples on each problem, ties in parts."""
    chance = generator.beta(1, 1, problems)
    right = generator.random((problems, 5)) < chance[:, None]
    wrong = generator.integers(1, 4, (problems, 5))
    answers = np.where(right, 0, wrong).ravel().astype(str).tolist()
    return Samples(np.repeat(np.arange(problems), 5), answers, right.ravel()).majority()


def aurocs(generator: np.random.Generator, better: float = 0.4) -> list[dict[int, Estimate]]:
    """AUROC of both models, of one seed each."""
    scores, labels = scored(generator, better=better)
    replicates = auroc_replicates(scores, labels, rows_of(PROBLEMS))
    values = [float(auroc(row, labels)[0]) for row in scores]
    return [{0: Estimate("auroc", values[k], replicates[k], len(labels))} for k in (OLD, NEW)]


def true_aurocs() -> list[float]:
    scores, labels = scored(np.random.default_rng(0), 200_000)
    return [float(auroc(row, labels)[0]) for row in scores]


def share_of_tokens(generator: np.random.Generator) -> Floats:
    tokens = generator.integers(20, 200, PROBLEMS).astype(float)
    saved = tokens * generator.beta(0.4, 1.2, PROBLEMS)  # 1/4 on average
    return ratio_replicates(saved, tokens, rows_of(PROBLEMS, 1))


def share_correct(generator: np.random.Generator) -> Floats:
    bootstrap = rows_of(PROBLEMS)
    right = sum_by(bootstrap.problem, scored(generator)[1], PROBLEMS)
    return ratio_replicates(right, np.full(PROBLEMS, float(ROWS)), bootstrap)


def pairwise_accuracy(generator: np.random.Generator) -> Floats:
    """Of three pairs a prompt, whose margins share a part."""
    margins = generator.normal(0.4, 1, (PROBLEMS, 1)) + generator.normal(0, 0.5, (PROBLEMS, 3))
    right, bootstrap = (margins.ravel() > 0).astype(float), rows_of(PROBLEMS, 3)
    return group_mean_replicates(right[None], bootstrap.problem, bootstrap, np.ones(len(right)))[0]


CASES: dict[str, tuple[Replicates, Callable[[], float]]] = {
    "auroc": (lambda g: aurocs(g)[OLD][0].replicates, lambda: true_aurocs()[OLD]),
    "difference of models": (
        lambda g: difference(*aurocs(g)[::-1], seed=0)[0].replicates,
        lambda: float(np.diff(true_aurocs())[0]),
    ),
    "mean of votes": (
        lambda g: mean_replicates(votes(g), rows_of(PROBLEMS, 1)),
        lambda: float(votes(np.random.default_rng(1), 200_000).mean()),
    ),
    "share of tokens": (share_of_tokens, lambda: 0.25),
    "share correct": (share_correct, lambda: 0.5),
    # P(normal(0.4, sqrt(1.25)) > 0)
    "pairwise accuracy": (pairwise_accuracy, lambda: 0.6397),
    "correlation": (
        lambda g: correlation("pearson", *scored(g)[0], rows_of(PROBLEMS)).replicates,
        lambda: float(np.corrcoef(scored(np.random.default_rng(0), 200_000)[0])[0, 1]),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_intervals_cover_the_true_value_in_95_percent_of_cases(name: str) -> None:
    replicates, truth = CASES[name]
    assert LEAST <= coverage(replicates, truth()) <= MOST


def test_equal_models_differ_at_5_percent_as_often() -> None:
    generator = np.random.default_rng(3)
    found = [difference(*aurocs(generator, 0.0), seed=0)[0].p or 0 for _ in range(SIMULATIONS)]
    share = np.mean(np.array(found) < 0.05)
    print(f"\np < 0.05 in {share:.3f} of 0.050", end="")
    assert 0.02 <= share <= 0.085


@pytest.mark.parametrize(("seeds", "least"), [(2, 0.85), (3, 0.90), (5, 0.92), (10, 0.92)])
def test_means_over_seeds(seeds: int, least: float) -> None:
    """Seeds spread as much as resamples of the problems; a wider interval is not refused."""

    def replicates(generator: np.random.Generator) -> Floats | None:
        values = generator.normal(0, 0.1, (seeds, 1)) + generator.normal(0, 1, PROBLEMS)
        values = values + generator.normal(0, 1, (seeds, PROBLEMS))
        found = mean_replicates(values, rows_of(PROBLEMS, 1))
        each = (
            Estimate("mean", float(v.mean()), r, PROBLEMS)
            for v, r in zip(values, found, strict=True)
        )
        return over_seeds(dict(enumerate(each)), seed=0).replicates

    assert coverage(replicates, 0.0) >= least


def test_an_interval_over_rows_would_be_too_narrow() -> None:
    """The simulated rows depend on each other enough for the tests above to fail."""

    def replicates(generator: np.random.Generator) -> Floats:
        scores, labels = scored(generator)
        return auroc_replicates(scores[:1], labels, rows_of(PROBLEMS * ROWS, 1))

    assert coverage(replicates, true_aurocs()[OLD]) < 0.88


def test_p_and_interval_agree() -> None:
    generator = np.random.default_rng(4)
    for _ in range(SIMULATIONS):
        replicates = generator.normal(generator.normal(0, 2), 1, RESAMPLES)
        (low, high), p = interval(replicates), two_sided_p(replicates)
        assert p is not None
        # They may differ only for resamples next to the interval's end.
        assert p > 0.05 - 4 / RESAMPLES if low <= 0 <= high else p < 0.05 + 4 / RESAMPLES
