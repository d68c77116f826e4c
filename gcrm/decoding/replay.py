"""What a rule would have dropped, of samples that were read to their end.

A sample that is not dropped is the same with every rule, and so is what the reward model says of
it. So one run without a rule tells what any rule would keep and spend: `live` does what `replay`
says. It shows many thresholds at the cost of one, and lets one be chosen.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from gcrm.decoding.live import Sample, Solved
from gcrm.decoding.rules import Rule


def replay(solved: Solved, rule: Rule) -> Solved:
    """The samples of a problem as a rule would have left them.

    Args:
        solved: samples that a reward model has read, and none of which was dropped.
    """
    samples = solved.samples
    ends: dict[int, int] = {}
    running, kept, step = list(range(len(samples))), 0, 0
    while running:
        goes_on = [step + 1 < len(samples[row].checks) for row in running]
        checks = [samples[row].checks[step] for row in running]
        dropped = {running[place] for place in rule.dropped(checks, goes_on, kept)}
        ends |= dict.fromkeys(dropped, step)
        ended = [row for row, more in zip(running, goes_on, strict=True) if not more]
        kept += sum(row not in dropped for row in ended)
        running = [row for row in running if row not in dropped and row not in ended]
        step += 1
    left = [_cut(one, ends[row]) if row in ends else one for row, one in enumerate(samples)]
    return replace(solved, samples=left)


def thresholds(solved: Sequence[Solved], number: int) -> list[float]:
    """Q-values between those of samples, from one that drops none to one that drops most.

    A threshold lies halfway between two samples, so that rounding moves none across it.
    """
    lows = sorted(
        min(found)
        for one in solved
        for sample in one.samples
        if (found := [check.q_value for check in sample.checks if check.q_value is not None])
    )
    if not lows:
        return []
    between = [lows[0] - 1e-3, *((low + high) / 2 for low, high in pairwise(lows))]
    places = {round(place * (len(between) - 1) / max(number - 1, 1)) for place in range(number)}
    return sorted({between[place] for place in places})


def _cut(sample: Sample, step: int) -> Sample:
    """A sample that was dropped at this check. Its text is not known: only that of its end is."""
    checks = sample.checks[: step + 1]
    whole = step + 1 == len(sample.checks)
    return Sample(
        sample.text if whole else "",
        sample.finished and whole,
        True,
        checks[-1].generated,
        checks,
    )
