"""What the figures need of score tables and training logs, condensed table by table.

A table is read once, and what is kept of it is a few numbers a solution, so that the report's
memory is that of the largest table.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcrm.data.questions import question_key
from gcrm.data.scores import Ragged, read_scores
from gcrm.reporting.results import NORMAL
from gcrm.stats.bootstrap import codes, sum_by
from gcrm.utils.errors import UserError
from gcrm.utils.io import read_jsonl

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Json = dict[str, Any]

SHARES = np.linspace(0, 1, 21)
"""Where in a solution its Q-values are averaged: from its first token (0) to its last but one (1).
The state of the last one is of the goal's own kind, and its Q-value has another level than those
before it. It is EOS, but for `parity: official`, which has none."""
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
        q_right, q_wrong: the mean Q-value at each of `SHARES`, as estimates with intervals over
            problems; empty without such solutions or without Q-values.
        q_range: the 2nd and 98th percentile of all Q-values but those of last tokens; None without
            any.
    """

    right: Floats
    wrong: Floats
    q_right: list[Json]
    q_wrong: list[Json]
    q_range: tuple[float, float] | None


def condense(path: Path) -> Condensed:
    """Read a score table of greedy solutions.

    Raises:
        UserError: no such table, or one that cannot be used.
    """
    table = read_scores(path, ["q_values"])
    labels, rewards = table.label, table.reward.astype(np.float64)
    right, wrong, q_range = [], [], None
    if table.q_values is not None:
        problem, _ = codes([question_key(text) for text in table.prompt])
        course = course_of(table.q_values)
        right = mean_course(course[labels], problem[labels])
        wrong = mean_course(course[~labels], problem[~labels])
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


def mean_course(course: NDArray[np.float32], problem: Ints) -> list[Json]:
    """Mean over solutions at each share, with 95 % intervals over problems.

    The interval is the mean ± 1.96 standard errors, robust to solutions of one problem being alike
    (linearised, as a mean of clusters of different sizes).

    Args:
        course: values of n solutions, (n, 21).
        problem: the problem of each, (n,).
    """
    n = len(course)
    if not n:
        return []
    values = course.astype(np.float64)
    means = values.mean(axis=0)
    _, cluster = np.unique(problem, return_inverse=True)
    clusters = int(cluster.max()) + 1
    estimates = []
    for column, mean in zip(values.T, means, strict=True):
        reach = 0.0
        if clusters > 1:
            residuals = sum_by(cluster, column - mean, clusters)
            reach = NORMAL * np.sqrt((residuals**2).sum() * clusters / (clusters - 1)) / n
        interval = [float(mean - reach), float(mean + reach)] if clusters > 1 else None
        estimates.append({"value": float(mean), "interval": interval, "n": n})
    return estimates


def centred(models: Iterable[dict[str, Condensed]]) -> dict[str, tuple[Floats, Floats]]:
    """Rewards of right and wrong solutions by benchmark, of several seeds of a variant together.

    A reward model is trained on differences only: its mean over all benchmarks means nothing, and
    is taken off before the seeds are put together.
    """
    found: dict[str, list[tuple[Floats, Floats]]] = {}
    for model in models:
        everything = [part for one in model.values() for part in (one.right, one.wrong)]
        mean = np.concatenate(everything).mean()
        for benchmark, one in model.items():
            found.setdefault(benchmark, []).append((one.right - mean, one.wrong - mean))
    return {
        benchmark: (
            np.concatenate([right for right, _ in parts]),
            np.concatenate([wrong for _, wrong in parts]),
        )
        for benchmark, parts in found.items()
    }


def training_curves(path: Path) -> dict[str, tuple[Floats, Floats]]:
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
        curves[key] = (
            np.array([steps[block].mean() for block in blocks]),
            np.array([values[block].mean() for block in blocks]),
        )
    return curves
