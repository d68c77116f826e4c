"""Metrics of how well scores rank completions: AUROC, pairwise accuracy, correlation; and counts.

Every score is also compared with the length of the completion, the baseline that costs nothing, be
shorter (`_minus_length`) or longer (`_minus_longer`) better. Partial scores, those of the tokens so
far, are compared with the length of the whole completion, which is known at its end only.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gcrm.stats.bootstrap import (
    Bools,
    Bootstrap,
    Floats,
    Ints,
    auroc,
    auroc_replicates,
    correlation_replicates,
    mean_replicates,
    sum_by,
)
from gcrm.stats.registry import NO_PERCENTILES, NO_Q_VALUES, Estimate, Scored, metric

Score = tuple[str, float | None]
"""metric of a score, and the share of the tokens after which it is taken (None: all)"""
LENGTHS = ("length", "longer")


# --- counts ---


@metric("greedy", compared=())
def count_solutions(scored: Scored) -> Iterator[Estimate]:
    """Size of the table, and the share of correct solutions."""
    table = scored.table
    yield scored.count("num_completions", len(table))
    yield scored.count("num_problems", scored.bootstrap.problems)
    yield scored.count("num_truncated", table.truncated.sum())
    correct, rows = scored.by_problem(table.label), scored.by_problem(np.ones(len(table)))
    yield scored.ratio("correct", correct, rows, n=len(table))


@metric("pairs", compared=())
def count_pairs(scored: Scored) -> Iterator[Estimate]:
    """Size of a held-out set, and its pairs with equal rewards, cut off, or left out."""
    table = scored.table
    chosen, rejected = table.reward[::2], table.reward[1::2]
    counts = {
        "num_pairs": len(chosen),
        "num_prompts": scored.bootstrap.problems,
        "num_ties": (chosen == rejected).sum(),
        "num_truncated": (table.truncated[::2] | table.truncated[1::2]).sum(),
        "num_left_out": table.left_out,
    }
    for name, count in counts.items():
        yield Estimate(name, float(count), None, len(chosen))


# --- AUROC and pairwise accuracy ---


def _compared(kind: str) -> tuple[str, ...]:
    """Scores of the model itself; that of the length cancels out in a difference of variants."""
    scores = (f"{kind}.reward", f"{kind}.q_value")
    return *scores, *(f"partial_{score}" for score in scores)


@metric("greedy", compared=_compared("auroc"))
def aurocs(scored: Scored) -> Iterator[Estimate]:
    """Chance that a correct solution scores above an incorrect one, ties at a half."""
    labels, n = scored.table.label, len(scored.table)
    scores, reasons = _scores(scored, "auroc")
    if labels.all() or not labels.any():
        kind = "correct" if labels.all() else "incorrect"
        reason = f"all {n} solutions are {kind}: AUROC needs both"
        reasons |= {name: reason for name, _ in scores}
    else:
        columns = np.stack(list(scores.values()))
        values = np.array([auroc(column, labels) for column in columns], np.float64)
        replicates = auroc_replicates(columns, labels, scored.bootstrap)
        yield from _with_baselines("auroc", scores, values, replicates, n)
    yield from _without(scored, reasons)


@metric("pairs", "all", compared=_compared("pairwise_accuracy"))
def pairwise_accuracy(scored: Scored) -> Iterator[Estimate]:
    """AUROC within each group, on average over the groups that have both labels.

    Of a preference pair it is 1 where the chosen side scores higher, 0.5 where both are equal;
    of sampled solutions, the share of (correct, incorrect) couples of a problem in that order.
    """
    table = scored.table
    scores, reasons = _scores(scored, "pairwise_accuracy")
    _, first, group = np.unique(table.group, return_index=True, return_inverse=True)
    within = np.stack([within_group_auroc(x, table.label, group) for x in scores.values()])
    both = np.isfinite(within[0])
    if both.any():
        accuracy, problem = within[:, both], scored.bootstrap.problem[first[both]]
        values = accuracy.mean(axis=1)
        replicates = group_mean_replicates(accuracy, problem, scored.bootstrap)
        yield from _with_baselines("pairwise_accuracy", scores, values, replicates, both.sum())
    else:
        reason = "no problem has both correct and incorrect solutions"
        reasons |= {name: reason for name, _ in scores}
    yield from _without(scored, reasons)


@metric("pairs")
def margin(scored: Scored) -> Iterator[Estimate]:
    """Reward of the chosen side minus that of the rejected side."""
    reward, problem = scored.table.reward.astype(np.float64), scored.bootstrap.problem[::2]
    margins = reward[::2] - reward[1::2]
    (replicates,) = group_mean_replicates(margins[None], problem, scored.bootstrap)
    yield Estimate("margin", float(margins.mean()), replicates, len(margins))


def within_group_auroc(scores: NDArray[Any], labels: Bools, group: Ints) -> Floats:
    """AUROC of the rows of each group, shape (G,); NaN where a group has one class only.

    Args:
        scores: finite numbers, shape (n,).
        labels: whether each row is correct, or chosen, shape (n,).
        group: 0 to G-1, shape (n,).
    """
    _, rank = np.unique(scores, return_inverse=True)
    most = len(scores)
    # One sorted list for all groups: those before a group are below all of its scores.
    key = group * most + rank
    positive, negative, of = key[labels], np.sort(key[~labels]), group[labels]
    low, high = (np.searchsorted(negative, positive, side) for side in ("left", "right"))
    wins = (low + high) / 2 - np.searchsorted(negative, of * most)
    groups = int(group.max()) + 1
    sizes, right = np.bincount(group, minlength=groups), np.bincount(of, minlength=groups)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.bincount(of, wins, groups) / (right * (sizes - right)))


def group_mean_replicates(values: Floats, problem: Ints, bootstrap: Bootstrap) -> Floats:
    """Means over groups in each resample of the problems, shape (m, R).

    Args:
        values: m values of each group, shape (m, G).
        problem: problem of each group, shape (G,).
    """
    rows = np.vstack([values, np.ones(values.shape[1])])
    # Problems are resampled whole: their groups' values can be added up beforehand.
    by_problem = np.stack([sum_by(problem, row, bootstrap.problems) for row in rows])
    sums = mean_replicates(by_problem, bootstrap)
    with np.errstate(invalid="ignore"):
        return np.asarray(sums[:-1] / sums[-1])


def _scores(scored: Scored, kind: str) -> tuple[dict[Score, NDArray[Any]], dict[str, str]]:
    """The scores that are ranked, and reasons for those that are not there, by metric."""
    table, percentiles = scored.table, scored.settings.percentiles
    num_tokens = table.num_tokens.astype(np.float64)
    scores: dict[Score, NDArray[Any]] = {
        (f"{kind}.reward", None): table.reward,
        (f"{kind}.length", None): -num_tokens,
    }
    reasons: dict[str, str] = {}
    if kind == "pairwise_accuracy":
        scores[f"{kind}.longer", None] = num_tokens
        if table.q_values is None:
            reasons[f"{kind}.q_value"] = NO_Q_VALUES
        else:
            scores[f"{kind}.q_value", None] = table.q_values.at_percentile(1.0)
    if table.split == "all":
        return scores, reasons
    for name, column, reason in (
        (f"partial_{kind}.reward", table.partial_rewards, "there are no partial rewards"),
        (f"partial_{kind}.q_value", table.q_values, NO_Q_VALUES),
    ):
        if column is None or not percentiles:
            reasons[name] = reason if column is None else NO_PERCENTILES
        else:
            scores |= {(name, p): column.at_percentile(p) for p in percentiles}
    return scores, reasons


def _with_baselines(
    kind: str, scores: Iterable[Score], values: Floats, replicates: Floats, n: int
) -> Iterator[Estimate]:
    """Estimates of scores, and of their differences from the length.

    Args:
        values, replicates: of each score, shapes (m,) and (m, R).
    """
    found = dict(zip(scores, zip(values.tolist(), replicates, strict=True), strict=True))
    length, of_length = found[f"{kind}.length", None]
    for (name, at), (value, resampled) in found.items():
        yield Estimate(name, value, resampled, int(n), at)
        if not name.endswith(LENGTHS):
            shorter, longer = resampled - of_length, resampled - (1 - of_length)
            yield Estimate(f"{name}_minus_length", value - length, shorter, int(n), at)
            yield Estimate(f"{name}_minus_longer", value - (1 - length), longer, int(n), at)


def _without(scored: Scored, reasons: Mapping[str, str]) -> Iterator[Estimate]:
    """Rows without a number, for scores and their differences from the length."""
    for name, reason in reasons.items():
        kind, _, score = name.rpartition(".")
        minus = () if score in LENGTHS else (f"{score}_minus_{length}" for length in LENGTHS)
        yield from scored.missing(kind, [score, *minus], reason)


# --- correlation ---


@metric("greedy", compared=())
def correlations(scored: Scored) -> Iterator[Estimate]:
    """Correlation of Q-values with partial rewards after shares of the tokens."""
    from scipy.stats import rankdata  # takes a second to import

    q_values, rewards = scored.table.q_values, scored.table.partial_rewards
    percentiles = scored.settings.correlation_percentiles
    if q_values is None or rewards is None or not percentiles:
        reason = NO_PERCENTILES if not percentiles else NO_Q_VALUES
        yield from scored.missing("correlation", ("pearson", "spearman"), reason)
        return
    for p in percentiles:
        x, y = q_values.at_percentile(p), rewards.at_percentile(p)
        yield correlation("correlation.pearson", x, y, scored.bootstrap, p)
        ranks = rankdata(x), rankdata(y)
        yield correlation("correlation.spearman", *ranks, scored.bootstrap, p)


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
