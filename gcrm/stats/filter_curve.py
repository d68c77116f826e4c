"""The vote's accuracy against the tokens that the Q-filter saves, and which threshold to take.

Chosen and reported on the same problems, a threshold looks better than it is; so it is chosen on
one half of them and reported on the other, both ways.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gcrm.data.questions import question_hash
from gcrm.stats.bootstrap import Bools, Floats, sum_by
from gcrm.stats.voting import Filter, Samples

POINTS = 41
"""Thresholds of a curve: quantiles of the samples' smallest Q-values."""


@dataclass(frozen=True)
class CurvePoint:
    """What one threshold does, problem by problem; each array has shape (P,)."""

    threshold: float
    accuracy: Floats
    """of the majority vote of the samples that are left"""
    dropped: Floats
    """number of samples"""
    saved: Floats
    """number of tokens"""


def filter_curve(votes: Samples, by: Filter) -> list[CurvePoint]:
    """The filter at thresholds that drop nothing, some, ... all of the samples, in this order.

    Empty where all samples are shorter than the tokens that the filter skips.
    """
    smallest = by.smallest()
    smallest = smallest[np.isfinite(smallest)]
    if not smallest.size:
        return []
    curve = []
    # The lowest threshold is the smallest Q-value of all: nothing is below it.
    for threshold in np.unique(np.quantile(smallest, np.linspace(0, 1, POINTS), method="lower")):
        filtered = by.apply(float(threshold))
        curve.append(
            CurvePoint(
                float(threshold),
                votes.majority(filtered.keep),
                sum_by(votes.problem, ~filtered.keep, votes.problems),
                sum_by(votes.problem, filtered.saved, votes.problems),
            )
        )
    return curve


@dataclass(frozen=True)
class CrossFitted:
    """The filter at thresholds of which each was chosen on the other half of the problems."""

    thresholds: tuple[float, float]
    accuracy: Floats
    """of each problem's vote, at the threshold chosen without it, (P,)"""
    saved: Floats
    """number of tokens, (P,)"""


def cross_fitted(
    curve: Sequence[CurvePoint], unfiltered: Floats, keys: Sequence[str]
) -> CrossFitted | None:
    """The chosen threshold of each half of the problems, reported on the other one.

    Resamples of what it gives are at these thresholds: they are not chosen anew in each.

    Args:
        unfiltered: accuracy of the unfiltered vote, (P,).
        keys: the problems' question keys; halves go by their hash, and not by the file's order.

    Returns:
        None where there are too few problems for two halves.
    """
    second_half = np.array([int(question_hash(key)[-1], 16) % 2 == 1 for key in keys])
    if second_half.all() or not second_half.any():
        return None
    accuracy, saved = np.empty(len(keys)), np.empty(len(keys))
    thresholds = []
    for reported in (~second_half, second_half):
        point = choose_threshold(curve, unfiltered, chosen_on=~reported)
        accuracy[reported], saved[reported] = point.accuracy[reported], point.saved[reported]
        thresholds.append(point.threshold)
    return CrossFitted((thresholds[0], thresholds[1]), accuracy, saved)


def choose_threshold(
    curve: Sequence[CurvePoint], unfiltered: Floats, chosen_on: Bools
) -> CurvePoint:
    """The point that saves most tokens at an accuracy not below the unfiltered one.

    Args:
        curve: its first point drops nothing.
        unfiltered: accuracy of the unfiltered vote, (P,).
        chosen_on: the problems that decide, (P,).
    """
    floor = unfiltered[chosen_on].sum() - 1e-9
    good = [point for point in curve if point.accuracy[chosen_on].sum() >= floor]
    # Of several that save as much, the lowest threshold.
    return max([curve[0], *good], key=lambda point: float(point.saved[chosen_on].sum()))
