"""Reading preference data, in any of the accepted layouts, as pairs of two completions."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gcrm.data.questions import question_hash, question_key
from gcrm.data.sources import HELDOUT_SPLITS, TRAINING_SPLITS, iter_rows
from gcrm.utils.errors import UserError
from gcrm.utils.io import Row
from gcrm.utils.logging import say

Message = dict[str, str]
"""One turn of a dialogue: {"role": "user" | "assistant" | "system", "content": text}."""
Prompt = str | list[Message]
"""A question, or the turns of a dialogue before the completion."""

MAX_NUMBER = 3.4e38
"""about the largest float32"""
COLUMNS = (
    ("question", "correct", "incorrect"),
    ("prompt", "chosen", "rejected"),
    ("chosen", "rejected"),
)
"""accepted layouts of a row"""


@dataclass(frozen=True)
class Preference:
    """Two completions of one prompt; `chosen` is better than `rejected`.

    `margin` is how much higher the reward of `chosen` should be; None if the data has no margins.
    """

    prompt: Prompt
    chosen: str
    rejected: str
    margin: float | None = None

    @property
    def question(self) -> str:
        """The prompt as one text, used to match, hold out and cap pairs."""
        if isinstance(self.prompt, str):
            return self.prompt
        return "\n".join(turn["content"] for turn in self.prompt)


def load_preferences(
    sources: Sequence[str],
    probs: Sequence[float] | None = None,
    max_pairs: int | None = None,
    *,
    heldout: bool = False,
) -> list[Preference]:
    """Read and mix preference data.

    Args:
        sources: .jsonl or .parquet files, folders saved by `datasets`, or hub ids, with the columns
            question/correct/incorrect, prompt/chosen/rejected or chosen/rejected, and optionally a
            number `margin` in every row.
        probs: each source's share of the mixture. No row is repeated: the source that is smallest
            relative to its share is used in full, the others up to their shares.
        max_pairs: largest number of pairs, chosen by hash of the prompt.
        heldout: read the test split of data with several splits, instead of the training split.

    Raises:
        UserError: a source cannot be read, or a row is invalid.
    """
    splits = HELDOUT_SPLITS if heldout else TRAINING_SPLITS
    mixed = [list(iter_preferences(source, splits)) for source in sources]
    if not heldout:
        _check_margins(sources, mixed)
    if probs is not None:
        total = min(len(pairs) / share for pairs, share in zip(mixed, probs, strict=True))
        mixed = [
            cap_pairs(pairs, max(1, round(total * share)))
            for pairs, share in zip(mixed, probs, strict=True)
        ]
    return cap_pairs([pair for pairs in mixed for pair in pairs], max_pairs)


def cap_pairs(pairs: list[Preference], most: int | None) -> list[Preference]:
    """At most `most` pairs, those with the smallest hash of the prompt, in their original order.

    The choice does not depend on the order of the pairs, even within one prompt.
    """
    if most is None or len(pairs) <= most:
        return pairs
    ranks = [pair_rank(pair) for pair in pairs]
    kept = sorted(range(len(pairs)), key=ranks.__getitem__)[:most]
    return [pairs[i] for i in sorted(kept)]


def pair_rank(pair: Preference) -> tuple[str, str]:
    """Sort key of `cap_pairs`: a hash of the question, then one of the completions."""
    return question_hash(question_key(pair.question)), question_hash(pair.chosen + pair.rejected)


def iter_preferences(source: str, splits: Sequence[str] = TRAINING_SPLITS) -> Iterator[Preference]:
    """Iterate over the pairs of one source, without reading all of it into memory.

    Args:
        splits: the first of these splits that the data has is read.

    Raises:
        UserError: as `load_preferences`, when the invalid row is reached.
    """
    columns: tuple[str, ...] = ()
    has_margins: bool | None = None
    kept = equal = 0
    for number, row in iter_rows(source, splits):
        where = f"{source}, row {number}"
        columns = columns or columns_of(source, row)
        pair = parse_pair(row, columns, where)
        if has_margins is None:
            has_margins = pair.margin is not None
        elif has_margins != (pair.margin is not None):
            raise UserError(
                f"{where}: margin is {'missing' if has_margins else 'given'}, unlike in the "
                "previous rows; expected a number in every row, or in none"
            )
        if pair.chosen == pair.rejected:
            equal += 1
        else:
            kept += 1
            yield pair
    report_equal_sides(source, kept, equal)


def report_equal_sides(source: str, kept: int, equal: int) -> None:
    """Report how many pairs of a source were left out because both completions are equal.

    Raises:
        UserError: no pair is left.
    """
    if equal and not kept:
        raise UserError(
            f"{source}: both completions of every pair are equal; expected a better and a worse "
            "completion in each row"
        )
    if equal:
        say(f"{source}: left out {equal} pairs with two equal completions")


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


def check_prompt(value: Any, column: str, where: str) -> Prompt:
    """As `check_text`, but a column `prompt` may also be a list of messages."""
    if column == "prompt" and isinstance(value, list) and value:
        return check_messages(value, where)
    return check_text(value, column, where)


def check_messages(messages: Sequence[Any], where: str) -> list[Message]:
    """Reduce messages to role and content.

    Raises:
        UserError: one of them is missing or not text; `where` names the row.
    """
    for message in messages:
        if not (isinstance(message, dict) and {"role", "content"} <= message.keys()):
            raise UserError(f"{where}: a message must have the keys role and content")
        if not (isinstance(message["role"], str) and isinstance(message["content"], str)):
            raise UserError(f"{where}: the role and content of a message must be text")
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def _check_margins(sources: Sequence[str], mixed: Sequence[list[Preference]]) -> None:
    """Check that all sources or none have margins."""
    has_margins = [pairs[0].margin is not None for pairs in mixed]
    if any(has_margins) and not all(has_margins):
        raise UserError(
            f"{sources[has_margins.index(False)]}: has no column margin, but "
            f"{sources[has_margins.index(True)]} has; add it to all (0 for no margin), or remove it"
        )


def columns_of(source: str, row: Row) -> tuple[str, ...]:
    """Return the layout of `COLUMNS` that the first row of a source has.

    Raises:
        UserError: it has none of them.
    """
    for columns in COLUMNS:
        if all(column in row for column in columns):
            return columns
    expected = " or ".join("/".join(columns) for columns in COLUMNS)
    raise UserError(f"{source}: expected columns {expected}, found {', '.join(row) or 'none'}")


def parse_pair(row: Row, columns: Sequence[str], where: str) -> Preference:
    """Return the pair of a row.

    Raises:
        UserError: a value is missing or has the wrong type; `where` names the row.
    """
    for column in columns:
        if row.get(column) is None:
            raise UserError(f"{where}: {column} is missing or null; expected text")
    *lead, chosen, rejected = (row[column] for column in columns)
    if isinstance(chosen, list) and isinstance(rejected, list):
        prompt = lead[0] if lead else []
        pair = _from_messages(chosen, rejected, where, prompt)
    elif not lead:
        pair = _from_shared_prompt(chosen, rejected, where)
    else:
        prompt = check_prompt(lead[0], columns[0], where)
        chosen, rejected = (check_text(row[column], column, where) for column in columns[1:])
        pair = Preference(prompt, chosen, rejected)
    margin = row.get("margin")
    return pair if margin is None else replace(pair, margin=check_number(margin, "margin", where))


def _from_shared_prompt(chosen: Any, rejected: Any, where: str) -> Preference:
    """Split two texts into the prompt that both begin with, and the completions."""
    if not (isinstance(chosen, str) and isinstance(rejected, str)):
        raise UserError(f"{where}: chosen and rejected must both be text, or lists of messages")
    transcripts = ["\n\n" + text.lstrip("\n") for text in (chosen, rejected)]
    if all("\n\nHuman:" in text and "\n\nAssistant:" in text for text in transcripts):
        return _from_transcripts(transcripts, where)
    shared = _common_prefix(chosen, rejected)
    # A word of which only the first letters are equal belongs to the completions.
    border = max(chosen.rfind(" ", 0, shared), chosen.rfind("\n", 0, shared)) + 1
    prompt = chosen[:border].strip()
    if not prompt:
        raise UserError(f"{where}: chosen and rejected share no prompt; give a column 'prompt'")
    return Preference(prompt, chosen[border:], rejected[border:])


def _from_transcripts(transcripts: list[str], where: str) -> Preference:
    """Split Helpful-Harmless transcripts, whose turns begin with `Human:` or `Assistant:`."""
    turns = [re.split(r"\n\n(?=Human:|Assistant:)", text) for text in transcripts]
    # The last turn is always part of the answer, even if one side is a prefix of the other.
    shared = min(_common_prefix(*turns), len(turns[0]) - 1, len(turns[1]) - 1)
    while shared > 0 and not all(side[shared].startswith("Assistant:") for side in turns):
        shared -= 1
    prompt: list[Message] = []
    for turn in turns[0][:shared]:
        role, content = _speaker(turn)
        if prompt and prompt[-1]["role"] == role:  # most chat templates require alternating roles
            prompt[-1]["content"] += "\n\n" + content
        elif turn.strip():
            prompt.append({"role": role, "content": content})
    if not prompt:
        raise UserError(f"{where}: chosen and rejected share no turn before their answers")
    chosen, rejected = (
        "\n\n".join(side[shared:]).removeprefix("Assistant:").strip() for side in turns
    )
    return Preference(prompt, chosen, rejected)


def _speaker(turn: str) -> tuple[str, str]:
    """Role and content of a turn of a transcript; text before the first turn is the system's."""
    for name, role in (("Human:", "user"), ("Assistant:", "assistant")):
        if turn.startswith(name):
            return role, turn.removeprefix(name).strip()
    return "system", turn.strip()


def _from_messages(chosen: list[Any], rejected: list[Any], where: str, prompt: Any) -> Preference:
    """The pair of two lists of messages: whole dialogues, or continuations of `prompt`."""
    if not isinstance(prompt, list):
        prompt = [{"role": "user", "content": prompt}]
    lead = check_messages(prompt, where)
    sides = [check_messages(side, where) for side in (chosen, rejected)]
    # Many data sets have a prompt and also repeat it in whole dialogues.
    sides = [
        [*lead, *side] if side[:1] and side[0]["role"] == "assistant" else side for side in sides
    ]
    *turns, answer = sides[0] or [{}]
    if not turns or turns != sides[1][:-1]:
        raise UserError(f"{where}: chosen and rejected must be equal except for the last message")
    if any(message not in turns for message in lead):
        raise UserError(
            f"{where}: prompt is not part of chosen and rejected; expected its messages in both, "
            "or chosen and rejected that begin with the assistant's answer"
        )
    if answer["role"] in ("user", "system"):
        raise UserError(f"{where}: the last message has the role {answer['role']}, not assistant")
    return Preference(turns, answer["content"], sides[1][-1]["content"])


def _common_prefix(left: Sequence[Any], right: Sequence[Any]) -> int:
    """Length of the common prefix of two sequences."""
    differing = (i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b)
    return next(differing, min(len(left), len(right)))
