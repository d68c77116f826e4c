"""Answers that are numbers: LaTeX arithmetic worked out exactly, and how a number is spelt."""

import math
import re
from fractions import Fraction

DECIMALS = 6
"""Numbers that agree to so many decimals are one, as in math-verify."""
MAX_BITS = 4096
"""Whole powers beyond so many bits are not worked out: 9^9^9 is compared as written."""
BRACKETS = {"(": ")", "{": "}", "[": "]"}

Number = Fraction | float


class Unreadable(ValueError):
    """Not simple arithmetic."""


def spell(value: Number) -> str:
    """A number as text: whole, or decimal with at least 6 places and 6 digits that count.

    Raises:
        Unreadable: it is infinite or no number.
    """
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Unreadable("not finite")
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


def evaluate(text: str) -> Number:
    """The number that LaTeX of numbers, fractions, roots, powers and pi stands for.

    Raises:
        Unreadable: there is something else, or no finite number.
    """
    return _Arithmetic(text).value()


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
                raise Unreadable(text)
            name = match["name"]
            self.tokens.append(_SAME.get(name, name) if name else match["number"].replace(",", ""))
            position = match.end()
        self.next = 0

    def value(self) -> Number:
        try:
            value = self._sum()
        except (ArithmeticError, RecursionError):
            raise Unreadable("no finite number") from None
        if self.next != len(self.tokens):
            raise Unreadable("unexpected " + self.tokens[self.next])
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
        if token in BRACKETS:
            value = self._sum()
            if self._take() != BRACKETS[token]:
                raise Unreadable("brackets")
            return value
        raise Unreadable(token)

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
        Unreadable: it is complex, or larger than `MAX_BITS`.
        ArithmeticError: it is infinite.
    """
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
