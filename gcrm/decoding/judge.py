"""A reward model that values solutions while they are written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from transformers import PreTrainedTokenizerBase

from gcrm.decoding.search import Beam, Judged, Step
from gcrm.modeling.reward_model import RewardModel
from gcrm.modeling.stream import TokenScores

Kind = Literal["reward", "q_value"]
UNFINISHED = "\ufffd"
"""what tokenizers and servers write for a letter whose last bytes are not there yet"""
NOTHING_YET = {"reward": 0.0, "q_value": 1.0}
"""value of a solution none of whose text is a whole token yet: the same for all beams"""


class StreamJudge:
    """Values a step by the reward or the Q-value at its last token: a `search.Judge`.

    The reward model reads each token once: every beam is a sample of one stream, and a beam that is
    continued in several ways is copied with its cache. A solution that ends is read to the EOS of
    the reward model.

    Where the language model has other tokens, the reward model reads their text. The last
    tokens of a text can still change with what follows; until then the value is that of the last
    token that cannot.

    Args:
        prompts: of the problems, at least one.
        tokenizer: of the language model.
        kind: reward, or q_value: the cosine with the reward model's goal state.
    """

    def __init__(
        self,
        reward_model: RewardModel,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[str],
        kind: Kind,
    ):
        self._prompts, self._tokenizer, self._kind = prompts, tokenizer, kind
        self._by_text = not same_tokens(tokenizer, reward_model.tokenizer)
        self._stream = reward_model.stream(prompts[0])
        self._samples: dict[int, _Sample] = {}

    @property
    def tokens_read(self) -> int:
        """Tokens that the reward model has computed, prompts included."""
        return self._stream.tokens_read

    def judge(self, beams: Sequence[Beam], steps: Sequence[Step]) -> list[Judged]:
        """Each beam after its step."""
        new: dict[int, tuple[Beam, Step]] = {}
        for beam, step in zip(beams, steps, strict=True):
            before = _Sample(NOTHING_YET[self._kind])
            if beam.handle is None:
                (handle,) = self._stream.add(question=self._prompts[beam.problem])
            else:
                handle = self._stream.fork(beam.handle)
                before = self._samples[beam.handle]
            new[handle] = beam, step
            self._samples[handle] = replace(before)
        self._note(self._push_text(new) if self._by_text else self._push(new))
        self._note(self._stream.finish([handle for handle, (_, step) in new.items() if step.ends]))
        return [Judged(handle, self._samples[handle].value) for handle in new]

    def drop(self, beams: Iterable[Beam]) -> None:
        """Free what the reward model keeps of these beams."""
        handles = [beam.handle for beam in beams if beam.handle is not None]
        self._stream.drop(handles)
        for handle in handles:
            del self._samples[handle]

    def _push(self, new: dict[int, tuple[Beam, Step]]) -> dict[int, TokenScores]:
        """Read the new tokens, without one that ends a solution."""
        tokens = {
            handle: step.tokens[: -1 if step.ends else None] for handle, (_, step) in new.items()
        }
        return self._stream.push({handle: ids for handle, ids in tokens.items() if ids})

    def _push_text(self, new: dict[int, tuple[Beam, Step]]) -> dict[int, TokenScores]:
        """Read the new text."""
        texts = {}
        for handle, (beam, step) in new.items():
            sample = self._samples[handle]
            tokens = [*beam.tokens, *step.tokens][: -1 if step.ends else None]
            whole = str(self._tokenizer.decode(tokens, skip_special_tokens=True))
            if not step.ends:
                whole = whole.rstrip(UNFINISHED)
            if len(whole) > len(sample.text):
                texts[handle] = whole[len(sample.text) :]
                sample.text = whole
        return self._stream.push_text(texts)

    def _note(self, found: dict[int, TokenScores]) -> None:
        """Keep the last value of each sample."""
        for handle, scores in found.items():
            values = scores.rewards if self._kind == "reward" else scores.q_values
            assert values is not None
            if len(values):
                self._samples[handle].value = float(values[-1])


@dataclass
class _Sample:
    """What is known of a sample: the last value, and the text that was read, where it is text."""

    value: float
    text: str = ""


def same_tokens(first: PreTrainedTokenizerBase, second: PreTrainedTokenizerBase) -> bool:
    """Whether each token of the first has the same number in the second.

    A reward model's tokenizer may have more: a pad token, say.
    """
    known = second.get_vocab()
    return all(known.get(token) == number for token, number in first.get_vocab().items())
