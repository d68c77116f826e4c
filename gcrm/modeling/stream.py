"""Scores while a model generates: samples grow, and only their new tokens are computed.

The scores of a sample are those that `RewardModel.score` gives for the same tokens. Text from a
generator with another tokenizer is tokenised anew with each piece, together with the prompt, and
the tokens that later text may change are held back.
"""

import codecs
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gcrm.data.layouts import checked_prompt
from gcrm.data.messages import Prompt
from gcrm.modeling.growing import Growing
from gcrm.modeling.passes import Fetched, fetch_scores, one_behind
from gcrm.modeling.tokenization import Encoder, check_text
from gcrm.utils.errors import UserError

MOST_HELD = 16
"""tokens at the end of a text that are held back at most: of a script without white space, say"""
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class TokenScores:
    """Scores of consecutive tokens of a sample.

    Attributes:
        rewards: the reward after each token, (k,) float32.
        q_values: the cosine of each token's hidden state with the goal state, (k,) float32; None
            for a reward model without a goal state.
        begin: index of the first of these tokens in the completion. It is the number of tokens
            scored before; or less, where new text changed earlier tokens, whose scores these
            replace.
    """

    rewards: Floats
    q_values: Floats | None
    begin: int = 0

    def first(self, count: int) -> "TokenScores":
        """The scores of the first tokens."""
        q_values = None if self.q_values is None else self.q_values[:count]
        return TokenScores(self.rewards[:count], q_values, self.begin)

    def behind(self, count: int) -> "TokenScores":
        """The scores of all but the first tokens."""
        q_values = None if self.q_values is None else self.q_values[count:]
        return TokenScores(self.rewards[count:], q_values, self.begin + count)

    def then(self, more: "TokenScores") -> "TokenScores":
        """These scores, and more of the same sample."""
        q_values = None
        if self.q_values is not None and more.q_values is not None:
            q_values = np.concatenate([self.q_values, more.q_values])
        return TokenScores(np.concatenate([self.rewards, more.rewards]), q_values, self.begin)


class _Change(NamedTuple):
    """A sample's tokens: the first `kept` that were read, and new ones; and its new `start`."""

    kept: int
    new: list[int]
    start: int


@dataclass
class _Sample:
    """A sample: its tokens so far, and their scores.

    Attributes:
        ids: all tokens that were read, the prompt's included. start: index of the completion's.
        scores: of ids[start:].
        given: "tokens" or "text", once something was pushed.
        text: all text that was pushed. undecoded: bytes of a character that is not whole.
        truncated: there were more tokens than there is room for, which were not read.
    """

    prompt: Prompt
    ids: list[int]
    start: int
    scores: TokenScores
    given: str = ""
    text: str = ""
    undecoded: bytes = b""
    truncated: bool = False
    finished: bool = False


class Stream:
    """Samples that a reward model scores while they are generated. Made by `RewardModel.stream`.

    A sample gets either tokens of the reward model's tokenizer (`push`) or text (`push_text`). All
    samples of a push share a forward pass over their new tokens; it is fastest where they are as
    long as each other and get equally many tokens, as from a generator. A stream is for one thread,
    and so are all streams of one reward model.
    """

    def __init__(
        self, encoder: Encoder, growing: Growing, goal_state: Tensor | None, question: Prompt
    ):
        self._encoder = encoder
        self._growing = growing
        self._goal_state = goal_state
        self._samples: dict[int, _Sample] = {}
        self._next = 0
        self._vocabulary = growing.passes.vocabulary
        self._first = self._read_prompt(question)

    @property
    def tokens_read(self) -> int:
        """Tokens that the reward model has computed, the prompt included, padding not."""
        return self._growing.tokens_read

    @property
    def handles(self) -> list[int]:
        """The samples that there are, finished ones included."""
        return list(self._samples)

    def add(self, count: int = 1, question: Prompt | None = None) -> list[int]:
        """New samples, which begin after the prompt; returns their handles.

        Args:
            question: of these samples; None for that of the stream. Samples of all questions share
                forward passes.

        Raises:
            UserError: see `RewardModel.stream`.
        """
        prompt, ids = self._first if question is None else self._read_prompt(question)
        handles = list(range(self._next, self._next + count))
        self._growing.add(handles, ids)
        for handle in handles:
            self._samples[handle] = _Sample(prompt, list(ids), len(ids), self._no_scores())
        self._next += count
        return handles

    def _read_prompt(self, question: Prompt) -> tuple[Prompt, list[int]]:
        """A prompt and its tokens, which are read here if they have not been."""
        prompt = checked_prompt(question, "stream")
        ids = self._encoder.prompt_ids(prompt)
        if len(ids) >= self._encoder.max_len:
            raise self._encoder.too_long(ids, len(ids))
        self._growing.read_prompt(ids)
        return prompt, ids

    def fork(self, handle: int) -> int:
        """A new sample that is a copy of an unfinished one; returns its handle."""
        sample = self._open(handle)
        self._growing.fork(self._next, handle)
        self._samples[self._next] = replace(sample, ids=list(sample.ids))
        self._next += 1
        return self._next - 1

    def drop(self, handles: Iterable[int]) -> None:
        """Free samples, finished or not; their handles are unknown from then on."""
        for handle in {handle: self._sample(handle) for handle in handles}:
            self._growing.drop(handle)
            del self._samples[handle]

    def scores(self, handle: int) -> TokenScores:
        """The scores of all tokens of a sample so far."""
        return self._sample(handle).scores

    def truncated(self, handle: int) -> bool:
        """Whether a sample is longer than `max_len`, so that its last tokens were not read."""
        return self._sample(handle).truncated

    def push(self, tokens: Mapping[int, Sequence[int]]) -> dict[int, TokenScores]:
        """Append tokens of the reward model's tokenizer to samples; returns these tokens' scores.

        EOS is left to `finish`. As in `RewardModel.score`, tokens for which there is no room in
        `max_len` are not read (`truncated`): there are fewer scores than tokens then.

        Raises:
            UserError: an unknown or finished sample, one that gets text, or no token ids.
        """
        given = {
            handle: (self._open(handle, "tokens"), self._checked(ids, handle))
            for handle, ids in tokens.items()
        }
        for sample, _ in given.values():
            sample.given = "tokens"
        return self._read(
            {
                handle: _Change(len(sample.ids), ids, sample.start)
                for handle, (sample, ids) in given.items()
            },
            self._encoder.max_len - self._encoder.appends_eos,
        )

    def push_text(self, texts: Mapping[int, str | bytes]) -> dict[int, TokenScores]:
        """Append text to samples; returns the scores of tokens that are stable by now.

        The last word, and the white space around it, is held back, since more text may change its
        tokens, but at most the last 16 tokens. Should new text change earlier ones all the same,
        they are scored anew: see `TokenScores.begin`. `finish` gives what is still missing. What
        does not fit into `max_len` is not read (`truncated`).

        Args:
            texts: a piece for each sample, perhaps an empty one; bytes of UTF-8 may end within a
                character.

        Raises:
            UserError: an unknown or finished sample, one that gets tokens, or no text.
        """
        given = {
            handle: (self._open(handle, "text"), *self._decoded(text, handle))
            for handle, text in texts.items()
        }
        for sample, text, undecoded in given.values():
            sample.given, sample.text, sample.undecoded = "text", text, undecoded
        samples = [sample for sample, _, _ in given.values()]
        found = self._encoder.encode_open(
            (sample.prompt, text)
            for sample in samples
            for text in (sample.text, before_last_word(sample.text))
        )
        changes = {}
        for handle, (ids, start), (head, _) in zip(given, found[::2], found[1::2], strict=True):
            stable = max(common_prefix(ids, head), len(ids) - MOST_HELD)
            changes[handle] = self._change(self._samples[handle], ids, start, stable)
        return self._read(changes, self._encoder.max_len - self._encoder.appends_eos)

    def finish(self, handles: Iterable[int]) -> dict[int, TokenScores]:
        """End samples with EOS; returns the scores of EOS and of what was held back.

        `scores(handle)` is then what `RewardModel.score` gives for the whole sample, and its last
        reward the reward. A sample whose last token is EOS already gets no other. A model that was
        trained with `parity: official` sees no EOS, as in the authors' scripts.

        Raises:
            UserError: an unknown or finished sample, or one that ends within a character.
        """
        samples = {handle: self._open(handle) for handle in handles}
        for handle, sample in samples.items():
            if sample.undecoded:
                raise UserError(f"stream: sample {handle} ends within a character: push its rest")
        texts = [handle for handle, sample in samples.items() if sample.given != "tokens"]
        encoded = self._encoder.encode_many(
            (samples[handle].prompt, samples[handle].text) for handle in texts
        )
        whole = dict(zip(texts, encoded, strict=True))
        changes = {}
        for handle, sample in samples.items():
            if handle in whole:
                ids, start = whole[handle].input_ids, whole[handle].start
                sample.truncated = whole[handle].truncated
                changes[handle] = self._change(sample, ids, start, len(ids))
            else:
                ended = not self._encoder.appends_eos or sample.ids[-1] == self._encoder.eos_id
                eos = [] if ended else [self._encoder.eos_id]
                changes[handle] = _Change(len(sample.ids), eos, sample.start)
        found = self._read(changes, self._encoder.max_len)
        for sample in samples.values():
            sample.finished = True
        return found

    def _change(self, sample: _Sample, ids: list[int], start: int, stable: int) -> _Change:
        """From what was read of a sample to the first `stable` of other tokens."""
        kept = common_prefix(ids, sample.ids)
        if start != sample.start:  # its scores are made anew from there
            kept = min(kept, start)
        return _Change(kept, ids[kept:stable] if stable > start else [], start)

    def _read(self, changes: Mapping[int, _Change], room: int) -> dict[int, TokenScores]:
        """Change samples, as far as there is room for tokens; returns their new scores."""
        new, begin = {}, {}
        for handle, change in changes.items():
            sample = self._samples[handle]
            self._growing.crop(handle, change.kept)
            del sample.ids[change.kept :]
            sample.start = change.start
            sample.scores = sample.scores.first(max(change.kept - change.start, 0))
            begin[handle] = len(sample.scores.rewards)
            fitting = change.new[: max(room - change.kept, 0)]
            sample.truncated |= len(fitting) < len(change.new)
            if fitting:
                new[handle] = fitting
        for handles, fetched in self._passes(new):
            found = fetched()
            self._growing.passes.check_finite(found["partial_rewards"])
            at = 0
            for handle in handles:
                sample, end = self._samples[handle], at + len(new[handle])
                at += max(sample.start - len(sample.ids), 0)  # tokens of the prompt
                scores = {name: values[at:end] for name, values in found.items()}
                sample.scores = sample.scores.then(
                    TokenScores(scores["partial_rewards"], scores.get("q_values"))
                )
                sample.ids += new[handle]
                at = end
        return {handle: self._samples[handle].scores.behind(at) for handle, at in begin.items()}

    def _passes(self, new: Mapping[int, Sequence[int]]) -> Iterator[tuple[list[int], Fetched]]:
        """The scores of each pass, on their way to the CPU."""
        passes = (
            (handles, fetch_scores(hidden, rewards, self._goal_state))
            for handles, hidden, rewards in self._growing.read(new)
        )
        on_cpu = self._growing.passes.model.device.type == "cpu"
        return passes if on_cpu else one_behind(passes)

    def _sample(self, handle: int) -> _Sample:
        if handle not in self._samples:
            raise UserError(
                f"stream: there is no sample {handle!r}: it was dropped, or never added"
            )
        return self._samples[handle]

    def _open(self, handle: int, given: str = "") -> _Sample:
        """A sample that is not finished, and gets what it got before: tokens or text."""
        sample = self._sample(handle)
        if sample.finished:
            raise UserError(f"stream: sample {handle} is finished; add another one")
        if given and sample.given not in ("", given):
            raise UserError(f"stream: sample {handle} gets {sample.given}, and cannot get {given}")
        return sample

    def _checked(self, tokens: Any, handle: int) -> list[int]:
        """Token ids that a caller gives, as a list."""
        tokens = tokens.tolist() if hasattr(tokens, "tolist") else tokens
        try:
            ids = [operator.index(token) for token in tokens]
        except TypeError:
            raise UserError(
                f"stream: sample {handle} got {tokens!r:.60}; expected a list of token ids (for "
                "text there is push_text)"
            ) from None
        if wrong := next((id for id in ids if not 0 <= id < self._vocabulary), None):
            raise UserError(
                f"stream: sample {handle} got the token {wrong}; the reward model has the tokens 0 "
                f"to {self._vocabulary - 1} (for another tokenizer's text there is push_text)"
            )
        return ids

    def _decoded(self, piece: Any, handle: int) -> tuple[str, bytes]:
        """All text of a sample with a new piece, and bytes of a character that is not whole."""
        sample = self._sample(handle)
        if isinstance(piece, str) and not sample.undecoded:
            return sample.text + check_text(piece), b""
        if not isinstance(piece, bytes):
            wrong = "text within a character" if isinstance(piece, str) else type(piece).__name__
            raise UserError(
                f"stream: sample {handle} got {wrong}; expected text, or bytes of UTF-8"
            )
        try:
            text, used = codecs.utf_8_decode(sample.undecoded + piece, "strict", False)
        except UnicodeDecodeError as error:
            raise UserError(
                f"stream: sample {handle} got bytes that are not UTF-8: {error}"
            ) from None
        return sample.text + text, (sample.undecoded + piece)[used:]

    def _no_scores(self) -> TokenScores:
        none = np.zeros(0, np.float32)
        return TokenScores(none, none if self._goal_state is not None else None)


def before_last_word(text: str) -> str:
    """A text without its last word and the white space around it."""
    parts = text.rsplit(None, 1)
    return parts[0] if len(parts) == 2 else ""


def common_prefix(one: list[int], other: list[int]) -> int:
    """The number of first items that two lists share."""
    shorter = min(len(one), len(other))
    if one[:shorter] == other[:shorter]:
        return shorter
    return next(i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
