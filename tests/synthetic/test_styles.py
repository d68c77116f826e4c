"""Styles of solutions: the same steps and answer, with words and checks."""

import random

import pytest

from gcrm.synthetic.problems import FAMILIES, compute, make_problems, predicted_answer
from gcrm.synthetic.styles import OPENINGS, check_of, restyle

SOLUTION = "12 + 9 = 21 . 21 * 2 = 42 . answer 42"


def test_all_and_none():
    rng = random.Random(0)
    assert restyle(SOLUTION, rng, checked=0, wordy=0) == SOLUTION
    assert restyle(SOLUTION, rng, checked=1, wordy=0) == (
        "12 + 9 = 21 . check 21 - 9 = 12 . 21 * 2 = 42 . check 42 / 2 = 21 . answer 42"
    )
    wordy = restyle(SOLUTION, rng, checked=0, wordy=1)
    for opening in OPENINGS:
        wordy = wordy.replace(f"{opening} ", "")
    assert wordy == SOLUTION


def test_styles_are_drawn_step_by_step():
    texts = {restyle(SOLUTION, random.Random(seed)) for seed in range(2000)}
    assert len(texts) == (2 * (1 + len(OPENINGS))) ** 2


@pytest.mark.parametrize("family", FAMILIES)
def test_checks_of_made_solutions_are_right(family):
    """But for those of a product with 0, which has no inverse."""
    for problem in make_problems(family, 100, random.Random(0), set()):
        styled = restyle(problem.solution, random.Random(1), checked=1)
        assert predicted_answer(styled) == problem.expected_answer
        for step in problem.solution.split(" . ")[:-1]:
            _, left, operation, right, _, result, _ = check_of(step).split()
            if (operation, right) != ("/", "0"):
                assert compute(int(left), operation, int(right), largest=60) == int(result)
