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
    aurocs_with_intervals,
    holm,
    interval,
    mean_replicates,
    ratio_replicates,
    ratio_with_interval,
    sign_flip_p,
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
    assert auroc([3, 2, 2, 1], [True, True, False, False]) == 3.5 / 4


@given(labelled)
def test_auroc_is_scikit_learns(data: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    scores, labels, _ = data
    if labels.all() or not labels.any():
        assert auroc(scores, labels) is None
    else:
        assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@given(labelled)
@settings(max_examples=40)
def test_replicates_are_the_auroc_of_the_resampled_rows(
    data: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    scores, labels, problem = data
    problem = np.unique(problem, return_inverse=True)[1]
    bootstrap = Bootstrap(problem, resamples=7, seed=3)
    replicates = auroc_replicates(np.stack([scores, -scores]), labels, bootstrap)
    counts = np.concatenate(list(bootstrap.counts()), axis=1)
    assert (counts.sum(axis=0) == bootstrap.problems).all()
    for resample in range(7):
        # Slow: repeat every row as often as its problem was drawn.
        rows = np.repeat(np.arange(len(scores)), counts[problem, resample].astype(int))
        expected = auroc(scores[rows], labels[rows])
        if expected is None:
            assert np.isnan(replicates[:, resample]).all()
        else:
            assert replicates[:, resample] == pytest.approx([expected, 1 - expected], abs=1e-12)


def test_resamples_do_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(Bootstrap(np.arange(50), 40, 0).counts()), axis=1)
    monkeypatch.setattr("gcrm.stats.bootstrap.CHUNK", 120)
    bootstrap = Bootstrap(np.arange(50), 40, 0)
    for _ in range(2):  # drawn, then kept
        assert np.array_equal(np.concatenate(list(bootstrap.counts()), axis=1), whole)
    monkeypatch.setattr("gcrm.stats.bootstrap.KEPT", 0)
    bootstrap = Bootstrap(np.arange(50), 40, 0)
    for _ in range(2):  # drawn twice
        assert np.array_equal(np.concatenate(list(bootstrap.counts()), axis=1), whole)


def test_the_interval_of_a_mean_is_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(size=2_000)
    low, high = interval(mean_replicates(values, Bootstrap(np.arange(2_000), 4_000, 1))) or (0, 0)
    half = 1.96 * values.std() / np.sqrt(2_000)
    assert low == pytest.approx(values.mean() - half, abs=0.003)
    assert high == pytest.approx(values.mean() + half, abs=0.003)


def test_the_auroc_interval_covers_the_truth_about_95_times_of_100() -> None:
    truth = stats.norm.cdf(1 / np.sqrt(2))  # two normals one standard deviation apart
    generator = np.random.default_rng(2)
    covered = 0
    for _ in range(100):
        labels = generator.random(150) < 0.5
        scores = (generator.normal(size=150) + labels)[None]
        (estimate,), _ = aurocs_with_intervals(scores, labels, Bootstrap(np.arange(150), 200, 0))
        assert estimate.interval is not None
        covered += estimate.interval[0] <= truth <= estimate.interval[1]
    assert 88 <= covered <= 99


def test_solutions_of_one_problem_are_resampled_together() -> None:
    generator = np.random.default_rng(0)
    labels = generator.random(60) < 0.5
    scores = generator.normal(size=(1, 60)) + labels
    once, _ = aurocs_with_intervals(scores, labels, Bootstrap(np.arange(60), 500, 0))
    four = aurocs_with_intervals(
        np.tile(scores, 4), np.tile(labels, 4), Bootstrap(np.tile(np.arange(60), 4), 500, 0)
    )[0]
    # Four copies of each row hold no more information than one.
    assert four[0].interval == pytest.approx(once[0].interval)


def test_one_class_gives_a_reason_and_no_value() -> None:
    (estimate,), _ = aurocs_with_intervals(
        np.ones((1, 4)), np.ones(4, bool), Bootstrap(np.arange(4), 10, 0)
    )
    assert estimate.as_json() == {
        "value": None,
        "interval": None,
        "n": 4,
        "reason": "all 4 solutions are correct: AUROC needs both",
    }


def test_auroc_with_interval_of_5000_rows_takes_less_than_a_second() -> None:
    generator = np.random.default_rng(0)
    scores, labels = generator.normal(size=(1, 5_000)), generator.random(5_000) < 0.4
    started = time.process_time()
    aurocs_with_intervals(scores, labels, Bootstrap(np.arange(5_000), 2_000, 0))
    assert time.process_time() - started < 1


def test_a_ratio_of_nothing_has_a_reason() -> None:
    estimate = ratio_with_interval(np.zeros(3), np.zeros(3), Bootstrap(np.arange(3), 5, 0), n=3)
    assert (estimate.value, estimate.interval, estimate.n) == (None, None, 3)
    assert estimate.reason


def test_ratio_replicates_resample_both_sums() -> None:
    above, below = np.array([1.0, 0.0, 3.0]), np.array([2.0, 5.0, 3.0])
    bootstrap = Bootstrap(np.arange(3), 20, 0)
    counts = np.concatenate(list(bootstrap.counts()), axis=1)
    expected = (counts.T @ above) / (counts.T @ below)
    assert ratio_replicates(above, below, bootstrap) == pytest.approx(expected)


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
