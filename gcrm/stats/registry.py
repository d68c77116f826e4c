"""Metrics are registered functions over a score table.

A metric yields the estimates of a `Scored` table, and names the splits it applies to:

    @metric("greedy", compared=["my_metric"])
    def my_metric(scored: Scored) -> Iterator[Estimate]:
        yield scored.mean("my_metric", values)  # one value a problem

Its estimates are then in metrics files and comparisons (see `gcrm.stats.compute`).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from gcrm.config.metrics import MetricsSettings
from gcrm.data.scores import ScoreTable, Split
from gcrm.stats.answers import canonical
from gcrm.stats.bootstrap import (
    Bootstrap,
    Floats,
    mean_replicates,
    ratio_replicates,
    sign_flip_p,
    sum_by,
)
from gcrm.stats.filters import Filter, q_filter
from gcrm.stats.samples import Samples
from gcrm.utils.errors import UserError

NO_Q_VALUES = "scored without a goal state: there are no Q-values"
NO_PERCENTILES = "no percentiles were asked for"


@dataclass(frozen=True)
class Estimate:
    """A number of one model, and its value in each resample of the problems."""

    metric: str
    value: float | None
    replicates: Floats | None
    """shape (R,), NaN where a resample has no such number; None for counts"""
    n: int
    """rows, problems or pairs behind the number"""
    at: float | None = None
    """position on a curve: a share of the tokens, a threshold, or a number of samples"""
    p: float | None = None
    """two-sided p of a number that is a difference"""
    reason: str | None = None
    """why there is no value"""


@dataclass(frozen=True)
class Scored:
    """A score table with the resamples that its metrics share, and ways to make estimates."""

    table: ScoreTable
    settings: MetricsSettings
    bootstrap: Bootstrap
    """of the table's rows, by prompt"""
    greedy: ScoreTable | None = None
    """greedy solutions to the same problems, beside sampled ones"""

    @cached_property
    def votes(self) -> Samples:
        """The completions as votes for their canonical answers."""
        answers = [canonical(answer) for answer in predicted(self.table)]
        return Samples(self.bootstrap.problem, answers, self.table.label)

    @cached_property
    def q_filter(self) -> Filter | None:
        """The filter by Q-values; None where there are none."""
        if self.table.q_values is None:
            return None
        return q_filter(self.votes, self.table.q_values, self.settings.skip_tokens)

    def by_problem(self, values: Any) -> Floats:
        """Sum of the rows' values for each problem, (n,) to (P,)."""
        return sum_by(self.bootstrap.problem, values, self.bootstrap.problems)

    def mean(self, metric: str, values: Floats, at: float | None = None) -> Estimate:
        """Mean over problems of values of shape (P,)."""
        replicates = mean_replicates(values, self.bootstrap)
        return Estimate(metric, float(values.mean()), replicates, len(values), at)

    def change(
        self, metric: str, after: Floats, before: Floats, at: float | None = None
    ) -> Estimate:
        """Mean of after - before, both (P,), with the p of a sign-flip test over problems."""
        p = sign_flip_p(after - before, self.settings.bootstrap_seed)
        return replace(self.mean(metric, after - before, at), p=p)

    def ratio(
        self,
        metric: str,
        above: Floats,
        below: Floats,
        at: float | None = None,
        n: int | None = None,
    ) -> Estimate:
        """Sum over sum of values of shape (P,), such as tokens saved over tokens.

        Args:
            n: number of units behind it (default: the number of problems).
        """
        n = len(below) if n is None else n
        if not below.sum():
            reason = "there is nothing to take a share of"
            return Estimate(metric, None, None, n, at, reason=reason)
        replicates = ratio_replicates(above, below, self.bootstrap)
        return Estimate(metric, float(above.sum() / below.sum()), replicates, n, at)

    def count(self, metric: str, value: float) -> Estimate:
        """A number about the table; it has no interval."""
        return Estimate(metric, float(value), None, len(self.table))

    def missing(self, reason: str, *metrics: str) -> Iterator[Estimate]:
        """Estimates without a value."""
        for name in metrics:
            yield Estimate(name, None, None, len(self.table), reason=reason)


def predicted(table: ScoreTable) -> list[str | None]:
    """The answers of a table.

    Raises:
        UserError: the table has none.
    """
    if table.predicted_answer is None:
        raise UserError("scores: there is no column predicted_answer to vote by")
    return list(table.predicted_answer)


Metric = Callable[[Scored], Iterable[Estimate]]
METRICS: dict[Split, list[Metric]] = {"greedy": [], "all": [], "pairs": []}
"""the registered functions of each split, in the order of their estimates"""
COMPARED: set[str] = set()
"""the metrics by which variants are compared"""


def metric(*splits: Split, compared: Iterable[str] = ()) -> Callable[[Metric], Metric]:
    """Register a function for score tables of these splits.

    Args:
        compared: those of its metrics by which variants are compared.
    """

    def register(function: Metric) -> Metric:
        for split in splits:
            METRICS[split].append(function)
        COMPARED.update(compared)
        return function

    return register
