"""Made word problems, different from each other; and the answer that a solution to one gives."""

import random
import re

from gcrm.data.questions import question_key
from gcrm.synthetic.problem_families import FAMILIES, Draft, OutOfRange, Problem
from gcrm.utils.errors import UserError

DRAFTS_PER_PROBLEM = 1_000


def make_problems(
    family: str, count: int, rng: random.Random, taken: set[str], rare_words: float = 0.5
) -> list[Problem]:
    """`count` problems of a family, different from each other and from those taken before.

    Args:
        family: one of FAMILIES.
        rng: the only source of chance.
        taken: keys (`question_key`) of the questions made so far; the new ones are added.
        rare_words: share of the words for operations that are rare ones, 0 to 1.

    Raises:
        UserError: the family is unknown, or has not so many problems left.
    """
    if family not in FAMILIES:
        raise UserError(f"no family of made problems is called {family!r}: {', '.join(FAMILIES)}")
    problems: list[Problem] = []
    for _ in range(DRAFTS_PER_PROBLEM * count):
        if len(problems) == count:
            return problems
        try:
            problem = FAMILIES[family](Draft(rng, rare_words))
        except OutOfRange:
            continue
        key = question_key(problem.question)
        if key not in taken:
            taken.add(key)
            problems.append(problem)
    if len(problems) == count:
        return problems
    raise UserError(
        f"the family {family!r} has no {count} problems left that differ from all others; "
        "ask for fewer"
    )


_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def predicted_answer(solution: str) -> str | None:
    """The number that follows the last `answer` of a solution, or None."""
    _, found, after = solution.rpartition("answer")
    number = _NUMBER.search(after) if found else None
    return number[0].replace(",", "") if number else None
