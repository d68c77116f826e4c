"""Dialogues written as one text, whose turns begin with the name of the speaker.

So are the Helpful-Harmless data and their relatives (`Human:` and `Assistant:` after an empty line)
and HelpSteer2 and others for NeMo (lines `<extra_id_1>User` and `<extra_id_1>Assistant`).
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from gcrm.data.messages import Message
from gcrm.utils.errors import UserError

ANSWER = "Assistant:"
_NEMO = re.compile(r"(?:\A\s*|\r?\n)<extra_id_[01]>(System|User|Assistant)(?=\r?\n|\Z)")
_HH = re.compile(r"(?:\A\s*|\r?\n\r?\n)(Human|User|Assistant):")
_LINES = re.compile(r"(?:\A\s*|\r?\n)(Human|User|Assistant):")
"""only in a text that begins with one: others may well have such lines"""


class Turn(NamedTuple):
    """One turn; its content begins at character `begin` of the text."""

    role: str
    content: str
    begin: int


def turns_of(text: str) -> list[Turn]:
    """The turns of a transcript; none of a text in which not both speakers have one.

    Text before the first mark is the user's where that mark is the assistant's, else the system's.
    """
    if "Assistant" not in text:  # most texts
        return []
    for kind in (_NEMO, _HH, _LINES) if _LINES.match(text) else (_NEMO, _HH):
        marks = [*kind.finditer(text)]
        if {mark[1] for mark in marks} - {"System"} > {"Assistant"}:
            break
    else:
        return []
    names = {"System": "system", "Assistant": "assistant"}
    starts = [*(mark.start() for mark in marks[1:]), len(text)]
    turns = [
        Turn(names.get(mark[1], "user"), text[mark.end() : start].strip(), mark.end())
        for mark, start in zip(marks, starts, strict=True)
    ]
    if lead := text[: marks[0].start()].strip():
        turns.insert(0, Turn("user" if turns[0].role == "assistant" else "system", lead, 0))
    return turns


def turns_of_prompt(text: str) -> list[Turn]:
    """The turns of a prompt that is a transcript before the answer.

    One with `Human:` and `Assistant:` only in its midst is a user's text about a dialogue.
    """
    turns = turns_of(text)
    ends = bool(turns) and not turns[-1].content
    begins = _HH.match(text) and _HH.search(text, 1)
    return turns if ends or begins or _NEMO.search(text) else []


def is_whole(turns: Sequence[Turn], beside_a_prompt: bool) -> bool:
    """Whether these turns are a dialogue with its prompt, not an answer about dialogues."""
    if not turns or not beside_a_prompt:
        return bool(turns)
    return turns[0].begin > 0 and turns[0].role != "assistant"


def split_prompt(turns: Sequence[Turn], where: str) -> list[Message]:
    """The messages of a transcript that ends before the answer, with or without `Assistant:`.

    Raises:
        UserError: it ends within an answer.
    """
    if turns[-1].role != "assistant":
        return _messages(turns)
    if turns[-1].content:
        raise UserError(
            f"{where}: the prompt ends within an answer; expected {ANSWER!r} or a turn of the user "
            "at its end"
        )
    return _messages(turns[:-1])


def split_sides(
    texts: Sequence[str], sides: Sequence[list[Turn]], where: str
) -> tuple[list[Message], str, str]:
    """The turns that two whole transcripts share, and their answers.

    Args:
        sides: the turns of both texts.

    Raises:
        UserError: they share none.
    """
    # The last turn is always part of the answer, even if one side is a prefix of the other.
    shared = common_prefix(*([turn[:2] for turn in side[:-1]] for side in sides))
    while shared > 0 and not all(side[shared].role == "assistant" for side in sides):
        shared -= 1
    if not shared:
        raise UserError(f"{where}: chosen and rejected share no turn before their answers")
    answers = [text[side[shared].begin :].strip() for side, text in zip(sides, texts, strict=True)]
    return _messages(sides[0][:shared]), answers[0], answers[1]


def common_prefix(left: Sequence[Any], right: Sequence[Any]) -> int:
    """Length of the common prefix of two sequences."""
    differing = (i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b)
    return next(differing, min(len(left), len(right)))


def _messages(turns: Sequence[Turn]) -> list[Message]:
    messages: list[Message] = []
    for role, content, _ in turns:
        if messages and messages[-1]["role"] == role:  # most chat templates require alternation
            messages[-1]["content"] += "\n\n" + content
        elif content or role != "system":
            messages.append({"role": role, "content": content})
    return messages
