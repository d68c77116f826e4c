"""A filter for `generate` of transformers: it ends samples with low scores by a reward model.

    live = LiveFilter(rm, [question], model, tokenizer, Rule("q_value", keep=2, threshold=0.1))
    output = model.generate(**inputs, do_sample=True, num_return_sequences=8, **live.hooks)
    rewards = live.finish(output)

The rows that end are filled with pads. `generate` itself computes them until the last row ends: to
save that as well, use `gcrm generate`, or a server and `gcrm.decoding.client`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from gcrm.data.messages import Prompt
from gcrm.decoding.rules import Rule
from gcrm.decoding.sampling import end_ids
from gcrm.decoding.watch import Watch
from gcrm.modeling.reward_model import RewardModel
from gcrm.modeling.stream import TokenScores
from gcrm.stats.bootstrap import Floats
from gcrm.utils.errors import UserError


class LiveFilter:
    """Hooks for one call of `generate`, which may sample several prompts, but not search beams.

    Args:
        reward_model: with a goal state, for rules by Q-value.
        questions: of the prompts in the batch, in their order.
        model, tokenizer: of the generator; its text is tokenised anew where the reward model's
            tokenizer is another one.
        rule: says which samples of a question end; None to score them only.
        skip: first tokens of a sample whose Q-values the rule does not look at.
        every: tokens between two checks.

    Attributes:
        dropped: for each row that the rule has ended, its number of tokens then.
        ends: tokens that end a sample of the generator.
    """

    def __init__(
        self,
        reward_model: RewardModel,
        questions: Sequence[Prompt],
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        rule: Rule | None = None,
        *,
        skip: int = 5,
        every: int = 1,
    ):
        if isinstance(questions, str) or not questions:
            raise UserError(
                "LiveFilter: questions must be a list: one for each prompt in the batch"
            )
        self._reward_model, self._questions, self._rule = reward_model, list(questions), rule
        self._skip, self._every = skip, every
        self._tokenizer = tokenizer
        self.ends = end_ids(model, tokenizer)
        self._width: int | None = None  # of the prompts
        self._watch: Watch | None = None
        self._given: list[list[int]] = []  # tokens of each row that were looked at
        self.dropped: dict[int, int] = {}

    @property
    def hooks(self) -> dict[str, Any]:
        """The arguments of `generate`: `stopping_criteria` and `logits_processor`."""
        return {
            "stopping_criteria": StoppingCriteriaList([_Stop(self)]),
            "logits_processor": LogitsProcessorList([_Pad(self)]),
        }

    def scores(self, row: int) -> TokenScores:
        """The scores of a row's tokens, as far as they have been read."""
        if self._watch is None:
            raise UserError("LiveFilter: nothing has been generated with its hooks yet")
        return self._watch.scores[row]

    @property
    def tokens_read(self) -> int:
        """Tokens that the reward model has computed, prompts included."""
        return 0 if self._watch is None else self._watch.tokens_read

    def finish(self, output: Any) -> Floats:
        """The reward of each row, -inf of those that were dropped; reads what is left of them.

        A row that `max_new_tokens` has cut is scored as if it ended there.

        Args:
            output: what `generate` returned.

        Returns:
            Shape (rows,).
        """
        sequences = getattr(output, "sequences", output)
        watch = self._begin(sequences)
        self._check(sequences, last=True)
        found = [
            -np.inf if row in self.dropped else float(scores.rewards[-1])
            for row, scores in enumerate(watch.scores)
        ]
        return np.array(found)

    def start(self, width: int) -> None:
        """Take note of the width of the prompts, once."""
        if self._width is None:
            self._width = width

    def step(self, input_ids: Tensor) -> Tensor:
        """Which rows are over by the rule, after a new token; (rows,) bool."""
        self.start(input_ids.shape[1] - 1)
        self._begin(input_ids)
        assert self._width is not None
        if (input_ids.shape[1] - self._width) % self._every == 0:
            self._check(input_ids, last=False)
        return self.dropped_rows(input_ids.device)

    def dropped_rows(self, device: torch.device) -> Tensor:
        """Which rows the rule has ended, (rows,) bool."""
        return torch.tensor([row in self.dropped for row in range(len(self._given))], device=device)

    def _begin(self, input_ids: Tensor) -> Watch:
        """The watch over the rows, made when the first tokens come."""
        rows, questions = input_ids.shape[0], len(self._questions)
        if self._watch is None:
            if self._width is None or rows % questions:
                raise UserError(
                    f"LiveFilter: generate has {rows} rows for {questions} questions; expected "
                    "equally many of each, and its hooks in the call"
                )
            self._watch = Watch(
                self._reward_model,
                self._tokenizer,
                self._questions,
                rows // questions,
                [self._rule] * questions,
                self._skip,
            )
            self._given = [[] for _ in range(rows)]
        return self._watch

    def _check(self, input_ids: Tensor, last: bool) -> None:
        assert self._watch is not None
        found: dict[int, list[int]] = {}
        ended = []
        for row, tokens in zip(
            range(len(self._given)), input_ids[:, self._width :].tolist(), strict=True
        ):
            if row not in self._watch.running:
                continue
            end = next((at for at, token in enumerate(tokens) if token in self.ends), None)
            known = tokens[:end]
            if known[: len(self._given[row])] != self._given[row]:
                raise UserError(
                    "LiveFilter: rows have changed places; it cannot follow beam search"
                )
            if end is not None or last:
                ended.append(row)
            self._given[row] = found[row] = known
        lengths = {row: len(known) for row, known in found.items()}
        for row in self._watch.check_tokens(found, lengths, ended):
            self.dropped[row] = lengths[row]


class _Stop(StoppingCriteria):
    """Ends the rows that the rule drops."""

    def __init__(self, live: LiveFilter):
        self._live = live

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        return self._live.step(input_ids)


class _Pad(LogitsProcessor):
    """Lets rows that were dropped be filled with the token that ends samples."""

    def __init__(self, live: LiveFilter):
        self._live = live

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        self._live.start(input_ids.shape[1])
        rows = self._live.dropped_rows(scores.device)
        if not len(rows) or not self._live.dropped:
            return scores
        filled = torch.full_like(scores, -torch.inf)
        filled[:, self._live.ends[0]] = 0
        return torch.where(rows[:, None], filled, scores)
