"""From a prompt and a completion to token ids: the one way, for every stage and the Python API.

Prompt and completion are tokenised together, so that scores do not depend on which stage asked;
EOS ends every completion and is part of it: the last partial reward is the reward.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from transformers import PreTrainedTokenizerBase

from gcrm.errors import UserError
from gcrm.preferences import Prompt

PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}\n\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant: {% endif %}"
)
"""For tokenizers that bring no chat template; it is saved with the reward model."""


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
        name = tokenizer.name_or_path or "the tokenizer"
        if not tokenizer.is_fast:
            raise UserError(f"{name}: a fast tokenizer is needed (tokenizer.json)")
        if tokenizer.eos_token_id is None:
            raise UserError(f"{name}: has no EOS token; set eos_token in tokenizer_config.json")
        self.tokenizer = tokenizer
        self.max_len = max_len
        self.template = tokenizer.chat_template or PLAIN_TEMPLATE
        self.eos_id: int = tokenizer.eos_token_id
        starts_with_bos = tokenizer("a").input_ids[0] == tokenizer.bos_token_id
        self._bos = [tokenizer.bos_token_id] if starts_with_bos else []
        added = tokenizer.added_tokens_decoder
        self._special_ids = {id for id, token in added.items() if token.special}
        self._rendered = lru_cache(maxsize=None)(self._render)

    def encode(self, prompt: Prompt, completion: str) -> Encoded:
        """Encode one completion. See `encode_many`."""
        return self.encode_many([(prompt, completion)])[0]

    def encode_many(self, texts: Iterable[tuple[Prompt, str]]) -> list[Encoded]:
        """Encode (prompt, completion) pairs; a completion that is too long loses its end.

        Raises:
            PromptTooLong: a prompt has `max_len` tokens or more.
        """
        return [self._finish(*parts) for parts in self._tokenise(list(texts))]

    def encode_fitting(self, texts: Iterable[tuple[Prompt, str]]) -> list[Encoded | None]:
        """As `encode_many`, with None for what does not fit into `max_len` whole."""
        return [
            Encoded([*ids, self.eos_id], start) if len(ids) < self.max_len else None
            for ids, start in self._tokenise(list(texts))
        ]

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """The tokens that a completion follows, for sampling."""
        ids, start = self._tokenise([(prompt, "")])[0]
        return ids[:start]

    def _finish(self, ids: list[int], start: int) -> Encoded:
        if start >= self.max_len:
            raise PromptTooLong(
                f"a prompt of {start} tokens leaves no room for a completion in max_len = "
                f"{self.max_len}: {self.tokenizer.decode(ids[:12])!r} …"
            )
        kept = ids[: self.max_len - 1]
        return Encoded([*kept, self.eos_id], start, truncated=len(kept) < len(ids))

    def _tokenise(self, texts: list[tuple[Prompt, str]]) -> list[tuple[list[int], int]]:
        """Ids without EOS, and the index of the completion's first token, for each text."""
        if not texts:
            return []
        layouts = [self._layout(prompt, completion) for prompt, completion in texts]
        # One call for all: the fast tokenizers work on many texts in parallel.
        batch = self.tokenizer(
            [text for text, _, _ in layouts],
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
        )
        return [
            self._split(text, spans, border, ids, offsets)
            for (text, spans, border), ids, offsets in zip(
                layouts, batch["input_ids"], batch["offset_mapping"], strict=True
            )
        ]

    def _layout(self, prompt: Prompt, completion: str) -> tuple[str, list[range], int]:
        """The whole text, the spans of it that users wrote, and where the completion begins."""
        turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        frame = self._rendered(tuple(turn["role"] for turn in turns))
        text, spans = frame[0], []
        for turn, after in zip(turns, frame[1:], strict=True):
            spans.append(range(len(text), len(text) + len(turn["content"])))
            text += turn["content"] + after
        border = len(text)
        return text + completion, [*spans, range(border, border + len(completion))], border

    def _render(self, roles: tuple[str, ...]) -> list[str]:
        """What the chat template puts before, between and after the turns of these roles."""
        marks = [f"\ue000{i}\ue001" for i in range(len(roles))]
        messages = [
            {"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)
        ]
        try:
            text: Any = self.tokenizer.apply_chat_template(
                messages, chat_template=self.template, tokenize=False, add_generation_prompt=True
            )
        except Exception as error:  # templates are programs and raise what they like
            raise UserError(
                f"the chat template refuses roles {', '.join(roles)}: {error}"
            ) from None
        frame = []
        for mark in marks:
            before, found, text = text.partition(mark)
            if not found:
                raise UserError("the chat template does not show every message as it is")
            frame.append(before)
        return [*frame, text]

    def _split(
        self,
        text: str,
        spans: Sequence[range],
        border: int,
        ids: list[int],
        offsets: list[tuple[int, int]],
    ) -> tuple[list[int], int]:
        """Turn special tokens in users' text into text, and find the completion's first token."""
        whole: list[int] = []
        start = None
        for token, (begin, end) in zip(ids, offsets, strict=True):
            if start is None and end > border:  # a token that straddles the border is counted in
                start = len(whole)
            if token in self._special_ids and any(begin in span for span in spans):
                whole += self._as_text(text[begin:end])
            else:
                whole.append(token)
        if start is None:
            start = len(whole)
        if self._bos and whole[:1] != self._bos:
            return self._bos + whole, start + 1
        return whole, start

    def _as_text(self, literal: str) -> list[int]:
        backend = self.tokenizer.backend_tokenizer
        backend.encode_special_tokens = True
        try:
            ids: list[int] = backend.encode(literal, add_special_tokens=False).ids
        finally:
            backend.encode_special_tokens = False
        return ids
