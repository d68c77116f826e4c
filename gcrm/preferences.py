"""Preference data of every accepted kind, as pairs of a chosen and a rejected completion."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from gcrm.errors import UserError
from gcrm.files import Row, numbered_rows
from gcrm.progress import say
from gcrm.questions import question_hash, question_key
from gcrm.sources import is_local

Message = dict[str, str]
"""A turn of a dialogue: {"role": "user" or "assistant" or "system", "content": text}."""
Prompt = str | list[Message]
"""A raw question, or the turns of a dialogue up to the completion."""

COLUMNS = (
    ("question", "correct", "incorrect"),
    ("prompt", "chosen", "rejected"),
    ("chosen", "rejected"),
)


TRAINING_SPLITS = ("train",)
HELDOUT_SPLITS = ("test", "validation", "train")
"""Which split of a data set that has several is read: the first that it has."""


@dataclass(frozen=True)
class Preference:
    """Two completions of one prompt, the first better than the second."""

    prompt: Prompt
    chosen: str
    rejected: str

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
            question/correct/incorrect, prompt/chosen/rejected or chosen/rejected.
        probs: the share of each source in the mixture. No row is repeated: the source that is
            smallest for its share is used whole, the others up to their shares.
        max_pairs: cap on the pairs, by hash of the prompt.

    Raises:
        UserError: a source cannot be read, or a row is broken.
    """
    mixed = [_read(source, TRAINING_SPLITS) for source in sources]
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
        [pair for source in sources for pair in _read(source, HELDOUT_SPLITS)], max_pairs
    )


def cap_pairs(pairs: list[Preference], most: int | None) -> list[Preference]:
    """At most `most` pairs, those with the smallest hash of the prompt, in their old order.

    Which pairs these are does not depend on their order, nor among the pairs of one prompt.
    """
    if most is None or len(pairs) <= most:
        return pairs
    ranks = [
        (question_hash(question_key(pair.question)), question_hash(pair.chosen + pair.rejected))
        for pair in pairs
    ]
    kept = sorted(range(len(pairs)), key=ranks.__getitem__)[:most]
    return [pairs[i] for i in sorted(kept)]


def _read(source: str, splits: Sequence[str]) -> list[Preference]:
    rows = _rows(source, splits)
    columns = _columns(source, rows[0][1])
    pairs = []
    for number, row in rows:
        pair = _pair(row, columns, f"{source}, row {number}")
        if pair.chosen != pair.rejected:
            pairs.append(pair)
    if len(pairs) < len(rows):
        say(f"{source}: left out {len(rows) - len(pairs)} pairs whose two sides are equal")
    if not pairs:
        raise UserError(f"{source}: no pair has two different sides")
    return pairs


def _rows(source: str, splits: Sequence[str]) -> list[tuple[int, Row]]:
    """The rows with their numbers: of a text file, those of their lines."""
    path = Path(source)
    if path.suffix in (".jsonl", ".json"):
        return list(numbered_rows(path))
    if path.suffix == ".parquet":
        return list(enumerate(_parquet_rows(path), start=1))
    if path.exists() and not path.is_dir():
        raise UserError(f"{source}: expected a .jsonl or .parquet file, or a folder of `datasets`")
    if not path.is_dir() and is_local(source):
        raise UserError(f"{source}: no such file or folder")
    return list(enumerate(_datasets_rows(source, splits), start=1))


def _parquet_rows(path: Path) -> list[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows: list[Row] = pyarrow.parquet.read_table(path).to_pylist()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, pyarrow.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path}: not a readable Parquet file ({reason})") from None
    if not rows:
        raise UserError(f"{path}: has no rows")
    return rows


def _datasets_rows(source: str, splits: Sequence[str]) -> list[Row]:
    import datasets

    try:
        if Path(source).is_dir():
            data = datasets.load_from_disk(source)
        else:
            data = datasets.load_dataset(source)
    except Exception as error:  # the library raises whatever its file systems and the hub raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{source}: neither a local file nor a data set that could be loaded ({reason})"
        ) from None
    if isinstance(data, dict):
        split = next((name for name in splits if name in data), None)
        if split is None:
            wanted = " or ".join(map(repr, splits))
            raise UserError(f"{source}: has no split {wanted} (there are: {', '.join(data)})")
        if split != splits[0]:
            say(f"{source}: has no split {splits[0]!r}; read is {split!r}")
        data = data[split]
    if not len(data):
        raise UserError(f"{source}: has no rows")
    return list(data)


def _columns(source: str, row: Row) -> tuple[str, ...]:
    for columns in COLUMNS:
        if all(column in row for column in columns):
            return columns
    expected = " or ".join("/".join(columns) for columns in COLUMNS)
    raise UserError(f"{source}: expected columns {expected}, found {', '.join(row)}")


def _pair(row: Row, columns: tuple[str, ...], where: str) -> Preference:
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
    for column, value in zip(columns, values, strict=True):
        if isinstance(value, list) and value and column == "prompt":
            prompt = _messages(value, where)
        elif not isinstance(value, str):
            raise UserError(f"{where}: {column} must be text, not {type(value).__name__}")
        elif not value.strip():
            raise UserError(f"{where}: {column} is empty")
    return Preference(prompt, chosen, rejected)


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
    lead = _messages(prompt, where)
    sides = [_messages(side, where) for side in (chosen, rejected)]
    # Many data sets have a prompt beside whole dialogues that begin with it.
    sides = [
        [*lead, *side] if side[:1] and side[0]["role"] == "assistant" else side for side in sides
    ]
    if len(sides[0]) < 2 or sides[0][:-1] != sides[1][:-1]:
        raise UserError(f"{where}: chosen and rejected must be equal but for the last message")
    return Preference(sides[0][:-1], sides[0][-1]["content"], sides[1][-1]["content"])


def _messages(messages: Sequence[Any], where: str) -> list[Message]:
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
