"""Several right ways to write a solution, for tests of steering: what a program can tell apart.

Each step of a made solution may begin with some words that add nothing, and may be followed by a
check with the inverse operation:

    now we work out 12 + 9 = 21 . check 21 - 9 = 12 . 21 * 2 = 42 . answer 42

Both are drawn step by step, so a language model that has read such solutions writes all mixtures.
"""

import random

OPENINGS = ("now we work out", "next we see that", "so then we get")
INVERSE = {"+": "-", "-": "+", "*": "/", "/": "*"}


def restyle(solution: str, rng: random.Random, checked: float = 0.5, wordy: float = 0.5) -> str:
    """A solution of `gcrm.synthetic.problems` in a style drawn for each of its steps.

    Args:
        checked: share of the steps that are checked, 0 to 1.
        wordy: share of the steps that begin with words, 0 to 1.
    """
    *steps, answer = solution.split(" . ")
    words = []
    for step in steps:
        opening = [rng.choice(OPENINGS)] if rng.random() < wordy else []
        checks = [check_of(step)] if rng.random() < checked else []
        words += [*opening, f"{step} .", *checks]
    return " ".join([*words, answer])


def check_of(step: str) -> str:
    """The check of a step `12 + 9 = 21`: `check 21 - 9 = 12 .`"""
    left, operation, right, _, result = step.split()
    return f"check {result} {INVERSE[operation]} {right} = {left} ."
