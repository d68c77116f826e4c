"""Dialogues written as one text, whose turns begin with `Human:` or `Assistant:`.

So are the Helpful-Harmless data and their relatives.
"""

import re
from collections.abc import Sequence
from typing import Any

from gcrm.data.messages import Message
from gcrm.utils.errors import UserError

ANSWER = "Assistant:"


def is_transcript(text: str) -> bool:
    """Whether both speakers have a turn."""
    text = _from_its_first_line(text)
    return "\n\nHuman:" in text and f"\n\n{ANSWER}" in text


def split_prompt(text: str, where: str) -> list[Message]:
    """The turns of a transcript that ends before the answer, with or without `Assistant:`.

    Raises:
        UserError: it ends within an answer.
    """
    turns = _turns(text.rstrip())
    if turns[-1].startswith(ANSWER) and turns.pop() != ANSWER:
        raise UserError(
            f"{where}: the prompt ends within an answer; expected {ANSWER!r} or a turn of Human: "
            "at its end"
        )
    return _messages(turns)


def turns_of(text: str) -> list[Message]:
    """All turns of a transcript."""
    return _messages(_turns(text))


def split_sides(chosen: str, rejected: str, where: str) -> tuple[list[Message], str, str]:
    """The turns that two whole transcripts share, and their answers.

    Raises:
        UserError: they share none.
    """
    turns = [_turns(text) for text in (chosen, rejected)]
    # The last turn is always part of the answer, even if one side is a prefix of the other.
    shared = min(common_prefix(*turns), len(turns[0]) - 1, len(turns[1]) - 1)
    while shared > 0 and not all(side[shared].startswith(ANSWER) for side in turns):
        shared -= 1
    prompt = _messages(turns[0][:shared])
    if not prompt:
        raise UserError(f"{where}: chosen and rejected share no turn before their answers")
    answers = ["\n\n".join(side[shared:]).removeprefix(ANSWER).strip() for side in turns]
    return prompt, answers[0], answers[1]


def common_prefix(left: Sequence[Any], right: Sequence[Any]) -> int:
    """Length of the common prefix of two sequences."""
    differing = (i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b)
    return next(differing, min(len(left), len(right)))


def _from_its_first_line(text: str) -> str:
    return "\n\n" + text.lstrip("\n")


def _turns(text: str) -> list[str]:
    return re.split(r"\n\n(?=Human:|Assistant:)", _from_its_first_line(text))


def _messages(turns: Sequence[str]) -> list[Message]:
    messages: list[Message] = []
    for turn in turns:
        role, content = _speaker(turn)
        if messages and messages[-1]["role"] == role:  # most chat templates require alternation
            messages[-1]["content"] += "\n\n" + content
        elif turn.strip():
            messages.append({"role": role, "content": content})
    return messages


def _speaker(turn: str) -> tuple[str, str]:
    """Role and content of a turn of a transcript; text before the first turn is the system's."""
    for name, role in (("Human:", "user"), (ANSWER, "assistant")):
        if turn.startswith(name):
            return role, turn.removeprefix(name).strip()
    return "system", turn.strip()
