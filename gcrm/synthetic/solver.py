"""A solver by program, whose errors are known: solutions to the made problems of chains.

A step goes wrong with a given probability: its result is another number, and all later steps
compute rightly from it. At most one step goes wrong, and steps are sums and differences, so that an
error never cancels. Therefore the value of a prefix, the probability of a right end, is known: 0
after the error, and before it the probability that no later step goes wrong. Up to the wrong
result, right and wrong solutions to a question have the same distribution.
"""

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from gcrm.synthetic.problems import LARGEST

STEP = re.compile(r"(\d+) ([+-]) (\d+) = \d+")
Place = Literal["anywhere", "first", "last"]
"""where errors happen: at any step, or in the first or the last third of the steps"""


@dataclass(frozen=True)
class Solution:
    """A solution, and the value of its prefixes.

    Attributes:
        step_ends: characters of the text up to the end of each step.
        step_values: probability of a right end after each step.
    """

    text: str
    step_ends: list[int]
    step_values: list[float]
    finished = True


def error_rates(steps: int, rate: float, place: Place) -> list[float]:
    """Probability of an error at each step that no error precedes.

    A third of the steps has three times the rate, so that about as many solutions are wrong.
    """
    third = max(1, steps // 3)
    if place == "anywhere":
        return [rate] * steps
    there = range(third) if place == "first" else range(steps - third, steps)
    return [min(1.0, rate * steps / third) if step in there else 0.0 for step in range(steps)]


def solve(solution: str, rate: float, place: Place, rng: random.Random) -> Solution:
    """Solve a problem of a chain, given its right solution.

    Args:
        rate, place: see `error_rates`.
        rng: the only source of randomness.

    Raises:
        ValueError: it is not the solution of a chain.
    """
    found = [STEP.fullmatch(step) for step in solution.split(" . ")[:-1]]
    steps = [match.groups() for match in found if match]
    if not steps or len(steps) < len(found):
        raise ValueError(f"{solution[:40]!a} has other steps than sums and differences")
    changes = [int(sign + right) for _, sign, right in steps]
    totals = list(accumulate(changes, initial=int(steps[0][0])))
    others = [_other_results(total, changes[n:]) for n, total in enumerate(totals[1:], start=1)]
    rates = error_rates(len(steps), rate, place)
    rates = [one if results else 0.0 for one, results in zip(rates, others, strict=True)]
    failed, texts, values = False, [], []
    for n, (_, sign, right) in enumerate(steps):
        # A draw at each step, so that one error changes no other draw.
        if rng.random() < rates[n] and not failed:
            slip, failed = rng.choice(others[n]) - totals[n + 1], True
            totals[n + 1 :] = [total + slip for total in totals[n + 1 :]]
        texts.append(f"{totals[n]} {sign} {right} = {totals[n + 1]} .")
        values.append(0.0 if failed else math.prod(1 - one for one in rates[n + 1 :]))
    ends = [end - 1 for end in accumulate(len(text) + 1 for text in texts)]
    return Solution(" ".join([*texts, f"answer {totals[-1]}"]), ends, values)


def _other_results(right: int, changes: Sequence[int]) -> list[int]:
    """Other results of a step, from which the later steps stay in range."""
    sums = list(accumulate(changes, initial=0))
    return [result for result in range(-min(sums), LARGEST - max(sums) + 1) if result != right]
