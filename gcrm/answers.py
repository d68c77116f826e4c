"""When two answers are the same one: `18`, `18.0`, `$18`, `\\frac{36}{2}` are one in a vote.

`canonical` gives an answer's canonical form, so that equal answers are equal strings. Numbers,
simple LaTeX arithmetic and lists of them are worked out here; algebra (polynomials, matrices,
complex numbers, sets) goes through math-verify, which costs 1 s to import and tens of ms an answer.
What neither reads is compared as text.
"""

import logging
import math
import re
import threading
import unicodedata
from fractions import Fraction
from functools import lru_cache
from typing import Any

MAX_LENGTH = 200
"""Answers that are longer are sentences or runaway output: they are compared as text."""
DECIMALS = 6
"""Numbers that agree to so many decimals are one, as in math-verify."""
MAX_BITS = 4096
"""Whole powers beyond so many bits are not worked out: 9^9^9 is compared as written."""
MAX_DEPTH = 10
"""Brackets nested deeper are compared as written: math-verify takes seconds for tens of them."""
PARSING_SECONDS = 5
"""After so long math-verify gives up on an answer (main thread only: it uses a signal)."""

Number = Fraction | float


class _Unreadable(ValueError):
    """Not simple arithmetic."""


@lru_cache(maxsize=1 << 20)
def canonical(answer: str | None) -> str | None:
    """The canonical form of a predicted or expected answer; None for none (null or blank).

    A number becomes `18`, or a decimal rounded to 6 places; a tuple or interval keeps its order and
    brackets; a list of solutions (`3, -2`, `{3, -2}`, `['3', '-2']`) is sorted. Units, currency,
    percent signs and a leading `x =` do not matter. Any text is accepted, and none raises.
    """
    if answer is None:
        return None
    text = _tidy(unicodedata.normalize("NFKC", answer).replace("−", "-").replace("\x00", ""))
    if not text:
        return None
    if len(text) > MAX_LENGTH:
        return text.casefold()
    plain = _without_wrapping(text)
    try:
        return _canonical_math(plain)
    except _Unreadable:
        return _algebra(plain) or (plain or text).casefold()


def _tidy(text: str) -> str:
    return " ".join(text.split()).rstrip(" .")


_SPACES = re.compile(r"\\[,!;: ]|~|\\quad\b|\\left\b|\\right\b|\\displaystyle\b")
_BOXED = re.compile(r"\\boxed\{(.*)\}")
_TEXT = re.compile(r"\\(?:text|mathrm|textbf|mathbf|mbox)\{([^{}]*)\}")
_UNIT = re.compile(
    r"(?<=[\d}\)])\s*(?:\\(?:text|mathrm|mbox)\{[^{}]*\}(?:\^\{?\d\}?)?"  # 6\text{ cm}^2
    # 18 red cars
    r"|\s(?!and\b|or\b)[^\W\d_]{2,}(?:\s(?!and\b|or\b)[^\W\d_]{2,}){0,2}(?:\^\{?\d\}?)?)$"
)
_NAMED = re.compile(  # x = 3, 1 + 2 = 3
    r"^(?:[A-Za-z]\s*(?:=|\\in\b)|[^A-Za-z=\\]*=)\s*(?=[^=]+$)"
)


def _without_wrapping(text: str) -> str:
    """The answer without dollar signs, boxes, units, and other things that do not change it."""
    if "\\begin" not in text:
        text = re.sub(r"\\\\(?=[A-Za-z{}$%])", r"\\", text)  # escaped once too often
    text = text.replace("{,}", ",")
    text = _SPACES.sub(" ", text).replace("\\$", "").replace("$", "").strip()
    if boxed := _BOXED.fullmatch(text):
        text = boxed[1].strip()
    text = re.sub(r"\^\{?\\circ\}?|\\degree\b|°|\\?%", "", text).strip()
    text = _NAMED.sub("", text)
    text = _UNIT.sub("", text)
    return _tidy(_TEXT.sub(r"\1", text))


# --- numbers and lists of numbers ---

_PLAIN = re.compile(
    r"([-+]?)\s*((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)(?:[eE]([-+]?\d{1,3}))?"
)
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d*)?")
_OPEN, _CLOSE = "([{", ")]}"


def _canonical_math(text: str) -> str:
    """Canonical form of a number, or of a list of what has one.

    Raises:
        _Unreadable: there is something that is neither.
    """
    if plain := _PLAIN.fullmatch(text):
        return _spell(_plain_number(plain))
    if _THOUSANDS.fullmatch(text) is None:
        parts, opening, closing = _split_list(text)
        if parts:
            items = [_item(part) for part in parts]
            if len(items) == 1:
                return items[0]
            if not opening or opening == "{":
                return "{" + ", ".join(sorted(set(items))) + "}"
            return opening + ", ".join(items) + closing
    return _spell(_Arithmetic(text).value())


def _item(part: str) -> str:
    part = _without_wrapping(part)
    if part in ("\\infty", "+\\infty", "-\\infty"):
        return part.removeprefix("+")
    return _canonical_math(part)


def _split_list(text: str) -> tuple[list[str], str, str]:
    """The parts between the commas of the outermost level, and the brackets around them.

    No parts: not a list. Quoted parts (Python's spelling of a list of answers) are a set.
    """
    text = text.replace("\\{", "{").replace("\\}", "}")
    opening = closing = ""
    if len(text) > 1 and text[0] in _OPEN and text[-1] in _CLOSE:
        opening, closing = text[0], text[-1]
        text = text[1:-1]
    elif " and " in text or " or " in text:
        text = re.sub(r",? (?:and|or) ", ", ", text)
    depth, parts = 0, [""]
    for character in text:
        if character in _OPEN:
            depth += 1
        elif character in _CLOSE:
            depth -= 1
            if depth < 0:
                raise _Unreadable(text)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    parts = [part.strip() for part in parts]
    if depth or (len(parts) == 1 and opening != "["):
        if opening == "{" and depth == 0 and parts[0]:
            return parts, opening, closing
        return [], "", ""
    if not all(parts):
        raise _Unreadable(text)
    quoted = [
        part[1:-1] for part in parts if len(part) > 1 and part[0] == part[-1] and part[0] in "'\""
    ]
    if len(quoted) == len(parts):
        return quoted, "{", "}"
    return parts, opening, closing


def _plain_number(match: re.Match[str]) -> Fraction:
    digits = match[2].replace(",", "").removesuffix(".")
    return Fraction(match[1] + digits) * Fraction(10) ** int(match[3] or 0)


def _spell(value: Number) -> str:
    """A number as text: whole, or decimal with at least 6 places and 6 digits that count.

    Raises:
        _Unreadable: it is infinite or no number.
    """
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _Unreadable("not finite")
        value = Fraction(value)
    if value.denominator == 1:
        return str(value.numerator)
    if abs(value) >= 1:
        rounded = round(value, DECIMALS)
    else:
        # Small numbers keep six digits that count, or all below 1e-6 would be one.
        size = math.floor(math.log10(value.denominator) - math.log10(abs(value.numerator)))
        rounded = round(value, DECIMALS + min(size, 1000))
    if rounded.denominator == 1:
        return str(rounded.numerator)
    sign = "-" if rounded < 0 else ""
    places = 0
    scaled = abs(rounded)
    while scaled.denominator != 1:  # at most some 1,000 times: it was rounded to decimals
        scaled *= 10
        places += 1
    digits = str(scaled.numerator).rjust(places + 1, "0")
    return f"{sign}{digits[:-places]}.{digits[-places:]}"


_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)"
    r"|(?P<name>\\[dt]?frac|\\sqrt|\\pi|\\cdot|\\times|\\div|π|√|\*\*|[-+*/^(){}\[\]]))"
)
_SAME = {"\\dfrac": "\\frac", "\\tfrac": "\\frac", "π": "\\pi", "√": "\\sqrt", "**": "^"} | {
    "\\cdot": "*",
    "\\times": "*",
    "\\div": "/",
}
_PAIRS = {"(": ")", "{": "}", "[": "]"}


class _Arithmetic:
    """Works out LaTeX of numbers, fractions, roots, powers and pi, exactly where it is rational.

    sum := product (± product)*; product := power ((*|/)? power)*; power := atom (^ signed)?
    """

    def __init__(self, text: str):
        self.tokens: list[str] = []
        position = 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise _Unreadable(text)
            name = match["name"]
            self.tokens.append(_SAME.get(name, name) if name else match["number"].replace(",", ""))
            position = match.end()
        self.next = 0

    def value(self) -> Number:
        try:
            value = self._sum()
        except (ArithmeticError, RecursionError):
            raise _Unreadable("no finite number") from None
        if self.next != len(self.tokens):
            raise _Unreadable("unexpected " + self.tokens[self.next])
        return value

    def _peek(self) -> str:
        return self.tokens[self.next] if self.next < len(self.tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self.next += 1
        return token

    def _sum(self) -> Number:
        value = self._product()
        while self._peek() in ("+", "-"):
            sign = self._take()
            term = self._product()
            value = value + term if sign == "+" else value - term
        return value

    def _product(self) -> Number:
        value = self._signed()
        while True:
            token = self._peek()
            if token == "*":
                self._take()
                value = value * self._signed()
            elif token == "/":
                self._take()
                value = value / self._signed()
            elif token in ("\\frac", "\\sqrt", "\\pi", "(", "{"):
                value = value * self._power()
            else:
                return value

    def _signed(self) -> Number:
        if self._peek() in ("+", "-"):
            sign = self._take()
            value = self._signed()
            return value if sign == "+" else -value
        return self._power()

    def _power(self) -> Number:
        value = self._atom()
        if self._peek() != "^":
            return value
        self._take()
        return power(value, self._signed())

    def _atom(self) -> Number:
        token = self._take()
        if token[:1].isdigit() or token[:1] == ".":
            if self._peek() == "\\frac" and token.isdigit():  # 2\frac{1}{2} is 2.5
                return Fraction(token) + self._atom()
            return Fraction(token)
        if token == "\\pi":
            return math.pi
        if token == "\\frac":
            return self._argument() / self._argument()
        if token == "\\sqrt":
            index: Number = Fraction(2)
            if self._peek() == "[":
                index = self._atom()
            return power(self._argument(), 1 / index)
        if token in _PAIRS:
            value = self._sum()
            if self._take() != _PAIRS[token]:
                raise _Unreadable("brackets")
            return value
        raise _Unreadable(token)

    def _argument(self) -> Number:
        """`{...}`, or one digit: \\frac12."""
        token = self._peek()
        if token[:1].isdigit():
            self.tokens[self.next : self.next + 1] = [token[0], token[1:]] if token[1:] else [token]
            return Fraction(self._take())
        return self._atom()


def power(base: Number, exponent: Number) -> Number:
    """base ** exponent, exact where both are rational and the result is, and of a bounded size.

    Raises:
        _Unreadable: it is complex, or larger than `MAX_BITS`.
        ArithmeticError: it is infinite.
    """
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        if exponent.denominator == 1:
            bits = max(base.numerator.bit_length(), base.denominator.bit_length())
            if bits * abs(exponent.numerator) > MAX_BITS:
                raise _Unreadable("too large")
            return base**exponent.numerator
        if exponent == Fraction(1, 2) and base >= 0:
            root = Fraction(math.isqrt(base.numerator), math.isqrt(base.denominator))
            if root * root == base:
                return root
    if base < 0:
        raise _Unreadable("complex")
    result: float = float(base) ** float(exponent)
    return result


# --- algebra ---

_WORDS = re.compile(r"[^\W\d_]{3,}")
_COMMANDS = re.compile(r"\\[A-Za-z]+|\b(?:sin|cos|tan|cot|sec|csc|log|exp|sqrt|pi)\b")
_POWER_TOWER = re.compile(r"(?:\^\s*\w+\s*){3}")
_NAMES = re.compile(r"[a-z]+")
_ENVIRONMENT = re.compile(
    r"(\\(?:begin|end))\{[a-z]*matrix\*?\}|\\begin\{array\}\{[^{}]*\}|\\end\{array\}"
)


def _algebra(text: str) -> str | None:
    """Canonical form through math-verify, or None for words and for what it cannot read."""
    bare = _COMMANDS.sub(" ", _ENVIRONMENT.sub(" ", text))
    if _WORDS.search(bare) or set(bare) & set("_:") or not re.search(r"[\d\\+*/^=-]", text):
        return None
    if _depth(text) > MAX_DEPTH or _POWER_TOWER.search(text):
        return None
    try:
        expression = _parse(text)
        return None if expression is None else _spell_expression(expression)
    except Exception as error:  # math-verify and sympy raise all kinds of errors on odd input
        logging.getLogger("gcrm").debug("answer %r is compared as text: %s", text, error)
        return None


def _depth(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character in _OPEN) - (character in _CLOSE)
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
        return _spell(_value(expression))
    except (_Unreadable, ArithmeticError):
        spelt = _ordered(expression)
        return None if {"nan", "zoo"} & set(_NAMES.findall(spelt)) else spelt


def _value(expression: Any) -> Number:
    """The number that a sympy expression stands for, without sympy's unbounded evaluation.

    Raises:
        _Unreadable: it has symbols, functions that are not elementary, or is too large.
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
    raise _Unreadable(type(expression).__name__)


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
                except (_Unreadable, ArithmeticError):
                    parts.append(_ordered(part))
                else:
                    number = number + value if sign == "+" else number * value
            if number != one:
                parts.append(_spell(number))
            return parts[0] if len(parts) == 1 else f"({sign.join(sorted(parts))})"
    try:
        return _spell(_value(expression))
    except (_Unreadable, ArithmeticError):
        inner = ", ".join(_ordered(part) for part in expression.args)
        return f"{type(expression).__name__}({inner})"


def _flattened(expression: Any, kind: Any) -> list[Any]:
    """The terms of a sum of sums, the factors of a product of products."""
    if not isinstance(expression, kind):
        return [expression]
    return [part for argument in expression.args for part in _flattened(argument, kind)]
