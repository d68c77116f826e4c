"""Sampling under the eyes of a reward model, which ends samples on the way.

A language model generates a few tokens of each sample, the reward model reads them, a rule says
which samples end, and so on. Both models keep what they have read in a cache, so that they read a
token once. What they read is counted: it is the cost of the samples.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gcrm.decoding.rules import Rule
from gcrm.decoding.sampler import Sampler, random_numbers
from gcrm.decoding.sampling import check_prompts, end_ids
from gcrm.modeling.reward_model import RewardModel
from gcrm.modeling.tokenization import Encoder
from gcrm.stats.bootstrap import Floats, Ints

UNFINISHED = "\ufffd"
"""what a tokenizer writes for a letter whose last bytes are not there yet"""


@dataclass(frozen=True)
class Check:
    """What was known of a sample when it was looked at.

    Attributes:
        generated: its tokens so far, with the one that ended it.
        read: tokens that the reward model read for this check.
        q_value: smallest Q-value so far behind the skipped tokens; None where there is none.
        reward: of the sample so far; None before the first token that the reward model can read.
    """

    generated: int
    read: int
    q_value: float | None
    reward: float | None


@dataclass(frozen=True)
class Sample:
    """A sample: its text, how it ended, and all checks of it.

    Attributes:
        finished: whether a token of the model ended it. dropped: whether a rule did.
        generated: number of its tokens, with the one that ended it.
    """

    text: str
    finished: bool
    dropped: bool
    generated: int
    checks: list[Check]


@dataclass(frozen=True)
class Solved:
    """The samples of a problem, and what they cost beside their own tokens.

    Attributes:
        prompt_tokens: that each of the two models has read before all samples.
        seconds: that each of the two models took: an equal share of what its batch took.
    """

    samples: list[Sample]
    prompt_tokens: tuple[int, int]
    seconds: tuple[float, float]

    @property
    def rewards(self) -> Floats:
        """The reward of each sample, -inf of those that were dropped or not read; (samples,)."""
        known = [
            sample.checks[-1].reward if sample.checks and not sample.dropped else None
            for sample in self.samples
        ]
        return np.array([-np.inf if reward is None else reward for reward in known])

    @property
    def policy_tokens(self) -> Ints:
        """Tokens of each sample that the language model has computed: all but the last."""
        return np.array([max(sample.generated - 1, 0) for sample in self.samples])

    @property
    def reward_model_tokens(self) -> Ints:
        """Tokens of each sample that the reward model has computed."""
        return np.array([sum(check.read for check in sample.checks) for sample in self.samples])

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> "Solved":
        """What `dataclasses.asdict` made plain."""
        samples = [
            Sample(**one | {"checks": [Check(**check) for check in one["checks"]]})
            for one in given["samples"]
        ]
        return cls(samples, tuple(given["prompt_tokens"]), tuple(given["seconds"]))


@dataclass(frozen=True)
class Plan:
    """How samples are generated; see `gcrm.config.generate`."""

    samples: int
    temperature: float
    max_new_tokens: int
    check_every: int
    skip: int
    seed: int
    batch_size: int


class Clock:
    """Adds up the seconds of the language model (0) and of the reward model (1)."""

    def __init__(self) -> None:
        self.seconds = [0.0, 0.0]

    @contextmanager
    def of(self, model: int) -> Iterator[None]:
        """The time of this block is the model's."""
        _wait_for_device()
        begun = time.perf_counter()
        yield
        _wait_for_device()
        self.seconds[model] += time.perf_counter() - begun


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Generator:
    """A language model that generates the samples of problems by a plan."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, plan: Plan):
        self.model, self.tokenizer, self.plan = model, tokenizer, plan
        self._encoder = Encoder(tokenizer, max_len=1)  # max_len does not apply to prompts

    def batches(self, questions: Sequence[str]) -> list[list[int]]:
        """Numbers of questions that are solved together: their prompts have the same length.

        Raises:
            UserError: a prompt leaves no room for a sample, or the model is broken.
        """
        prompts = [self._encoder.prompt_ids(question) for question in questions]
        check_prompts(self.model, prompts, self.plan.max_new_tokens)
        at_once = max(1, self.plan.batch_size // self.plan.samples)
        found: list[list[int]] = []
        for length in sorted(set(map(len, prompts))):
            rows = [row for row, prompt in enumerate(prompts) if len(prompt) == length]
            found += [rows[first : first + at_once] for first in range(0, len(rows), at_once)]
        return found

    def solve(
        self,
        questions: Sequence[str],
        reward_model: RewardModel | None = None,
        rules: Sequence[Rule | None] | None = None,
    ) -> list[Solved]:
        """The samples of a batch of questions.

        Args:
            reward_model: that reads them; None for samples that nobody reads.
            rules: by which samples of each question end (default: none end).
        """
        plan, clock = self.plan, Clock()
        sizes = plan.samples, plan.max_new_tokens, plan.seed
        numbers = np.concatenate([random_numbers(question, *sizes) for question in questions])
        prompts = [self._encoder.prompt_ids(question) for question in questions]
        ends = end_ids(self.model, self.tokenizer)
        with clock.of(0):
            sampler = Sampler(self.model, prompts, numbers, ends, plan.temperature)
        reader = None
        with clock.of(1):
            if reward_model is not None:
                reader = Reader(self, reward_model, questions, rules or [None] * len(questions))
        while sampler.running.size:
            with clock.of(0):
                sampler.grow(plan.check_every)
            with clock.of(1):
                dropped = reader.check(sampler) if reader else []
            with clock.of(0):
                sampler.drop(dropped)
        spent = clock.seconds[0] / len(questions), clock.seconds[1] / len(questions)
        return [
            Solved(
                [
                    self._sample(sampler, row, reader)
                    for row in range(place * plan.samples, (place + 1) * plan.samples)
                ],
                (len(prompts[place]), reader.prompt_tokens[place] if reader else 0),
                spent,
            )
            for place in range(len(questions))
        ]

    def _sample(self, sampler: Sampler, row: int, reader: "Reader | None") -> Sample:
        return Sample(
            self.text(sampler.tokens[row]),
            bool(sampler.finished[row]),
            reader is not None and row in reader.dropped,
            len(sampler.tokens[row]) + bool(sampler.finished[row]),
            reader.checks[row] if reader else [],
        )

    def text(self, tokens: Sequence[int]) -> str:
        """The text of a sample."""
        return str(self.tokenizer.decode([*tokens], skip_special_tokens=True))


class Reader:
    """A reward model that reads the samples of a batch, and the rules by which these end.

    Attributes:
        checks: of each sample. dropped: the samples that a rule has ended.
        prompt_tokens: of each question, as the reward model reads it.
    """

    def __init__(
        self,
        generator: Generator,
        reward_model: RewardModel,
        questions: Sequence[str],
        rules: Sequence[Rule | None],
    ) -> None:
        self._generator, self._rules = generator, rules
        self._stream = reward_model.stream(questions[0])
        self._handles: list[int] = []
        self.prompt_tokens: list[int] = []
        for question in questions:
            self._handles += self._stream.add(generator.plan.samples, question)
            self.prompt_tokens.append(self._stream.tokens_read - sum(self.prompt_tokens))
        self._same_tokens = same_tokens(generator.tokenizer, reward_model)
        count = len(self._handles)
        self._running: list[int] = list(range(count))
        self._given = [0] * count  # tokens, or letters, of each sample that were pushed
        self._kept = [0] * len(questions)  # samples that have ended by themselves
        self.checks: list[list[Check]] = [[] for _ in range(count)]
        self.dropped: set[int] = set()

    def check(self, sampler: Sampler) -> list[int]:
        """Read what is new of each sample; returns the samples that end here by a rule."""
        goes_on = set(sampler.running.tolist())
        ended = [row for row in self._running if row not in goes_on]
        self._read(sampler, ended)
        dropped = [
            row
            for place, rule in enumerate(self._rules)
            if rule is not None
            for row in self._dropped(place, rule, goes_on)
        ]
        self.dropped.update(dropped)
        for row in ended:
            self._kept[row // self._generator.plan.samples] += row not in self.dropped
        gone = {*dropped, *ended}
        self._stream.drop([self._handles[row] for row in gone])
        self._running = [row for row in self._running if row not in gone]
        return [row for row in dropped if row in goes_on]

    def _dropped(self, place: int, rule: Rule, goes_on: set[int]) -> list[int]:
        """The samples of a question that its rule ends."""
        samples = self._generator.plan.samples
        rows = [row for row in self._running if row // samples == place]
        found = rule.dropped(
            [self.checks[row][-1] for row in rows],
            [row in goes_on for row in rows],
            self._kept[place],
        )
        return [rows[one] for one in found]

    def _read(self, sampler: Sampler, ended: Sequence[int]) -> None:
        """Read the new tokens of all samples, and the ends of those that have ended."""
        push = self._stream.push if self._same_tokens else self._stream.push_text
        new: dict[int, Any] = {
            self._handles[row]: piece
            for row in self._running
            if (piece := self._new(row, sampler.tokens[row], row in ended))
        }
        before = self._stream.tokens_read
        found = push(new), self._stream.finish([self._handles[row] for row in ended])
        read = {
            row: sum(len(one[handle].rewards) for one in found if handle in one)
            for row, handle in ((row, self._handles[row]) for row in self._running)
        }
        # More than the new tokens are read where an architecture has no cache.
        for_each = (self._stream.tokens_read - before) / max(sum(read.values()), 1)
        for row, new_tokens in read.items():
            generated = len(sampler.tokens[row]) + bool(sampler.finished[row])
            self.checks[row].append(self._summary(row, generated, round(for_each * new_tokens)))

    def _new(self, row: int, tokens: Sequence[int], ended: bool) -> Sequence[int] | str:
        """What the stream has not been given: tokens, or text up to the last whole letter."""
        whole: Sequence[int] | str = tokens
        if not self._same_tokens:
            text = self._generator.text(tokens)
            whole = text if ended else text.rstrip(UNFINISHED)
        piece = whole[self._given[row] :]
        self._given[row] = max(self._given[row], len(whole))
        return piece

    def _summary(self, row: int, generated: int, read: int) -> Check:
        scores = self._stream.scores(self._handles[row])
        later = [] if scores.q_values is None else [*scores.q_values[self._generator.plan.skip :]]
        lowest = float(min(later)) if len(later) else None
        reward = float(scores.rewards[-1]) if len(scores.rewards) else None
        return Check(generated, read, lowest, reward)


def same_tokens(tokenizer: PreTrainedTokenizerBase, reward_model: RewardModel) -> bool:
    """Whether the tokens of a language model are those of the reward model's tokenizer."""
    theirs = reward_model.tokenizer
    return tokenizer.get_vocab() == theirs.get_vocab() and (
        getattr(tokenizer.backend_tokenizer, "to_str", str)()
        == getattr(theirs.backend_tokenizer, "to_str", str)()
    )


def parameters_per_token(model: PreTrainedModel) -> int:
    """Parameters that multiply each token: all but a table of embeddings that is only looked up."""
    table, head = model.get_input_embeddings(), model.get_output_embeddings()
    looked_up: Any = table.weight
    if head is not None and head.weight is looked_up:
        return sum(one.numel() for one in model.parameters())
    return sum(one.numel() for one in model.parameters()) - int(looked_up.numel())
