"""From a prompt and a completion to token ids: the one way, for every stage and the Python API.

Prompt and completion are tokenised together, so that scores do not depend on the stage. EOS ends
every completion and belongs to it: the last partial reward is the reward. Texts of users are text,
even where they look like special tokens.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from gcrm.data.messages import Prompt
from gcrm.modeling.templates import ChatTemplate, Layout, Rendered, Text
from gcrm.utils.errors import UserError

TEXTS_AT_ONCE = 1024
"""texts tokenised in one call: offsets take more memory than ids, and are needed only briefly"""
WHITE = "".join(chr(i) for i in range(0x3001) if chr(i).isspace() and not 0x1C <= i <= 0x1F)
"""White space as tokenizers see it: unlike Python, without the four separators of ASCII."""
Texts = Iterable[Text]
Token = tuple[int, int, int]
"""An id, and the characters [begin, end) of the text that it stands for."""


@dataclass(frozen=True, init=False, slots=True)
class Encoded:
    """Token ids of a prompt and its completion.

    Attributes:
        ids: all tokens; the last is EOS. Four bytes each: a list takes ten times as much, and
            millions of completions are in memory at once.
        start: the completion is `ids[start:]`, EOS included.
        truncated: the completion was too long and lost its end.
    """

    ids: "array[int]"
    start: int
    truncated: bool

    def __init__(self, input_ids: Iterable[int], start: int, truncated: bool = False):
        for name, value in (("ids", array("i", input_ids)), ("start", start)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "truncated", truncated)

    def __hash__(self) -> int:
        return hash((self.ids.tobytes(), self.start, self.truncated))

    def __len__(self) -> int:
        """Tokens of the prompt and its completion."""
        return len(self.ids)

    @property
    def input_ids(self) -> list[int]:
        """All tokens, as a new list."""
        return self.ids.tolist()

    @property
    def num_tokens(self) -> int:
        """Tokens of the completion, EOS included."""
        return len(self.ids) - self.start


class PromptTooLong(UserError):
    """A prompt has `max_len` tokens or more, which leaves no room for a completion."""


class Encoder:
    """Encodes with a tokenizer's own chat template.

    Attributes:
        appends_eos: completions to be scored end with EOS.

    Args:
        tokenizer: a fast tokenizer (offsets are needed) with an EOS token.
        max_len: longest prompt with completion, in tokens.

    Raises:
        UserError: the tokenizer has no EOS, or no offsets.
    """

    appends_eos = True

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_len: int):
        self._name = name = tokenizer.name_or_path or "the tokenizer"
        if not tokenizer.is_fast:
            raise UserError(f"{name}: a fast tokenizer is needed (tokenizer.json)")
        if tokenizer.eos_token_id is None:
            raise UserError(f"{name}: has no EOS token; set eos_token in tokenizer_config.json")
        self.tokenizer = tokenizer
        self.max_len = max_len
        self._chat = ChatTemplate(tokenizer, name)
        self.template = self._chat.source
        self.eos_id: int = tokenizer.eos_token_id
        bos = [tokenizer.bos_token_id]
        self._bos = bos if tokenizer("a").input_ids[:1] == bos else []
        added = tokenizer.added_tokens_decoder
        self._special_ids = {id for id, token in added.items() if token.special}
        self._literal = lru_cache(maxsize=None)(self._literal_tokenizer)

    def encode(self, prompt: Prompt, completion: str) -> Encoded:
        """Encode one completion. See `encode_many`."""
        return self.encode_many([(prompt, completion)])[0]

    def encode_many(self, texts: Texts, where: Sequence[str] = ()) -> list[Encoded]:
        """Encode (prompt, completion) pairs; a completion that is too long loses its end.

        Args:
            where: the row of each, for errors.

        Raises:
            PromptTooLong: a prompt has `max_len` tokens or more.
            UserError: the chat template cannot be used for a prompt, see `ChatTemplate.prompt`.
        """
        encoded = []
        for one in self.encode_each(texts, where):
            if isinstance(one, PromptTooLong):
                raise one
            encoded.append(one)
        return encoded

    def encode_each(self, texts: Texts, where: Sequence[str] = ()) -> list[Encoded | PromptTooLong]:
        """As `encode_many`, with the error in place of a completion whose prompt is too long."""
        return [self._truncated(*tokens) for tokens in self._tokenise_texts(texts, where)]

    def _truncated(self, ids: list[int], start: int) -> Encoded | PromptTooLong:
        if start >= self.max_len:
            return self.too_long(ids, start)
        kept = ids[: self.max_len - 1]
        return Encoded([*kept, self.eos_id], start, truncated=len(kept) < len(ids))

    def encode_fitting(self, texts: Texts, where: Sequence[str] = ()) -> list[Encoded | None]:
        """As `encode_many`, with None for what does not fit into `max_len` whole."""
        return [
            Encoded([*ids, self.eos_id], start) if len(ids) < self.max_len else None
            for ids, start in self._tokenise_texts(texts, where)
        ]

    def encode_rendered(self, prompt: str, completion: str) -> Encoded:
        """Encode a completion of a prompt that is rendered already, as trainers hand it on.

        Special tokens in the prompt are special: its source is the trainer, and not a user.

        Raises:
            PromptTooLong: see `encode_many`.
        """
        [tokens] = self._tokenise([(Rendered(prompt, prompt), completion)])
        encoded = self._truncated(*tokens)
        if isinstance(encoded, PromptTooLong):
            raise encoded
        return encoded

    def encode_open(self, texts: Texts) -> list[tuple[list[int], int]]:
        """Ids without EOS, however many, and the index of the completion's first token.

        More text may follow, and change the last tokens.
        """
        return list(self._tokenise_texts(texts, ()))

    def encode_for_goal_state(
        self, texts: Texts, where: Sequence[str] = ()
    ) -> list[Encoded | None]:
        """Completions whose states make a goal state, with None for those that do not fit."""
        return self.encode_fitting(texts, where)

    def render(self, prompt: Prompt) -> str:
        """What a model sees before it answers, by the chat template."""
        return self._chat.prompt(prompt).text

    def layout(self, prompt: Prompt, completion: str, where: str = "") -> tuple[str, str]:
        """The text before a completion, by the chat template, and the completion as it follows."""
        [(before, completion)] = self._chat.layouts(
            [(prompt, completion)], [where] if where else ()
        )
        return before.text, completion

    def spans(self, prompt: Prompt, completion: str) -> list[tuple[int, int]]:
        """The characters [begin, end) of a completion that each of its tokens stands for.

        In the order of the tokens, without EOS; of a completion that is too long, also those that
        it loses. Tokens that are parts of a letter all have the letter.
        """
        [(before, text)] = self._chat.layouts([(prompt, completion)])
        [(_, offsets, start)] = self._locate([(before, text)])
        left_out = len(completion) - len(text)  # at its beginning, by the template
        return shifted(offsets[start:], left_out - len(before.text))

    def check_prompt(self, prompt: Prompt, where: str = "") -> None:
        """Check that the chat template takes a prompt as it is.

        Raises:
            UserError: see `ChatTemplate.prompt`; it begins with `where`, the row.
        """
        self.layout(prompt, "", where)

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """The tokens before a completion, for sampling."""
        [(ids, start)] = self._tokenise([(self._chat.prompt(prompt), "")])
        return ids[:start]

    def too_long(self, ids: list[int], prompt_tokens: int) -> PromptTooLong:
        """The error of a prompt that has `max_len` tokens or more."""
        return PromptTooLong(
            f"a prompt of {prompt_tokens} tokens leaves no room for a completion in max_len = "
            f"{self.max_len}: {self.tokenizer.decode(ids[:12])!r} …"
        )

    def _tokenise_texts(
        self, texts: Texts, where: Sequence[str]
    ) -> Iterator[tuple[list[int], int]]:
        """Ids without EOS, and the index of the completion's first token, for each text."""
        given = list(texts)
        for first in range(0, len(given), TEXTS_AT_ONCE):
            chunk = slice(first, first + TEXTS_AT_ONCE)
            yield from self._tokenise(list(self._chat.layouts(given[chunk], where[chunk])))

    def _tokenise(self, layouts: Sequence[Layout]) -> Iterator[tuple[list[int], int]]:
        return ((ids, start) for ids, _, start in self._locate(layouts))

    def _locate(
        self, layouts: Sequence[Layout]
    ) -> Iterator[tuple[list[int], list[tuple[int, int]], int]]:
        """Ids without EOS, their characters, and the index of the completion's first token."""
        # One call for all: fast tokenizers work on many texts in parallel.
        batch = self.tokenizer(
            [check_text(before.text + completion) for before, completion in layouts],
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
        )
        for layout, ids, offsets in zip(
            layouts, batch["input_ids"], batch["offset_mapping"], strict=True
        ):
            yield self._split(*layout, ids, offsets)

    def _split(
        self, before: Rendered, completion: str, ids: list[int], offsets: list[tuple[int, int]]
    ) -> tuple[list[int], list[tuple[int, int]], int]:
        """See `_locate`; special tokens in users' texts are text."""
        text = before.text + completion
        special = [
            (id, *ends)
            for id, ends in zip(ids, offsets, strict=True)
            if id in self._special_ids and self._is_special((id, *ends), text)
        ]
        own = [token for token in special if _is_own(token, text, before)]
        if len(own) < len(special):
            tokens = self._all_but_special_as_text(own, text)
            ids = [id for id, _, _ in tokens]
            offsets = [(begin, end) for _, begin, end in tokens]
        # A token that straddles the border belongs to the completion.
        border = len(before.text)
        start = next((i for i, (_, end) in enumerate(offsets) if end > border), len(ids))
        if self._bos and ids[:1] != self._bos:
            return self._bos + ids, [(0, 0), *offsets], start + 1
        return ids, offsets, start

    def _is_special(self, token: Token, text: str) -> bool:
        id, begin, end = token
        if id not in self._special_ids:
            return False
        # The token of unknown text is special only where its own name stands there.
        unknown = self.tokenizer.unk_token_id
        return id != unknown or self.tokenizer.unk_token in text[begin:end]

    def _all_but_special_as_text(self, special: list[Token], text: str) -> list[Token]:
        """These special tokens of the template, and what lies between them as plain text."""
        tokens: list[Token] = []
        done = 0
        for id, begin, end in special:
            # Some special tokens swallow the white space beside them.
            added = self.tokenizer.added_tokens_decoder.get(id)
            before = len(text[:begin].rstrip(WHITE)) if added and added.lstrip else begin
            tokens += [*self._as_text(text, done, before), (id, begin, end)]
            done = len(text) - len(text[end:].lstrip(WHITE)) if added and added.rstrip else end
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


def shifted(spans: Iterable[tuple[int, int]], by: int) -> list[tuple[int, int]]:
    """Spans as counted from another character, at the least 0."""
    return [(max(begin + by, 0), max(end + by, 0)) for begin, end in spans]


def _is_own(token: Token, text: str, before: Rendered) -> bool:
    """Whether the template wrote a special token: no part of it is a user's but white space."""
    _, begin, end = token
    end = begin + len(text[begin:end].rstrip(WHITE))
    is_users = before.text[begin:end] != before.shadow[begin:end]
    return end <= max(begin, len(before.text)) and not is_users


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
