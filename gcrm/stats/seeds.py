"""Estimates over the seeds of a variant, whose intervals resample seeds as well as problems.

All models are scored on the same problems, so a resample draws both: problems with replacement, the
same ones for every model, and independently of them seeds (the pigeonhole bootstrap: Owen, 2007,
Annals of Applied Statistics 1(2), 386-411). Of S seeds it draws S - 1 with replacement
(`draw_weights`). One seed gives the bootstrap over problems. See docs/statistics.md, also for the
coverage of few seeds.

Seed k of one variant goes with seed k of another, since both see the same order of pairs: the
difference is taken seed by seed. Seeds that only one of the two has are left out. Variants that
share no seed are resampled independently of each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from gcrm.stats.bootstrap import Floats, draw_weights
from gcrm.stats.registry import Estimate

ENOUGH = 5
"""seeds below which a result says that they are few"""
ZERO = 1e-12
"""differences nearer to 0 are 0: they are sums in another order"""
BySeed = Mapping[int, Estimate]
"""the estimate of each seed's model, on the same resamples"""


def over_seeds(by_seed: BySeed, seed: int) -> Estimate:
    """Mean over the seeds; with a p, if the number is a difference itself.

    Args:
        seed: of the draws of seeds.
    """
    estimates = list(by_seed.values())
    if missing := _missing(estimates):
        return missing
    mean = replace(estimates[0], value=_mean(by_seed), p=None)
    if mean.replicates is None:
        return mean
    replicates = _resampled(by_seed, seed)
    is_change = any(estimate.p is not None for estimate in estimates)
    return replace(mean, replicates=replicates, p=two_sided_p(replicates) if is_change else None)


def difference(first: BySeed, second: BySeed, seed: int) -> tuple[Estimate, BySeed]:
    """Mean over the seeds of first minus second, with p; and the difference of each shared seed.

    Args:
        seed: of the draws of seeds.
    """
    if missing := _missing([*first.values(), *second.values()]):
        return missing, {}
    each = {key: _minus(first[key], second[key]) for key in first if key in second}
    if each:
        first, second = ({key: one[key] for key in each} for one in (first, second))
        replicates = _resampled(each, seed)
    else:
        replicates = _resampled(first, seed) - _resampled(second, seed, stream=1)
    value = _mean(first) - _mean(second)
    mean = replace(next(iter(first.values())), value=value, replicates=replicates)
    return replace(mean, p=two_sided_p(replicates)), each


def _missing(estimates: Sequence[Estimate]) -> Estimate | None:
    """The first estimate without a value: it has the reason."""
    return next((each for each in estimates if each.value is None), None)


def _minus(first: Estimate, second: Estimate) -> Estimate:
    assert first.value is not None and second.value is not None
    assert first.replicates is not None and second.replicates is not None
    value, replicates = first.value - second.value, first.replicates - second.replicates
    return replace(first, value=value, replicates=replicates)


def _mean(by_seed: BySeed) -> float:
    return float(np.mean([estimate.value for estimate in by_seed.values()]))


def _resampled(by_seed: BySeed, seed: int, stream: int = 0) -> Floats:
    """Mean over drawn seeds in each resample, shape (R,)."""
    found = (estimate.replicates for estimate in by_seed.values())
    replicates = np.stack([each for each in found if each is not None])
    weights = draw_weights(len(replicates), replicates.shape[1], seed, stream)
    return np.asarray((weights * replicates).sum(axis=0))


def two_sided_p(replicates: Floats) -> float | None:
    """Two-sided bootstrap p of a difference: twice the share of resamples on the rarer side of 0.

    It is 2 * (1 + k) / (1 + R), at most 1, where k of R resamples are at 0 or on its rarer side:
    the level at which the percentile interval would just reach 0. It is never 0; None is for no
    resamples at all.
    """
    valid = replicates[np.isfinite(replicates)]
    if not valid.size:
        return None
    rarer = min(int((valid <= ZERO).sum()), int((valid >= -ZERO).sum()))
    return min(1.0, 2 * (1 + rarer) / (1 + len(valid)))
