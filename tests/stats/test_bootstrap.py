"""AUROC, correlation, intervals and tests against scikit-learn, scipy and brute force."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn.metrics import roc_auc_score

from gcrm.stats.bootstrap import (
    Bootstrap,
    auroc,
    auroc_replicates,
    correlation_replicates,
    holm,
    interval,
    mean_replicates,
    ratio_replicates,
    sign_flip_p,
    unpaired_t_test,
)

labelled = st.integers(2, 40).flatmap(
    lambda n: st.tuples(
        # Few values, so that there are many ties.
        hnp.arrays(np.float32, n, elements=st.integers(-3, 3).map(float)),
        hnp.arrays(bool, n),
        hnp.arrays(np.int64, n, elements=st.integers(0, 5)),
    )
)


def test_auroc_of_a_literal_with_a_tie() -> None:
    # correct: 3, 2; incorrect: 2, 1. Wins: 3>2, 3>1, 2>1, and half for 2=2.
    assert auroc([3, 2, 2, 1], np.array([True, True, False, False])).tolist() == [3.5 / 4]


@given(labelled)
def test_auroc_of_each_group_is_scikit_learns(data: tuple[np.ndarray, ...]) -> None:
    scores, labels, group = data
    for number, value in enumerate(auroc(scores, labels, group)):
        mine = group == number
        if labels[mine].all() or not labels[mine].any():
            assert np.isnan(value)
        else:
            assert value == pytest.approx(roc_auc_score(labels[mine], scores[mine]), abs=1e-12)


@given(labelled)
@settings(max_examples=40)
def test_replicates_are_the_auroc_of_the_resampled_rows(data: tuple[np.ndarray, ...]) -> None:
    scores, labels, problem = data
    problem = np.unique(problem, return_inverse=True)[1]
    bootstrap = Bootstrap(problem, resamples=7, seed=3)
    replicates = auroc_replicates(np.stack([scores, -scores]), labels, bootstrap)
    for resample, rows in enumerate(resampled(bootstrap)):
        (expected,) = auroc(scores[rows], labels[rows])
        found = replicates[:, resample]
        assert found == pytest.approx([expected, 1 - expected], abs=1e-12, nan_ok=True)


def resampled(bootstrap: Bootstrap) -> list[np.ndarray]:
    """The rows of each resample, slowly: each as often as its problem was drawn."""
    counts = np.concatenate(list(bootstrap.counts()), axis=1)
    assert (counts.sum(axis=0) == bootstrap.problems).all()
    rows = np.arange(len(bootstrap.problem))
    return [np.repeat(rows, times.astype(int)) for times in counts[bootstrap.problem].T]


def test_resamples_do_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(Bootstrap(np.arange(50), 40, 0).counts()), axis=1)
    monkeypatch.setattr("gcrm.stats.bootstrap.CHUNK", 120)
    bootstrap = Bootstrap(np.arange(50), 40, 0)
    for _ in range(2):  # every call gives the same
        assert np.array_equal(np.concatenate(list(bootstrap.counts()), axis=1), whole)


def test_the_interval_of_a_mean_is_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(size=2_000)
    low, high = interval(mean_replicates(values, Bootstrap(np.arange(2_000), 4_000, 1)))
    half = 1.96 * values.std() / np.sqrt(2_000)
    assert low == pytest.approx(values.mean() - half, abs=0.003)
    assert high == pytest.approx(values.mean() + half, abs=0.003)


def test_solutions_of_one_problem_are_resampled_together() -> None:
    generator = np.random.default_rng(0)
    labels = generator.random(60) < 0.5
    scores = generator.normal(size=60) + labels
    once, four_times = (
        auroc_replicates(
            np.tile(scores, (1, times)),
            np.tile(labels, times),
            Bootstrap(np.tile(np.arange(60), times), 500, 0),
        )
        for times in (1, 4)
    )
    # Four copies of each row hold no more information than one.
    assert interval(four_times) == pytest.approx(interval(once))


def test_auroc_with_interval_of_5000_rows_takes_less_than_a_second() -> None:
    generator = np.random.default_rng(0)
    scores, labels = generator.normal(size=(1, 5_000)), generator.random(5_000) < 0.4
    started = time.process_time()
    interval(auroc_replicates(scores, labels, Bootstrap(np.arange(5_000), 2_000, 0)))
    assert time.process_time() - started < 1


def test_ratio_replicates_resample_both_sums() -> None:
    above, below = np.array([1.0, 0.0, 3.0]), np.array([2.0, 5.0, 3.0])
    bootstrap = Bootstrap(np.arange(3), 20, 0)
    counts = np.concatenate(list(bootstrap.counts()), axis=1)
    expected = (counts.T @ above) / (counts.T @ below)
    assert ratio_replicates(above, below, bootstrap) == pytest.approx(expected)


@given(
    hnp.arrays(np.float64, (2, 12), elements=st.integers(0, 3).map(float)),
    hnp.arrays(np.int64, 12, elements=st.integers(0, 4)),
)
@settings(max_examples=40)
def test_correlation_replicates_are_those_of_the_resampled_rows(
    scores: np.ndarray, problem: np.ndarray
) -> None:
    if (np.ptp(scores, axis=1) == 0).any():
        return
    problem = np.unique(problem, return_inverse=True)[1]
    bootstrap = Bootstrap(problem, resamples=8, seed=1)
    x, y = (scores - scores.mean(axis=1, keepdims=True)) / scores.std(axis=1, keepdims=True)
    replicates = correlation_replicates(x, y, bootstrap)
    for resample, rows in enumerate(resampled(bootstrap)):
        if np.ptp(x[rows]) == 0 or np.ptp(y[rows]) == 0:
            assert np.isnan(replicates[resample])
        else:
            expected = stats.pearsonr(x[rows], y[rows]).statistic
            assert replicates[resample] == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]), max_size=8))
def test_sign_flip_p_is_that_of_all_flips(differences: list[float]) -> None:
    observed = abs(sum(differences))
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product([-1, 1], repeat=len(differences))
    ]
    expected = np.mean([total >= observed - 1e-9 for total in sums])
    assert sign_flip_p(differences, seed=0) == pytest.approx(expected)


def test_sign_flip_p_of_many_differences_is_near_the_t_test() -> None:
    differences = np.random.default_rng(0).normal(0.12, 1, size=400)
    expected = stats.ttest_1samp(differences, 0).pvalue
    assert sign_flip_p(differences, seed=0) == pytest.approx(expected, abs=0.01)
    assert sign_flip_p(differences, seed=0) == sign_flip_p(differences, seed=0)


def test_the_unpaired_t_test_matches_its_formula() -> None:
    first, second = np.random.default_rng(0).normal(size=(2, 30))
    # By hand: pooled variance, 58 degrees of freedom.
    error = np.sqrt((first.var(ddof=1) + second.var(ddof=1)) / 2 * (2 / 30))
    expected = 2 * stats.t.sf(abs(first.mean() - second.mean()) / error, 58)
    assert unpaired_t_test(first, second) == pytest.approx(expected)
    assert unpaired_t_test(np.ones(5), np.ones(5)) is None
    assert unpaired_t_test(np.ones(1), np.zeros(1)) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_holm_is_the_closed_test_of_bonferronis(p_values: list[float]) -> None:
    # Slow: a hypothesis is rejected if Bonferroni's test rejects each set of hypotheses with it.
    indices = range(len(p_values))
    sets = [members for size in indices for members in itertools.combinations(indices, size + 1)]
    expected = [
        max(min(1, len(m) * min(p_values[i] for i in m)) for m in sets if one in m)
        for one in indices
    ]
    assert holm(p_values) == pytest.approx(expected)


def test_holm_by_hand() -> None:
    # sorted 0.01, 0.03, 0.04 → 0.03, max(0.03, 0.06), max(0.06, 0.04)
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
