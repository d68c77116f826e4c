"""Metrics of partial scores against the true values of prefixes, where the data know them.

The true value of a prefix is the probability of a right end; it is 0 from the first error on. Made
data know it exactly, labelled or rolled-out steps approximately. See `ScoreTable.true_values`.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gcrm.data.ragged import Ragged
from gcrm.stats.bootstrap import Bools, Floats, Ints, ratio_replicates
from gcrm.stats.filters import Filter, cross_fitted, in_second_half, q_filter
from gcrm.stats.ranking import correlation
from gcrm.stats.registry import Estimate, Scored, metric

THRESHOLDS = 101
"""quantiles of a score at the ends of steps, of which the thresholds are chosen"""
ABOVE_ZERO = 1e-9
TOO_FEW = "too few problems to choose a threshold on half of them, or no wrong or right solutions"
SCORES = ("reward", "q_value")


class Steps:
    """The ends of all steps of a table's solutions, s in number.

    Attributes:
        row: the solution of each, (s,). token: its index in the values of a `Ragged`, (s,).
        number: which step of its solution it is, from 0, (s,).
        value: its true value, (s,).
    """

    def __init__(self, true_values: Ragged):
        self.token: Ints = np.flatnonzero(~np.isnan(true_values.values))
        self.value = true_values.values[self.token].astype(np.float64)
        self.row: Ints = np.searchsorted(true_values.offsets, self.token, "right") - 1
        self.rows = len(true_values)
        first = np.searchsorted(self.row, np.arange(self.rows))
        self.number: Ints = np.arange(len(self.row)) - first[self.row]

    @cached_property
    def first_error(self) -> Ints:
        """The first wrong step of each solution, or the largest number for none, (rows,)."""
        return self.first(self.value <= 0)

    def first(self, found: Bools) -> Ints:
        """The first step of each solution with a property, (s,) to (rows,)."""
        first = np.full(self.rows, np.iinfo(np.int64).max)
        np.minimum.at(first, self.row[found], self.number[found])
        return first


def partial_scores(scored: Scored) -> dict[str, Ragged]:
    """The partial scores of all tokens that a table has."""
    table = scored.table
    columns = dict(zip(SCORES, (table.partial_rewards, table.q_values), strict=True))
    return {name: column for name, column in columns.items() if isinstance(column, Ragged)}


@metric("all", compared=[f"value_correlation.{score}" for score in SCORES])
def value_correlations(scored: Scored) -> Iterator[Estimate]:
    """Spearman correlation of partial scores with true values, over the ends of all steps."""
    if scored.table.true_values is None:
        return
    steps = Steps(scored.table.true_values)
    bootstrap = replace(scored.bootstrap, problem=scored.bootstrap.problem[steps.row])
    truth = pd.Series(steps.value).rank()
    for name, column in partial_scores(scored).items():
        ranks = pd.Series(column.values[steps.token]).rank()
        yield correlation(f"value_correlation.{name}", ranks, truth, bootstrap)


@metric("all", compared=[f"first_error.f1.{score}" for score in SCORES])
def first_errors(scored: Scored) -> Iterator[Estimate]:
    """How exactly partial scores locate the first error, as ProcessBench counts.

    The predicted step is the first one whose score falls below a threshold. F1 is the harmonic mean
    of the shares that are exactly right, among the wrong and among the right solutions (Zheng et
    al. 2024, arXiv 2412.06559). The threshold is chosen on the other half of the problems.
    """
    if scored.table.true_values is None:
        return
    steps = Steps(scored.table.true_values)
    wrong = steps.first_error < np.iinfo(np.int64).max
    sizes = np.stack([scored.by_problem(wrong), scored.by_problem(~wrong)])
    second = in_second_half(scored.bootstrap.keys)
    halves = (second, ~second)
    for name, column in partial_scores(scored).items():
        metrics = [f"first_error.{kind}.{name}" for kind in ("f1", "wrong", "right")]
        if not all(sizes[:, half].sum(axis=1).all() for half in halves):
            yield from scored.missing(TOO_FEW, *metrics)
            continue
        values = column.values[steps.token].astype(np.float64)
        thresholds = np.unique(np.quantile(values, np.linspace(0, 1, THRESHOLDS)))
        hits = np.stack([_hits(scored, steps, values < limit, wrong) for limit in thresholds])
        chosen = np.empty_like(sizes)
        for half in halves:  # chosen on the other one
            shares = hits[:, :, ~half].sum(axis=2) / sizes[:, ~half].sum(axis=1)
            chosen[:, half] = hits[int(np.argmax(_harmonic(*shares.T)))][:, half]
        shares = chosen.sum(axis=1) / sizes.sum(axis=1)
        resampled = [
            ratio_replicates(*both, scored.bootstrap) for both in zip(chosen, sizes, strict=True)
        ]
        n = len(wrong)
        yield Estimate(metrics[0], float(_harmonic(*shares)), _harmonic(*resampled), n)
        for kind, share, replicates in zip(metrics[1:], shares, resampled, strict=True):
            yield Estimate(kind, float(share), replicates, n)


def _hits(scored: Scored, steps: Steps, below: Bools, wrong: Bools) -> Floats:
    """Solutions of each problem whose first error is predicted exactly, wrong and right: (2, P)."""
    exact = steps.first(below) == steps.first_error
    return np.stack([scored.by_problem(exact & wrong), scored.by_problem(exact & ~wrong)])


def _harmonic(first: NDArray[np.float64], second: NDArray[np.float64]) -> Floats:
    total = np.asarray(first + second)
    return np.asarray(2 * first * second / np.where(total > 0, total, 1))


@metric("all", compared=[f"saved_of_oracle.{score}" for score in SCORES])
def savings_of_oracle(scored: Scored) -> Iterator[Estimate]:
    """Tokens that a filter saves before the vote, as a share of those that the truth saves.

    The filter drops a sample at the first token whose score is below a threshold, which is chosen
    on the other half of the problems. The truth drops it where the first wrong step ends.
    """
    if scored.table.true_values is None:
        return
    votes, skip = scored.votes, scored.settings.skip_tokens
    filled = _last_known(scored.table.true_values)
    oracle = q_filter(votes, filled, 0).apply(ABOVE_ZERO)
    tokens = scored.by_problem(scored.table.num_tokens)
    yield scored.ratio("oracle.tokens_saved", oracle.saved, tokens)
    yield scored.mean("oracle.majority@n", oracle.accuracy)
    for name, column in partial_scores(scored).items():
        saved = _saved(q_filter(votes, column, skip), scored)
        if saved is None:
            yield from scored.missing(TOO_FEW, f"saved_of_oracle.{name}")
        else:
            yield scored.ratio(f"saved_of_oracle.{name}", saved, oracle.saved)


def _saved(by: Filter, scored: Scored) -> Floats | None:
    """Tokens of each problem that a filter saves at thresholds chosen on other problems, (P,)."""
    curve = by.curve()
    chosen = cross_fitted(curve, by.majority(), scored.bootstrap.keys) if curve else None
    return None if chosen is None else chosen[2]


def _last_known(true_values: Ragged) -> Ragged:
    """The value after each token: that of the last step that ended, 1 before the first."""
    starts = np.zeros(len(true_values.values), bool)
    starts[true_values.offsets[:-1]] = True
    values = np.where(starts & np.isnan(true_values.values), 1, true_values.values)
    known = np.maximum.accumulate(np.where(np.isnan(values), 0, np.arange(len(values))))
    return replace(true_values, values=values[known].astype(np.float32))
