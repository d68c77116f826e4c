"""Layouts of rows: which columns hold the prompt and the completions.

Data sets name them differently. A column that can belong to the prompt is used, repeats what is
used, or is refused; so no part of a prompt is lost in silence.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from gcrm.data.fields import check_not_rendered, check_text, holds_text, is_metadata
from gcrm.data.messages import (
    Message,
    Prompt,
    messages_of,
    read_answer,
    read_messages,
    text_of,
    unread_fields,
    with_system,
)
from gcrm.data.transcripts import (
    ANSWER,
    common_prefix,
    is_whole,
    split_prompt,
    split_sides,
    turns_of,
    turns_of_prompt,
)
from gcrm.utils.errors import UserError
from gcrm.utils.io import Row

SIDES = (
    ("correct", "incorrect"),
    ("chosen", "rejected"),
    ("chosen_response", "rejected_response"),
    ("preferred_output", "non_preferred_output"),
    ("accepted", "rejected"),
    ("response_j", "response_k"),
    ("human_ref_A", "human_ref_B"),
)
"""names of the better and the worse completion; of the last two, the column `labels` says which"""
BY_LABEL = SIDES[-1]
OUTPUTS = ("output",)
"""one column with a list of the better and the worse completion"""
RESPONSE = ("response",)
"""one completion, without a worse one"""
PROMPTS = (
    *("question", "prompt", "instruction", "query", "problem", "input", "inputs", "history"),
    *("messages", "conversations", "conversation", "dialogue", "trajectory", "context"),
)
"""names of the column with the prompt; of several, the first is read"""
SYSTEMS = ("system", "system_prompt", "system_message")
"""names of the column with the system message"""
NEVER_READ = (
    *("tools", "functions", "documents", "images", "image"),
    *("videos", "video", "audios", "audio"),
)
"""names of columns that belong to a prompt, and cannot be read"""
LONG_PROMPT = 4
"""words of a prompt that no answer begins with by chance"""

Sides = tuple[Prompt, str, str]
"""prompt, better and worse completion"""


@dataclass(frozen=True)
class Layout:
    """The columns of a source, as its first row has them.

    Attributes:
        prompt: the column with the prompt; None if the completions begin with it.
        sides: a member of SIDES, OUTPUTS or RESPONSE.
        repeats: the texts of both sides begin with the prompt, which is removed from them.
    """

    prompt: str | None
    sides: tuple[str, ...]
    repeats: bool = False

    def unread(self, row: Row) -> list[str]:
        """The columns, and fields of answers, that hold text and are not looked at."""
        known = {*self.sides, *PROMPTS, *SYSTEMS, *NEVER_READ, "margin"}
        names = [
            name
            for name, value in row.items()
            if name not in known and not is_metadata(name, value)
        ]
        return names + [f"{name}.{key}" for name in self.sides for key in unread_fields(row[name])]


def layout_of(row: Row, where: str, *, responses: bool = False) -> Layout:
    """The layout of a source whose first row this is.

    Args:
        responses: it may be RESPONSE.

    Raises:
        UserError: it has none, or only one side begins with the prompt; `where` names the row.
    """
    sides = _first(SIDES, row)
    if sides is None and isinstance(row.get("output"), list):
        sides = OUTPUTS
    prompt = next(iter(_first([(name,) for name in PROMPTS], row) or ()), None)
    if responses and sides is None and prompt is not None and "response" in row:
        return Layout(prompt, RESPONSE)
    if sides is None:
        known = ", ".join("/".join(names) for names in SIDES)
        raise UserError(
            f"{where}: expected columns of a prompt and of two completions, the better first "
            f"({known}), found {', '.join(row) or 'none'}; write scores, rankings or labels of "
            "responses as pairs: prompt, chosen, rejected"
        )
    # The solutions of our own layout may well begin with their question.
    repeats = sides != SIDES[0] and _repeat_the_prompt(row, prompt, sides, where)
    return Layout(prompt, sides, repeats)


def _first(groups: Sequence[tuple[str, ...]], row: Row) -> tuple[str, ...] | None:
    """The first of these groups of columns that a row has, rather one with text in all of them."""
    found = [names for names in groups if all(name in row for name in names)]
    full = (names for names in found if all(holds_text(row[name]) for name in names))
    return next(full, found[0] if found else None)


def read_sides(row: Row, layout: Layout, where: str) -> Sides:
    """The prompt and the two completions of a row.

    Raises:
        UserError: a value is missing, has the wrong type, or would be lost; `where` names the row.
    """
    names, sides = _completions(row, layout.sides, where)
    if all(isinstance(side, list | dict) for side in sides):
        lists = [read_messages(side, name, where) for side, name in zip(sides, names, strict=True)]
        # Many data sets have a prompt and also repeat it in whole dialogues.
        whole = all(any(turn["role"] == "user" for turn in side) for side in lists)
        layout = replace(layout, prompt=None) if whole else layout
        found = _of_messages(lists, names, _lead(row, layout, where), where)
    else:
        texts = [check_text(side, name, where) for side, name in zip(sides, names, strict=True)]
        check_not_rendered(texts, names[0], where)
        transcripts = [turns_of(text) for text in texts]
        if all(is_whole(turns, layout.prompt is not None) for turns in transcripts):
            layout = replace(layout, prompt=None)
            found = split_sides(texts, transcripts, where)
        elif layout.prompt is None:
            found = _of_shared_beginning(texts, row, layout, where)
        else:
            found = _of_texts(_prompt(row, layout.prompt, where), texts, layout, where)
    return (_complete(found[0], row, layout, found[1:], where), *found[1:])


def read_response(row: Row, layout: Layout, where: str) -> tuple[Prompt, str]:
    """The prompt and the one completion of a row of RESPONSE.

    Raises:
        UserError: as `read_sides`.
    """
    response = check_text(row.get("response"), "response", where)
    assert layout.prompt is not None  # or it would be no such layout
    prompt, [response] = _split_prompt(_prompt(row, layout.prompt, where), [response], where)
    return _complete(prompt, row, layout, [response], where), response


def checked_prompt(prompt: Any, where: str) -> Prompt:
    """A prompt that a caller gives, in one form: as data with a column `prompt` are read.

    Raises:
        UserError: it is neither text nor a list of messages, or rendered already.
    """
    if isinstance(prompt, str):
        check_not_rendered([prompt], "prompt", where)
        return _split_prompt(prompt, [], where)[0]
    messages = read_messages(prompt, "prompt", where)
    if not messages:
        raise UserError(f"{where}: prompt has no messages")
    return messages


def check_nothing_lost(
    row: Row, used: Sequence[str], read: Prompt, others: Sequence[str], where: str
) -> None:
    """Check that every column that can belong to the prompt is used, or repeats what was read.

    Args:
        used: the columns that were read as the prompt.
        read: the prompt. others: other texts that may be repeated, such as the completions.

    Raises:
        UserError: one would be lost; `where` names the row.
    """
    texts = [text_of(read), *others]
    for name in (*PROMPTS, *SYSTEMS, *NEVER_READ):
        if name in row and name not in used and not is_repeated(row[name], texts):
            raise UserError(
                f"{where}: {name} can belong to the prompt, but is not in what is read as "
                f"such ({', '.join(used) or 'the beginning of both sides'}): join the columns, or "
                f"remove or rename {name}"
            )


def is_repeated(value: Any, texts: Sequence[str]) -> bool:
    """Whether all text in a value is also in one of `texts`; white space may differ."""
    if not holds_text(value):
        return True
    if isinstance(value, list):
        return all(is_repeated(one, texts) for one in value)
    if isinstance(value, dict):
        fields = (one for key, one in value.items() if key not in ("role", "from", "type"))
        return all(is_repeated(one, texts) for one in fields)
    if not isinstance(value, str):
        return False
    parts = [turn.content for turn in turns_of(value)] or [value]
    bare = [" ".join(text.split()) for text in texts]
    return all(any(_has_words(text, " ".join(part.split())) for text in bare) for part in parts)


def _has_words(text: str, part: str) -> bool:
    """Whether a part is in a text, and neither begins nor ends within a word."""
    begin = text.find(part)
    while begin >= 0:
        ends = (begin, begin + len(part))
        if not any(0 < at < len(text) and text[at - 1 : at + 1].isalnum() for at in ends):
            return True
        begin = text.find(part, begin + 1)
    return False


def _complete(
    prompt: Prompt, row: Row, layout: Layout, completions: Sequence[str], where: str
) -> Prompt:
    """The prompt with its system message, after the check that no column is lost."""
    system = next((name for name in SYSTEMS if holds_text(row.get(name))), None)
    used = [name for name in (system, layout.prompt) if name is not None]
    if _has_input(row, layout.prompt):
        used.append("input")
    if system is not None:
        prompt = with_system(check_text(row[system], system, where), prompt, where)
    check_nothing_lost(row, used, prompt, completions, where)
    return prompt


def _has_input(row: Row, prompt: str | None) -> bool:
    """Whether `input` holds what an `instruction` is about, as in the data of Alpaca."""
    return prompt == "instruction" and holds_text(row.get("input"))


def _prompt(row: Row, column: str, where: str) -> Prompt:
    """The value of the column with the prompt."""
    value = row.get(column)
    if value is None:
        raise UserError(f"{where}: {column} is missing or null; expected text")
    if isinstance(value, dict) and "messages" in value:  # OpenAI's layout of preferences
        if other := [
            key for key in value if key != "messages" and not is_metadata(key, value[key])
        ]:
            raise UserError(f"{where}: {column}.{other[0]} cannot be read; remove it")
        value = value["messages"]
    if value and isinstance(value, list):
        messages = read_messages(value, column, where)
        if messages[-1].keys() == {"role", "content"} and messages[-1]["role"] == "assistant":
            raise UserError(
                f"{where}: {column} ends with the assistant's turn, and so does each completion; "
                "put its text before both completions, or give a prompt that ends before it"
            )
        return messages
    text = check_text(value, column, where)
    check_not_rendered([text], column, where)
    if _has_input(row, column):
        return f"{text}\n{check_text(row['input'], 'input', where)}"
    return text


def _completions(
    row: Row, names: Sequence[str], where: str
) -> tuple[Sequence[str], tuple[Any, Any]]:
    """The names and values of the better and the worse completion."""
    if names == OUTPUTS:
        both = row.get("output")
        if not (isinstance(both, list) and len(both) == 2):
            raise UserError(f"{where}: output must be a list of a better and a worse completion")
        return ("output[0]", "output[1]"), (both[0], both[1])
    if names == BY_LABEL:
        if (label := row.get("labels")) not in (0, 1):
            raise UserError(f"{where}: labels must be 1 (the first is better) or 0, not {label!r}")
        names = names if label else names[::-1]
    for name in names:
        if row.get(name) is None:
            raise UserError(f"{where}: {name} is missing or null; expected text")
    return names, (row[names[0]], row[names[1]])


def _of_texts(prompt: Prompt, texts: list[str], layout: Layout, where: str) -> Sides:
    """A prompt, and completions that are texts."""
    if layout.repeats:
        texts = [_without(text_of(prompt), text, where) for text in texts]
    prompt, texts = _split_prompt(prompt, texts, where)
    return prompt, texts[0], texts[1]


def _split_prompt(prompt: Prompt, texts: list[str], where: str) -> tuple[Prompt, list[str]]:
    """A prompt that is a transcript, split into its turns, and the completions of it."""
    if not isinstance(prompt, str):
        return prompt, texts
    # The mark of the answer may stand at the end of the prompt, or before both completions.
    marked = bool(texts) and all(text.lstrip().startswith(ANSWER) for text in texts)
    ends = prompt.rstrip().endswith(ANSWER)
    turns = turns_of_prompt(f"{prompt}\n\n{ANSWER}" if marked and not ends else prompt)
    if not turns:
        return prompt, texts
    answers = [text.strip().removeprefix(ANSWER if marked else "").strip() for text in texts]
    if not all(answers):
        raise UserError(f"{where}: an answer is empty; leave out the row")
    return split_prompt(turns, where), answers


def _repeat_the_prompt(row: Row, column: str | None, names: Sequence[str], where: str) -> bool:
    """Whether both texts of the first row begin with its prompt."""
    prompt = row[column] if column else None
    _, sides = _completions(row, names, where)
    begin = begin_with(prompt, sides)
    if any(begin) and not all(begin):
        raise UserError(
            f"{where}: one of the two completions begins with the prompt, the other does not; "
            "remove the prompt from all completions"
        )
    return all(begin)


def begin_with(prompt: Any, sides: Sequence[Any]) -> list[bool]:
    """Which sides are texts that begin with the prompt; none if the prompt is not a text."""
    return [
        isinstance(prompt, str) and isinstance(side, str) and _rest(prompt, side) is not None
        for side in sides
    ]


def _rest(prompt: str, text: str) -> str | None:
    """What follows the prompt at the beginning of a text; None if it does not begin with it."""
    lead, text = prompt.strip(), text.lstrip()
    rest = text.removeprefix(lead)
    # By chance "Thank you" begins "Thank you too", but no question or longer text begins an answer.
    telling = lead.endswith(("?", ":")) or len(lead.split()) >= LONG_PROMPT
    apart = rest[:1].isspace() or lead.endswith(":")
    return rest.strip() if text.startswith(lead) and telling and apart and rest.strip() else None


def _without(prompt: str, text: str, where: str) -> str:
    rest = _rest(prompt, text)
    if rest is None:
        raise UserError(
            f"{where}: a completion does not begin with the prompt, as those of the first row do; "
            "remove the prompt from all completions"
        )
    return rest


def _of_shared_beginning(texts: Sequence[str], row: Row, layout: Layout, where: str) -> Sides:
    """Split two texts into the prompt that both begin with, and the completions."""
    chosen, rejected = texts
    systems = [name for name in SYSTEMS if holds_text(row.get(name))]
    others = [*systems, *layout.unread(row)]
    if others or layout.sides != SIDES[1]:
        raise UserError(
            f"{where}: no column is known to be the prompt; name it 'prompt' (columns with text "
            f"that are not read: {', '.join(others) or 'none'})"
        )
    shared = common_prefix(chosen, rejected)
    # A word of which only the first letters are equal belongs to the completions.
    border = max(chosen.rfind(" ", 0, shared), chosen.rfind("\n", 0, shared)) + 1
    prompt = chosen[:border].strip()
    if not prompt:
        raise UserError(f"{where}: chosen and rejected share no prompt; give a column 'prompt'")
    return prompt, chosen[border:], rejected[border:]


def _lead(row: Row, layout: Layout, where: str) -> list[Message]:
    """The messages of the column with the prompt."""
    if layout.prompt is None:
        return []
    prompt, _ = _split_prompt(_prompt(row, layout.prompt, where), [], where)
    return messages_of(prompt)


def _of_messages(
    lists: Sequence[list[Message]], names: Sequence[str], lead: list[Message], where: str
) -> Sides:
    """Two lists of messages: whole dialogues, or continuations of `lead`."""
    turns = lists[0][:-1]
    if turns != lists[1][:-1] or not all(lists) or not (lead or turns):
        raise UserError(f"{where}: chosen and rejected must be equal except for the last message")
    chosen, rejected = (
        read_answer(side[-1], name, where) for side, name in zip(lists, names, strict=True)
    )
    return lead + turns, chosen, rejected
