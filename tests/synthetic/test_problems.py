"""Synthetic problems: correct arithmetic, small vocabulary, no duplicate questions."""

import operator
import random
import re

import pytest

from gcrm.config import prepare
from gcrm.data.questions import question_key
from gcrm.synthetic.problems import FAMILIES, LARGEST, Problem, make_problems, predicted_answer
from gcrm.utils.errors import UserError

# The meanings of the words, repeated here to detect a word on a wrong list.
OPERATORS = {
    "+": {"+", "plus", "with", "joined"},
    "-": {"-", "minus", "less", "without"},
    "*": {"*", "times", "by", "of"},
    "/": {"/"},
}
MORE = {"buys", "finds", "gets"}
MORE |= {"earns", "wins", "picks", "collects", "borrows", "receives", "gains", "makes"}
LESS = {"loses", "sells", "gives"}
LESS |= {"eats", "drops", "breaks", "lends", "throws", "spends", "burns", "hides"}
COMMON = {"buys", "finds", "gets", "loses", "sells", "gives"}
RARE = (MORE | LESS | set().union(*OPERATORS.values()) - {"+", "-", "*", "/"}) - COMMON
APPLY = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


@pytest.fixture(scope="module")
def problems() -> dict[str, list[Problem]]:
    taken: set[str] = set()
    return {family: make_problems(family, 400, random.Random(1), taken) for family in FAMILIES}


def test_families_equal_those_of_the_config():
    assert tuple(FAMILIES) == prepare.FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_steps_are_correct_and_the_last_result_is_the_answer(problems, family):
    for problem in problems[family]:
        *steps, last = problem.solution.split(" . ")
        for step in steps:
            left, operation, right, equals, result = step.split()
            assert equals == "="
            assert APPLY[operation](int(left), int(right)) == int(result)
        assert last == f"answer {problem.expected_answer}" == f"answer {result}"


def test_answers_of_expressions_and_equations_are_correct(problems):
    """Computed from the question, not from the steps."""
    for problem in problems["math"]:
        expression = problem.question.removeprefix("what is ").removesuffix(" ?")
        assert _evaluate(expression) == int(problem.expected_answer), problem
    for problem in problems["algebra222"]:
        equations, _, asked = problem.question.partition(" . what is ")
        letter, answer = asked.split()[0], problem.expected_answer
        solved = re.sub(rf"\b{letter}\b", answer, equations)
        if " and " in solved:  # the sum gives the other unknown, the difference must agree
            sum_of_two = solved.split(" and ")[0]
            other = int(sum_of_two.split(" = ")[1]) - int(answer)
            solved = re.sub(r"\bz\b", str(other), solved)
        for equation in solved.split(" and "):
            left, right = equation.split(" = ")
            assert _evaluate(left) == int(right), problem


def _evaluate(expression: str) -> float:
    """Arithmetic by shunting-yard, with rare words for some operations."""
    sign = {word: operation for operation, words in OPERATORS.items() for word in words}
    ranks = {"+": 1, "-": 1, "*": 2, "/": 2}
    values: list[float] = []
    waiting: list[str] = []

    def reduce() -> None:
        operation, right, left = waiting.pop(), values.pop(), values.pop()
        values.append(APPLY[operation](left, right))

    for word in expression.split():
        if word.isdigit():
            values.append(int(word))
        elif word == "(":
            waiting.append(word)
        elif word == ")":
            while waiting[-1] != "(":
                reduce()
            waiting.pop()
        else:
            operation = sign[word]
            while waiting and waiting[-1] != "(" and ranks[waiting[-1]] >= ranks[operation]:
                reduce()
            waiting.append(operation)
    while waiting:
        reduce()
    return values[0]


@pytest.mark.parametrize("family", ["gsm8k", "gsm-hard"])
def test_answers_of_stories_are_correct(problems, family):
    """Computed from the question, sentence by sentence."""
    for problem in problems[family]:
        first, *events, asked = problem.question.split(" . ")
        total, item = int(first.split()[2]), first.split()[3]
        assert asked == f"how many {item} now ?"
        for event in events:
            words = event.split()
            if event == "then has twice as many":
                total *= 2
            elif event == "then has half as many":
                total //= 2
            elif "bags" in words:
                total += int(words[1]) * int(words[4])
            elif words[0] in MORE:
                total += int(words[1])
            else:
                assert words[0] in LESS, event
                total -= int(words[1])
        assert total == int(problem.expected_answer), problem


def test_svamp_ignores_irrelevant_numbers(problems):
    for problem in problems["svamp"]:
        item, _, name = re.search(r"how many (\w+) (has) (\w+) \?", problem.question).groups()
        total = 0
        for words in (sentence.split() for sentence in problem.question.split(" . ")[:-1]):
            if words[0] != name or item not in words:
                continue
            if "bags" in words:
                total += int(words[2]) * int(words[5])
            else:
                total += int(words[2]) * (-1 if words[1] in LESS else 1)
        assert total == int(problem.expected_answer), problem


@pytest.mark.parametrize(("family", "steps"), [("gsm8k", 3), ("math", 2), ("gsm-hard", 3)])
def test_solutions_of_a_family_have_equally_many_steps(problems, family, steps):
    """Otherwise length would predict correctness."""
    assert {problem.solution.count("=") for problem in problems[family]} == {steps}


@pytest.mark.parametrize("family", FAMILIES)
def test_rare_words_have_the_given_share(family):
    def rare_ones(share: float) -> int:
        made = make_problems(family, 300, random.Random(3), set(), share)
        # "3 less than bob", "3 times as many" and "2 bags of 5" do not depend on the share.
        plain = re.compile(r"less than|times as many|bags of")
        words = [word for problem in made for word in plain.sub("", problem.question).split()]
        return sum(word in RARE for word in words)

    none, few, half, all_ = (rare_ones(share) for share in (0, 0.01, 0.5, 1))
    assert none == 0
    assert few < 0.1 * half
    assert 0.35 * all_ < half < 0.65 * all_


def test_vocabulary_and_numbers_are_small(problems):
    words = {
        word
        for made in problems.values()
        for problem in made
        for word in f"{problem.question} {problem.solution}".split(" ")
    }
    assert "" not in words
    assert max(int(word) for word in words if word.isdigit()) == LARGEST
    assert len(words) <= 150
    assert all(re.fullmatch(r"[a-z]+|\d+|[-.?+*/=()]", word) for word in words)


def test_questions_are_distinct(problems):
    keys = [question_key(problem.question) for made in problems.values() for problem in made]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("family", FAMILIES)
def test_families_are_large_enough_for_disjoint_sets(family):
    assert len(make_problems(family, 12_000, random.Random(0), set())) == 12_000


def test_problems_depend_on_the_seed_alone():
    first, second = (make_problems("math", 50, random.Random(7), set()) for _ in range(2))
    assert first == second
    assert first != make_problems("math", 50, random.Random(8), set())


def test_unknown_family_is_named():
    with pytest.raises(UserError, match=r"'gsm9k'.*gsm8k, math"):
        make_problems("gsm9k", 1, random.Random(0), set())


def test_exhausted_family_is_reported(monkeypatch):
    monkeypatch.setattr("gcrm.synthetic.problems.DRAFTS_PER_PROBLEM", 3)
    only = Problem("what is 1 + 1 ?", "2", "1 + 1 = 2 . answer 2")
    monkeypatch.setitem(FAMILIES, "math", lambda draft: only)
    with pytest.raises(UserError, match="has fewer than 2 unused problems left"):
        make_problems("math", 2, random.Random(0), set())


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        ("3 + 4 = 7 . answer 7", "7"),
        ("answer 3 . 3 + 4 = 7 . answer 7", "7"),
        ("The answer is -1,234.50 dollars", "-1234.50"),
        ("3 + 4 = 7 .", None),
        ("3 + 4 = 7 . answer", None),
        ("answer 7 . answer", None),
        ("", None),
    ],
)
def test_predicted_answer_is_the_number_after_the_last_answer(solution, answer):
    assert predicted_answer(solution) == answer
