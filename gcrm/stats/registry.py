"""Metrics are registered functions over a score table.

A metric yields the estimates of a `Scored` table, and says which splits it applies to:

    @metric("greedy")
    def my_metric(scored: Scored) -> Iterator[Estimate]:
        yield scored.mean("my_metric", values)  # one value a problem

Its estimates then are in metrics files and comparisons (see `gcrm.stats.compute`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
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
from gcrm.stats.filters import QFilter
from gcrm.stats.voting import Samples
from gcrm.utils.errors import UserError

NO_Q_VALUES = "scored without a goal state: there are no Q-values"
NO_PERCENTILES = "no percentiles were asked for"


@dataclass(frozen=True)
class Estimate:
    """A number of one model, and what it is in each resample of the problems."""

    metric: str
    value: float | None
    replicates: Floats | None
    """shape (R,), NaN where a resample has no such number; None for counts"""
    n: int
    """rows, problems or pairs that the number rests on"""
    at: float | None = None
    """place on a curve: a share of the tokens, or a threshold"""
    p: float | None = None
    """two-sided p of a number that is a difference"""
    reason: str | None = None
    """why there is no value"""
    compared: bool = True
    """whether variants are compared by this number"""


@dataclass(frozen=True)
class Scored:
    """A score table with the resamples that its metrics share, and ways to make estimates."""

    table: ScoreTable
    settings: MetricsSettings
    bootstrap: Bootstrap
    """of the table's rows, by prompt"""
    greedy: ScoreTable | None = None
    """greedy solutions to the same problems, beside sampled ones"""

    @classmethod
    def of(
        cls,
        table: ScoreTable,
        settings: MetricsSettings,
        greedy: ScoreTable | None = None,
        bootstrap: Bootstrap | None = None,
    ) -> "Scored":
        """A table with resamples of its own, or with those of a table that has the same rows."""
        resamples, seed = settings.bootstrap_resamples, settings.bootstrap_seed
        bootstrap = bootstrap or Bootstrap.over_prompts(table.prompt, resamples, seed)
        return cls(table, settings, bootstrap, greedy)

    @cached_property
    def votes(self) -> Samples:
        """The completions as votes for their canonical answers."""
        answers = [canonical(answer) for answer in predicted(self.table)]
        return Samples(self.bootstrap.problem, answers, self.table.label)

    @cached_property
    def q_filter(self) -> QFilter | None:
        """The filter by Q-values; None where there are none."""
        q_values = self.table.q_values
        if q_values is None:
            return None
        return QFilter(q_values, self.bootstrap.problem, self.settings.skip_tokens)

    def by_problem(self, values: Any) -> Floats:
        """Sum of the rows' values for each problem, (n,) to (P,)."""
        return sum_by(self.bootstrap.problem, values, self.bootstrap.problems)

    def mean(self, metric: str, values: Floats, **more: Any) -> Estimate:
        """Mean over problems of values of shape (P,)."""
        replicates = mean_replicates(values, self.bootstrap)
        return Estimate(metric, float(values.mean()), replicates, len(values), **more)

    def change(self, metric: str, after: Floats, before: Floats, **more: Any) -> Estimate:
        """Mean of after - before, both (P,), with the p of a sign-flip test over problems."""
        difference = after - before
        if "p" not in more:
            more["p"] = sign_flip_p(difference, self.settings.bootstrap_seed)
        return self.mean(metric, difference, **more)

    def ratio(
        self, metric: str, above: Floats, below: Floats, n: int | None = None, **more: Any
    ) -> Estimate:
        """Sum over sum of values of shape (P,), such as tokens saved over tokens.

        Args:
            n: what it rests on (default: the number of problems).
        """
        n = len(below) if n is None else n
        if not below.sum():
            reason = "there is nothing to take a share of"
            return Estimate(metric, None, None, n, reason=reason, **more)
        replicates = ratio_replicates(above, below, self.bootstrap)
        return Estimate(metric, float(above.sum() / below.sum()), replicates, n, **more)

    def count(self, metric: str, value: float) -> Estimate:
        """A number about the table; it has no interval."""
        return Estimate(metric, float(value), None, len(self.table))

    def missing(self, kind: str, names: Iterable[str], reason: str) -> Iterator[Estimate]:
        """Rows `kind.name` without a value."""
        for name in names:
            yield Estimate(f"{kind}.{name}", None, None, len(self.table), reason=reason)


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


def metric(*splits: Split, compared: Sequence[str] | None = None) -> Callable[[Metric], Metric]:
    """Register a function for score tables of these splits.

    Args:
        compared: the metrics by which variants are compared (default: all that it yields).
    """

    def register(function: Metric) -> Metric:
        def estimates(scored: Scored) -> Iterator[Estimate]:
            for estimate in function(scored):
                of_these = compared is None or estimate.metric in compared
                yield estimate if of_these else replace(estimate, compared=False)

        for split in splits:
            METRICS[split].append(estimates)
        return function

    return register
