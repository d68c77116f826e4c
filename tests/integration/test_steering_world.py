"""The made world of benchmarks/steering.py has the pairs and examples that it tells of."""

import importlib
import random

import pytest

from gcrm.synthetic.problems import FAMILIES, compute, make_problems, predicted_answer
from helpers.processes import ROOT

SOLUTION = "12 + 9 = 21 . 21 * 2 = 42 . answer 42"


def solution(question: str, text: str, is_correct: bool) -> dict[str, object]:
    return {"question": question, "generated_solution": text, "is_correct": is_correct}


@pytest.fixture
def steering(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.steering")


def test_pairs_for_steering_prefer_more_of_an_attribute(steering) -> None:
    """One pair an attribute, none where both solutions have as much of it."""
    short, long = "1 + 1 = 2 . answer 2", "so then we get 1 + 1 = 3 . answer 3"
    samples = [solution("q", short, True), solution("q", long, False)]
    pairs = steering.make_pairs(samples, seed=0)
    assert [(pair["correct"], pair["incorrect"]) for pair in pairs] == [
        (short, long),
        (long, short),
    ]
    assert steering.make_pairs([samples[0], samples[0]], seed=0) == []


def test_examples_for_steering_are_the_best_of_different_problems(steering) -> None:
    samples = [
        solution(f"q{n}", "check " * (n % 4) + "word " * (n % 7), n % 2 == 0) for n in range(200)
    ]
    rows = steering.make_examples(samples, seed=0)
    assert len({row["prompt"] for row in rows}) == len(rows) == 60
    of_checks = [row["response"] for row in rows if row["checks"] == 1]
    assert [text.count("check") for text in of_checks] == [3] * 20
    assert all(row["correctness"] + row["words"] + row["checks"] == 1 for row in rows)


def test_a_style_has_all_words_and_checks_or_none(steering) -> None:
    rng = random.Random(0)
    assert steering.restyle(SOLUTION, rng, checked=0, wordy=0) == SOLUTION
    assert steering.restyle(SOLUTION, rng, checked=1, wordy=0) == (
        "12 + 9 = 21 . check 21 - 9 = 12 . 21 * 2 = 42 . check 42 / 2 = 21 . answer 42"
    )
    wordy = steering.restyle(SOLUTION, rng, checked=0, wordy=1)
    for opening in steering.OPENINGS:
        wordy = wordy.replace(f"{opening} ", "")
    assert wordy == SOLUTION


def test_styles_are_drawn_step_by_step(steering) -> None:
    texts = {steering.restyle(SOLUTION, random.Random(seed)) for seed in range(2000)}
    assert len(texts) == (2 * (1 + len(steering.OPENINGS))) ** 2


@pytest.mark.parametrize("family", FAMILIES)
def test_checks_of_made_solutions_are_right(steering, family: str) -> None:
    """But for those of a product with 0, which has no inverse."""
    for problem in make_problems(family, 100, random.Random(0), set()):
        styled = steering.restyle(problem.solution, random.Random(1), checked=1)
        assert predicted_answer(styled) == problem.expected_answer
        for step in problem.solution.split(" . ")[:-1]:
            _, left, operation, right, _, result, _ = steering.check_of(step).split()
            if (operation, right) != ("/", "0"):
                assert compute(int(left), operation, int(right), largest=60) == int(result)
