"""The made world of benchmarks/steering.py has the pairs and examples that it tells of."""

import importlib

import pytest

from helpers.processes import ROOT


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
