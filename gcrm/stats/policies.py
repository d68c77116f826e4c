"""Accuracy of policies on benchmarks, in and out of the distribution of the preference pairs.

A group's accuracy is over all its problems, so that benchmarks are weighted by their sizes, as in
the paper. Intervals resample problems and seeds (`gcrm.stats.seeds`).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gcrm.data.questions import question_key
from gcrm.stats.bootstrap import Bools, Bootstrap, Floats, holm, interval, mean_replicates
from gcrm.stats.registry import Estimate
from gcrm.stats.seeds import difference, over_seeds
from gcrm.utils.errors import UserError
from gcrm.utils.io import Row, read_jsonl

BASE = "base model"
"""name of the policy before any training"""
INSIDE, OUTSIDE = GROUPS = ("in distribution", "out of distribution")
COLUMNS = "policy baseline benchmarks seeds problems value low high p p_holm".split()
"""columns of a table of accuracies; a row with a baseline is a difference"""
Problem = tuple[str, str]
"""benchmark, and key of the question"""


@dataclass(frozen=True)
class Solved:
    """Which problems policies solve.

    Attributes:
        problems: in order.
        correct: whether each is solved, (P,) of 0 and 1, by policy and seed.
    """

    problems: list[Problem]
    correct: dict[str, dict[int, Floats]]


def read_solved(base: Mapping[str, Path], policies: Mapping[str, Mapping[int, Path]]) -> Solved:
    """Read the solutions of the base model and of policies.

    Args:
        base: file of the base model's solutions by benchmark; empty: without the base model.
        policies: files solutions.jsonl by name and seed.

    Raises:
        UserError: a file cannot be read, or has other problems than the first.
    """
    files = {file: read_jsonl(file) for seeds in policies.values() for file in seeds.values()}
    found = {file: _labels(rows, file) for file, rows in files.items()}
    problems = sorted(next(iter(found.values())))
    order = {file: _in_order(labels, problems, file) for file, labels in found.items()}
    correct = {
        name: {seed: order[file] for seed, file in seeds.items()}
        for name, seeds in policies.items()
    }
    if base:
        rows = [
            {**row, "benchmark": name} for name, file in base.items() for row in read_jsonl(file)
        ]
        first = next(iter(base.values()))
        labels = _in_order(_labels(rows, first), problems, first)
        seeds = sorted({seed for each in policies.values() for seed in each})
        correct = {BASE: dict.fromkeys(seeds, labels), **correct}  # the same before all seeds
    return Solved(problems, correct)


def _labels(rows: Sequence[Row], file: Path) -> dict[Problem, bool]:
    """Whether each problem is solved."""
    try:
        return {
            (row["benchmark"], question_key(row["question"])): row["is_correct"] for row in rows
        }
    except KeyError as error:
        raise UserError(f"{file}: has no {error}; expected solutions that `policy` wrote") from None


def _in_order(labels: Mapping[Problem, bool], problems: Sequence[Problem], file: Path) -> Floats:
    if sorted(labels) != problems:
        raise UserError(
            f"{file}: has solutions to other problems than the first policy; let all policies "
            "solve the same problems"
        )
    return np.array([labels[problem] for problem in problems], np.float64)


def accuracies(
    solved: Solved, in_distribution: Collection[str], resamples: int, seed: int
) -> pd.DataFrame:
    """Accuracy of each policy on each benchmark and group, and the differences of all pairs.

    Differences are paired by seed and problem. Holm's correction is over the pairs of a group.

    Returns:
        The columns COLUMNS.
    """
    rows: list[dict[str, Any]] = []
    for name, among in _groups(solved.problems, in_distribution):
        bootstrap = Bootstrap(np.arange(int(among.sum())), resamples, seed)
        estimates = {
            policy: {key: _mean(values[among], bootstrap) for key, values in seeds.items()}
            for policy, seeds in solved.correct.items()
        }
        rows += [
            _row(policy, None, name, len(each), over_seeds(each, seed))
            for policy, each in estimates.items()
        ]
        if name not in GROUPS:
            continue
        pairs = []
        for baseline, policy in combinations(estimates, 2):
            mean, each = difference(estimates[policy], estimates[baseline], seed)
            pairs.append(_row(policy, baseline, name, len(each), mean))
        corrected = holm([row["p"] for row in pairs])
        rows += [{**row, "p_holm": p} for row, p in zip(pairs, corrected, strict=True)]
    return pd.DataFrame(rows, columns=pd.Index(COLUMNS))


def _groups(
    problems: Sequence[Problem], in_distribution: Collection[str]
) -> Iterator[tuple[str, Bools]]:
    """Each group and benchmark, and which problems belong to it."""
    names = np.array([name for name, _ in problems])
    inside = np.isin(names, [*in_distribution])
    groups = zip(GROUPS, (inside, ~inside), strict=True)
    yield from ((name, among) for name, among in groups if among.any())
    yield from ((str(name), names == name) for name in dict.fromkeys(names))


def _mean(values: Floats, bootstrap: Bootstrap) -> Estimate:
    return Estimate(
        "accuracy", float(values.mean()), mean_replicates(values, bootstrap), len(values)
    )


def _row(
    policy: str, baseline: str | None, benchmarks: str, seeds: int, found: Estimate
) -> dict[str, Any]:
    assert found.replicates is not None
    low, high = interval(found.replicates)
    return {
        "policy": policy,
        "baseline": baseline,
        "benchmarks": benchmarks,
        "seeds": seeds,
        "problems": found.n,
        "value": found.value,
        "low": low,
        "high": high,
        "p": found.p,
    }
