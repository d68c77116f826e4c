"""From a prompt and a completion to token ids: the one way, for every stage and the Python API.

Prompt and completion are tokenised together, so that scores do not depend on the stage. EOS ends
every completion and belongs to it: the last partial reward is the reward. What users write is text,
even where it looks like a special token.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from tokenizers import Tokenizer, pre_tokenizers
from transformers import PreTrainedTokenizerBase

from gcrm.data.preferences import Prompt
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
"""White space that no template writes itself: where it is missing, the template trims contents."""
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
    """A prompt leaves no room for a completion."""


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

    def encode(self, prompt: Prompt, completion: str) -> Encoded:
        """Encode one completion. See `encode_many`."""
        return self.encode_many([(prompt, completion)])[0]

    def encode_many(self, texts: Iterable[tuple[Prompt, str]]) -> list[Encoded]:
        """Encode (prompt, completion) pairs; a completion that is too long loses its end.

        Raises:
            PromptTooLong: a prompt has `max_len` tokens or more.
        """
        encoded = []
        for ids, start in self._tokenise(list(texts)):
            if start >= self.max_len:
                raise self.too_long(ids, start)
            kept = ids[: self.max_len - 1]
            encoded.append(Encoded([*kept, self.eos_id], start, truncated=len(kept) < len(ids)))
        return encoded

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
            for text, _, _ in layouts:
                check_text(text)
            # One call for all: fast tokenizers work on many texts in parallel.
            batch = self.tokenizer(
                [text for text, _, _ in layouts],
                add_special_tokens=False,
                return_offsets_mapping=True,
                return_attention_mask=False,
            )
            found += [
                self._split(*layout, [(id, *offset) for id, offset in zip(*tokens, strict=True)])
                for layout, *tokens in zip(
                    layouts, batch["input_ids"], batch["offset_mapping"], strict=True
                )
            ]
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
        """The ids, special tokens in users' text as mere text, and the completion's first token."""
        if any(self._is_typed(token, text, spans) for token in tokens):
            tokens = self._disarm(tokens, text, spans)
        # A token that straddles the border belongs to the completion.
        start = next((i for i, (_, _, end) in enumerate(tokens) if end > border), len(tokens))
        ids = [id for id, _, _ in tokens]
        if self._bos and ids[:1] != self._bos:
            return self._bos + ids, start + 1
        return ids, start

    def _is_typed(self, token: Token, text: str, spans: Sequence[range]) -> bool:
        """Whether a user wrote a special token, or a part of it."""
        if not self._is_special(token, text):
            return False
        _, begin, end = token
        literal = text[begin:end]
        # Some special tokens swallow the white space beside them, which may be another's.
        begin, end = end - len(literal.lstrip()), begin + len(literal.rstrip())
        return any(max(begin, span.start) < min(end, span.stop) for span in spans)

    def _is_special(self, token: Token, text: str) -> bool:
        id, begin, end = token
        if id not in self._special_ids:
            return False
        # The token of unknown text is special only where its own name stands there.
        unknown = self.tokenizer.unk_token_id
        return id != unknown or self.tokenizer.unk_token in text[begin:end]

    def _disarm(self, tokens: list[Token], text: str, spans: Sequence[range]) -> list[Token]:
        """Tokenise what lies between the template's own special tokens as mere text."""
        typed = [self._is_typed(token, text, spans) for token in tokens]
        own = [
            i for i, token in enumerate(tokens) if self._is_special(token, text) and not typed[i]
        ]
        disarmed: list[Token] = []
        for left, right in pairwise([-1, *own, len(tokens)]):
            piece = tokens[left + 1 : right]
            if any(typed[left + 1 : right]):
                begin = self._reach(tokens[left], text)[1] if left >= 0 else 0
                end = self._reach(tokens[right], text)[0] if right < len(tokens) else len(text)
                piece = self._as_text(text, begin, end)
            disarmed += piece + tokens[right : right + 1]
        return disarmed

    def _reach(self, token: Token, text: str) -> tuple[int, int]:
        """The characters of a special token, with the white space that it swallows."""
        id, begin, end = token
        added = self.tokenizer.added_tokens_decoder.get(id)
        if added is not None and added.lstrip:
            begin = len(text[:begin].rstrip())
        if added is not None and added.rstrip:
            end = len(text) - len(text[end:].lstrip())
        return begin, end

    def _as_text(self, text: str, begin: int, end: int) -> list[Token]:
        """The tokens of text[begin:end], none of them special."""
        with _without_special_tokens(self.tokenizer.backend_tokenizer, begin == 0) as backend:
            encoding = backend.encode(text[begin:end], add_special_tokens=False)
        tokens: list[Token] = []
        for id, (first, last) in zip(encoding.ids, encoding.offsets, strict=True):
            token = (id, begin + first, begin + last)
            # Vocabularies of words have their special tokens among the words.
            tokens += self._letters(token, text) if self._is_special(token, text) else [token]
        return tokens

    def _letters(self, token: Token, text: str) -> list[Token]:
        _, begin, end = token
        letters = [
            (letter.id, at, at + 1)
            for at in range(begin, end)
            for letter in self.tokenizer.backend_tokenizer.model.tokenize(text[at])
        ]
        return [letter for letter in letters if not self._is_special(letter, text)]


@contextmanager
def _without_special_tokens(backend: Tokenizer, at_start: bool) -> Iterator[Tokenizer]:
    """The tokenizer, knowing no special tokens; and unless it is given the start of a text, without
    the space that some tokenizers (CodeLlama's) put in front of a text."""
    first = backend.pre_tokenizer
    steps: list[pre_tokenizers.PreTokenizer] = [first]
    if isinstance(first, pre_tokenizers.Sequence):
        steps = list(first)  # type: ignore[call-overload]  # its stub says nothing of iteration
    in_front = [
        step
        for step in steps
        if isinstance(step, pre_tokenizers.Metaspace) and step.prepend_scheme == "first"
    ]
    backend.encode_special_tokens = True
    for step in () if at_start else in_front:
        step.prepend_scheme = "never"
    try:
        yield backend
    finally:
        backend.encode_special_tokens = False
        for step in in_front:
            step.prepend_scheme = "first"


def _template(tokenizer: PreTrainedTokenizerBase, name: str) -> str:
    """The tokenizer's chat template; of several named ones, the default."""
    templates = tokenizer.chat_template or PLAIN_TEMPLATE
    if isinstance(templates, str):
        return templates
    if "default" not in templates:
        raise UserError(f"{name}: none of its chat templates is named 'default'")
    return str(templates["default"])


def check_text(text: str) -> None:
    """Refuse text that no tokenizer reads.

    Raises:
        UserError: half of a surrogate pair.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = ascii(text[error.start])
        raise UserError(
            f"{half} is half a character, in {text[:40]!a} …; no tokenizer reads it"
        ) from None
