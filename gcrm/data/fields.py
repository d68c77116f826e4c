"""Values of a row or message: checks of text and numbers, and what counts as metadata."""

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from gcrm.utils.errors import UserError

MAX_NUMBER = 3.4e38
"""about the largest float32"""
METADATA = set(
    "id ids uid uuid guid index idx hash sha source sources origin dataset datasets subset split "
    "category categories domain topic type tag tags label labels lang language locale model models "
    "score scores rating ratings rank reward margin annotator annotators worker status order utc "
    "timestamp time date url urls link license version difficulty level".split()
)
"""last words of names of columns that hold no part of a prompt, such as `prompt_id`"""
RENDERED = re.compile(
    r"(?:<s>|<bos>|<BOS_TOKEN>|\[gMASK\]<sop>|<[|｜]begin.of.(?:text|sentence)[|｜]>)?\s*"
    r"(?:<[|｜][^\s<>]+[|｜]>|<start_of_turn>|\[INST\])"
)
"""how a dialogue begins that a chat template has made a text of"""
ROLE = re.compile(r"[\"'](?:role|from)[\"']\s*:\s*[\"'](?:system|user|human|assistant|gpt)\b")
"""what a list of messages contains where a table of texts (CSV) has made it JSON or Python code"""
OF_ONE_SIDE = {"chosen", "rejected", "correct", "incorrect", "accepted"}
"""words that may stand after such a name, as in `score_chosen`"""


def check_number(value: Any, column: str, where: str) -> float:
    """Return a value of a row as a finite number.

    Raises:
        UserError: it is not a finite number; `where` names the row.
    """
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= MAX_NUMBER:
        raise UserError(f"{where}: {column} must be a finite number, not {str(value)[:40]!r}")
    return number


def check_text(value: Any, column: str, where: str) -> str:
    """Return a value of a row, which must be text that is not blank.

    Raises:
        UserError: it is not text, or blank; `where` names the row.
    """
    if not isinstance(value, str):
        raise UserError(f"{where}: {column} must be text, not {type(value).__name__}")
    if not value.strip():
        raise UserError(f"{where}: {column} is empty")
    return value


def check_not_rendered(texts: Sequence[str], column: str, where: str) -> None:
    """Check that texts are not dialogues: messages as code, or the output of a chat template.

    Raises:
        UserError: all of them are; only one may be what a model has said.
    """
    bare = [text.strip() for text in texts]
    if all(text[:1] in ("[", "{") and text[-1] in "]}" and ROLE.search(text) for text in bare):
        raise UserError(f"{where}: {column} is a list of messages as text; give the list itself")
    if all(RENDERED.match(text) for text in bare):
        raise UserError(
            f"{where}: {column} has the marks of a chat template already, and the base model's "
            "template would be put around them; give the messages, or leave out the row"
        )


def holds_text(value: Any) -> bool:
    """Whether text that is not blank (or an image, or another object) is anywhere in a value."""
    if isinstance(value, list):
        return any(map(holds_text, value))
    if isinstance(value, dict):
        return any(map(holds_text, value.values()))
    if isinstance(value, str):
        return value.strip() not in ("", "[]", "{}")
    return not (value is None or isinstance(value, bool | int | float))


def is_metadata(name: str, value: Any) -> bool:
    """Whether a field that is not read can be left out silently.

    These are values without text, and names such as `id`, `prompt_id` or `chosen_model`.
    """
    return not holds_text(value) or _names_metadata(name)


@lru_cache(maxsize=4096)
def _names_metadata(name: str) -> bool:
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)
    lowered = [word.lower() for word in words if len(word) > 1]
    while lowered and lowered[-1] in OF_ONE_SIDE:
        lowered.pop()
    return bool(lowered) and lowered[-1] in METADATA
