"""Answers that are algebra: polynomials, matrices, complex numbers, sets, through math-verify.

math-verify costs 1 s to import and tens of ms an answer, so it is loaded when the first one comes.
"""

import logging
import math
import re
import threading
from fractions import Fraction
from typing import Any

from gcrm.stats.answer_arithmetic import BRACKETS, Number, Unreadable, power, spell

MAX_DEPTH = 10
"""Brackets nested deeper are compared as written: math-verify takes seconds for tens of them."""
PARSING_SECONDS = 5
"""After so long math-verify gives up on an answer (main thread only: it uses a signal)."""

_WORDS = re.compile(r"[^\W\d_]{3,}")
_COMMANDS = re.compile(r"\\[A-Za-z]+|\b(?:sin|cos|tan|cot|sec|csc|log|exp|sqrt|pi)\b")
_POWER_TOWER = re.compile(r"(?:\^\s*\w+\s*){3}")
_NAMES = re.compile(r"[a-z]+")
_ENVIRONMENT = re.compile(
    r"(\\(?:begin|end))\{[a-z]*matrix\*?\}|\\begin\{array\}\{[^{}]*\}|\\end\{array\}"
)


def canonical_algebra(text: str) -> str | None:
    """Canonical form through math-verify, or None for words and for what it cannot read."""
    bare = _COMMANDS.sub(" ", _ENVIRONMENT.sub(" ", text))
    if _WORDS.search(bare) or set(bare) & set("_:'") or not re.search(r"[\d\\+*/^=-]", text):
        return None
    if _depth(text) > MAX_DEPTH or _POWER_TOWER.search(text):
        return None
    try:
        expression = _parse(text)
        return None if expression is None else _spell_expression(expression)
    except ImportError:
        raise
    except Exception as error:  # math-verify and sympy raise all kinds of errors on odd input
        logging.getLogger("gcrm").debug("answer %r is compared as text: %s", text, error)
        return None


def _depth(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character in BRACKETS) - (character in BRACKETS.values())
        deepest = max(deepest, depth)
    return deepest


def _parse(text: str) -> Any:
    """The sympy expression of an answer, or None."""
    import math_verify

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    # The time limit is a signal, which Python allows in the main thread only; elsewhere the length
    # of the answer is the only bound.
    in_main_thread = threading.current_thread() is threading.main_thread()
    found = math_verify.parse(
        f"\\boxed{{{text}}}",
        extraction_config=[math_verify.LatexExtractionConfig()],
        fallback_mode="no_fallback",
        parsing_timeout=PARSING_SECONDS if in_main_thread else None,
    )
    return found[0] if found and not isinstance(found[0], str) else None


def _spell_expression(expression: Any) -> str | None:
    try:
        return spell(_value(expression))
    except (Unreadable, ArithmeticError):
        spelt = _ordered(expression)
        return None if {"nan", "zoo"} & set(_NAMES.findall(spelt)) else spelt


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
        return math.pi if expression is sympy.pi else math.e
    if isinstance(expression, sympy.Add | sympy.Mul):
        values = [_value(part) for part in expression.args]
        result: Number = Fraction(0) if isinstance(expression, sympy.Add) else Fraction(1)
        for value in values:
            result = result + value if isinstance(expression, sympy.Add) else result * value
        return result
    if isinstance(expression, sympy.Pow):
        return power(_value(expression.args[0]), _value(expression.args[1]))
    functions = {
        sympy.exp: math.exp,
        sympy.log: math.log,
        sympy.sin: math.sin,
        sympy.cos: math.cos,
        sympy.tan: math.tan,
    }
    if getattr(expression, "func", None) in functions and len(expression.args) == 1:
        return functions[expression.func](float(_value(expression.args[0])))
    raise Unreadable(type(expression).__name__)


def _ordered(expression: Any) -> str:
    """The expression as text, with terms sorted and numbers worked out: 1+x is x+1.

    It stays text because sympy would multiply out and raise to powers, which has no bound.
    """
    import sympy

    if not isinstance(expression, sympy.Basic) or not expression.args:
        return str(expression)
    for kind, sign, one in ((sympy.Add, "+", Fraction(0)), (sympy.Mul, "*", Fraction(1))):
        if isinstance(expression, kind):
            number: Number = one
            parts = []
            for part in _flattened(expression, kind):
                try:
                    value = _value(part)
                except (Unreadable, ArithmeticError):
                    parts.append(_ordered(part))
                else:
                    number = number + value if sign == "+" else number * value
            if number != one:
                parts.append(spell(number))
            return parts[0] if len(parts) == 1 else f"({sign.join(sorted(parts))})"
    try:
        return spell(_value(expression))
    except (Unreadable, ArithmeticError):
        inner = ", ".join(_ordered(part) for part in expression.args)
        return f"{type(expression).__name__}({inner})"


def _flattened(expression: Any, kind: Any) -> list[Any]:
    """The terms of a sum of sums, the factors of a product of products."""
    if not isinstance(expression, kind):
        return [expression]
    return [part for argument in expression.args for part in _flattened(argument, kind)]
