"""The answer that a solution ends with, for votes over unlabelled samples."""

import re

_BOXED = "\\boxed{"
_SAID = re.compile(r"(?:####|\banswer\b)", re.IGNORECASE)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+)?")


def final_answer(solution: str) -> str | None:
    r"""What the last `\boxed{}` holds; else the number after the last `answer` or `####`.

    None where there is neither.
    """
    _, boxed, rest = solution.rpartition(_BOXED)
    if boxed:
        return _up_to_its_brace(rest)
    said = [match.end() for match in _SAID.finditer(solution)]
    number = _NUMBER.search(solution, said[-1]) if said else None
    return None if number is None else number[0].replace(",", "")


def _up_to_its_brace(text: str) -> str | None:
    """The text before the brace that closes it; None where none does, or nothing is in it."""
    depth = 1
    for place, letter in enumerate(text):
        depth += (letter == "{") - (letter == "}")
        if depth == 0:
            return text[:place].strip() or None
    return None
