"""From a prompt and a completion to token ids: the one way, for every stage and the Python API.

Prompt and completion are tokenised together, so that scores do not depend on the stage. EOS ends
every completion and belongs to it: the last partial reward is the reward. Texts of users are text,
even where they look like special tokens.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from gcrm.data.messages import Prompt
from gcrm.utils.errors import UserError

PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}\n\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:\n{% endif %}"
)
"""For tokenizers without a chat template; it is saved with the reward model.

It ends with a new line, not with a space, which would be one token with a completion's first word.
"""
FIXED_DATE = "{% macro strftime_now(format) %}26 Jul 2024{% endmacro %}"
"""Some templates show today's date, by which scores would change from day to day."""
TEXTS_AT_ONCE = 1024
"""texts tokenised in one call: offsets take more memory than ids, and are needed only briefly"""
EDGE = "\u2003"
"""White space that no template writes itself: where it is gone, the template trims contents."""
TRIM: dict[tuple[bool, bool], Callable[[str], str]] = {
    (True, True): str,
    (False, True): str.lstrip,
    (True, False): str.rstrip,
    (False, False): str.strip,
}
"""how contents are trimmed, by whether EDGE is left before and after them"""

Token = tuple[int, int, int]
"""An id, and the characters [begin, end) of the text that it stands for."""
Frame = tuple[str, Callable[[str], str]]
"""The text that a chat template puts before a turn, and how it trims the turn's content."""


@dataclass(frozen=True)
class Encoded:
    """Token ids of a prompt and its completion.

    Attributes:
        input_ids: all tokens; the last is EOS.
        start: the completion is `input_ids[start:]`, EOS included.
        truncated: the completion was too long and lost its end.
    """

    input_ids: list[int]
    start: int
    truncated: bool = False

    @property
    def num_tokens(self) -> int:
        """Tokens of the completion, EOS included."""
        return len(self.input_ids) - self.start


class PromptTooLong(UserError):
    """A prompt has `max_len` tokens or more, which leaves no room for a completion."""


class Encoder:
    """Encodes with a tokenizer's own chat template.

    Args:
        tokenizer: a fast tokenizer (offsets are needed) with an EOS token.
        max_len: longest prompt with completion, in tokens.

    Raises:
        UserError: the tokenizer has no EOS, or no offsets.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_len: int):
        self._name = name = tokenizer.name_or_path or "the tokenizer"
        if not tokenizer.is_fast:
            raise UserError(f"{name}: a fast tokenizer is needed (tokenizer.json)")
        if tokenizer.eos_token_id is None:
            raise UserError(f"{name}: has no EOS token; set eos_token in tokenizer_config.json")
        self.tokenizer = tokenizer
        self.max_len = max_len
        self.template = _template(tokenizer, name)
        self.eos_id: int = tokenizer.eos_token_id
        bos = [tokenizer.bos_token_id]
        self._bos = bos if tokenizer("a").input_ids[:1] == bos else []
        added = tokenizer.added_tokens_decoder
        self._special_ids = {id for id, token in added.items() if token.special}
        self._frames = lru_cache(maxsize=None)(self._render_frames)
        self._literal = lru_cache(maxsize=None)(self._literal_tokenizer)

    def encode(self, prompt: Prompt, completion: str) -> Encoded:
        """Encode one completion. See `encode_many`."""
        return self.encode_many([(prompt, completion)])[0]

    def encode_many(self, texts: Iterable[tuple[Prompt, str]]) -> list[Encoded]:
        """Encode (prompt, completion) pairs; a completion that is too long loses its end.

        Raises:
            PromptTooLong: a prompt has `max_len` tokens or more.
        """
        encoded = []
        for one in self.encode_each(texts):
            if isinstance(one, PromptTooLong):
                raise one
            encoded.append(one)
        return encoded

    def encode_each(self, texts: Iterable[tuple[Prompt, str]]) -> list[Encoded | PromptTooLong]:
        """As `encode_many`, with the error in place of a completion whose prompt is too long."""
        return [self._truncated(*tokens) for tokens in self._tokenise(list(texts))]

    def _truncated(self, ids: list[int], start: int) -> Encoded | PromptTooLong:
        if start >= self.max_len:
            return self.too_long(ids, start)
        kept = ids[: self.max_len - 1]
        return Encoded([*kept, self.eos_id], start, truncated=len(kept) < len(ids))

    def encode_fitting(self, texts: Iterable[tuple[Prompt, str]]) -> list[Encoded | None]:
        """As `encode_many`, with None for what does not fit into `max_len` whole."""
        return [
            Encoded([*ids, self.eos_id], start) if len(ids) < self.max_len else None
            for ids, start in self._tokenise(list(texts))
        ]

    def encode_for_goal_state(self, texts: Iterable[tuple[Prompt, str]]) -> list[Encoded | None]:
        """Completions whose states make a goal state, with None for those that do not fit."""
        return self.encode_fitting(texts)

    def render(self, prompt: Prompt) -> str:
        """The prompt as one text, by the chat template."""
        return self._layout(prompt, "")[0]

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """The tokens before a completion, for sampling."""
        ids, start = self._tokenise([(prompt, "")])[0]
        return ids[:start]

    def too_long(self, ids: list[int], prompt_tokens: int) -> PromptTooLong:
        """The error of a prompt that has `max_len` tokens or more."""
        return PromptTooLong(
            f"a prompt of {prompt_tokens} tokens leaves no room for a completion in max_len = "
            f"{self.max_len}: {self.tokenizer.decode(ids[:12])!r} …"
        )

    def _tokenise(self, texts: list[tuple[Prompt, str]]) -> list[tuple[list[int], int]]:
        """Ids without EOS, and the index of the completion's first token, for each text."""
        found = []
        for first in range(0, len(texts), TEXTS_AT_ONCE):
            layouts = [self._layout(*text) for text in texts[first : first + TEXTS_AT_ONCE]]
            # One call for all: fast tokenizers work on many texts in parallel.
            batch = self.tokenizer(
                [check_text(text) for text, _, _ in layouts],
                add_special_tokens=False,
                return_offsets_mapping=True,
                return_attention_mask=False,
            )
            for layout, ids, offsets in zip(
                layouts, batch["input_ids"], batch["offset_mapping"], strict=True
            ):
                tokens = [(id, *offset) for id, offset in zip(ids, offsets, strict=True)]
                found.append(self._split(*layout, tokens))
        return found

    def _layout(self, prompt: Prompt, completion: str) -> tuple[str, list[range], int]:
        """The whole text, the spans of it that users wrote, and where the completion begins."""
        turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        frames, tail = self._frames(tuple(turn["role"] for turn in turns))
        text, spans = "", []
        for turn, (before, trim) in zip(turns, frames, strict=True):
            content = trim(turn["content"])
            text += before
            spans.append(range(len(text), len(text) + len(content)))
            text += content
        text += tail
        border = len(text)
        return text + completion, [*spans, range(border, border + len(completion))], border

    def _render_frames(self, roles: tuple[str, ...]) -> tuple[list[Frame], str]:
        """What the chat template puts before turns of these roles, and after the last."""
        marks = [f"\ue000{i}\ue001" for i in range(len(roles))]
        messages = [
            {"role": role, "content": EDGE + mark + EDGE}
            for role, mark in zip(roles, marks, strict=True)
        ]
        try:
            text: Any = self.tokenizer.apply_chat_template(
                messages,
                chat_template=FIXED_DATE + self.template,
                tokenize=False,
                add_generation_prompt=True,
            )
        except Exception as error:  # templates are programs and raise what they like
            raise UserError(
                f"{self._name}: the chat template refuses roles {', '.join(roles)}: {error}"
            ) from None
        frames: list[Frame] = []
        for mark in marks:
            if text.count(mark) != 1:
                raise UserError(
                    f"{self._name}: the chat template does not show every message as it is, once; "
                    "set another one in the tokenizer's folder (chat_template.jinja)"
                )
            before, _, text = text.partition(mark)
            trim = TRIM[before.endswith(EDGE), text.startswith(EDGE)]
            frames.append((before.removesuffix(EDGE), trim))
            text = text.removeprefix(EDGE)
        return frames, text

    def _split(
        self, text: str, spans: Sequence[range], border: int, tokens: list[Token]
    ) -> tuple[list[int], int]:
        """The ids, special tokens in users' texts as text, and the completion's first token."""
        special = [token for token in tokens if self._is_special(token, text)]
        own = [token for token in special if not _is_within(token, text, spans)]
        if len(own) < len(special):
            tokens = self._all_but_special_as_text(own, text)
        # A token that straddles the border belongs to the completion.
        start = next((i for i, (_, _, end) in enumerate(tokens) if end > border), len(tokens))
        ids = [id for id, _, _ in tokens]
        if self._bos and ids[:1] != self._bos:
            return self._bos + ids, start + 1
        return ids, start

    def _is_special(self, token: Token, text: str) -> bool:
        id, begin, end = token
        if id not in self._special_ids:
            return False
        # The token of unknown text is special only where its own name stands there.
        unknown = self.tokenizer.unk_token_id
        return id != unknown or self.tokenizer.unk_token in text[begin:end]

    def _all_but_special_as_text(self, special: list[Token], text: str) -> list[Token]:
        """These special tokens of the template, and what lies between them as mere text."""
        tokens: list[Token] = []
        done = 0
        for id, begin, end in special:
            # Some special tokens swallow the white space beside them.
            added = self.tokenizer.added_tokens_decoder.get(id)
            before = len(text[:begin].rstrip()) if added and added.lstrip else begin
            tokens += [*self._as_text(text, done, before), (id, begin, end)]
            done = len(text) - len(text[end:].lstrip()) if added and added.rstrip else end
        return tokens + self._as_text(text, done, len(text))

    def _as_text(self, text: str, begin: int, end: int) -> list[Token]:
        """The tokens of text[begin:end], none of them special."""
        literal = self._literal(begin == 0)
        encoding = literal.encode(text[begin:end], add_special_tokens=False)
        tokens: list[Token] = []
        for id, (first, last) in zip(encoding.ids, encoding.offsets, strict=True):
            found = [(id, begin + first, begin + last)]
            if self._is_special(found[0], text):  # a vocabulary of words has it as a word, too
                letters = [
                    (letter.id, at, at + 1)
                    for at in range(begin + first, begin + last)
                    for letter in literal.model.tokenize(text[at])
                ]
                found = [letter for letter in letters if not self._is_special(letter, text)]
            tokens += found
        return tokens

    def _literal_tokenizer(self, at_start: bool) -> Tokenizer:
        """A copy of the tokenizer that knows no special tokens.

        Args:
            at_start: it is for the start of a text, and not for a later part, before which it must
                not put the space that some tokenizers (CodeLlama's) put before a text.
        """
        content = self.tokenizer.backend_tokenizer.to_str()
        if not at_start:
            content = content.replace('"prepend_scheme":"first"', '"prepend_scheme":"never"')
        literal: Tokenizer = Tokenizer.from_str(content)
        literal.encode_special_tokens = True
        literal.no_truncation()
        literal.no_padding()
        return literal


def _is_within(token: Token, text: str, spans: Sequence[range]) -> bool:
    """Whether a token, or a part of it, lies in one of these spans; white space does not count."""
    _, begin, end = token
    literal = text[begin:end]
    begin, end = end - len(literal.lstrip()), begin + len(literal.rstrip())
    return any(max(begin, span.start) < min(end, span.stop) for span in spans)


def _template(tokenizer: PreTrainedTokenizerBase, name: str) -> str:
    """The tokenizer's chat template; of several named ones, the default."""
    templates = tokenizer.chat_template or PLAIN_TEMPLATE
    if isinstance(templates, str):
        return templates
    if "default" not in templates:
        raise UserError(f"{name}: none of its chat templates is named 'default'")
    return str(templates["default"])


def check_text(text: str) -> str:
    """The text itself.

    Raises:
        UserError: it has half of a surrogate pair, which no tokenizer reads.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = ascii(text[error.start])
        raise UserError(
            f"{half} is half a character, in {text[:40]!a} …; no tokenizer reads it"
        ) from None
    return text
