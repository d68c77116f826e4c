"""Data of the figures, from score tables and training logs.

Each score table is read once and reduced to a few numbers per solution, so the report needs memory
for only one table at a time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

from gcrm.data.ragged import Ragged
from gcrm.data.scores import read_scores
from gcrm.reporting.contents import Item
from gcrm.reporting.results import NORMAL, Results
from gcrm.stats.bootstrap import sum_by
from gcrm.stats.estimates import read_all_estimates
from gcrm.stats.goals import read_measurements
from gcrm.utils.errors import UserError
from gcrm.utils.io import read_log

Floats = NDArray[np.float64]
Course = tuple[Floats, Floats]
"""mean Q-values at each of `SHARES`, and half-widths of their 95 % intervals (NaN if unknown)"""
Curves = dict[str, tuple[Floats, Floats]]
"""steps and values of training curves, by their key in the log"""

SHARES = np.linspace(0, 1, 21)
"""positions of Q-values within a solution, from the first token (0) to the last but one (1); the
goal state is a mean of states of last tokens, whose Q-values differ from those before"""
MOST_POINTS = 100
"""largest number of points of a training curve; longer logs are averaged in blocks"""
TRAINING = {
    "preference_loss": "preference loss",
    "accuracy": "preference accuracy",
    "contrastive_loss": "contrastive loss",
    "positive_cosine": "cosine, positives",
    "negative_cosine": "cosine, negatives",
    "eval_accuracy": "held-out preference accuracy",
}
"""titles of training curves, by their key in the log"""


@dataclass(frozen=True)
class ScoreSummary:
    """One model's scores of the greedy solutions of one benchmark.

    Attributes:
        correct, incorrect: rewards of the correct and the incorrect solutions.
        q_correct, q_incorrect: mean course of their Q-values, with intervals over problems; None
            if there are no such solutions or no Q-values.
        q_range: 2nd and 98th percentile of the Q-values without last tokens; None without Q-values.
    """

    correct: Floats
    incorrect: Floats
    q_correct: Course | None = None
    q_incorrect: Course | None = None
    q_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class FigureData:
    """The data of all figures.

    Attributes:
        label: name of the run, for headings.
        results: metrics and comparisons.
        scores: summaries of score tables by variant, seed and benchmark; empty if not given.
        training: training curves by variant and seed; empty if not given.
        goals: measurements of goal states; see `gcrm.stats.goals`.
        generated: estimates of `generate`.
    """

    label: str
    results: Results
    scores: dict[str, dict[int, dict[str, ScoreSummary]]] = field(default_factory=dict)
    training: dict[str, dict[int, Curves]] = field(default_factory=dict)
    goals: DataFrame = field(default_factory=lambda: read_measurements([]))
    generated: DataFrame = field(default_factory=lambda: read_all_estimates([]))

    def variants(self, item: Item) -> list[str]:
        """The variants in a figure."""
        return list(item.variants or self.results.variants)

    def heading(self, text: str) -> str:
        """The heading of a figure."""
        return f"{self.label}\n{text}"


def read_figure_data(
    label: str,
    results: Results,
    scores_dir: Path | None,
    models_dir: Path | None,
    goals: Sequence[Path] = (),
    generated: Sequence[Path] = (),
) -> FigureData:
    """Read the score tables and training logs of all models, if their folders are given.

    Args:
        goals: files of measurements of goal states.
        generated: files of estimates of `generate`.

    Raises:
        UserError: a file is missing or invalid.
    """
    measured = read_measurements(goals), read_all_estimates(generated)
    data = FigureData(label, results, goals=measured[0], generated=measured[1])
    for variant in results.variants:
        for seed in results.seeds(variant):
            if scores_dir is not None and results.benchmarks():
                data.scores.setdefault(variant, {})[seed] = {
                    benchmark: summarise_scores(scores_file(scores_dir, variant, seed, benchmark))
                    for benchmark in results.benchmarks()
                }
            if models_dir is not None:
                log = models_dir / variant / f"seed{seed}" / "training_log.jsonl"
                data.training.setdefault(variant, {})[seed] = training_curves(log)
    return data


def scores_file(folder: Path, variant: str, seed: int, benchmark: str) -> Path:
    """The score table of a model's greedy solutions."""
    return folder / variant / f"seed{seed}" / benchmark / "greedy" / "scores.parquet"


def summarise_scores(path: Path) -> ScoreSummary:
    """Read and summarise a score table of greedy solutions.

    Raises:
        UserError: the table is missing or invalid.
    """
    table = read_scores(path, ["q_values"])
    labels, rewards = table.label, table.reward.astype(np.float64)
    if table.q_values is None:
        return ScoreSummary(rewards[labels], rewards[~labels])
    course = course_of(table.q_values)
    correct = mean_course(course[labels], table.group[labels])
    incorrect = mean_course(course[~labels], table.group[~labels])
    q_range = _range(table.q_values)
    return ScoreSummary(rewards[labels], rewards[~labels], correct, incorrect, q_range)


def _range(q_values: Ragged) -> tuple[float, float]:
    without_end = np.delete(q_values.values, q_values.offsets[1:] - 1)
    low, high = np.percentile(without_end if len(without_end) else q_values.values, [2, 98])
    return float(low), float(high)


def course_of(q_values: Ragged) -> NDArray[np.float32]:
    """The Q-value of each solution at each of `SHARES` (of the nearest token), (n, 21)."""
    last = np.maximum(q_values.lengths - 2, 0)[:, None]
    token = np.rint(last * SHARES).astype(np.int64)
    return np.asarray(q_values.values[q_values.offsets[:-1, None] + token], np.float32)


def mean_course(course: NDArray[np.float32], problem: NDArray[np.integer]) -> Course | None:
    """Mean over solutions at each share, with 95 % intervals over problems; None without solutions.

    The interval is the mean ± 1.96 cluster-robust standard errors (linearised), with problems as
    clusters. It is NaN for a single problem.

    Args:
        course: values of n solutions, (n, 21).
        problem: the problem of each solution, (n,).
    """
    n = len(course)
    if not n:
        return None
    values = course.astype(np.float64)
    mean = values.mean(axis=0)
    _, cluster = np.unique(problem, return_inverse=True)
    count = int(cluster.max()) + 1
    if count == 1:
        return mean, np.full_like(mean, np.nan)
    residuals = np.stack([sum_by(cluster, column, count) for column in (values - mean).T])
    return mean, NORMAL * np.sqrt((residuals**2).sum(axis=1) * count / (count - 1)) / n


def mean_of_seeds(courses: Sequence[Course]) -> Course:
    """Mean over seeds, with 95 % intervals over seeds and their common problems."""
    means, reaches = (np.stack(part) for part in zip(*courses, strict=True))
    seeds = len(courses)
    spread = NORMAL**2 * means.var(axis=0, ddof=1) / seeds if seeds > 1 else 0.0
    return means.mean(axis=0), np.sqrt((reaches**2).mean(axis=0) + spread)


def centred(models: Iterable[dict[str, ScoreSummary]]) -> dict[str, tuple[Floats, Floats]]:
    """Rewards of correct and incorrect solutions by benchmark, pooled over the seeds of a variant.

    Rewards are defined up to a constant, so each seed's mean over all benchmarks is subtracted.
    """
    found: dict[str, list[tuple[Floats, Floats]]] = {}
    for model in models:
        rewards = [part for one in model.values() for part in (one.correct, one.incorrect)]
        mean = np.concatenate(rewards).mean()
        for benchmark, one in model.items():
            found.setdefault(benchmark, []).append((one.correct - mean, one.incorrect - mean))
    pooled = {}
    for benchmark, seeds in found.items():
        correct, incorrect = map(np.concatenate, zip(*seeds, strict=True))
        pooled[benchmark] = correct, incorrect
    return pooled


def training_curves(path: Path) -> Curves:
    """Steps and values of the curves of `TRAINING` in a training log.

    Raises:
        UserError: the log is missing, or a line is invalid.
    """
    rows, curves = read_log(path), {}
    for key in TRAINING:
        points = [(row.get("step"), row[key]) for row in rows if row.get(key) is not None]
        if not points:
            continue
        try:
            steps, values = np.array(points, np.float64).T
        except (TypeError, ValueError):
            steps = values = np.array([np.nan])
        if not np.isfinite(steps).all():
            raise UserError(f"{path}: {key} or its step is not a number; train it again")
        blocks = np.array_split(np.arange(len(points)), min(len(points), MOST_POINTS))
        mean_steps, mean_values = (
            np.array([part[block].mean() for block in blocks]) for part in (steps, values)
        )
        curves[key] = mean_steps, mean_values
    return curves
