"""Wins of one method over another on the same problems, with their interval."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from gcrm.stats.bootstrap import Bootstrap, Floats, interval, mean_replicates, sign_flip_p, sum_by


@dataclass(frozen=True)
class Comparison:
    """A method beside a baseline, by what a program measured on the solutions of both.

    Attributes:
        value: mean over the problems.
        difference: mean difference to the baseline, with its 95 % interval.
        wins, ties, losses: share of the problems on which the value is larger, equal, smaller.
        win_rate: wins and half of the ties, with its 95 % interval; 0.5 is no difference.
        p: of the win rate, two-sided, by random flips of wins and losses.
    """

    value: float
    difference: float
    difference_low: float
    difference_high: float
    wins: float
    ties: float
    losses: float
    win_rate: float
    win_rate_low: float
    win_rate_high: float
    p: float


def compare(values: ArrayLike, baseline: ArrayLike, bootstrap: Bootstrap) -> Comparison:
    """Compare row by row. Problems are resampled with both values, so the intervals are paired.

    Args:
        values, baseline: of the solutions to the same questions, shape (n,).
    """
    ours, theirs = np.asarray(values, np.float64), np.asarray(baseline, np.float64)
    won = (1 + np.sign(ours - theirs)) / 2
    difference, win_rate = (_by_problem(each, bootstrap) for each in (ours - theirs, won))
    low, high = interval(mean_replicates(difference, bootstrap))
    rate_low, rate_high = interval(mean_replicates(win_rate, bootstrap))
    wins, ties, losses = (
        float(_by_problem(won == share, bootstrap).mean()) for share in (1.0, 0.5, 0.0)
    )
    return Comparison(
        value=float(_by_problem(ours, bootstrap).mean()),
        difference=float(difference.mean()),
        difference_low=low,
        difference_high=high,
        wins=wins,
        ties=ties,
        losses=losses,
        win_rate=float(win_rate.mean()),
        win_rate_low=rate_low,
        win_rate_high=rate_high,
        p=sign_flip_p(win_rate - 0.5, bootstrap.seed),
    )


def _by_problem(values: ArrayLike, bootstrap: Bootstrap) -> Floats:
    """Mean of each problem's rows, (n,) to (P,)."""
    rows = np.bincount(bootstrap.problem, minlength=bootstrap.problems)
    return np.asarray(sum_by(bootstrap.problem, values, bootstrap.problems) / rows)
