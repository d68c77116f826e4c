"""From a dialogue to the text that a model's chat template makes of it.

The text is that of `apply_chat_template` on the real messages: templates are programs, and may look
at contents (they strip reasoning from earlier answers, or obey `/no_think`). To know which special
tokens users wrote, the template also renders the messages with zeros in place of them: the two
texts differ exactly there.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from typing import Any

from transformers import PreTrainedTokenizerBase

from gcrm.data.fields import is_metadata
from gcrm.data.messages import MEANT, Message, Prompt, messages_of
from gcrm.utils.errors import UserError
from gcrm.utils.logging import say

PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}\n\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:\n{% endif %}"
)
"""For tokenizers without a chat template; it is saved with the reward model.

It ends with a new line, not with a space, which would be one token with a completion's first word.
"""
FIXED_DATE = "{% macro strftime_now(format) %}26 Jul 2024{% endmacro %}"
"""Some templates show today's date, by which scores would change from day to day."""
REASONING = ("reasoning_content", "reasoning", "thinking")
"""names of a message's reasoning: transformers hands one on under the others"""
MARK = "58209749{}44592307"
"""Stands for a content, by its index, to be found in the text. Digits have no case, no escapes."""
ANSWER = MARK.format("")
"""stands for the assistant's answer in the same way"""
THINKING = re.compile(r"<([\w:]*think\w*)>(\s*)(</\1>\s*)?\Z")
"""A thinking block, open or empty, at the end of what stands before a completion."""


@dataclass(frozen=True)
class Rendered:
    """A text of the chat template.

    `shadow` is as long as `text`, and differs from it in special tokens that users wrote.
    """

    text: str
    shadow: str

    def until(self, end: int, more: str = "") -> "Rendered":
        """The first `end` characters, and `more` after them, which no user wrote."""
        return Rendered(self.text[:end] + more, self.shadow[:end] + more)


Text = tuple[Prompt, str]
"""A prompt and a completion."""
Layout = tuple[Rendered, str]
"""What stands before a completion, and the completion as it stands there."""


class ChatTemplate:
    """A tokenizer's own chat template; of several named ones, the default.

    Raises:
        UserError: none of several templates is named `default`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, name: str):
        self._tokenizer, self._name = tokenizer, name
        templates = tokenizer.chat_template or PLAIN_TEMPLATE
        if not isinstance(templates, str):
            if "default" not in templates:
                raise UserError(f"{name}: none of its chat templates is named 'default'")
            templates = str(templates["default"])
        self.source: str = templates
        self._dated = (FIXED_DATE if "strftime_now" in templates else "") + templates
        added = tokenizer.added_tokens_decoder.values()
        special = {token.content for token in added if token.special}
        self._special = sorted(special, key=lambda token: (-len(token), token))
        self._begins = {token[:n] for token in special for n in range(1, len(token))}
        self._ends = {token[n:] for token in special for n in range(1, len(token))}
        outermost = {letter for token in special for letter in (token[0], token[-1])}
        self._end_of_special = re.compile("|".join(map(re.escape, outermost)) or "(?!)")
        # A tool's name is that of its call, which most templates do not repeat.
        self._known_fields = {("tool", "name"), ("function", "name")}
        self._answers_elsewhere = lru_cache(maxsize=1024)(self._try_out)

    def prompt(self, prompt: Prompt) -> Rendered:
        """What a model sees before it answers.

        Raises:
            UserError: the template refuses the dialogue, or leaves a part of it out, or it is open
                which of its special tokens users wrote.
        """
        return self._frame(messages_of(prompt))[0]

    def layouts(self, texts: Sequence[Text], where: Sequence[str] = ()) -> Iterator[Layout]:
        """Lay out (prompt, completion) pairs.

        Args:
            where: the row of each, for errors.

        Raises:
            UserError: see `prompt`.
        """
        # Completions of one prompt stand together.
        new = [i for i, text in enumerate(texts) if i == 0 or text[0] != texts[i - 1][0]]
        dialogues = {i: messages_of(texts[i][0]) for i in new}
        try:
            rendered: Iterable[str | None] = self._apply(*dialogues.values())
        except UserError:
            rendered = repeat(None)  # the one that fails is found below
        whole = dict(zip(new, rendered, strict=False))
        for i, (_, completion) in enumerate(texts):
            if i in dialogues:
                try:
                    frame = self._frame(dialogues[i], whole[i])
                except UserError as error:
                    raise UserError(f"{where[i]}: {error}" if where else error) from None
            yield _lay_out(*frame, completion)

    def _frame(
        self, messages: Sequence[Message], text: str | None = None
    ) -> tuple[Rendered, Rendered]:
        """The prompt for the model, and what the template puts before an assistant's answer."""
        self._check_fields(messages)
        marked = [
            {**message, "content": MARK.format(i)} if message.get("content") else message
            for i, message in enumerate(messages)
        ]
        elsewhere = self._answers_elsewhere(json.dumps(marked, default=str))
        rendered = self._render(messages, text)
        if not elsewhere:
            return rendered, rendered
        answered = [*messages, {"role": "assistant", "content": ANSWER}]
        whole = self._render(answered, for_answer=False)
        end = whole.text.rfind(ANSWER)
        return rendered, rendered if end < 0 else whole.until(end)

    def _try_out(self, marked: str) -> bool:
        """Whether an answer without reasoning does not stand after the generation prompt.

        That opens a block for reasoning, or there is none. White space does not count; it is left
        to the completion.

        Args:
            marked: messages with marks in place of their contents, as JSON.

        Raises:
            UserError: a message is not shown, or may be mistaken for the template.
        """
        messages = json.loads(marked)
        names = [*_strings(messages, keys=True), *(message["role"] for message in messages)]
        if token := _first_in(self._special, names):
            raise UserError(f"a role or a key of a message contains the special token {token}")
        [text] = self._apply(messages)
        for message in messages:
            if not (mark := message.get("content")):
                continue
            if text.count(mark) != 1:
                raise UserError(
                    f"{self._name}: the chat template does not show every message as it is, once "
                    f"(here one of the role {message['role']}); set another one in the tokenizer's "
                    "folder (chat_template.jinja)"
                )
        try:
            [whole] = self._apply(
                [*messages, {"role": "assistant", "content": ANSWER}], for_answer=False
            )
        except UserError:
            return False
        before, found, _ = whole.rpartition(ANSWER)
        return bool(found) and before.rstrip() != text.rstrip()

    def _check_fields(self, messages: Sequence[Message]) -> None:
        """Check that the template shows what messages say beside their contents.

        Other fields that it does not show, perhaps mere metadata, are said once.

        Raises:
            UserError: it does not.
        """
        for i, message in enumerate(messages):
            role = message["role"]
            for name in sorted(message.keys() - {"role", "content"}):
                if message[name] is None or (role, name) in self._known_fields:
                    continue
                if not self._shows(messages, i, name):
                    what = f"has {name}, which the chat template of {self._name} does not show"
                    if name in MEANT:
                        raise UserError(
                            f"message {i + 1} ({role}) {what}: write it into the content, remove "
                            "it, or set another template in the tokenizer's folder "
                            "(chat_template.jinja)"
                        )
                    if not is_metadata(name, message[name]):
                        say(f"a message of the role {role} {what}")
                self._known_fields.add((role, name))

    def _shows(self, messages: Sequence[Message], index: int, name: str) -> bool:
        """Whether a message's field makes a difference to the text."""
        if name in REASONING:  # a template that knows it may leave it out of earlier turns
            return any(field in self.source for field in REASONING)
        less = {key: value for key, value in messages[index].items() if key != name}
        [text] = self._apply(messages)
        try:
            return [text] != self._apply([*messages[:index], less, *messages[index + 1 :]])
        except UserError:
            return True

    def _render(
        self, messages: Sequence[Message], text: str | None = None, for_answer: bool = True
    ) -> Rendered:
        """The text of messages, and which of it users wrote.

        Args:
            text: the text, where it is known.
            for_answer: the text ends with the generation prompt.

        Raises:
            UserError: the template refuses them, or users' special tokens cannot be told apart.
        """
        if text is None:
            [text] = self._apply(messages, for_answer=for_answer)
        if not any(map(self._end_of_special.search, _strings(messages))):
            return Rendered(text, text)  # no special token has a part of these strings
        masked = [
            {key: value if key == "role" else self._masked(value) for key, value in turn.items()}
            for turn in messages
        ]
        with suppress(UserError):
            [shadow] = self._apply(masked, for_answer=for_answer)
            if len(shadow) == len(text) and all(
                new in (old, "0") for old, new in zip(text, shadow, strict=True)
            ):
                return Rendered(text, shadow)
        if token := _first_in(self._special, _strings(messages)):
            raise UserError(
                f"a message contains {token}, a special token of {self._name}, and its chat "
                "template changes by what messages contain: it cannot be told which of its special "
                "tokens are a user's text; remove it from the row, or leave the row out"
            )
        return Rendered(text, text)

    def _masked(self, value: Any) -> Any:
        """A value with zeros for special tokens in its texts, and for parts of them at the ends."""
        if isinstance(value, dict):
            return {key: self._masked(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._masked(item) for item in value]
        if not isinstance(value, str):
            return value
        for token in self._special:
            value = value.replace(token, "0" * len(token))
        lengths = range(min(len(value), len(self._special[0])), 0, -1)
        head = next((n for n in lengths if value[:n] in self._ends), 0)
        tail = next((n for n in lengths if value[-n:] in self._begins), 0)
        inner = value[head : len(value) - tail]
        return ("0" * head + inner + "0" * tail)[: len(value)]

    def _apply(self, *dialogues: Sequence[Message], for_answer: bool = True) -> list[str]:
        """The texts of dialogues; it costs less to render many at once."""
        try:
            texts: Any = self._tokenizer.apply_chat_template(
                [list(messages) for messages in dialogues],
                chat_template=self._dated,
                tokenize=False,
                add_generation_prompt=for_answer,
            )
        except Exception as error:  # templates are programs and raise what they like
            roles = ", ".join(message["role"] for message in dialogues[0])
            raise UserError(
                f"{self._name}: the chat template refuses roles {roles}: {error}"
            ) from None
        return list(texts)


def _lay_out(prompt: Rendered, answered: Rendered, completion: str) -> Layout:
    """Put a completion after the prompt, or where the template puts an assistant's answer.

    A block of reasoning is opened once, and closed. What the generation prompt opens, a completion
    does not open again; an answer without reasoning does not stand in an open block.

    Args:
        answered: what stands before an answer without reasoning.
    """
    opened = THINKING.search(prompt.text)
    block = opened or THINKING.search(answered.text)
    if block is None:
        return answered, completion
    tag, space, closed = block.groups()
    within = prompt if opened and not closed else None
    outside = (prompt if opened else answered).until(block.start())
    start = completion.lstrip()
    if start.startswith(f"<{tag}>"):
        if within is None:
            return outside, completion
        return within, start.removeprefix(f"<{tag}>").removeprefix(space)
    if f"</{tag}>" in completion:
        return within or outside.until(block.start(), f"<{tag}>\n"), completion
    return outside if within is answered else answered, completion


def _strings(value: Any, keys: bool = False) -> Iterator[str]:
    """All texts in a value, or all keys."""
    if isinstance(value, str) and not keys:
        yield value
    elif isinstance(value, dict):
        yield from value if keys else ()
        for item in value.values():
            yield from _strings(item, keys)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, keys)


def _first_in(tokens: Iterable[str], texts: Iterable[str]) -> str | None:
    """The first of these tokens, in alphabetical order, that one of the texts contains."""
    return min((token for text in texts for token in tokens if token in text), default=None)
