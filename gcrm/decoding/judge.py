"""A reward model that values solutions while they are written."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from transformers import PreTrainedTokenizerBase

from gcrm.decoding.search import Beam, Judged, Step
from gcrm.modeling.reward_model import RewardModel
from gcrm.modeling.stream import Stream, TokenScores

Kind = Literal["reward", "q_value"]
NOTHING_YET = {"reward": 0.0, "q_value": 1.0}
"""value of a solution none of whose text is a whole token yet: it tells no beams apart"""


class StreamJudge:
    """Values a step by the reward or the Q-value at its last token: a `search.Judge`.

    The reward model reads each token once: every beam is a sample of a stream, and a beam that is
    continued in several ways is copied with its cache. A solution that ends is read to the EOS of
    the reward model.

    Where the tokens of the language model are others, the reward model reads their text. The last
    tokens of a text can still change with what follows; until then the value is that of the last
    token that cannot.

    Args:
        prompts: of the problems.
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
        self._reward_model, self._tokenizer, self._kind = reward_model, tokenizer, kind
        self._by_text = not same_tokens(tokenizer, reward_model.tokenizer)
        self._prompts = prompts
        self._streams: dict[int, Stream] = {}
        self._samples: dict[tuple[int, int], _Sample] = {}

    @property
    def tokens_read(self) -> list[int]:
        """Tokens that the reward model has computed for each problem, the prompt included."""
        numbers = range(len(self._prompts))
        return [self._streams[n].tokens_read if n in self._streams else 0 for n in numbers]

    def judge(self, beams: Sequence[Beam], steps: Sequence[Step]) -> list[Judged]:
        """Each beam after its step, problem by problem."""
        rows: dict[int, list[int]] = {}
        for row, beam in enumerate(beams):
            rows.setdefault(beam.problem, []).append(row)
        found: dict[int, Judged] = {}
        for problem, these in rows.items():
            pairs = [(beams[row], steps[row]) for row in these]
            found |= dict(zip(these, self._judge(problem, pairs), strict=True))
        return [found[row] for row in range(len(beams))]

    def drop(self, beams: Iterable[Beam]) -> None:
        """Free what the reward model keeps of these beams."""
        for beam in beams:
            assert beam.handle is not None
            self._streams[beam.problem].drop([beam.handle])
            del self._samples[beam.problem, beam.handle]

    def _judge(self, problem: int, pairs: list[tuple[Beam, Step]]) -> Iterator[Judged]:
        if problem not in self._streams:
            self._streams[problem] = self._reward_model.stream(self._prompts[problem])
        stream = self._streams[problem]
        new: dict[int, tuple[Beam, Step]] = {}
        for beam, step in pairs:
            before = _Sample(NOTHING_YET[self._kind])
            if beam.handle is None:
                handle = stream.add(1)[0]
            else:
                handle = stream.fork(beam.handle)
                before = self._samples[problem, beam.handle]
            new[handle] = beam, step
            self._samples[problem, handle] = replace(before)
        pushed = self._push_text(problem, new) if self._by_text else self._push(problem, new)
        ended = stream.finish([handle for handle, (_, step) in new.items() if step.ends])
        for found in (pushed, ended):
            for handle, scores in found.items():
                values = scores.rewards if self._kind == "reward" else scores.q_values
                assert values is not None
                if len(values):
                    self._samples[problem, handle].value = float(values[-1])
        for handle in new:
            yield Judged(handle, self._samples[problem, handle].value)

    def _push(self, problem: int, new: dict[int, tuple[Beam, Step]]) -> dict[int, TokenScores]:
        """Read the new tokens, without one that ends a solution."""
        tokens = {
            handle: list(step.tokens[: -1 if step.ends else None])
            for handle, (_, step) in new.items()
        }
        return self._streams[problem].push({handle: ids for handle, ids in tokens.items() if ids})

    def _push_text(self, problem: int, new: dict[int, tuple[Beam, Step]]) -> dict[int, TokenScores]:
        """Read the new text."""
        texts = {}
        for handle, (beam, step) in new.items():
            sample = self._samples[problem, handle]
            tokens = [*beam.tokens, *step.tokens][: -1 if step.ends else None]
            whole = str(self._tokenizer.decode(tokens, skip_special_tokens=True))
            if not step.ends:
                whole = whole.rstrip("\ufffd")  # the first bytes of a character
            if len(whole) > len(sample.text):
                texts[handle] = whole[len(sample.text) :]
                sample.text = whole
        return self._streams[problem].push_text(texts)


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
