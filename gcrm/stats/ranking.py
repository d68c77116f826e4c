"""Metrics of how well scores rank completions: AUROC, pairwise accuracy, correlation; and counts.

Every score is also compared with the length of the completion, the baseline that costs nothing, be
shorter (`_minus_length`) or longer (`_minus_longer`) better. Partial scores, those of the tokens so
far, are compared with the length of the whole completion, which is known at its end only.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from gcrm.stats.bootstrap import (
    Bootstrap,
    Floats,
    auroc,
    auroc_replicates,
    correlation_replicates,
    draw_weights,
    ratio_replicates,
    sum_by,
)
from gcrm.stats.registry import NO_PERCENTILES, NO_Q_VALUES, Estimate, Scored, metric

NO_PARTIAL_REWARDS = "there are no partial rewards"
LENGTHS = ("length", "longer")
OF_SAMPLES = 2
"""stream of the draws of samples; those of seeds are 0 and 1"""
Rank = Callable[[Floats], tuple[Floats, Floats]]
"""metrics of m scores, (m, n), and their replicates: (m,) and (m, R)"""


# --- counts ---


@metric("greedy")
def count_solutions(scored: Scored) -> Iterator[Estimate]:
    """Size of the table, and the share of correct solutions."""
    table = scored.table
    yield scored.count("num_completions", len(table))
    yield scored.count("num_problems", scored.bootstrap.problems)
    yield scored.count("num_truncated", table.truncated.sum())
    correct, rows = scored.by_problem(table.label), scored.by_problem(np.ones(len(table)))
    yield scored.ratio("correct", correct, rows, n=len(table))


@metric("pairs")
def count_pairs(scored: Scored) -> Iterator[Estimate]:
    """Size of a held-out set, and its pairs with equal rewards, cut off, or left out."""
    table = scored.table
    chosen, rejected = table.reward[::2], table.reward[1::2]
    for name, count in (
        ("num_pairs", len(chosen)),
        ("num_prompts", scored.bootstrap.problems),
        ("num_ties", (chosen == rejected).sum()),
        ("num_truncated", (table.truncated[::2] | table.truncated[1::2]).sum()),
        ("num_left_out", table.left_out),
    ):
        yield Estimate(name, float(count), None, len(chosen))


# --- AUROC and pairwise accuracy ---


def _of_model(kind: str) -> list[str]:
    """Scores of the model itself: a difference of variants does not depend on the length."""
    return [f"{part}{kind}.{score}" for part in ("", "partial_") for score in ("reward", "q_value")]


@metric("greedy", compared=_of_model("auroc"))
def aurocs(scored: Scored) -> Iterator[Estimate]:
    """Chance that a correct solution scores above an incorrect one, ties at a half."""
    labels, n = scored.table.label, len(scored.table)

    def rank(scores: Floats) -> tuple[Floats, Floats]:
        values = np.concatenate([auroc(row, labels) for row in scores])
        return values, auroc_replicates(scores, labels, scored.bootstrap)

    reason = None
    if labels.all() or not labels.any():
        kind = "correct" if labels.all() else "incorrect"
        reason = f"all {n} solutions are {kind}: AUROC needs both"
    return _ranked(scored, "auroc", n, rank, reason)


@metric("all", compared=_of_model("auroc_over_problems"))
def aurocs_of_samples(scored: Scored) -> Iterator[Estimate]:
    """AUROC of the k-th samples of all problems, as mean over k, with two intervals.

    `auroc_over_problems` resamples the problems, each with all its samples: what the number would
    be on other problems. `auroc_over_samples` resamples the k: what it would be with other samples
    of the same problems, as in the paper's Figures 3 and 6.
    """
    labels, bootstrap = scored.table.label, scored.bootstrap
    _, sample = np.unique(scored.table.sample, return_inverse=True)
    (both,) = np.nonzero(np.isfinite(auroc(labels, labels, sample)))

    def each(scores: Floats) -> Floats:
        return np.stack([auroc(row, labels, sample)[both] for row in scores])

    def over_problems(scores: Floats) -> tuple[Floats, Floats]:
        found = np.stack([auroc_replicates(scores, labels, bootstrap, sample == k) for k in both])
        known = np.isfinite(found)
        with np.errstate(invalid="ignore"):
            return each(scores).mean(axis=1), np.where(known, found, 0).sum(0) / known.sum(0)

    def over_samples(scores: Floats) -> tuple[Floats, Floats]:
        values = each(scores)
        drawn = draw_weights(len(both), bootstrap.resamples, bootstrap.seed, OF_SAMPLES)
        return values.mean(axis=1), values @ drawn

    reason = None if len(both) else "no sample number has both correct and incorrect solutions"
    yield from _ranked(scored, "auroc_over_problems", bootstrap.problems, over_problems, reason)
    reason = reason or ("one sample has no interval over samples" if len(both) == 1 else None)
    yield from _ranked(scored, "auroc_over_samples", len(both), over_samples, reason)


PAIRWISE = ("pairwise_accuracy", "pooled_pairwise_accuracy")


@metric("pairs", "all", compared=[name for kind in PAIRWISE for name in _of_model(kind)])
def pairwise_accuracies(scored: Scored) -> Iterator[Estimate]:
    """AUROC within each group, on average over the groups that have both labels.

    Of a preference pair it is 1 where the chosen side scores higher, 0.5 where both are equal;
    of sampled solutions, the share of (correct, incorrect) couples of a problem in that order.
    Pooled, it is the share of all couples: of a problem with k correct ones among n samples there
    are k (n - k), so that hard and easy problems count less.
    """
    labels = scored.table.label
    _, first, group = np.unique(scored.table.group, return_index=True, return_inverse=True)
    correct, incorrect = (np.bincount(group, side) for side in (labels, ~labels))
    both = correct * incorrect > 0
    problem = scored.bootstrap.problem[first[both]]

    def rank(weights: Floats, scores: Floats) -> tuple[Floats, Floats]:
        within = np.stack([auroc(row, labels, group) for row in scores])[:, both]
        means = np.average(within, axis=1, weights=weights)
        return means, group_mean_replicates(within, problem, scored.bootstrap, weights)

    reason = None if both.any() else "no problem has both correct and incorrect solutions"
    couples = (correct * incorrect)[both]
    kinds = PAIRWISE if scored.table.split == "all" else PAIRWISE[:1]  # a pair is one couple
    for kind, weights in zip(kinds, (np.ones(len(couples)), couples), strict=False):
        n = int(weights.sum())
        yield from _ranked(scored, kind, n, partial(rank, weights.astype(np.float64)), reason)


@metric("pairs", compared=["margin"])
def margin(scored: Scored) -> Iterator[Estimate]:
    """Reward of the chosen side minus that of the rejected side."""
    reward, problem = scored.table.reward.astype(np.float64), scored.bootstrap.problem[::2]
    margins = reward[::2] - reward[1::2]
    (replicates,) = group_mean_replicates(
        margins[None], problem, scored.bootstrap, np.ones(len(margins))
    )
    yield Estimate("margin", float(margins.mean()), replicates, len(margins))


def group_mean_replicates(
    values: Floats, problem: NDArray[Any], bootstrap: Bootstrap, weights: Floats
) -> Floats:
    """Weighted means over groups in each resample of the problems, shape (m, R).

    Args:
        values: m values of each group, shape (m, G).
        problem: problem of each group, shape (G,).
        weights: weight of each group, shape (G,).
    """
    # Problems are resampled whole: their groups' values can be added up beforehand.
    sums = [sum_by(problem, weights * row, bootstrap.problems) for row in values]
    return ratio_replicates(np.stack(sums), sum_by(problem, weights, bootstrap.problems), bootstrap)


def _scores(scored: Scored, kind: str) -> Iterator[tuple[str, float | None, NDArray[Any] | str]]:
    """Metric, share of the tokens (None: all), and the scores, or the reason why there are none."""
    table, percentiles = scored.table, scored.settings.percentiles
    q_values, num_tokens = table.q_values, table.num_tokens.astype(np.float64)
    pairwise = kind.endswith("pairwise_accuracy")
    yield f"{kind}.reward", None, table.reward
    yield f"{kind}.length", None, -num_tokens
    if pairwise:
        yield f"{kind}.longer", None, num_tokens
        whole = NO_Q_VALUES if q_values is None else q_values.at_percentile(1.0)
        yield f"{kind}.q_value", None, whole
    if pairwise and table.split == "all":
        return
    for name, column, reason in (
        (f"partial_{kind}.reward", table.partial_rewards, NO_PARTIAL_REWARDS),
        (f"partial_{kind}.q_value", q_values, NO_Q_VALUES),
    ):
        if column is None or not percentiles:
            yield name, None, reason if percentiles else NO_PERCENTILES
        else:
            yield from ((name, p, column.at_percentile(p)) for p in percentiles)


def _ranked(
    scored: Scored, kind: str, n: int, rank: Rank, reason: str | None
) -> Iterator[Estimate]:
    """Estimates of all scores, and of their differences from the length.

    Args:
        n: solutions, pairs or problems behind each estimate.
        reason: why no score can be ranked.
    """
    columns, reasons = {}, {}
    for name, at, column in _scores(scored, kind):
        if reason or isinstance(column, str):
            reasons[name] = reason or str(column)
        else:
            columns[name, at] = column
    for name, why in reasons.items():
        yield from scored.missing(why, name, *(f"{name}_minus_{other}" for other in _others(name)))
    if not columns:
        return
    values, replicates = rank(np.stack(list(columns.values())))
    found = dict(zip(columns, zip(values.tolist(), replicates, strict=True), strict=True))
    length, of_length = found[f"{kind}.length", None]
    baselines = {"length": (length, of_length), "longer": (1 - length, 1 - of_length)}
    for (name, at), (value, resampled) in found.items():
        yield Estimate(name, value, resampled, n, at)
        for other in _others(name):
            base, of_base = baselines[other]
            yield Estimate(f"{name}_minus_{other}", value - base, resampled - of_base, n, at)


def _others(metric: str) -> tuple[str, ...]:
    """The baselines of a score; the length itself has none."""
    return () if metric.endswith(LENGTHS) else LENGTHS


# --- correlation ---


@metric("greedy")
def correlations(scored: Scored) -> Iterator[Estimate]:
    """Correlation of Q-values with partial rewards after shares of the tokens."""
    q_values, rewards = scored.table.q_values, scored.table.partial_rewards
    percentiles = scored.settings.correlation_percentiles
    if q_values is None or rewards is None or not percentiles:
        reason = NO_PERCENTILES if not percentiles else NO_Q_VALUES
        yield from scored.missing(reason, "correlation.pearson", "correlation.spearman")
        return
    for p in percentiles:
        x, y = (pd.Series(column.at_percentile(p)) for column in (q_values, rewards))
        yield correlation("correlation.pearson", x, y, scored.bootstrap, p)
        yield correlation("correlation.spearman", x.rank(), y.rank(), scored.bootstrap, p)


def correlation(
    metric: str, x: ArrayLike, y: ArrayLike, bootstrap: Bootstrap, at: float | None = None
) -> Estimate:
    """Pearson correlation of two scores, (n,) each; of ranks, it is Spearman's."""
    first, second = np.asarray(x, np.float64), np.asarray(y, np.float64)
    n = len(first)
    if n < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        reason = "fewer than 3 solutions" if n < 3 else "one of the two is constant"
        return Estimate(metric, None, None, n, at, reason=reason)
    first = (first - first.mean()) / first.std()
    second = (second - second.mean()) / second.std()
    replicates = correlation_replicates(first, second, bootstrap)
    value = float(np.clip(np.mean(first * second), -1, 1))
    return Estimate(metric, value, replicates, n, at)
