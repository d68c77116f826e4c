"""Preference data of every accepted kind, as pairs of a chosen and a rejected completion."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from gcrm.data.questions import question_hash, question_key
from gcrm.data.rows import HELDOUT_SPLITS, TRAINING_SPLITS, rows_of
from gcrm.utils.errors import UserError
from gcrm.utils.io import Row
from gcrm.utils.logging import say

Message = dict[str, str]
"""A turn of a dialogue: {"role": "user" or "assistant" or "system", "content": text}."""
Prompt = str | list[Message]
"""A raw question, or the turns of a dialogue up to the completion."""

LARGEST = 3.4e38
"""number that float32 holds, about"""
COLUMNS = (
    ("question", "correct", "incorrect"),
    ("prompt", "chosen", "rejected"),
    ("chosen", "rejected"),
)


@dataclass(frozen=True)
class Preference:
    """Two completions of one prompt, the first better than the second.

    `margin` is by how much, where the data says so: the difference of the rewards is to exceed it.
    """

    prompt: Prompt
    chosen: str
    rejected: str
    margin: float | None = None

    @property
    def question(self) -> str:
        """The prompt as one text, by which pairs are matched, held out and capped."""
        if isinstance(self.prompt, str):
            return self.prompt
        return "\n".join(turn["content"] for turn in self.prompt)


def read_preferences(
    sources: Sequence[str],
    probs: Sequence[float] | None = None,
    max_pairs: int | None = None,
) -> list[Preference]:
    """Read and mix preference data, and say what was left out.

    Args:
        sources: .jsonl or .parquet files, folders saved by `datasets`, or hub ids; with columns
            question/correct/incorrect, prompt/chosen/rejected or chosen/rejected; and, if they
            like, a number `margin` in every row.
        probs: the share of each source in the mixture. No row is repeated: the source that is
            smallest for its share is used whole, the others up to their shares.
        max_pairs: cap on the pairs, by hash of the prompt.

    Raises:
        UserError: a source cannot be read, or a row is broken.
    """
    mixed = [list(iter_preferences(source)) for source in sources]
    _all_or_none_have_margins(sources, mixed)
    if probs is not None:
        total = min(len(pairs) / share for pairs, share in zip(mixed, probs, strict=True))
        mixed = [
            cap_pairs(pairs, max(1, round(total * share)))
            for pairs, share in zip(mixed, probs, strict=True)
        ]
    return cap_pairs([pair for pairs in mixed for pair in pairs], max_pairs)


def read_heldout(sources: Sequence[str], max_pairs: int | None = None) -> list[Preference]:
    """As `read_preferences`, for measuring: of data sets with several splits, their test split."""
    return cap_pairs(
        [pair for source in sources for pair in iter_preferences(source, HELDOUT_SPLITS)], max_pairs
    )


def cap_pairs(pairs: list[Preference], most: int | None) -> list[Preference]:
    """At most `most` pairs, those with the smallest hash of the prompt, in their old order.

    Which pairs these are does not depend on their order, nor among the pairs of one prompt.
    """
    if most is None or len(pairs) <= most:
        return pairs
    ranks = [pair_rank(pair) for pair in pairs]
    kept = sorted(range(len(pairs)), key=ranks.__getitem__)[:most]
    return [pairs[i] for i in sorted(kept)]


def pair_rank(pair: Preference) -> tuple[str, str]:
    """By which a cap takes pairs: a hash of the question, and of the texts among its pairs."""
    return question_hash(question_key(pair.question)), question_hash(pair.chosen + pair.rejected)


def iter_preferences(source: str, splits: Sequence[str] = TRAINING_SPLITS) -> Iterator[Preference]:
    """The pairs of one source, one by one, so that data of any size can be read.

    Args:
        splits: of data with several splits, the first of these that it has is read.

    Raises:
        UserError: as `read_preferences`, when the bad row is reached.
    """
    columns: tuple[str, ...] = ()
    has_margins: bool | None = None
    kept = equal = 0
    for number, row in rows_of(source, splits):
        where = f"{source}, row {number}"
        columns = columns or columns_of(source, row)
        pair = replace(pair_of(row, columns, where), margin=_margin(row, where))
        if has_margins is None:
            has_margins = pair.margin is not None
        elif has_margins != (pair.margin is not None):
            raise UserError(
                f"{where}: margin is {'missing' if has_margins else 'given'}, unlike in the rows "
                "before; expected a number in every row, or in none"
            )
        if pair.chosen == pair.rejected:
            equal += 1
        else:
            kept += 1
            yield pair
    say_equal_sides(source, kept, equal)


def say_equal_sides(source: str, kept: int, equal: int) -> None:
    """Say how many pairs of a source were left out, since their two sides are equal.

    Raises:
        UserError: all of them.
    """
    if equal and not kept:
        raise UserError(
            f"{source}: no pair has two different sides; expected a better and a worse completion "
            "in each row"
        )
    if equal:
        say(f"{source}: left out {equal} pairs whose two sides are equal")


def _margin(row: Row, where: str) -> float | None:
    margin = row.get("margin")
    if margin is None:
        return None
    return finite_number(margin, "margin", where)


def finite_number(value: Any, column: str, where: str) -> float:
    """A number of a row.

    Raises:
        UserError: it is none, or not finite.
    """
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= LARGEST:
        raise UserError(f"{where}: {column} must be a finite number, not {str(value)[:40]!r}")
    return number


def _all_or_none_have_margins(sources: Sequence[str], mixed: Sequence[list[Preference]]) -> None:
    having = [pairs[0].margin is not None for pairs in mixed]
    if any(having) and not all(having):
        without = sources[having.index(False)]
        raise UserError(
            f"{without}: has no column margin, but {sources[having.index(True)]} has; add it to "
            "all (0 where none is meant), or remove it"
        )


def columns_of(source: str, row: Row) -> tuple[str, ...]:
    """Which of `COLUMNS` the data has, by its first row.

    Raises:
        UserError: none of them.
    """
    for columns in COLUMNS:
        if all(column in row for column in columns):
            return columns
    expected = " or ".join("/".join(columns) for columns in COLUMNS)
    raise UserError(f"{source}: expected columns {expected}, found {', '.join(row) or 'none'}")


def pair_of(row: Row, columns: tuple[str, ...], where: str) -> Preference:
    """The pair of a row, without its margin.

    Raises:
        UserError: a value is missing or of the wrong type; `where` names the row.
    """
    values = []
    for column in columns:
        if row.get(column) is None:
            raise UserError(f"{where}: {column} is missing or null; expected text")
        values.append(row[column])
    if len(values) == 2:
        return _split_dialogue(values[0], values[1], where)
    prompt, chosen, rejected = values
    if isinstance(chosen, list) and isinstance(rejected, list):
        lead = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
        return _split_messages(chosen, rejected, where, lead)
    prompt = messages_of(prompt, where) if _is_dialogue(columns[0], prompt) else prompt
    for column, value in zip(columns, (prompt, chosen, rejected), strict=True):
        if not _is_dialogue(column, value):
            check_text(column, value, where)
    return Preference(prompt, chosen, rejected)


def _is_dialogue(column: str, value: Any) -> bool:
    return column == "prompt" and isinstance(value, list) and bool(value)


def check_text(column: str, value: Any, where: str) -> None:
    """Refuse what is no text, or empty.

    Raises:
        UserError: `where` names the row.
    """
    if not isinstance(value, str):
        raise UserError(f"{where}: {column} must be text, not {type(value).__name__}")
    if not value.strip():
        raise UserError(f"{where}: {column} is empty")


def _split_dialogue(chosen: Any, rejected: Any, where: str) -> Preference:
    """Find the prompt that two whole dialogues (or texts) share."""
    if isinstance(chosen, list) and isinstance(rejected, list):
        return _split_messages(chosen, rejected, where)
    if not (isinstance(chosen, str) and isinstance(rejected, str)):
        raise UserError(f"{where}: chosen and rejected must both be text, or lists of messages")
    transcripts = ["\n\n" + text.lstrip("\n") for text in (chosen, rejected)]
    if all("\n\nHuman:" in text and "\n\nAssistant:" in text for text in transcripts):
        return _split_transcripts(transcripts, where)
    shared = len(_common(chosen, rejected))
    # A word that both begin alike and end differently belongs to the completions.
    border = max(chosen.rfind(" ", 0, shared), chosen.rfind("\n", 0, shared)) + 1
    prompt = chosen[:border].strip()
    if not prompt:
        raise UserError(f"{where}: chosen and rejected share no prompt; give a column 'prompt'")
    return Preference(prompt, chosen[border:], rejected[border:])


def _split_transcripts(transcripts: list[str], where: str) -> Preference:
    """Helpful-Harmless transcripts: turns that begin with `Human:` or `Assistant:`."""
    turns = [re.split(r"\n\n(?=Human:|Assistant:)", text) for text in transcripts]
    # The answers are the last turn at the least, even where one is the other's beginning.
    shared = min(len(_common(*turns)), len(turns[0]) - 1, len(turns[1]) - 1)
    while shared > 0 and not all(side[shared].startswith("Assistant:") for side in turns):
        shared -= 1
    prompt: list[Message] = []
    for turn in turns[0][:shared]:
        role, content = _speaker(turn)
        if prompt and prompt[-1]["role"] == role:  # most chat templates want the roles to alternate
            prompt[-1]["content"] += "\n\n" + content
        elif turn.strip():
            prompt.append({"role": role, "content": content})
    if not prompt:
        raise UserError(f"{where}: chosen and rejected share no turn before their answers")
    answers = ["\n\n".join(side[shared:]).removeprefix("Assistant:").strip() for side in turns]
    return Preference(prompt, answers[0], answers[1])


def _speaker(turn: str) -> tuple[str, str]:
    """Role and content of a turn of a transcript; what stands before the first turn is system's."""
    for name, role in (("Human:", "user"), ("Assistant:", "assistant")):
        if turn.startswith(name):
            return role, turn.removeprefix(name).strip()
    return "system", turn.strip()


def _split_messages(
    chosen: list[Any], rejected: list[Any], where: str, prompt: Sequence[Any] = ()
) -> Preference:
    """Two lists of messages: whole dialogues, or what follows the messages of `prompt`."""
    lead = messages_of(prompt, where)
    sides = [messages_of(side, where) for side in (chosen, rejected)]
    # Many data sets have a prompt beside whole dialogues that begin with it.
    sides = [
        [*lead, *side] if side[:1] and side[0]["role"] == "assistant" else side for side in sides
    ]
    if len(sides[0]) < 2 or sides[0][:-1] != sides[1][:-1]:
        raise UserError(f"{where}: chosen and rejected must be equal but for the last message")
    if any(message not in sides[0][:-1] for message in lead):
        raise UserError(
            f"{where}: prompt is no part of chosen and rejected; expected its messages in both, or "
            "sides that begin with the assistant's answer"
        )
    if sides[0][-1]["role"] in ("user", "system"):
        raise UserError(f"{where}: the last message is the {sides[0][-1]['role']}'s, no answer")
    return Preference(sides[0][:-1], sides[0][-1]["content"], sides[1][-1]["content"])


def messages_of(messages: Sequence[Any], where: str) -> list[Message]:
    """The messages with their roles and contents only."""
    for message in messages:
        if not (isinstance(message, dict) and {"role", "content"} <= message.keys()):
            raise UserError(f"{where}: a message must have the keys role and content")
        if not (isinstance(message["role"], str) and isinstance(message["content"], str)):
            raise UserError(f"{where}: the role and content of a message must be text")
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def _common(left: Sequence[Any], right: Sequence[Any]) -> list[Any]:
    return [
        a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False))
    ]
