"""From the scores of a cell to its two tables: estimates of each model, and paired differences.

The statistics are gcrm's own: all models share the resamples of the questions, seeds are drawn as
`gcrm compare` draws them, and a difference goes seed by seed and question by question.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.study.plan import METRICS, Comparison
from gcrm.config.metrics import MetricsSettings
from gcrm.data.scores import ScoreTable, read_scores
from gcrm.stats.bootstrap import Bootstrap, interval
from gcrm.stats.matching import Completions
from gcrm.stats.ranking import aurocs_of_samples
from gcrm.stats.registry import Estimate, Scored
from gcrm.stats.seeds import BySeed, difference, over_seeds
from gcrm.stats.steps import first_errors, savings_of_oracle, value_correlations
from gcrm.utils.io import read_jsonl

FUNCTIONS = (aurocs_of_samples, value_correlations, first_errors, savings_of_oracle)
KEPT = (*METRICS.values(), "first_error", "oracle")
"""metrics that start so are kept, but for differences from the length"""
RESAMPLES = 10_000
"""fewer give no p that a correction over all primary comparisons can leave below 0.05"""
SETTINGS = MetricsSettings(percentiles=[], bootstrap_resamples=RESAMPLES)
COLUMNS = ["completion", "predicted_answer", "partial_rewards", "q_values", "true_values"]
CURVES = ("contrastive_loss", "positive_cosine", "negative_cosine", "accuracy")
"""columns of a training log whose last values are kept"""
LAST = 5
"""rows of a training log over which these are averaged"""
Estimates = Mapping[str, Mapping[int, Mapping[str, Estimate]]]
"""by variant, seed and metric"""


def measure(files: Mapping[tuple[str, int], Path]) -> Estimates:
    """The estimates of each model, given its score table; all have scored the same samples.

    Raises:
        UserError: a file cannot be read, or has other rows than the first.
    """
    found: dict[str, dict[int, dict[str, Estimate]]] = {}
    first: Completions | None = None
    bootstrap: Bootstrap | None = None
    for (variant, seed), path in files.items():
        table = read_scores(path, COLUMNS)
        first = first or Completions(table, str(path))
        table = first.in_order(table, str(path))
        bootstrap = bootstrap or Bootstrap.over_prompts(
            table.prompt, SETTINGS.bootstrap_resamples, SETTINGS.bootstrap_seed
        )
        found.setdefault(variant, {})[seed] = estimates(table, bootstrap)
    return found


def estimates(table: ScoreTable, bootstrap: Bootstrap) -> dict[str, Estimate]:
    """The measures of the study of one model, by metric."""
    scored = Scored(table, SETTINGS, bootstrap)
    ones = np.ones(len(table))
    found = [scored.ratio("correct", scored.by_problem(table.label), scored.by_problem(ones))]
    found += [each for function in FUNCTIONS for each in function(scored)]
    return {
        each.metric: each
        for each in found
        if each.metric == "correct"
        or (each.metric.startswith(KEPT) and "_minus_" not in each.metric)
    }


def table_of_estimates(found: Estimates) -> pd.DataFrame:
    """One row a metric and model, and one for the mean over the seeds of a variant (no seed)."""
    rows: list[dict[str, Any]] = []
    for variant, models in found.items():
        for metric in next(iter(models.values())):
            by_seed = {seed: model[metric] for seed, model in models.items()}
            names = {"variant": variant, "metric": metric}
            rows += [
                names | row for row in _rows(over_seeds(by_seed, SETTINGS.bootstrap_seed), by_seed)
            ]
    return _frame(rows)


def table_of_differences(found: Estimates, wanted: Iterable[Comparison]) -> pd.DataFrame:
    """One row a comparison and seed, and one for the mean over the seeds (no seed), with its p."""
    rows: list[dict[str, Any]] = []
    for one in wanted:
        sides = zip((one.first, one.second), one.metrics(), strict=True)
        first, second = (
            {seed: model[metric] for seed, model in found[side.variant].items()}
            for side, metric in sides
        )
        mean, each = difference(first, second, SETTINGS.bootstrap_seed)
        names = {
            "question": one.question,
            "measure": one.measure,
            "variant": one.first.variant,
            "score": one.first.score,
            "baseline": one.second.variant,
            "baseline_score": one.second.score,
        }
        rows += [names | row for row in _rows(mean, each)]
    return _frame(rows)


def _rows(mean: Estimate, by_seed: BySeed) -> Iterator[dict[str, Any]]:
    for seed, one in [(None, mean), *by_seed.items()]:
        ends = (np.nan, np.nan) if one.replicates is None else interval(one.replicates)
        yield {
            "seed": seed,
            "value": one.value,
            "low": ends[0],
            "high": ends[1],
            "n": one.n,
            "p": one.p if seed is None else None,
            "reason": one.reason,
        }


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows).astype({"seed": "Int64"})


def ends_of_training(logs: Mapping[tuple[str, int], Path]) -> pd.DataFrame:
    """The mean of the last values of each training log: whether the contrastive term was learnt."""
    rows = []
    for (variant, seed), path in logs.items():
        last = pd.DataFrame(read_jsonl(path)).tail(LAST)
        means = {name: last[name].mean() for name in CURVES if name in last}
        rows.append({"variant": variant, "seed": seed} | means)
    return pd.DataFrame(rows)
