"""Sampling while a reward model reads along, so that bad samples end early.

A language model generates a few tokens of each sample, the reward model reads them, a rule says
which samples end, and so on. Both models keep what they have read in a cache, so that they read a
token once. What they read is counted: it is the cost of the samples.
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gcrm.decoding.rules import Rule
from gcrm.decoding.sampler import Sampler, random_numbers
from gcrm.decoding.sampling import check_prompts, end_ids
from gcrm.decoding.watch import Check, Watch
from gcrm.modeling.reward_model import RewardModel
from gcrm.modeling.tokenization import Encoder
from gcrm.stats.bootstrap import Floats, Ints


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
    """How samples are generated.

    Attributes:
        samples: of each question. max_new_tokens: longest sample, in tokens.
        temperature: of the softmax.
        check_every: tokens that are generated between two checks by the rules.
        skip: first tokens whose Q-values the rules do not look at.
        batch_size: samples that are generated together.
    """

    samples: int = 8
    temperature: float = 1.0
    max_new_tokens: int = 512
    check_every: int = 16
    skip: int = 5
    seed: int = 0
    batch_size: int = 256

    @property
    def questions_at_once(self) -> int:
        """Questions whose samples are generated together."""
        return max(1, self.batch_size // self.samples)


class Clock:
    """Adds up the seconds of the language model (0) and of the reward model (1)."""

    def __init__(self) -> None:
        self.seconds = [0.0, 0.0]

    @contextmanager
    def of(self, model: int) -> Iterator[None]:
        """Count the time of this block as the model's."""
        _wait_for_device()
        begun = time.perf_counter()
        yield
        _wait_for_device()
        self.seconds[model] += time.perf_counter() - begun


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Samples(Protocol):
    """Samples of a language model that grow together, equally many of each question."""

    @property
    def finished(self) -> Sequence[bool]:
        """Which samples the model has ended."""

    @property
    def generated(self) -> Sequence[int]:
        """Tokens of each sample so far, with the one that ended it."""

    @property
    def running(self) -> list[int]:
        """The samples that go on."""

    def grow(self, most: int) -> None:
        """Generate up to `most` more tokens of each running sample."""

    def drop(self, rows: Collection[int]) -> None:
        """End samples."""

    def show(self, watch: Watch, rows: Sequence[int]) -> list[int]:
        """Let a reward model read what is new of some samples; returns those that a rule ends."""

    def text(self, row: int) -> str:
        """The text of a sample."""


def follow(
    samples: Samples, watch: Watch | None, plan: Plan, prompts: Sequence[int], clock: Clock
) -> list[Solved]:
    """Let samples grow to their end, by the model's choice or by a rule.

    Args:
        watch: the reward model that reads them; None for samples that are not read.
        prompts: tokens of each question for the language model.
    """
    while rows := samples.running:
        with clock.of(0):
            samples.grow(plan.check_every)
        with clock.of(1):
            dropped = samples.show(watch, rows) if watch else []
        with clock.of(0):
            samples.drop(dropped)
    finished, generated = samples.finished, samples.generated
    found = [
        Sample(
            samples.text(row),
            bool(finished[row]),
            watch is not None and row in watch.dropped,
            int(generated[row]),
            watch.checks[row] if watch else [],
        )
        for row in range(len(generated))
    ]
    return [
        Solved(
            found[place * plan.samples :][: plan.samples],
            (prompt, watch.prompt_tokens[place] if watch else 0),
            (clock.seconds[0] / len(prompts), clock.seconds[1] / len(prompts)),
        )
        for place, prompt in enumerate(prompts)
    ]


class TokenSamples:
    """`Samples` of a language model here."""

    def __init__(self, sampler: Sampler, tokenizer: PreTrainedTokenizerBase):
        self._sampler, self._tokenizer = sampler, tokenizer
        self.grow, self.drop = sampler.grow, sampler.drop

    @property
    def finished(self) -> list[bool]:
        """See `Samples`."""
        return [*self._sampler.finished.tolist()]

    @property
    def generated(self) -> list[int]:
        """See `Samples`."""
        return [*self._sampler.generated.tolist()]

    @property
    def running(self) -> list[int]:
        """See `Samples`."""
        return [*self._sampler.running.tolist()]

    def show(self, watch: Watch, rows: Sequence[int]) -> list[int]:
        """See `Samples`."""
        running, generated = {*self.running}, self.generated
        return watch.check_tokens(
            {row: self._sampler.tokens[row] for row in rows},
            {row: generated[row] for row in rows},
            [row for row in rows if row not in running],
        )

    def text(self, row: int) -> str:
        """See `Samples`."""
        return str(self._tokenizer.decode(self._sampler.tokens[row], skip_special_tokens=True))


class Generator:
    """A language model here that generates the samples of problems by a plan.

    Attributes:
        parameters: that multiply each token.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, plan: Plan):
        self.model, self.tokenizer, self.plan = model, tokenizer, plan
        self.parameters: float = parameters_per_token(model)
        self._encoder = Encoder(tokenizer, max_len=1)  # max_len does not apply to prompts

    def batches(self, questions: Sequence[str]) -> list[list[int]]:
        """Numbers of questions that are solved together: their prompts have the same length.

        Raises:
            UserError: a prompt leaves no room for a sample, or the model is broken.
        """
        prompts = [self._encoder.prompt_ids(question) for question in questions]
        check_prompts(self.model, prompts, self.plan.max_new_tokens)
        at_once = self.plan.questions_at_once
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
            reward_model: that reads them; None for samples that are not read.
            rules: by which samples of each question end (default: none end).
        """
        plan, clock = self.plan, Clock()
        sizes = plan.samples, plan.max_new_tokens, plan.seed
        numbers = np.concatenate([random_numbers(question, *sizes) for question in questions])
        prompts = [self._encoder.prompt_ids(question) for question in questions]
        ends = end_ids(self.model, self.tokenizer)
        with clock.of(0):
            sampler = Sampler(self.model, prompts, numbers, ends, plan.temperature)
        watch = None
        with clock.of(1):
            if reward_model is not None:
                watched = plan.samples, rules or [None] * len(questions), plan.skip
                watch = Watch(reward_model, self.tokenizer, questions, *watched)
        return follow(
            TokenSamples(sampler, self.tokenizer), watch, plan, [*map(len, prompts)], clock
        )


def parameters_per_token(model: PreTrainedModel) -> int:
    """Parameters that multiply each token: all but a table of embeddings that is only looked up."""
    table, head = model.get_input_embeddings(), model.get_output_embeddings()
    looked_up: Any = table.weight
    if head is not None and head.weight is looked_up:
        return sum(one.numel() for one in model.parameters())
    return sum(one.numel() for one in model.parameters()) - int(looked_up.numel())
