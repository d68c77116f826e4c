"""Made word problems of seven families, named after the benchmarks that they stand in for.

All text is words and whole numbers from 0 to 60, separated by single spaces, so that a number can
be one token of a small vocabulary; that is what lets a tiny model learn arithmetic in minutes. A
solution works in steps, `12 + 9 = 21 . 21 * 2 = 42 . answer 42`, and no step leaves 0 to 60.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from gcrm.errors import UserError
from gcrm.questions import question_key

LARGEST = 60
NAMES = ("ann", "bob", "cara", "dan", "eve", "finn")
ITEMS = ("coins", "pens", "cards", "books", "eggs", "cups")
LETTERS = ("x", "y", "n")


@dataclass(frozen=True)
class Problem:
    """A question, its answer, and a solution in steps that ends with `answer <expected_answer>`."""

    question: str
    expected_answer: str
    solution: str


class _OutOfRange(Exception):
    """A step of a draft has no whole result from 0 to 60: the draft is thrown away."""


class _Work:
    """The steps of a solution, written down as they are computed."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, left: int, operation: str, right: int) -> int:
        """Compute and write down one step.

        Raises:
            _OutOfRange: the result is no whole number from 0 to 60.
        """
        result = _compute(left, operation, right)
        self.steps.append(f"{left} {operation} {right} = {result} .")
        return result

    def problem(self, question: str, answer: int) -> Problem:
        return Problem(question, str(answer), " ".join([*self.steps, f"answer {answer}"]))


def _compute(left: int, operation: str, right: int) -> int:
    if operation in ("/", "mod") and (right == 0 or (operation == "/" and left % right)):
        raise _OutOfRange
    result = {
        "+": lambda: left + right,
        "-": lambda: left - right,
        "*": lambda: left * right,
        "/": lambda: left // right,
        "mod": lambda: left % right,
    }[operation]()
    if not 0 <= result <= LARGEST:
        raise _OutOfRange
    return result


def _story(rng: random.Random, events: int, smallest: int, largest: int) -> Problem:
    """Someone has things, and `events` things happen to them, one step or two each."""
    name, other = rng.sample(NAMES, 2)
    item = rng.choice(ITEMS)
    work = _Work()
    total = rng.randint(smallest, largest)
    text = [f"{name} has {total} {item} ."]
    kinds = ["buys", "finds", "loses", "gives", "bags", "twice", "half"]
    for _ in range(events):
        count = rng.randint(smallest, largest)
        kind = rng.choice(kinds)
        if kind in ("buys", "finds"):
            text.append(f"{kind} {count} .")
            total = work.step(total, "+", count)
        elif kind == "loses":
            text.append(f"loses {count} .")
            total = work.step(total, "-", count)
        elif kind == "gives":
            text.append(f"gives {other} {count} .")
            total = work.step(total, "-", count)
        elif kind == "bags":
            bags, each = rng.randint(2, 9), rng.randint(2, 9)
            text.append(f"buys {bags} bags of {each} .")
            total = work.step(total, "+", work.step(bags, "*", each))
            kinds.remove("bags")  # its two steps once a story keep the longest solution short
        elif kind == "twice":
            text.append("then has twice as many .")
            total = work.step(total, "*", 2)
        else:
            text.append("then has half as many .")
            total = work.step(total, "/", 2)
    text.append(f"how many {item} now ?")
    return work.problem(" ".join(text), total)


def _gsm8k(rng: random.Random) -> Problem:
    return _story(rng, events=rng.randint(2, 3), smallest=2, largest=25)


def _gsm_hard(rng: random.Random) -> Problem:
    return _story(rng, events=3, smallest=13, largest=55)


def _math(rng: random.Random) -> Problem:
    """A nested expression of two or three operations; the last may be modulo a number."""
    work = _Work()

    def leaf(operation: str) -> int:
        return rng.randint(2, 9) if operation in "*/" else rng.randint(2, 20)

    def nested(operations: int) -> tuple[str, int]:
        operation = rng.choice("++--**/")
        if operations == 1:
            left, right = leaf(operation), leaf(operation)
            return f"{left} {operation} {right}", work.step(left, operation, right)
        shape = rng.choice(("left", "both") if operations == 3 else ("left", "right"))
        if shape == "left":
            (text, left), right = nested(operations - 1), leaf(operation)
            text = f"( {text} ) {operation} {right}"
        elif shape == "right":
            left, (text, right) = leaf(operation), nested(operations - 1)
            text = f"{left} {operation} ( {text} )"
        else:
            (first, left), (second, right) = nested(1), nested(1)
            text = f"( {first} ) {operation} ( {second} )"
        return text, work.step(left, operation, right)

    kind = rng.choice(("two", "mod", "three"))
    if kind == "mod":
        modulus = rng.randint(3, 9)
        text, value = nested(1)
        value = work.step(value, "mod", modulus)
        return work.problem(f"what is ( {text} ) mod {modulus} ?", value)
    text, value = nested(2 if kind == "two" else 3)
    return work.problem(f"what is {text} ?", value)


def _mawps(rng: random.Random) -> Problem:
    """One step or two."""
    name, other = rng.sample(NAMES, 2)
    item = rng.choice(ITEMS)
    first, second, third = (rng.randint(2, 40) for _ in range(3))
    work = _Work()
    kind = rng.choice(("all", "left", "bags", "left and all", "bags and all"))
    if kind == "all":
        text = f"{name} has {first} {item} . {other} has {second} {item} . how many in all ?"
        answer = work.step(first, "+", second)
    elif kind == "left":
        text = f"there are {first} {item} . {name} buys {second} {item} . how many are left ?"
        answer = work.step(first, "-", second)
    elif kind == "bags":
        bags, each = rng.randint(2, 15), rng.randint(2, 15)
        text = f"{name} has {bags} bags of {each} {item} . how many in all ?"
        answer = work.step(bags, "*", each)
    elif kind == "left and all":
        text = (
            f"there are {first} {item} . {name} buys {second} {item} and {other} buys {third} "
            f"{item} . how many are left ?"
        )
        answer = work.step(work.step(first, "-", second), "-", third)
    else:
        bags, each = rng.randint(2, 9), rng.randint(2, 9)
        text = (
            f"{name} has {bags} bags of {each} {item} . {other} has {first} {item} . "
            "how many in all ?"
        )
        answer = work.step(work.step(bags, "*", each), "+", first)
    return work.problem(text, answer)


def _asdiv(rng: random.Random) -> Problem:
    """Comparisons of what two people have."""
    name, other = rng.sample(NAMES, 2)
    item = rng.choice(ITEMS)
    work = _Work()
    first = rng.randint(2, 40)
    text = f"{name} has {first} {item} ."
    kind = rng.choice(("more", "less", "times", "half"))
    count = rng.randint(2, 9 if kind == "times" else 30)
    if kind in ("more", "less"):
        text += f" {other} has {count} {kind} than {name} ."
        second = work.step(first, "+" if kind == "more" else "-", count)
    elif kind == "times":
        text += f" {other} has {count} times as many as {name} ."
        second = work.step(first, "*", count)
    else:
        text += f" {other} has half as many as {name} ."
        second = work.step(first, "/", 2)
    question = rng.choice(("all", "difference", "each"))
    if question == "all":
        text += " how many in all ?"
        answer = work.step(first, "+", second)
    elif question == "difference":
        text += " how many more has one ?"
        answer = work.step(max(first, second), "-", min(first, second))
    else:
        people = rng.randint(2, 5)
        text += f" {other} gives all to {people} friends . how many each ?"
        answer = work.step(second, "/", people)
    return work.problem(text, answer)


def _algebra222(rng: random.Random) -> Problem:
    """A linear equation in one unknown, or the sum and the difference of two."""
    letter = rng.choice(LETTERS)
    work = _Work()
    unknown, factor, shift = rng.randint(2, 30), rng.randint(2, 9), rng.randint(2, 40)
    kind = rng.choice(("add", "subtract", "bracket", "both", "quotient", "pair"))
    if kind == "add":
        total = _compute(_compute(factor, "*", unknown), "+", shift)
        text = f"{factor} * {letter} + {shift} = {total}"
        answer = work.step(work.step(total, "-", shift), "/", factor)
    elif kind == "subtract":
        total = _compute(_compute(factor, "*", unknown), "-", shift)
        text = f"{factor} * {letter} - {shift} = {total}"
        answer = work.step(work.step(total, "+", shift), "/", factor)
    elif kind == "bracket":
        total = _compute(_compute(unknown, "+", shift), "*", factor)
        text = f"{factor} * ( {letter} + {shift} ) = {total}"
        answer = work.step(work.step(total, "/", factor), "-", shift)
    elif kind == "both":
        more = rng.randint(2, 9)
        total = _compute(_compute(factor, "+", more), "*", unknown)
        text = f"{factor} * {letter} + {more} * {letter} = {total}"
        answer = work.step(total, "/", work.step(factor, "+", more))
    elif kind == "quotient":
        result = _compute(unknown, "+", shift)
        text = f"{letter} / {factor} + {shift} = {result}"
        answer = work.step(work.step(result, "-", shift), "*", factor)
    else:
        total, difference = _compute(unknown, "+", shift), _compute(unknown, "-", shift)
        text = f"{letter} + z = {total} and {letter} - z = {difference}"
        answer = work.step(work.step(total, "+", difference), "/", 2)
    return work.problem(f"{text} . what is {letter} ?", answer)


def _svamp(rng: random.Random) -> Problem:
    """One step or two, with a number that has nothing to do with the question."""
    name, other = rng.sample(NAMES, 2)
    item, idle = rng.sample(ITEMS, 2)
    work = _Work()
    total, count, distraction = rng.randint(2, 50), rng.randint(2, 40), rng.randint(2, 50)
    kind = rng.choice(("finds", "loses", "gives", "buys"))
    # Where it stands and whose it is varies, so that reading is needed and not counting.
    distracting = rng.choice(
        (f"{name} has {distraction} {idle} .", f"{other} has {distraction} {item} .")
    )
    told = [f"{name} has {total} {item} ."]
    told.insert(rng.randint(0, 1), distracting)
    if kind == "buys":
        bags, each = rng.randint(2, 9), rng.randint(2, 9)
        told.append(f"{name} buys {bags} bags of {each} {item} .")
        answer = work.step(total, "+", work.step(bags, "*", each))
    elif kind == "gives":
        told.append(f"{name} gives {other} {count} {item} .")
        answer = work.step(total, "-", count)
    else:
        told.append(f"{name} {kind} {count} {item} .")
        answer = work.step(total, "+" if kind == "finds" else "-", count)
    told.append(f"how many {item} has {name} ?")
    return work.problem(" ".join(told), answer)


_DRAFTS: dict[str, Callable[[random.Random], Problem]] = {
    "gsm8k": _gsm8k,
    "math": _math,
    "gsm-hard": _gsm_hard,
    "mawps": _mawps,
    "asdiv": _asdiv,
    "algebra222": _algebra222,
    "svamp": _svamp,
}
FAMILIES = tuple(_DRAFTS)
DRAFTS_PER_PROBLEM = 1_000


def make_problems(family: str, count: int, rng: random.Random, taken: set[str]) -> list[Problem]:
    """`count` problems of a family, different from each other and from those taken before.

    Args:
        family: one of FAMILIES.
        rng: the only source of chance.
        taken: keys (`question_key`) of the questions made so far; the new ones are added.

    Raises:
        UserError: the family is unknown, or has not so many problems left.
    """
    if family not in _DRAFTS:
        raise UserError(f"no family of made problems is called {family!r}: {', '.join(FAMILIES)}")
    problems: list[Problem] = []
    for _ in range(DRAFTS_PER_PROBLEM * count):
        if len(problems) == count:
            return problems
        try:
            problem = _DRAFTS[family](rng)
        except _OutOfRange:
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
