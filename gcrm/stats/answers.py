"""Canonical forms of answers: `18`, `18.0`, `$18` and `\\frac{36}{2}` are one answer in a vote.

`canonical` maps equal answers to equal strings. It removes units, currency and LaTeX spacing, and
parses plain numbers, simple fractions and lists itself; math-verify parses other expressions
(`gcrm.stats.answer_algebra`). All other answers are compared as text.
"""

import re
import unicodedata
from fractions import Fraction
from functools import lru_cache

from gcrm.stats.answer_algebra import (
    BRACKETS,
    TRIGONOMETRIC,
    Unreadable,
    canonical_algebra,
    evaluate,
    spell,
    spell_set,
)

MAX_LENGTH = 200
"""Longer answers (sentences, runaway output) are compared as text."""


@lru_cache(maxsize=1 << 20)
def canonical(answer: str | None) -> str | None:
    """The canonical form of a predicted or expected answer; None if it is null or blank.

    A number becomes an integer or a decimal rounded to 6 places; a tuple or interval keeps its
    order and brackets; a list of solutions (`3, -2`, `{3, -2}`, `['3', '-2']`) is sorted. Units,
    currency, percent signs and a leading `x =` are removed. A range, a date or a telephone number
    is no arithmetic: `5-10` stays text. No text raises an error.
    """
    if answer is None:
        return None
    if len(answer) <= MAX_LENGTH and _PLAIN.fullmatch(answer):  # most answers
        return _canonical_math(answer)
    text = _in_ascii(answer)
    if len(text) > MAX_LENGTH:
        return _tidy(text).casefold() or None
    text = _tidy(_REPEATING.sub(_fraction, text))
    if not text:
        return None
    plain = _without_wrapping(text)
    try:
        return _canonical_math(plain)
    except Unreadable:
        return canonical_algebra(plain) or _as_text(plain or text)


_SUPERSCRIPTS = re.compile(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+")
_SUBSCRIPTS = re.compile(r"[₀-₉]+")
_INVISIBLE = re.compile(r"[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_FRACTIONS = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])")  # 2½
_ROOTS = re.compile(r"√ ?(\d+|[A-Za-z])")
_CHARACTERS: dict[str, str | int | None] = {
    **dict.fromkeys("‐‑‒–−", "-"),
    **dict.fromkeys("€£¥₹\x00", ""),
    "⁄": "/",
    "±": "\\pm ",
    "·": "\\cdot ",
    "⋅": "\\cdot ",
    "÷": "/",
    "∶": ":",
    "∅": "\\emptyset ",
    "∞": "\\infty ",
    "∪": "\\cup ",
}


def _in_ascii(answer: str) -> str:
    """Replace Unicode signs and digits by ASCII; superscripts become an exponent."""
    text = _SUBSCRIPTS.sub(r"_\g<0>", _INVISIBLE.sub("", answer))
    text = _ROOTS.sub(r"\\sqrt{\1}", _SUPERSCRIPTS.sub(r"^{\g<0>}", text)).replace("√(", "sqrt(")
    text = unicodedata.normalize("NFKC", _FRACTIONS.sub(" ", text))
    return text.translate(str.maketrans(_CHARACTERS))


def _tidy(text: str) -> str:
    return " ".join(text.split()).rstrip(" .,;")


_REPEATING = re.compile(  # 0.1\overline{6}, 0.1(6), 0.1666...
    r"(?<![\d.,])(\d*)\.(\d*?)(?:\\(?:overline|bar|dot)(?:\s*\{\s*(\d+)\s*\}|\s*(\d))"
    r"|(?<=\.)\((\d+)\)|(\d{2,16}?)\6+(?:\.{3}|\\[lc]?dots)"
    r"|(\d)\7{2,}(?:\.{3}|\\[lc]?dots))"
)


def _fraction(decimal: re.Match[str]) -> str:
    """A repeating decimal as a fraction: 0.1\\overline{6} is (16 - 1)/90."""
    whole, fixed, *blocks = decimal.groups()
    block = next(filter(None, blocks))
    value = int(whole + fixed + block) - int(whole + fixed or 0)
    return f"\\frac{{{value}}}{{{'9' * len(block) + '0' * len(fixed)}}}"


# The lookbehind excludes the second backslash of \\, the end of a matrix row.
_SPACES = re.compile(
    r"(?<!\\)\\[,;: ()\[\]]|~|\\quad\b|\\(?:left|right|[bB]igg?[lr]?)\b|\\displaystyle\b"
)
_NO_SPACE = re.compile(r"(?<!\\)\\!|(?<=\d)\\,(?=\d{3}(?!\d))")  # 10,\!000; 10\,000
_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?: \d{3})+(?![\d,]| \d)")  # 10 000
_MIXED = re.compile(r"(?<![\d.,/])(\d+) (\d+)/(\d+)(?![\d.,/])")  # 2 1/2
_BOXED = re.compile(r"\\f?box(?:ed)?\{(.*)\}")
_TEXT = r"\\(?:text(?:bf|it|rm|normal)?|math(?:rm|bf|it)|[mh]box|operatorname|boldsymbol)"
_WRAPPED = re.compile(_TEXT + r"\{([^{}]*)\}")
_SUBSCRIPT = re.compile(r"(?<!\\log)_\{(\w+)\}")  # 2516_{8}
_DEGREE = r"(?:\^\s*(?:\\circ|\{\s*\\circ\s*\})|\\degree\b|°)"
_ANGLE = re.compile(rf"(\d+(?:\.\d+)?|\.\d+)\s*(?:{_DEGREE}|\s(?:{_TEXT}\{{\s*)?degrees?\b\s*\}}?)")
_TRIGONOMETRIC = re.compile(rf"(?<![A-Za-z])(?:{TRIGONOMETRIC})(?![A-Za-z])")
_MARKS = re.compile(rf"{_DEGREE}\s*[CF]?\b|{_DEGREE}|\\?%")
_CURRENCY = re.compile(r"^([-+]?)(?:USD|EUR|GBP|Rs\.?)\s*(?=[\d.-])")
_MAGNITUDES = {
    "dozen": "12",
    "hundred": "10^2",
    "thousand": "10^3",
    "million": "10^6",
    "billion": "10^9",
    "trillion": "10^{12}",
}
_MAGNITUDE = re.compile(  # 3 million, 2 hundred thousand
    rf"(?<=[\d}}])((?:\s*(?:{'|'.join(_MAGNITUDES)}))+)\b", re.IGNORECASE
)
# Words that change the meaning of an answer, and are not units.
_MEANT = (
    "and|or|times|plus|minus|over|squared|cubed|hal(?:f|ves)|thirds?|quarters?|fourths?|fifths?"
    "|sixths?|sevenths?|eighths?|ninths?|tenths?|hundredths?|thousandths?|north|south"
    "|east|west|left|right|up|down|above|below|before|after|early|late|increase|decrease|more|less"
    "|fewer|gain|loss|most|least|pi|mod|factorial"
    "|jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    "|sep(?:t(?:ember)?)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?"
)
_SHORT_UNITS = "[cdkmn]m|k?g|mg|m[lL]|[cd][lL]|ft|in|yd|lb|oz|hr|mi|sq|cu|pt|qt|of|no"
# Other two-letter words, and three of a, b, c, x, y, z, are products of variables: 3 xy, 7 mn.
_WORD = rf"(?!(?:{_MEANT})\b)(?:(?:{_SHORT_UNITS})\b|(?![abcxyz]{{3}}\b)[^\W\d_]{{3,}})"
_RATE = (  # km/h, m/s^2, miles/hour
    rf"(?:{_SHORT_UNITS}|[mgL]|{_WORD})\s?/\s?(?:[kcdm]?m|[mcd]?[lL]|k?g|s|h|{_SHORT_UNITS}|{_WORD})"
)
_COMPOUND = re.compile(  # 5 hours 30 minutes, 3 red and 5 blue
    rf"\d\s*(?:{_TEXT}\{{\s*)?(?!(?:and|or|to|pi)\b)[^\W\d_]{{2,}}\s*\}}?,?\s*(?:(?:and|or)\s+)?\d",
    re.IGNORECASE,
)
_SAID = re.compile(  # 3 \text{ million}
    rf"{_TEXT}\{{([^{{}}]*\b(?:{_MEANT}|{'|'.join(_MAGNITUDES)})\b[^{{}}]*)\}}", re.IGNORECASE
)
_SAID_UNIT = rf"{_TEXT}\{{(?!\s*[ie]\s*\}})[^{{}}]*\}}(?:\^\{{?\d\}}?)?"  # \mathrm{i} is none
_UNIT = re.compile(
    rf"(?<=[\d}}\)])\s*(?:{_SAID_UNIT}(?:\s*/\s*{_SAID_UNIT})?"  # 6\text{ cm}^2
    rf"|(?:cm|mm|km|kg)(?![^\W\d_])(?:\^\{{?\d\}}?)?|\s?{_RATE}(?:\^\{{?\d\}}?)?"  # 6cm, 5 km/h
    rf"|\s{_WORD}(?:\s{_WORD}){{0,2}}(?:\^\{{?\d\}}?)?)$",  # 18 red cars
    re.IGNORECASE,
)
_METRES = re.compile(r"([-+]?\d[\d.,/ ]*) [mgshL]")
_WRITTEN = {
    "{,}": ",",
    "\\varnothing": "\\emptyset",
    "\\colon": ":",
    "\\langle": "⟨",
    "\\rangle": "⟩",
}
_GREEK = r"\\(?:alpha|beta|gamma|delta|theta|lambda|mu|phi|omega)"
_NAME = rf"(?:[A-Za-z]|{_GREEK})(?:_\w+)?(?:\([A-Za-z]\))?\s*"
# Between numbers, an equation is a calculation; 1 = x^2 is none.
_NAMED = re.compile(  # x = 3, f(x) = 3, 1 + 2 = 3
    rf"^(?:{_NAME}(?:=|\\in\b)\s*(?=[^=]+$)|[^A-Za-z=\\]*=\s*(?=(?:[^=A-Za-z]|[A-Za-z]{{3,}})+$))"
)


def _without_wrapping(text: str) -> str:
    """The answer without dollar signs, boxes, units and a leading `x =`."""
    if "\\begin" not in text:
        text = re.sub(r"\\{2,}(?=[A-Za-z{}$%])", r"\\", text)  # escaped twice
    for written, meant in _WRITTEN.items():
        text = text.replace(written, meant)
    text = _SPACES.sub(" ", _NO_SPACE.sub("", text)).replace("\\$", "").replace("$", "").strip()
    if boxed := _BOXED.fullmatch(text):
        text = boxed[1].strip()
    if _TRIGONOMETRIC.search(text):
        text = _ANGLE.sub(r"{(\1\\cdot\\pi/180)}", text)
    text = re.sub(r"(?<=\d)@(?=\d)", " ", _MARKS.sub("@", text)).replace("@", "").strip()
    text = _CURRENCY.sub(r"\1", _NAMED.sub("", _SUBSCRIPT.sub(r"_\1", text)))
    text = re.sub(r"(?<=\d)\s*pi\b", r"\\pi", text)
    text = re.sub(r"(?<=\d) ?x ?(?=10 ?(?:\^|\*\*))", r"\\times ", text)
    text = _tidy(_SAID.sub(r" \1 ", text))
    text = _MAGNITUDE.sub(_factors, text)
    unit = "(?!)" if _COMPOUND.search(text) else _UNIT
    text = _tidy(re.sub(unit, "", _WRAPPED.sub(r"\1", re.sub(unit, "", text))))
    if metres := _METRES.fullmatch(text):
        return metres[1]
    if letter := re.fullmatch(r"\(([A-Za-z])\)", text):  # multiple choice: (C)
        return letter[1]
    text = _GROUPED.sub(lambda match: match[0].replace(" ", ""), text)
    return _MIXED.sub(r"\1\\frac{\2}{\3}", text)


def _factors(magnitudes: re.Match[str]) -> str:
    return "".join("*" + _MAGNITUDES[word.lower()] for word in magnitudes[1].split())


_PLAIN = re.compile(
    r"([-+]?)\s*((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)(?:[eE]([-+]?\d{1,3}))?"
)
# A range, a date, a telephone number, a version: 5-10, 12/25/2020, (555) 123-4567, 1.2.3.
_CODE = re.compile(r"(?=.*\d\s*-|.*/.*/|.*\d\.\d+\.\d)(?:\+?\d* ?\(\d+\) ?)?[-+]?[\d\s./-]+")
_JOINT = re.compile(r"(?<=\d)\s*(?:([-:])\s*)+(?=\d)")  # 3 : 4, 5 -- 10
_LATEX_FRACTION = re.compile(r"\\[dt]?frac(?:\s*\{([-+]?\d+)\}\s*\{(\d+)\}|\s*(\d)\s*(\d))")
_QUOTIENT = re.compile(r"([-+]?)\s*(?:(\d+)\s+(?=\d))?([-+]?\d+)\s*/\s*(\d+)")  # 2 1/2
_COMMAS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_THOUSANDS = re.compile(r"\((\d{1,3}(?:,\d{3})*,0\d\d(?:,\d{3})*)\)")  # (1,000)
_BOUND = re.compile(rf"{_NAME}=")


def _canonical_math(text: str) -> str:
    """Canonical form of a plain number or fraction, of a list of numbers, or of a range or date.

    Raises:
        Unreadable: the text is none of these.
    """
    if _CODE.fullmatch(text):
        return _as_text(text)
    text = _THOUSANDS.sub(r"\1", text)
    if plain := _PLAIN.fullmatch(text):
        digits = plain[2].replace(",", "").removesuffix(".")
        return spell(Fraction(plain[1] + digits) * Fraction(10) ** int(plain[3] or 0))
    quotient = _QUOTIENT.fullmatch(_LATEX_FRACTION.sub(r" \1\3/\2\4", text).strip())
    if quotient and int(quotient[4]):
        value = int(quotient[2] or 0) + Fraction(int(quotient[3]), int(quotient[4]))
        return spell(-value if quotient[1] == "-" else value)
    if "\\cup" in text:
        return " \\cup ".join(sorted(map(_item, text.split("\\cup"))))
    if "\\pm" in text:
        raise Unreadable(text)
    parts, opening, closing = _split_list(text)
    if len(parts) == 1 and not opening:
        raise Unreadable(text)
    if len({unit[0].strip() for part in parts if (unit := _UNIT.search(part))}) > 1:
        raise Unreadable(text)  # 3 red, 5 blue
    names = [match[0].rstrip(" =") for part in parts if (match := _BOUND.match(part))]
    items = [_item(part) for part in parts]
    if len(items) == 1:
        return items[0]
    if len(set(names)) == len(items):  # x = 3, y = 4
        return spell_set(f"{name}={item}" for name, item in zip(names, items, strict=True))
    if opening in ("", "{"):
        return spell_set(items)
    return opening + ", ".join(items) + closing


def _as_text(text: str) -> str:
    return _JOINT.sub(r"\1", text).casefold()


def _item(part: str) -> str:
    part = _without_wrapping(part)
    if part in ("\\infty", "+\\infty", "-\\infty"):
        return part.removeprefix("+")
    try:
        return _canonical_math(part)
    except Unreadable:
        return spell(evaluate(part))


def _split_list(text: str) -> tuple[list[str], str, str]:
    """Split a list at its outermost commas; returns the items and the brackets around them.

    Quoted items (a Python list of answers) form a set.
    """
    text = text.replace("\\{", "{").replace("\\}", "}")
    opening = closing = ""
    if _is_enclosed(text):
        opening, closing = text[0], text[-1]
        text = text[1:-1]
    text = re.sub(r",? (?:and|or) ", ", ", text)
    if ", " in text:  # 1,000, 2,000
        text = _COMMAS.sub("", text)
    depth, parts = 0, [""]
    for character in text:
        depth += (character in BRACKETS) - (character in BRACKETS.values())
        if depth < 0:
            raise Unreadable(text)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    parts = [part.strip() for part in parts]
    if depth or not all(parts):
        raise Unreadable(text)
    if all(len(part) > 1 and part[0] == part[-1] and part[0] in "'\"" for part in parts):
        return [part[1:-1] for part in parts], "{", "}"
    return parts, opening, closing


def _is_enclosed(text: str) -> bool:
    """Whether the first bracket is closed by the last: not in (1, 2), (3, 4)."""
    if len(text) < 2 or text[0] not in BRACKETS or text[-1] not in BRACKETS.values():
        return False
    depth = 0
    for character in text[:-1]:
        depth += (character in BRACKETS) - (character in BRACKETS.values())
        if depth == 0:
            return False
    return True
