"""Synthetic word problems of several families, and sets of problems without duplicate questions.

Texts consist of words and whole numbers from 0 to 60, separated by single spaces. Each number is
one token of a small vocabulary, so a tiny model can learn the arithmetic in minutes. A solution is
a sequence of steps, `12 + 9 = 21 . 21 * 2 = 42 . answer 42`, with results from 0 to 60.

Preference pairs should be able to correct the base model's errors. Therefore an operation has
common words (`buys`, `loses`, `+`) and rare words (`earns`, `lends`, `joined`); the base model has
seldom read the rare ones and is unsure of their meaning. Most families have small numbers, to keep
random arithmetic errors rare; gsm-hard, mawps and asdiv have larger ones.
"""

import random
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from gcrm.config.prepare import LONGEST_CHAIN, PrepareOptions
from gcrm.data.questions import question_key
from gcrm.utils.errors import UserError
from gcrm.utils.io import Row

LARGEST = 60
EASY = 40
"""largest result of a step in most families"""
NAMES = ("ann", "bob", "cara", "dan", "eve", "finn")
ITEMS = ("coins", "pens", "cards", "books", "eggs", "cups")
LETTERS = ("x", "y", "n")
VERBS = {"+": ("buys", "finds", "gets"), "-": ("loses", "sells", "gives")}
RARE_VERBS = {
    "+": ("earns", "wins", "picks", "collects", "borrows", "receives", "gains", "makes"),
    "-": ("eats", "drops", "breaks", "lends", "throws", "spends", "burns", "hides"),
}
RARE_OPERATORS = {
    "+": ("plus", "with", "joined"),
    "-": ("minus", "less", "without"),
    "*": ("times", "by", "of"),
}
HARDER = ("gsm8k", "math", "svamp")
"""families twice as frequent in pretraining, since the base model finds them harder"""
DRAFTS_PER_PROBLEM = 1_000


@dataclass(frozen=True)
class Problem:
    """A question, its answer, and a solution that ends with `answer <expected_answer>`."""

    question: str
    expected_answer: str
    solution: str


class OutOfRange(Exception):
    """A step of a draft has no whole result in range; the draft is discarded."""


@dataclass
class Draft:
    """An unfinished problem: its random generator, share of rare words, and steps so far."""

    rng: random.Random
    rare_words: float
    chain_steps: tuple[int, int] = (6, 6)
    """least and most steps of a chain"""
    steps: list[str] = field(default_factory=list)

    def step(self, left: int, operation: str, right: int, largest: int = EASY) -> int:
        """Compute and record one step.

        Raises:
            OutOfRange: the result is not a whole number from 0 to `largest`.
        """
        result = compute(left, operation, right, largest)
        self.steps.append(f"{left} {operation} {right} = {result} .")
        return result

    def verb(self, operation: str) -> str:
        """A common or rare verb for adding or subtracting."""
        rare = self.rng.random() < self.rare_words
        return self.rng.choice((RARE_VERBS if rare else VERBS)[operation])

    def operator(self, operation: str) -> str:
        """The sign of an operation, or a rare word for it."""
        rare = operation in RARE_OPERATORS and self.rng.random() < self.rare_words
        return self.rng.choice(RARE_OPERATORS[operation]) if rare else operation

    def problem(self, question: str, answer: int) -> Problem:
        """The finished problem."""
        return Problem(question, str(answer), " ".join([*self.steps, f"answer {answer}"]))


def compute(left: int, operation: str, right: int, largest: int = EASY) -> int:
    """The result of one step.

    Raises:
        OutOfRange: it is not a whole number from 0 to `largest`.
    """
    if operation == "/":
        result = left // right if right and left % right == 0 else -1
    else:
        result = {"+": left + right, "-": left - right, "*": left * right}[operation]
    if not 0 <= result <= largest:
        raise OutOfRange
    return result


def _story(draft: Draft, smallest: int, largest: int, largest_result: int) -> Problem:
    """The number of someone's items after some events; three steps."""
    rng = draft.rng
    name, item = rng.choice(NAMES), rng.choice(ITEMS)
    total = rng.randint(smallest, largest)
    text = [f"{name} has {total} {item} ."]
    while len(draft.steps) < 3:
        operation, count = "+", rng.randint(smallest, largest)
        kind = rng.choice(("+", "-", "+", "-", "+", "-", "bags", "twice", "half"))
        if kind in "+-":
            operation = kind
            text.append(f"{draft.verb(kind)} {count} .")
        elif kind == "bags":
            bags, each = rng.randint(2, 9), rng.randint(2, 9)
            text.append(f"buys {bags} bags of {each} .")
            count = draft.step(bags, "*", each, largest_result)
        else:
            operation, count = ("*", 2) if kind == "twice" else ("/", 2)
            text.append(f"then has {kind} as many .")
        total = draft.step(total, operation, count, largest_result)
    if len(draft.steps) > 3:
        raise OutOfRange
    text.append(f"how many {item} now ?")
    return draft.problem(" ".join(text), total)


def _math(draft: Draft) -> Problem:
    """An expression of two operations, one in brackets."""
    rng = draft.rng
    inner, outer = rng.choice("++--**/"), rng.choice("++--**/")
    first, second = _operand(rng, inner), _operand(rng, inner)
    bracket = f"( {first} {draft.operator(inner)} {second} )"
    value = draft.step(first, inner, second)
    third, sign = _operand(rng, outer), draft.operator(outer)
    if rng.random() < 0.5:
        return draft.problem(f"what is {bracket} {sign} {third} ?", draft.step(value, outer, third))
    return draft.problem(f"what is {third} {sign} {bracket} ?", draft.step(third, outer, value))


def _operand(rng: random.Random, operation: str) -> int:
    return rng.randint(2, 9) if operation in "*/" else rng.randint(2, 20)


def _mawps(draft: Draft) -> Problem:
    """One or two steps, with larger numbers."""
    rng = draft.rng
    name, other = rng.sample(NAMES, 2)
    item = rng.choice(ITEMS)
    first, second, third = (rng.randint(2, 50) for _ in range(3))
    bags, each = rng.randint(2, 9), rng.randint(2, 9)
    kind = rng.choice(("all", "change", *["two changes"] * 3, "bags and all"))
    if kind == "all":
        text = f"{name} has {first} {item} . {other} has {second} {item} . how many in all ?"
        return draft.problem(text, draft.step(first, "+", second, LARGEST))
    if kind == "bags and all":
        text = f"{name} has {bags} bags of {each} {item} . {other} has {first} {item} ."
        answer = draft.step(draft.step(bags, "*", each, LARGEST), "+", first, LARGEST)
        return draft.problem(f"{text} how many in all ?", answer)
    operation = rng.choice("+-")
    text = f"{name} has {first} {item} . {name} {draft.verb(operation)} {second} {item} ."
    answer = draft.step(first, operation, second, LARGEST)
    if kind == "two changes":
        operation = rng.choice("+-")
        text += f" then {name} {draft.verb(operation)} {third} {item} ."
        answer = draft.step(answer, operation, third, LARGEST)
    return draft.problem(f"{text} how many has {name} ?", answer)


def _asdiv(draft: Draft) -> Problem:
    """Comparisons of two people's items, with larger numbers."""
    rng = draft.rng
    name, other = rng.sample(NAMES, 2)
    item = rng.choice(ITEMS)
    first = rng.randint(2, 50)
    kind = rng.choice(("more", "less", "times", "half"))
    count = rng.randint(2, 9 if kind == "times" else 40)
    compared, operation, number = {
        "more": (f"{count} more than", "+", count),
        "less": (f"{count} less than", "-", count),
        "times": (f"{count} times as many as", "*", count),
        "half": ("half as many as", "/", 2),
    }[kind]
    text = f"{name} has {first} {item} . {other} has {compared} {name} ."
    second = draft.step(first, operation, number, LARGEST)
    question = rng.choice(("all", "difference", "change", "change"))
    if question == "all":
        return draft.problem(f"{text} how many in all ?", draft.step(first, "+", second, LARGEST))
    if question == "difference":
        answer = draft.step(max(first, second), "-", min(first, second), LARGEST)
        return draft.problem(f"{text} how many more has one ?", answer)
    operation, change = rng.choice("+-"), rng.randint(2, 40)
    text += f" {other} {draft.verb(operation)} {change} {item} . how many has {other} ?"
    return draft.problem(text, draft.step(second, operation, change, LARGEST))


def _algebra222(draft: Draft) -> Problem:
    """A linear equation in one unknown, or the sum and the difference of two."""
    rng = draft.rng
    letter = rng.choice(LETTERS)
    unknown, factor, shift = rng.randint(2, 20), rng.randint(2, 9), rng.randint(2, 30)
    plus, minus, times = (draft.operator(operation) for operation in "+-*")
    kind = rng.choice(("add", "subtract", "bracket", "both", "quotient", "pair"))
    if kind in ("add", "subtract"):
        sign, word, inverse = ("+", plus, "-") if kind == "add" else ("-", minus, "+")
        total = compute(factor * unknown, sign, shift)
        text = f"{factor} {times} {letter} {word} {shift} = {total}"
        answer = draft.step(draft.step(total, inverse, shift), "/", factor)
    elif kind == "bracket":
        total = compute(unknown + shift, "*", factor)
        text = f"{factor} {times} ( {letter} {plus} {shift} ) = {total}"
        answer = draft.step(draft.step(total, "/", factor), "-", shift)
    elif kind == "both":
        more = rng.randint(2, 9)
        total = compute(factor + more, "*", unknown)
        text = f"{factor} {times} {letter} {plus} {more} {times} {letter} = {total}"
        answer = draft.step(total, "/", draft.step(factor, "+", more))
    elif kind == "quotient":
        result = compute(unknown, "+", shift)
        text = f"{letter} / {factor} {plus} {shift} = {result}"
        answer = draft.step(draft.step(result, "-", shift), "*", factor)
    else:
        total, difference = compute(unknown, "+", shift), compute(unknown, "-", shift)
        text = f"{letter} {plus} z = {total} and {letter} {minus} z = {difference}"
        answer = draft.step(draft.step(total, "+", difference), "/", 2)
    return draft.problem(f"{text} . what is {letter} ?", answer)


def _svamp(draft: Draft) -> Problem:
    """One or two steps, with an irrelevant number."""
    rng = draft.rng
    name, other = rng.sample(NAMES, 2)
    item, idle = rng.sample(ITEMS, 2)
    total, count, distraction = (rng.randint(2, 30) for _ in range(3))
    # Its position and owner vary, so a model cannot rely on word positions.
    distracting = rng.choice(
        (f"{name} has {distraction} {idle} .", f"{other} has {distraction} {item} .")
    )
    text = [f"{name} has {total} {item} ."]
    text.insert(rng.randint(0, 1), distracting)
    operation = rng.choice("+-*")
    if operation == "*":
        bags, each = rng.randint(2, 9), rng.randint(2, 9)
        text.append(f"{name} buys {bags} bags of {each} {item} .")
        answer = draft.step(total, "+", draft.step(bags, "*", each))
    else:
        text.append(f"{name} {draft.verb(operation)} {count} {item} .")
        answer = draft.step(total, operation, count)
    text.append(f"how many {item} has {name} ?")
    return draft.problem(" ".join(text), answer)


def _chain(draft: Draft) -> Problem:
    """The number of someone's items after gains and losses, so that no error can cancel."""
    rng = draft.rng
    steps = rng.randint(*draft.chain_steps)
    name, item = rng.choice(NAMES), rng.choice(ITEMS)
    total = rng.randint(0, LARGEST)
    text = [f"{name} has {total} {item} ."]
    for _ in range(steps):
        operation, count = rng.choice("+-"), rng.randint(1, 9)
        text.append(f"{draft.verb(operation)} {count} .")
        total = draft.step(total, operation, count, LARGEST)
    return draft.problem(" ".join([*text, f"how many {item} now ?"]), total)


FAMILIES: dict[str, Callable[[Draft], Problem]] = {
    "gsm8k": lambda draft: _story(draft, 2, 20, EASY),
    "math": _math,
    "gsm-hard": lambda draft: _story(draft, 8, 40, LARGEST),
    "mawps": _mawps,
    "asdiv": _asdiv,
    "algebra222": _algebra222,
    "svamp": _svamp,
    "chain": _chain,
}
"""functions that draft a problem of each family; they may raise OutOfRange"""


def make_sets(options: PrepareOptions) -> dict[str, list[Row]]:
    """Make the sets `<benchmark>`, `dev-<benchmark>`, `preference-<family>` and `pretrain`.

    No question is in two sets. `pretrain` is made last, so its size does not affect the other sets.

    Raises:
        UserError: a benchmark or family is unknown, or has too few problems.
    """
    for key in ("benchmarks", "preference_families", "pretrain_families"):
        if unknown := [name for name in getattr(options, key) if name not in FAMILIES]:
            raise UserError(
                f"{key}: no problems can be made for {', '.join(unknown)}; known are "
                f"{', '.join(FAMILIES)}"
            )
    taken: set[str] = set()

    def made(
        name: str, family: str, count: int, rare_words: float, chain_steps: tuple[int, int]
    ) -> list[Row]:
        rng = random.Random(f"{options.data_seed} {name}")
        problems = make_problems(family, count, rng, taken, rare_words, chain_steps)
        return [vars(problem).copy() for problem in problems]

    sets = {}
    for prefix, families, count in (
        ("", options.benchmarks, options.benchmark_problems),
        ("dev-", options.benchmarks, options.dev_problems),
        ("preference-", options.preference_families, options.preference_problems),
    ):
        for family in families:
            name = f"{prefix}{family}"
            steps = (options.chain_steps, options.chain_steps)
            sets[name] = made(name, family, count, options.rare_words, steps)
    families = options.pretrain_families
    turns = [*families, *(family for family in HARDER if family in families)]
    drawn = [turns[i % len(turns)] for i in range(options.pretrain_problems)]
    pretrain = [
        row
        for family in families
        for row in made(
            f"pretrain-{family}",
            family,
            drawn.count(family),
            options.pretrain_rare_words,
            (1, LONGEST_CHAIN),
        )
    ]
    random.Random(f"{options.data_seed} pretrain").shuffle(pretrain)
    return sets | {"pretrain": pretrain}


def make_problems(
    family: str,
    count: int,
    rng: random.Random,
    taken: set[str],
    rare_words: float = 0.5,
    chain_steps: tuple[int, int] = (6, 6),
) -> list[Problem]:
    """Make `count` problems of a family that differ from each other and from earlier ones.

    Args:
        family: one of FAMILIES.
        rng: the only source of randomness.
        taken: keys (`question_key`) of earlier questions; the new ones are added.
        rare_words: share of rare words for operations, 0 to 1.
        chain_steps: least and most steps of a chain.

    Raises:
        UserError: the family is unknown, or has too few problems left.
    """
    if family not in FAMILIES:
        raise UserError(f"unknown problem family {family!r}; known are {', '.join(FAMILIES)}")
    problems: list[Problem] = []
    for _ in range(DRAFTS_PER_PROBLEM * count):
        with suppress(OutOfRange):
            problem = FAMILIES[family](Draft(rng, rare_words, chain_steps))
            key = question_key(problem.question)
            if key not in taken:
                taken.add(key)
                problems.append(problem)
        if len(problems) == count:
            break
    if len(problems) < count:
        raise UserError(
            f"the family {family!r} has fewer than {count} unused problems left; ask for fewer"
        )
    return problems


_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def predicted_answer(solution: str) -> str | None:
    """The number after the last `answer` of a solution, or None."""
    _, found, after = solution.rpartition("answer")
    number = _NUMBER.search(after) if found else None
    return number[0].replace(",", "") if number else None
