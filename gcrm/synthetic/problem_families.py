"""The families of made word problems: their words, their numbers, and how each is drafted.

All text is words and whole numbers from 0 to 60, separated by single spaces, so that a number can
be one token of a small vocabulary; that is what lets a tiny model learn arithmetic in minutes. A
solution works in steps, `12 + 9 = 21 . 21 * 2 = 42 . answer 42`, and no step leaves 0 to 60.

What a base model gets wrong should be something that preference pairs can teach. So the words that
choose an operation are common (`buys`, `loses`, `+`) or rare (`earns`, `lends`, `joined`), and a
base model that has seldom read the rare ones is unsure what they do. Numbers are small in most
families, so that slips of arithmetic, which show no pattern, are few; gsm-hard, mawps and asdiv
have larger ones.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Problem:
    """A question, its answer, and a solution in steps that ends with `answer <expected_answer>`."""

    question: str
    expected_answer: str
    solution: str


class OutOfRange(Exception):
    """A step of a draft has no whole result from 0 to 60: the draft is thrown away."""


class Draft:
    """A problem in the making: chance, the words to choose from, and the steps worked so far."""

    def __init__(self, rng: random.Random, rare_words: float) -> None:
        self.rng, self.rare_words = rng, rare_words
        self.largest = EASY
        self.steps: list[str] = []

    def step(self, left: int, operation: str, right: int) -> int:
        """Compute and write down one step.

        Raises:
            OutOfRange: the result is no whole number from 0 to `largest`.
        """
        result = compute(left, operation, right, self.largest)
        self.steps.append(f"{left} {operation} {right} = {result} .")
        return result

    def verb(self, operation: str) -> str:
        """What someone does that adds or takes away."""
        rare = self.rng.random() < self.rare_words
        return self.rng.choice((RARE_VERBS if rare else VERBS)[operation])

    def operator(self, operation: str) -> str:
        """An operation in an expression: its sign, or a rare word for it."""
        rare = operation in RARE_OPERATORS and self.rng.random() < self.rare_words
        return self.rng.choice(RARE_OPERATORS[operation]) if rare else operation

    def problem(self, question: str, answer: int) -> Problem:
        """The finished problem."""
        return Problem(question, str(answer), " ".join([*self.steps, f"answer {answer}"]))


def compute(left: int, operation: str, right: int, largest: int = EASY) -> int:
    """The result of one step.

    Raises:
        OutOfRange: it is no whole number from 0 to `largest`.
    """
    if operation == "/" and (right == 0 or left % right):
        raise OutOfRange
    if operation == "+":
        result = left + right
    elif operation == "-":
        result = left - right
    else:
        result = left * right if operation == "*" else left // right
    if not 0 <= result <= largest:
        raise OutOfRange
    return result


def _story(draft: Draft, smallest: int, largest: int) -> Problem:
    """Someone has things, and what happens to them takes three steps to work out."""
    rng = draft.rng
    name, item = rng.choice(NAMES), rng.choice(ITEMS)
    total = rng.randint(smallest, largest)
    text = [f"{name} has {total} {item} ."]
    while len(draft.steps) < 3:
        count = rng.randint(smallest, largest)
        kind = rng.choice(("+", "-", "+", "-", "+", "-", "bags", "twice", "half"))
        if kind in "+-":
            text.append(f"{draft.verb(kind)} {count} .")
            total = draft.step(total, kind, count)
        elif kind == "bags":
            bags, each = rng.randint(2, 9), rng.randint(2, 9)
            text.append(f"buys {bags} bags of {each} .")
            bought = draft.step(bags, "*", each)
            total = draft.step(total, "+", bought)
        elif kind == "twice":
            text.append("then has twice as many .")
            total = draft.step(total, "*", 2)
        else:
            text.append("then has half as many .")
            total = draft.step(total, "/", 2)
    if len(draft.steps) > 3:
        raise OutOfRange
    text.append(f"how many {item} now ?")
    return draft.problem(" ".join(text), total)


def _gsm8k(draft: Draft) -> Problem:
    return _story(draft, smallest=2, largest=20)


def _gsm_hard(draft: Draft) -> Problem:
    draft.largest = LARGEST
    return _story(draft, smallest=8, largest=40)


def _math(draft: Draft) -> Problem:
    """An expression of two operations, one of them in brackets."""
    rng = draft.rng
    inner, outer = rng.choice("++--**/"), rng.choice("++--**/")
    first, second = _operand(rng, inner), _operand(rng, inner)
    bracket = f"( {first} {draft.operator(inner)} {second} )"
    value, third, sign = (
        draft.step(first, inner, second),
        _operand(rng, outer),
        draft.operator(outer),
    )
    if rng.random() < 0.5:
        return draft.problem(f"what is {bracket} {sign} {third} ?", draft.step(value, outer, third))
    return draft.problem(f"what is {third} {sign} {bracket} ?", draft.step(third, outer, value))


def _operand(rng: random.Random, operation: str) -> int:
    return rng.randint(2, 9) if operation in "*/" else rng.randint(2, 20)


def _mawps(draft: Draft) -> Problem:
    """One step or two, with larger numbers."""
    rng = draft.rng
    draft.largest = LARGEST
    name, other = rng.sample(NAMES, 2)
    item = rng.choice(ITEMS)
    first, second, third = (rng.randint(2, 50) for _ in range(3))
    bags, each = rng.randint(2, 9), rng.randint(2, 9)
    kind = rng.choice(("all", "change", *["two changes"] * 3, "bags and all"))
    if kind == "all":
        text = f"{name} has {first} {item} . {other} has {second} {item} . how many in all ?"
        answer = draft.step(first, "+", second)
    elif kind == "bags and all":
        text = (
            f"{name} has {bags} bags of {each} {item} . {other} has {first} {item} . "
            "how many in all ?"
        )
        answer = draft.step(draft.step(bags, "*", each), "+", first)
    else:
        operation = rng.choice("+-")
        text = f"{name} has {first} {item} . {name} {draft.verb(operation)} {second} {item} ."
        answer = draft.step(first, operation, second)
        if kind == "two changes":
            operation = rng.choice("+-")
            text += f" then {name} {draft.verb(operation)} {third} {item} ."
            answer = draft.step(answer, operation, third)
        text += f" how many has {name} ?"
    return draft.problem(text, answer)


def _asdiv(draft: Draft) -> Problem:
    """Comparisons of what two people have, with larger numbers."""
    rng = draft.rng
    draft.largest = LARGEST
    name, other = rng.sample(NAMES, 2)
    item = rng.choice(ITEMS)
    first = rng.randint(2, 50)
    text = f"{name} has {first} {item} ."
    kind = rng.choice(("more", "less", "times", "half"))
    count = rng.randint(2, 9 if kind == "times" else 40)
    if kind in ("more", "less"):
        text += f" {other} has {count} {kind} than {name} ."
        second = draft.step(first, "+" if kind == "more" else "-", count)
    elif kind == "times":
        text += f" {other} has {count} times as many as {name} ."
        second = draft.step(first, "*", count)
    else:
        text += f" {other} has half as many as {name} ."
        second = draft.step(first, "/", 2)
    question = rng.choice(("all", "difference", "change", "change"))
    if question == "all":
        text += " how many in all ?"
        answer = draft.step(first, "+", second)
    elif question == "difference":
        text += " how many more has one ?"
        answer = draft.step(max(first, second), "-", min(first, second))
    else:
        operation, change = rng.choice("+-"), rng.randint(2, 40)
        text += f" {other} {draft.verb(operation)} {change} {item} . how many has {other} ?"
        answer = draft.step(second, operation, change)
    return draft.problem(text, answer)


def _algebra222(draft: Draft) -> Problem:
    """A linear equation in one unknown, or the sum and the difference of two."""
    rng = draft.rng
    letter = rng.choice(LETTERS)
    unknown, factor, shift = rng.randint(2, 20), rng.randint(2, 9), rng.randint(2, 30)
    plus, minus, times = (draft.operator(operation) for operation in "+-*")
    kind = rng.choice(("add", "subtract", "bracket", "both", "quotient", "pair"))
    if kind == "add":
        total = compute(factor * unknown, "+", shift)
        text = f"{factor} {times} {letter} {plus} {shift} = {total}"
        answer = draft.step(draft.step(total, "-", shift), "/", factor)
    elif kind == "subtract":
        total = compute(factor * unknown, "-", shift)
        text = f"{factor} {times} {letter} {minus} {shift} = {total}"
        answer = draft.step(draft.step(total, "+", shift), "/", factor)
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
    """One step or two, with a number that has nothing to do with the question."""
    rng = draft.rng
    name, other = rng.sample(NAMES, 2)
    item, idle = rng.sample(ITEMS, 2)
    total, count, distraction = (rng.randint(2, 30) for _ in range(3))
    # Where it stands and whose it is varies, so that reading is needed and not counting.
    distracting = rng.choice(
        (f"{name} has {distraction} {idle} .", f"{other} has {distraction} {item} .")
    )
    told = [f"{name} has {total} {item} ."]
    told.insert(rng.randint(0, 1), distracting)
    operation = rng.choice("+-*")
    if operation == "*":
        bags, each = rng.randint(2, 9), rng.randint(2, 9)
        told.append(f"{name} buys {bags} bags of {each} {item} .")
        answer = draft.step(total, "+", draft.step(bags, "*", each))
    else:
        told.append(f"{name} {draft.verb(operation)} {count} {item} .")
        answer = draft.step(total, operation, count)
    told.append(f"how many {item} has {name} ?")
    return draft.problem(" ".join(told), answer)


FAMILIES: dict[str, Callable[[Draft], Problem]] = {
    "gsm8k": _gsm8k,
    "math": _math,
    "gsm-hard": _gsm_hard,
    "mawps": _mawps,
    "asdiv": _asdiv,
    "algebra222": _algebra222,
    "svamp": _svamp,
}
"""what drafts a problem of each family; it may raise OutOfRange"""
