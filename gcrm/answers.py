"""When two answers are the same one: `18`, `18.0`, `$18`, `\\frac{36}{2}` are one in a vote.

`canonical` gives an answer's canonical form, so that equal answers are equal strings. It reads
numbers and lists of them (`gcrm.answer_arithmetic`) and algebra (`gcrm.answer_algebra`); what
neither reads is compared as text.
"""

import re
import unicodedata
from fractions import Fraction
from functools import lru_cache

from gcrm.answer_algebra import canonical_algebra
from gcrm.answer_arithmetic import BRACKETS, Unreadable, evaluate, spell

MAX_LENGTH = 200
"""Answers that are longer are sentences or runaway output: they are compared as text."""


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
    except Unreadable:
        # 12 34 is no product, whatever algebra makes of it.
        algebra = None if _APART.search(plain) else canonical_algebra(plain)
        return algebra or (plain or text).casefold()


def _tidy(text: str) -> str:
    return " ".join(text.split()).rstrip(" .")


# Not the second backslash of \\, which ends the row of a matrix.
_SPACES = re.compile(r"(?<!\\)\\[,;: ]|~|\\quad\b|\\left\b|\\right\b|\\displaystyle\b")
_NO_SPACE = re.compile(r"(?<!\\)\\!|(?<=\d)\\,(?=\d{3}(?!\d))")  # 10,\!000; 10\,000
_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?: \d{3})+(?![\d,])")  # 10 000
_MIXED = re.compile(r"(?<![\d.,/])(\d+) (\d+)/(\d+)(?![\d.,/])")  # 2 1/2
_APART = re.compile(r"\d \d")
_BOXED = re.compile(r"\\boxed\{(.*)\}")
_TEXT = re.compile(r"\\(?:text|mathrm|textbf|mathbf|mbox)\{([^{}]*)\}")
_UNIT = re.compile(
    r"(?<=[\d}\)])\s*(?:\\(?:text|mathrm|mbox)\{[^{}]*\}(?:\^\{?\d\}?)?"  # 6\text{ cm}^2
    # 18 red cars; but not 3 xy
    r"|\s(?!and\b|or\b|[abcxyz]{2,3}\b)[^\W\d_]{2,}"
    r"(?:\s(?!and\b|or\b)[^\W\d_]{2,}){0,2}(?:\^\{?\d\}?)?)$"
)
_NAMED = re.compile(  # x = 3, 1 + 2 = 3
    r"^(?:[A-Za-z]\s*(?:=|\\in\b)|[^A-Za-z=\\]*=)\s*(?=[^=]+$)"
)


def _without_wrapping(text: str) -> str:
    """The answer without dollar signs, boxes, units, and other things that do not change it."""
    if "\\begin" not in text:
        text = re.sub(r"\\\\(?=[A-Za-z{}$%])", r"\\", text)  # escaped once too often
    text = text.replace("{,}", ",")
    text = _SPACES.sub(" ", _NO_SPACE.sub("", text)).replace("\\$", "").replace("$", "").strip()
    if boxed := _BOXED.fullmatch(text):
        text = boxed[1].strip()
    text = re.sub(r"\^\{?\\circ\}?|\\degree\b|°|\\?%", "", text).strip()
    text = _NAMED.sub("", text)
    text = re.sub(r"(?<=\d)\s*pi\b", r"\\pi", text)
    text = _tidy(_TEXT.sub(r"\1", _UNIT.sub("", text)))
    if letter := re.fullmatch(r"\(([A-Za-z])\)", text):  # of a choice: (C)
        return letter[1]
    text = _GROUPED.sub(lambda match: match[0].replace(" ", ""), text)
    return _MIXED.sub(r"\1\\frac{\2}{\3}", text)


# --- numbers and lists of numbers ---

_PLAIN = re.compile(
    r"([-+]?)\s*((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)(?:[eE]([-+]?\d{1,3}))?"
)
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d*)?")


def _canonical_math(text: str) -> str:
    """Canonical form of a number, or of a list of what has one.

    Raises:
        Unreadable: there is something that is neither.
    """
    if plain := _PLAIN.fullmatch(text):
        return spell(_plain_number(plain))
    if _THOUSANDS.fullmatch(text) is None:
        parts, opening, closing = _split_list(text)
        if parts:
            items = [_item(part) for part in parts]
            if len(items) == 1:
                return items[0]
            if not opening or opening == "{":
                return "{" + ", ".join(sorted(set(items))) + "}"
            return opening + ", ".join(items) + closing
    return spell(evaluate(text))


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
    if len(text) > 1 and text[0] in BRACKETS and text[-1] in BRACKETS.values():
        opening, closing = text[0], text[-1]
        text = text[1:-1]
    elif " and " in text or " or " in text:
        text = re.sub(r",? (?:and|or) ", ", ", text)
    depth, parts = 0, [""]
    for character in text:
        if character in BRACKETS:
            depth += 1
        elif character in BRACKETS.values():
            depth -= 1
            if depth < 0:
                raise Unreadable(text)
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
        raise Unreadable(text)
    quoted = [
        part[1:-1] for part in parts if len(part) > 1 and part[0] == part[-1] and part[0] in "'\""
    ]
    if len(quoted) == len(parts):
        return quoted, "{", "}"
    return parts, opening, closing


def _plain_number(match: re.Match[str]) -> Fraction:
    digits = match[2].replace(",", "").removesuffix(".")
    return Fraction(match[1] + digits) * Fraction(10) ** int(match[3] or 0)
