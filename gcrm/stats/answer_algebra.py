"""Answers read by math-verify: arithmetic, algebra, matrices, unions of intervals.

math-verify costs 1 s to import and some ms an answer, so it is loaded when the first one comes.
"""

import logging
import math
import re
import threading
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

DECIMALS = 6
"""Numbers that agree to so many decimals are equal, as in math-verify."""
MAX_BITS = 4096
"""Whole powers beyond so many bits are not worked out: 9^9^9 is compared as written."""
MAX_DEPTH = 10
"""Answers nested deeper are compared as text: math-verify takes seconds for tens of brackets."""
PARSING_SECONDS = 5
"""After so long math-verify gives up on an answer (main thread only: it uses a signal)."""
BRACKETS = {"(": ")", "{": "}", "[": "]"}

Number = Fraction | float

_WORDS = re.compile(r"[^\W\d_]{3,}")
_COMMANDS = re.compile(r"\\[A-Za-z]+|\b(?:sin|cos|tan|cot|sec|csc|log|exp|sqrt|pi)\b")
_MATHS = re.compile(r"[\d\\+*/^=-]")
_POWER_TOWER = re.compile(r"(?:(?:\^|\*\*)\s*\w+\s*){2}")
_NO_PRODUCT = re.compile(r"\d \d|\d ?[ap]m\b|\d [a-z]+ \d", re.I)  # 12 34, 10 am, 3 ft 2
# What math-verify misreads: 2(3) as a mixed number, \pi(3) as a function, 2^\frac{1}{2} as 1/2.
_FACTOR = re.compile(r"(?<![\^\d.])(?:\d+|\\pi)(?=\()")
_EXPONENT = re.compile(
    r"\^\s*(\\[dt]?frac\s*(?:\{[^{}]*\}\s*\{[^{}]*\}|\d\d)|\\sqrt\s*(?:\[\d+\])?(?:\{[^{}]*\}|\d))"
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
    """Items in any order, each once."""
    return "{" + ", ".join(sorted(set(items))) + "}"


def evaluate(text: str) -> Number:
    """The number that an expression without symbols stands for.

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
    bare = _COMMANDS.sub(" ", _ENVIRONMENT.sub(" ", text))
    if _WORDS.search(bare) or set(bare) & set("_:'") or not _MATHS.search(text):
        return None
    if _NO_PRODUCT.search(text) or _POWER_TOWER.search(text) or _depth(text) > MAX_DEPTH:
        return None
    text = _EXPONENT.sub(r"^{\1}", _FACTOR.sub(r"\g<0>\\cdot", text))
    import math_verify

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    # The time limit is a signal, which Python allows in the main thread only; elsewhere the length
    # of the answer is the only bound.
    in_main_thread = threading.current_thread() is threading.main_thread()
    try:
        found = math_verify.parse(
            f"\\boxed{{{text}}}",
            extraction_config=[math_verify.LatexExtractionConfig()],
            fallback_mode="no_fallback",
            parsing_timeout=PARSING_SECONDS if in_main_thread else None,
        )
    except Exception as error:  # math-verify and sympy raise all kinds of errors on odd input
        logging.getLogger("gcrm").debug("answer %r is compared as text: %s", text, error)
        return None
    return found[0] if found and not isinstance(found[0], str) else None


def _depth(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character in BRACKETS) - (character in BRACKETS.values())
        deepest = max(deepest, depth)
    return deepest


def _value(expression: Any) -> Number:
    """The number that a sympy expression stands for, without sympy's unbounded evaluation.

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
    if isinstance(expression, sympy.Add | sympy.Mul):
        result: Number = Fraction(0 if expression.is_Add else 1)
        for value in map(_value, expression.args):
            result = result + value if expression.is_Add else result * value
        return result
    if isinstance(expression, sympy.Pow):
        return _power(*map(_value, expression.args))
    functions = (sympy.exp, sympy.log, sympy.sin, sympy.cos, sympy.tan)
    if isinstance(expression, functions) and len(expression.args) == 1:
        function = getattr(math, expression.func.__name__)
        return float(function(float(_value(expression.args[0]))))
    raise Unreadable(type(expression).__name__)


def _power(base: Number, exponent: Number) -> Number:
    """base ** exponent, exact where both are rational and the result is, and of a bounded size."""
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        if exponent.denominator == 1:
            bits = max(base.numerator.bit_length(), base.denominator.bit_length())
            if bits * abs(exponent.numerator) > MAX_BITS:
                raise Unreadable("too large")
            return base**exponent.numerator
        if exponent == Fraction(1, 2) and base >= 0:
            root = Fraction(math.isqrt(base.numerator), math.isqrt(base.denominator))
            if root * root == base:
                return root
    if base < 0:
        raise Unreadable("complex")
    result: float = float(base) ** float(exponent)
    return result


def _ordered(expression: Any) -> str:
    """The expression as text, with terms sorted and numbers worked out: 1+x is x+1.

    It stays text because sympy would multiply out and raise to powers, which has no bound.
    """
    import sympy

    try:
        return spell(_value(expression))
    except (Unreadable, ArithmeticError):
        pass
    if not isinstance(expression, sympy.Basic) or not expression.args:
        return str(expression)
    if isinstance(expression, sympy.FiniteSet):
        return spell_set(map(_ordered, expression.args))
    if not isinstance(expression, sympy.Add | sympy.Mul):
        return f"{type(expression).__name__}({', '.join(map(_ordered, expression.args))})"
    sign, neutral = ("+", 0) if expression.is_Add else ("*", 1)
    number: Number = Fraction(neutral)
    parts = []
    for part in _flattened(expression, type(expression)):
        try:
            value = _value(part)
        except (Unreadable, ArithmeticError):
            parts.append(_ordered(part))
        else:
            number = number + value if expression.is_Add else number * value
    if number != neutral:
        parts.append(spell(number))
    return parts[0] if len(parts) == 1 else f"({sign.join(sorted(parts))})"


def _flattened(expression: Any, kind: Any) -> list[Any]:
    """The terms of a sum of sums, the factors of a product of products."""
    if not isinstance(expression, kind):
        return [expression]
    return [part for argument in expression.args for part in _flattened(argument, kind)]
