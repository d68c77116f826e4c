"""Answers read by math-verify: arithmetic, algebra, matrices, unions of intervals.

math-verify costs 1 s to import and some ms an answer, so it is loaded when the first one comes.
"""

import logging
import math
import re
import threading
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Any

DECIMALS = 6
"""Numbers that agree to so many decimals are equal, as in math-verify."""
MAX_BITS = 4096
"""Whole powers beyond so many bits are not worked out: 9^9^9 is compared as written."""
MAX_DEPTH = 10
"""Answers nested deeper are compared as text: math-verify takes seconds for tens of brackets."""
PARSING_SECONDS = 5
"""After so long math-verify gives up on an answer (main thread only: it uses a signal)."""
BRACKETS = {"(": ")", "{": "}", "[": "]", "⟨": "⟩"}

Number = Fraction | float
_REAL_FUNCTIONS = "exp log sin cos asin acos atan sinh cosh tanh".split()

MAX_FACTORIAL = 500
"""Factorials of larger numbers are compared as written."""
ROUNDING = 1e-12
"""A sum of floats is zero where it is so much smaller than its largest term."""

TRIGONOMETRIC = "sin|cos|tan|cot|sec|csc"
_BARE = re.compile(  # sin(x), as Python writes it
    rf"(?<![\\A-Za-z])((?:arc)?(?:{TRIGONOMETRIC})h?|exp|ln|pi)(?![A-Za-z])"
)
_WORDS = re.compile(r"[^\W\d_]{3,}")
_COMMANDS = re.compile(r"\\log_(?:\{\w+\}|\w)|\\[A-Za-z]+|\b(?:log|sqrt)\b")
_MATHS = re.compile(r"[\d\\+*/^=<>-]")
_POWER_TOWER = re.compile(r"(?:(?:\^|\*\*)\s*\w+\s*){2}")
_NO_PRODUCT = re.compile(
    r"\d \d|\d ?[ap]m\b|\d [a-z]+ \d|^\([a-e]\) "  # 12 34, 10 am, 3 ft 2, (A) 5
    r"|\d(?:st|nd|rd|th)\b|[a-z]\d|!!",  # 3rd, H2O, 7!!
    re.I,
)
_NUMBERED = re.compile(r"(?<=\d)[eE](?=[-+]?\d)")  # 1e5 is a number, H2 a name
_SHORT_FRACTION = re.compile(r"\\[dtc]?frac *(\\pi|[\da-z]) *(\\pi|[\da-z])(?![a-z])", re.I)
# What math-verify misreads: 2(3) as a mixed number, \pi(3) as a function, 2^\frac{1}{2} as 1/2;
# and it cannot read 10^-3.
_FACTOR = re.compile(r"(?<![\^\d.])(?:\d+|\\pi)(?=\()")
_EXPONENT = re.compile(
    r"\^\s*(\\[dt]?frac\s*(?:\{[^{}]*\}\s*\{[^{}]*\}|\d\d)|\\sqrt\s*(?:\[\d+\])?(?:\{[^{}]*\}|\d)"
    r"|[-+]\w+)"
)
_UNDEFINED = re.compile(r"\b(?:nan|zoo)\b")
_ENVIRONMENT = re.compile(
    r"(\\(?:begin|end))\{[a-z]*matrix\*?\}|\\begin\{array\}\{[^{}]*\}|\\end\{array\}"
)


class Unreadable(ValueError):
    """Not a number."""


def spell(value: Number) -> str:
    """A number as text: whole, or decimal with at least 6 places and 6 significant digits.

    Raises:
        Unreadable: it is infinite or not a number.
    """
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Unreadable("not finite")
        value = Fraction(value)
    places = 0
    if value.denominator != 1:
        places = DECIMALS
        if abs(value) < 1:  # or all small numbers would be one
            size = math.log10(value.denominator) - math.log10(abs(value.numerator))
            places += min(math.floor(size), 1000)
    scaled = round(abs(value) * 10**places)
    digits = str(scaled).rjust(places + 1, "0")
    if places:
        whole, decimals = digits[:-places], digits[-places:].rstrip("0")
        digits = f"{whole}.{decimals}" if decimals else whole
    return f"-{digits}" if value < 0 and scaled else digits


def spell_set(items: Iterable[str]) -> str:
    """Items in any order, each once; only equal ones twice: `6, 6` is not the answer 6."""
    items = list(items)
    distinct = sorted(set(items))
    if len(distinct) == 1:
        distinct = items[:2]
    return "{" + ", ".join(distinct) + "}"


def evaluate(text: str) -> Number:
    """The value of an expression without symbols.

    Raises:
        Unreadable: it is something else, or infinite.
    """
    expression = _parse(text)
    if expression is None:
        raise Unreadable(text)
    try:
        return _value(expression)
    except ArithmeticError:
        raise Unreadable("no finite number") from None


def canonical_algebra(text: str) -> str | None:
    """Canonical form of an expression, or None for words and for what math-verify cannot read."""
    expression = _parse(text)
    if expression is None:
        return None
    try:
        spelt = _ordered(expression)
    except Exception as error:  # whatever sympy raises on odd input
        logging.getLogger("gcrm").debug("answer %r is compared as text: %s", text, error)
        return None
    return None if _UNDEFINED.search(spelt) else spelt


def _parse(text: str) -> Any:
    """The sympy expression of an answer; None if it is words, not readable, or would take long."""
    text = _SHORT_FRACTION.sub(r"\\frac{\1}{\2}", _BARE.sub(r"\\\1 ", text))
    bare = _NUMBERED.sub(" ", _COMMANDS.sub(r"\\", _ENVIRONMENT.sub(" ", text)))
    if _WORDS.search(bare) or set(bare) & set("_:'") or not _MATHS.search(text):
        return None
    if _NO_PRODUCT.search(bare) or _POWER_TOWER.search(text) or _depth(text) > MAX_DEPTH:
        return None
    text = _FACTOR.sub(r"\g<0>\\cdot", text.replace("**", "^"))
    text = _EXPONENT.sub(r"^{\1}", text)
    import math_verify

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    # The time limit is a signal, which Python allows in the main thread only; elsewhere the length
    # of the answer is the only bound.
    in_main_thread = threading.current_thread() is threading.main_thread()
    try:
        found = math_verify.parse(
            f"\\boxed{{{text}}}",
            extraction_config=[_extraction()],
            fallback_mode="no_fallback",
            parsing_timeout=PARSING_SECONDS if in_main_thread else None,
        )
    except Exception as error:  # math-verify and sympy raise all kinds of errors on odd input
        logging.getLogger("gcrm").debug("answer %r is compared as text: %s", text, error)
        return None
    return found[0] if found and not isinstance(found[0], str) else None


@cache
def _extraction() -> Any:
    """What math-verify does before it parses: all but removing units, which takes t from 3 + 4t."""
    import math_verify

    usual = math_verify.LatexExtractionConfig()
    return replace(usual, normalization_config=replace(usual.normalization_config, units=False))


def _depth(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character in BRACKETS) - (character in BRACKETS.values())
        deepest = max(deepest, depth)
    return deepest


def _value(expression: Any) -> Number:
    """The value of a sympy expression, without sympy's unbounded evaluation.

    Raises:
        Unreadable: it has symbols, functions that are not elementary, or is too large.
        ArithmeticError: it is infinite.
    """
    import sympy

    if isinstance(expression, sympy.Rational):
        return Fraction(int(expression.p), int(expression.q))
    if isinstance(expression, sympy.Float):
        return Fraction(str(expression))
    if expression is sympy.pi or expression is sympy.E:
        return float(expression)
    if isinstance(expression, sympy.Add):
        return _sum([_value(term) for term in expression.args])
    if isinstance(expression, sympy.Mul):
        return _product_of([_value(factor) for factor in expression.args])
    if isinstance(expression, sympy.Pow):
        return _power(*map(_value, expression.args))
    if isinstance(expression, sympy.Function):
        return _function(expression.func.__name__, [_value(item) for item in expression.args])
    raise Unreadable(type(expression).__name__)


def _sum(terms: list[Number]) -> Number:
    total: Number = Fraction(0)
    for term in terms:
        total = total + term
    if isinstance(total, float) and abs(total) < ROUNDING * max(abs(float(term)) for term in terms):
        return Fraction(0)
    return total


def _product_of(factors: list[Number]) -> Number:
    product: Number = Fraction(1)
    for factor in factors:
        product = product * factor
    return product


def _function(name: str, arguments: list[Number]) -> Number:
    """The value of an elementary function, given by sympy's name for it.

    Raises:
        Unreadable: the function has no value there, or it is too large.
    """
    first = arguments[0]
    if name in ("Abs", "floor", "ceiling") and len(arguments) == 1:
        if name == "Abs":
            return -first if first < 0 else first
        return Fraction(math.floor(first) if name == "floor" else math.ceil(first))
    if name == "factorial":
        if first != int(first) or not 0 <= first <= MAX_FACTORIAL:
            raise Unreadable("no small factorial")
        return Fraction(math.factorial(int(first)))
    numbers = [float(argument) for argument in arguments]
    inverse = {"cot": "tan", "sec": "cos", "csc": "sin"}
    try:
        if name in inverse:
            return 1 / _function(inverse[name], arguments)
        if name == "tan":  # its poles: the rounded cosine is 0 there
            return _function("sin", arguments) / _function("cos", arguments)
        if name in _REAL_FUNCTIONS:
            # Rounded, so that the sine of pi is 0.
            value: float = getattr(math, name)(*numbers)
            return round(value, 15)
    except (ValueError, TypeError):
        pass
    raise Unreadable(name)


def _power(base: Number, exponent: Number) -> Number:
    """base ** exponent, exact where both are rational and the result is, and of a bounded size.

    Odd roots of negative numbers are real.
    """
    if isinstance(exponent, Fraction) and exponent.denominator == 1:
        if isinstance(base, float):
            power: float = base**exponent.numerator
            return power
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if bits * abs(exponent.numerator) > MAX_BITS:
            raise Unreadable("too large")
        return base**exponent.numerator
    if isinstance(exponent, Fraction) and exponent.denominator % 2 and base < 0:
        root = _power(-base, exponent)
        return -root if exponent.numerator % 2 else root
    if exponent == Fraction(1, 2) and isinstance(base, Fraction) and base >= 0:
        exact = Fraction(math.isqrt(base.numerator), math.isqrt(base.denominator))
        if exact * exact == base:
            return exact
    if base < 0:
        raise Unreadable("complex")
    result: float = float(base) ** float(exponent)
    return result


def _ordered(expression: Any) -> str:
    """The expression as text, with terms sorted and numbers worked out: 1+x is x+1.

    It stays text because sympy would multiply out and raise to powers, which has no bound.
    """
    import sympy

    with suppress(Unreadable, ArithmeticError):
        return spell(_value(expression))
    if isinstance(expression, sympy.MatrixBase):
        rows = (", ".join(map(_ordered, row)) for row in expression.tolist())
        return f"matrix([[{'], ['.join(rows)}]])"
    if not isinstance(expression, sympy.Basic) or not expression.args:
        return str(expression).casefold()
    if isinstance(expression, sympy.FiniteSet):
        return spell_set(map(_ordered, expression.args))
    if isinstance(expression, sympy.Add | sympy.Mul | sympy.Pow):
        return _spell_sum(_terms(expression))
    if isinstance(expression, sympy.Rel):
        return _relation(expression)
    if isinstance(expression, sympy.Function) and all(map(_is_number, expression.args)):
        raise Unreadable(str(expression))  # \tan 90^\circ, 100000!
    parts = [_ordered(argument) for argument in expression.args]
    if isinstance(expression, sympy.And | sympy.Or | sympy.Union):
        parts.sort()
    return f"{type(expression).__name__.lower()}({', '.join(parts)})"


def _relation(relation: Any) -> str:
    """An equation or inequality with all terms on the left.

    `x - y = 0` and `-x + y = 0` are one, `x > 3` and `3 < x`, too; `2x - 2y = 0` is another
    answer, because problems may ask for coefficients without a common factor.
    """
    import sympy

    sign = Fraction(-1 if isinstance(relation, sympy.Lt | sympy.Le) else 1)
    terms = _terms(relation.lhs, sign)
    for product, number in _terms(relation.rhs, -sign).items():
        terms[product] = terms[product] + number
    products = sorted(product for product in terms if product and spell(terms[product]) != "0")
    if not isinstance(relation, sympy.Eq | sympy.Ne):
        name = ">" if isinstance(relation, sympy.Lt | sympy.Gt) else "\\ge "
        return f"{_spell_sum(terms)}{name}0"
    if products and terms[products[0]] < 0:
        terms = {product: -number for product, number in terms.items()}
    if isinstance(relation, sympy.Ne):
        return f"{_spell_sum(terms)}\\ne 0"
    if len(products) == 1 and products[0].isalpha() and terms[products[0]] == 1:
        return spell(-terms.get("", Fraction(0)))  # 2 = x is x = 2, which is the answer 2
    return f"{_spell_sum(terms)}=0"


def _terms(expression: Any, scale: Number = Fraction(1)) -> dict[str, Number]:
    """The coefficient of each product in a sum, times `scale`; that of "" is the number in it."""
    import sympy

    terms: dict[str, Number] = defaultdict(Fraction)
    if isinstance(expression, sympy.Add):
        for argument in expression.args:
            for product, number in _terms(argument, scale).items():
                terms[product] = terms[product] + number
        return terms
    if isinstance(expression, sympy.Mul):
        sums = [factor for factor in expression.args if not _is_number(factor)]
        if len(sums) == 1 and isinstance(sums[0], sympy.Add | sympy.Mul):  # -2(x + y)
            numbers = [_value(factor) for factor in expression.args if _is_number(factor)]
            return _terms(sums[0], _product_of([scale, *numbers]))
    number, factors = _factors(expression, Fraction(1))
    terms["*".join(_spell_factor(*factor) for factor in sorted(factors.items()))] = scale * number
    return terms


def _is_number(expression: Any) -> bool:
    try:
        _value(expression)
    except (Unreadable, ArithmeticError):
        return False
    return True


def _factors(expression: Any, exponent: Number) -> tuple[Number, dict[str, Number]]:
    """A product to the power of `exponent`, its number apart: {factor: exponent}."""
    import sympy

    with suppress(Unreadable, ArithmeticError):
        return _power(_value(expression), exponent), {}
    whole = exponent == int(exponent)
    if isinstance(expression, sympy.Pow) and whole and _is_number(expression.exp):
        return _factors(expression.base, _value(expression.exp) * exponent)
    if isinstance(expression, sympy.Mul) and whole:
        number: Number = Fraction(1)
        factors: dict[str, Number] = defaultdict(Fraction)
        for argument in expression.args:
            value, others = _factors(argument, exponent)
            number = number * value
            for factor, power in others.items():
                factors[factor] += power
        return number, {factor: power for factor, power in factors.items() if power}
    if isinstance(expression, sympy.Pow):
        return Fraction(1), {f"pow({', '.join(map(_ordered, expression.args))})": exponent}
    return Fraction(1), {_ordered(expression): exponent}


def _spell_factor(base: str, exponent: Number) -> str:
    if not base.isalnum() and not base.startswith("("):
        base = f"({base})"  # sin(x)y is not sin(xy)
    return base if exponent == 1 else f"{base}^{{{spell(exponent)}}}"


def _spell_sum(terms: dict[str, Number]) -> str:
    parts = []
    for product, number in sorted(terms.items()):
        times = spell(number)
        if times != "0":
            left = () if product and times == "1" else (times,)
            parts.append("*".join(filter(None, (*left, product))))
    parts = [f"({part})" if "*" in part else part for part in parts]
    return parts[0] if len(parts) == 1 else f"({'+'.join(parts)})" if parts else "0"
