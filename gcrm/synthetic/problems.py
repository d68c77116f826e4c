"""Sets of made word problems, all different; and the answer that a solution to one gives."""

import random
import re
from contextlib import suppress

from gcrm.config.prepare import PrepareOptions
from gcrm.data.questions import question_key
from gcrm.synthetic.problem_families import FAMILIES, Draft, OutOfRange, Problem
from gcrm.utils.errors import UserError
from gcrm.utils.io import Row

DRAFTS_PER_PROBLEM = 1_000
HARDER = ("gsm8k", "math", "svamp")
"""families twice as frequent in pretraining, so that the base model solves a good part of each"""


def make_sets(options: PrepareOptions) -> dict[str, list[Row]]:
    """All sets of problems by name, no question in two of them.

    The order of making is fixed, smallest sets first, so that a larger `pretrain` set leaves the
    others unchanged. Sets: `<benchmark>`, `dev-<benchmark>`, `preference-<family>`, `pretrain`.

    Raises:
        UserError: a benchmark or family that cannot be made, or more problems than there are.
    """
    for key, names in (
        ("benchmarks", options.benchmarks),
        ("preference_families", options.preference_families),
    ):
        if unknown := [name for name in names if name not in FAMILIES]:
            raise UserError(
                f"{key}: no problems can be made for {', '.join(unknown)}; known are "
                f"{', '.join(FAMILIES)}"
            )
    taken: set[str] = set()

    def made(name: str, family: str, count: int, rare_words: float) -> list[Row]:
        rng = random.Random(f"{options.data_seed} {name}")
        problems = make_problems(family, count, rng, taken, rare_words)
        return [vars(problem).copy() for problem in problems]

    sets = {}
    for prefix, families, count in (
        ("", options.benchmarks, options.benchmark_problems),
        ("dev-", options.benchmarks, options.dev_problems),
        ("preference-", options.preference_families, options.preference_problems),
    ):
        for family in families:
            name = f"{prefix}{family}"
            sets[name] = made(name, family, count, options.rare_words)
    turns = [*FAMILIES, *HARDER]
    drawn = [turns[i % len(turns)] for i in range(options.pretrain_problems)]
    pretrain = [
        row
        for family in FAMILIES
        for row in made(
            f"pretrain-{family}", family, drawn.count(family), options.pretrain_rare_words
        )
    ]
    random.Random(f"{options.data_seed} pretrain").shuffle(pretrain)
    return sets | {"pretrain": pretrain}


def make_problems(
    family: str, count: int, rng: random.Random, taken: set[str], rare_words: float = 0.5
) -> list[Problem]:
    """`count` problems of a family, different from each other and from those taken before.

    Args:
        family: one of FAMILIES.
        rng: the only source of chance.
        taken: keys (`question_key`) of the questions made so far; the new ones are added.
        rare_words: share of rare words among those for operations, 0 to 1.

    Raises:
        UserError: the family is unknown, or has fewer problems left.
    """
    if family not in FAMILIES:
        raise UserError(f"no family of made problems is called {family!r}: {', '.join(FAMILIES)}")
    problems: list[Problem] = []
    for _ in range(DRAFTS_PER_PROBLEM * count):
        with suppress(OutOfRange):
            problem = FAMILIES[family](Draft(rng, rare_words))
            key = question_key(problem.question)
            if key not in taken:
                taken.add(key)
                problems.append(problem)
        if len(problems) == count:
            break
    if len(problems) < count:
        raise UserError(
            f"the family {family!r} has no {count} problems left that differ from all others; "
            "ask for fewer"
        )
    return problems


_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def predicted_answer(solution: str) -> str | None:
    """The number that follows the last `answer` of a solution, or None."""
    _, found, after = solution.rpartition("answer")
    number = _NUMBER.search(after) if found else None
    return number[0].replace(",", "") if number else None
