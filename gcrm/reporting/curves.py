"""What the figures need of score tables and training logs, condensed table by table.

A table is read once, and what is kept of it is a few numbers a solution, so that the report's
memory is that of the largest table.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gcrm.data.scores import Ragged, read_scores
from gcrm.reporting.contents import Part
from gcrm.reporting.results import NORMAL, Results
from gcrm.stats.bootstrap import sum_by
from gcrm.utils.errors import UserError
from gcrm.utils.io import read_jsonl

Floats = NDArray[np.float64]
Course = tuple[Floats, Floats]
"""Mean Q-values at each of `SHARES`, and half the width of their 95 % intervals (NaN for none)."""
Curves = dict[str, tuple[Floats, Floats]]
"""Steps and values of training curves, by what the log calls them."""

SHARES = np.linspace(0, 1, 21)
"""Where in a solution its Q-values are averaged: from its first token (0) to its last but one (1).
The state of the last one is of the goal's own kind, and its Q-value has another level than those
before it. It is EOS, except with `parity: official`, which has none."""
MOST_POINTS = 100
"""Points of a training curve; longer logs are averaged in blocks."""
TRAINING = {
    "preference_loss": "preference loss",
    "accuracy": "preference accuracy",
    "contrastive_loss": "contrastive loss",
    "positive_cosine": "cosine, positives",
    "negative_cosine": "cosine, negatives",
    "eval_accuracy": "held-out preference accuracy",
}
"""Curves of a training log, by what the log calls them."""


@dataclass(frozen=True)
class Condensed:
    """One model's scores of the greedy solutions of one benchmark.

    Attributes:
        right, wrong: rewards of these solutions.
        q_right, q_wrong: the course of their Q-values, with intervals over problems; None without
            such solutions or without Q-values.
        q_range: the 2nd and 98th percentile of all Q-values but those of last tokens; None without
            any.
    """

    right: Floats
    wrong: Floats
    q_right: Course | None = None
    q_wrong: Course | None = None
    q_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Material:
    """What figures are made of.

    Attributes:
        label: the run, for headings.
        results: its metrics.
        scores: condensed score tables by variant, seed and benchmark; empty where not given.
        training: training curves by variant and seed; empty where not given.
    """

    label: str
    results: Results
    scores: dict[str, dict[int, dict[str, Condensed]]] = field(default_factory=dict)
    training: dict[str, dict[int, Curves]] = field(default_factory=dict)

    def variants(self, part: Part) -> list[str]:
        """The variants that a figure shows."""
        return list(part.variants or self.results.variants)

    def heading(self, text: str) -> str:
        """The first words on a figure."""
        return f"{self.label}\n{text}"


def read_material(
    label: str, results: Results, scores_dir: Path | None, models_dir: Path | None
) -> Material:
    """Read the score tables and training logs of all models of a run, as far as given.

    Raises:
        UserError: a file is missing, or cannot be used.
    """
    material = Material(label, results)
    for variant in results.variants:
        for seed in results.seeds(variant):
            if scores_dir is not None and results.benchmarks():
                material.scores.setdefault(variant, {})[seed] = {
                    benchmark: condense(scores_file(scores_dir, variant, seed, benchmark))
                    for benchmark in results.benchmarks()
                }
            if models_dir is not None:
                log = models_dir / variant / f"seed{seed}" / "training_log.jsonl"
                material.training.setdefault(variant, {})[seed] = training_curves(log)
    return material


def scores_file(folder: Path, variant: str, seed: int, benchmark: str) -> Path:
    """The score table of a model's greedy solutions."""
    return folder / variant / f"seed{seed}" / benchmark / "greedy" / "scores.parquet"


def condense(path: Path) -> Condensed:
    """Read a score table of greedy solutions.

    Raises:
        UserError: no such table, or one that cannot be used.
    """
    table = read_scores(path, ["q_values"])
    labels, rewards = table.label, table.reward.astype(np.float64)
    if table.q_values is None:
        return Condensed(rewards[labels], rewards[~labels])
    course = course_of(table.q_values)
    right = mean_course(course[labels], table.group[labels])
    wrong = mean_course(course[~labels], table.group[~labels])
    q_range = _range(table.q_values)
    return Condensed(rewards[labels], rewards[~labels], right, wrong, q_range)


def _range(q_values: Ragged) -> tuple[float, float]:
    without_end = np.delete(q_values.values, q_values.offsets[1:] - 1)
    low, high = np.percentile(without_end if len(without_end) else q_values.values, [2, 98])
    return float(low), float(high)


def course_of(q_values: Ragged) -> NDArray[np.float32]:
    """The Q-value at each of `SHARES` of each solution (the nearest token's), (n, 21)."""
    last = np.maximum(q_values.lengths - 2, 0)[:, None]
    token = np.rint(last * SHARES).astype(np.int64)
    return np.asarray(q_values.values[q_values.offsets[:-1, None] + token], np.float32)


def mean_course(course: NDArray[np.float32], problem: NDArray[np.integer]) -> Course | None:
    """Mean over solutions at each share, with 95 % intervals over problems; None without any.

    The interval is the mean ± 1.96 standard errors, robust to solutions of one problem being alike
    (linearised, as a mean of clusters of different sizes). One problem has none.

    Args:
        course: values of n solutions, (n, 21).
        problem: the problem of each, (n,).
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
    """Mean over seeds, with 95 % intervals over problems, which they share, and seeds."""
    means, reaches = (np.stack(part) for part in zip(*courses, strict=True))
    seeds = len(courses)
    spread = NORMAL**2 * means.var(axis=0, ddof=1) / seeds if seeds > 1 else 0.0
    return means.mean(axis=0), np.sqrt((reaches**2).mean(axis=0) + spread)


def centred(models: Iterable[dict[str, Condensed]]) -> dict[str, tuple[Floats, Floats]]:
    """Rewards of right and wrong solutions by benchmark, of several seeds of a variant together.

    A reward model is trained on differences only: its mean over all benchmarks means nothing, and
    is taken off before the seeds are put together.
    """
    found: dict[str, list[tuple[Floats, Floats]]] = {}
    for model in models:
        mean = np.concatenate(
            [part for one in model.values() for part in (one.right, one.wrong)]
        ).mean()
        for benchmark, one in model.items():
            found.setdefault(benchmark, []).append((one.right - mean, one.wrong - mean))
    return {
        benchmark: (
            np.concatenate([right for right, _ in both]),
            np.concatenate([w for _, w in both]),
        )
        for benchmark, both in found.items()
    }


def training_curves(path: Path) -> Curves:
    """Steps and values of each of `TRAINING` that a training log has.

    Raises:
        UserError: no such log, or a line of it is no JSON object with a step.
    """
    if Path(path).is_file() and not Path(path).stat().st_size:
        return {}  # a training shorter than its logging_steps
    rows = read_jsonl(path)
    curves = {}
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
