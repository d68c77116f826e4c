"""The solver by program: what it writes, where it errs, and what its prefixes are worth."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from gcrm.synthetic.problems import LARGEST, make_problems
from gcrm.synthetic.solver import Solution, solve

CHAIN = make_problems("chain", 200, random.Random(0), set())
PLACES = ("anywhere", "first", "last")


def read(text: str) -> tuple[list[tuple[int, int, int]], int]:
    """The steps of a solution as (before, change, result), and its answer."""
    *steps, answer = text.split(" . ")
    words = [step.split() for step in steps]
    found = [(int(w[0]), int(w[1] + w[2]), int(w[4])) for w in words]
    return found, int(answer.removeprefix("answer "))


@settings(deadline=None)
@given(
    st.sampled_from(CHAIN), st.floats(0.01, 0.33), st.sampled_from(PLACES), st.integers(0, 10**6)
)
def test_at_most_one_step_is_wrong_and_all_others_follow_from_it(problem, rate, place, seed):
    solution = solve(problem.solution, rate, place, random.Random(seed))
    steps, answer = read(solution.text)
    right, _ = read(problem.solution)
    assert [change for _, change, _ in steps] == [change for _, change, _ in right]
    assert steps[0][0] == right[0][0] and answer == steps[-1][2]
    assert [before for before, _, _ in steps[1:]] == [result for _, _, result in steps[:-1]]
    assert all(0 <= result <= LARGEST for _, _, result in steps)
    wrong = [n for n, (before, change, result) in enumerate(steps) if before + change != result]
    assert len(wrong) <= 1
    first = wrong[0] if wrong else len(steps)
    assert [value == 0 for value in solution.step_values] == [n >= first for n in range(len(steps))]
    assert (str(answer) == problem.expected_answer) == (not wrong)
    assert [solution.text[:end].count(" .") for end in solution.step_ends] == [1, 2, 3, 4, 5, 6]
    assert all(solution.text[end - 1] == "." for end in solution.step_ends)
    if place == "first":
        assert first < 2 or not wrong
    if place == "last":
        assert first >= 4


@pytest.mark.parametrize("place", PLACES)
def test_values_are_the_shares_of_right_ends(place):
    """Of all solutions whose prefix has a value, that share ends right."""
    rng = random.Random(7)
    drawn = [(one, solve(one.solution, 0.12, place, rng)) for one in CHAIN for _ in range(40)]
    for step in range(6):
        ends: dict[float, list[bool]] = {}
        for problem, solution in drawn:
            _, answer = read(solution.text)
            value = round(solution.step_values[step], 9)
            ends.setdefault(value, []).append(str(answer) == problem.expected_answer)
        for value, right in ends.items():
            assert binomtest(sum(right), len(right), value).pvalue > 1e-4, (step, value)


def test_the_rates_of_two_steps_by_hand():
    """Each step errs with one half: a right first step is worth a half, a right second one 1."""
    found = {
        (tuple(one.step_values), one.text.split()[-1] == "8")
        for seed in range(60)
        for one in [solve("3 + 4 = 7 . 7 + 1 = 8 . answer 8", 0.5, "anywhere", random.Random(seed))]
    }
    assert found == {((0.5, 1.0), True), ((0.5, 0.0), False), ((0.0, 0.0), False)}


def test_same_seed_same_solution():
    one, other = (solve(CHAIN[0].solution, 0.3, "anywhere", random.Random(3)) for _ in range(2))
    assert one == other and isinstance(one, Solution)


@pytest.mark.parametrize("text", ["2 * 3 = 6 . answer 6", "answer 6", "", "3 + x = 4 . answer 4"])
def test_other_solutions_are_refused(text):
    with pytest.raises(ValueError, match="other steps than sums and differences"):
        solve(text, 0.1, "anywhere", random.Random(0))
