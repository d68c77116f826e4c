"""Samples of a language model that grow a few tokens at a time, and can be dropped on the way.

Each sample has random numbers of its own. So it does not depend on which others are still there: a
sample that is not dropped is token for token the same with and without a filter.
"""

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from gcrm.data.questions import question_hash, question_key
from gcrm.stats.bootstrap import Bools, Floats, Ints


def random_numbers(question: str, samples: int, tokens: int, seed: int) -> Floats:
    """Uniform random numbers in [0, 1) for the samples of a question, (samples, tokens).

    They depend on nothing else, and more samples or longer ones have the same first numbers.
    """
    key = int(question_hash(question_key(question))[:16], 16)
    return np.stack(
        [np.random.default_rng([seed, key, sample]).random(tokens) for sample in range(samples)]
    )


def draw(logits: Tensor, numbers: Tensor, temperature: float) -> Tensor:
    """The token of each row at a random number, by inversion of the cumulative distribution.

    Args:
        logits: (rows, vocabulary). numbers: in [0, 1), (rows,).

    Returns:
        Token ids, (rows,).
    """
    shares = torch.softmax(logits.double() / temperature, dim=-1).cumsum(dim=-1)
    places = numbers.to(shares)[:, None] * shares[:, -1:]
    found = torch.searchsorted(shares, places, right=True)[:, 0]
    return found.clamp(max=logits.shape[-1] - 1)


class Sampler:
    """Samples of several prompts that grow together with one cache of keys and values.

    All prompts have the same number of tokens, so that no padding is needed.

    Args:
        model: a causal language model.
        prompts: token ids of each prompt.
        numbers: random numbers of each sample, (samples, longest sample in tokens); those of a
            prompt lie one after the other, equally many for each prompt.
        ends: tokens that end a sample.
        temperature: of the softmax.

    Attributes:
        tokens: of each sample so far, without the one that ended it.
        finished: which samples a token of `ends` has ended, (samples,).
        running: the samples that go on.
        tokens_read: tokens that the model has computed so far, prompts included.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        numbers: Floats,
        ends: Sequence[int],
        temperature: float,
    ):
        self._model, self._temperature = model, temperature
        self._numbers = torch.from_numpy(numbers).to(model.device)
        self._ends = torch.tensor(ends, device=model.device)
        self._cache = DynamicCache(config=model.config)
        self._step = 0
        of_each = len(numbers) // len(prompts)
        self.tokens: list[list[int]] = [[] for _ in numbers]
        self.finished = np.zeros(len(numbers), bool)
        self.running: Ints = np.arange(len(numbers))
        self.tokens_read = 0
        self._unread = torch.tensor(prompts, device=model.device)
        """tokens that the next step reads first, (rows, tokens)"""
        self._logits = self._read().repeat_interleave(of_each, dim=0)
        self._cache.batch_repeat_interleave(of_each)

    @property
    def generated(self) -> Ints:
        """Number of tokens generated for each sample, with the one that ended it; (samples,)."""
        return np.array([len(tokens) for tokens in self.tokens]) + self.finished

    @torch.inference_mode()
    def grow(self, most: int) -> None:
        """Generate up to `most` more tokens of each running sample."""
        longest = self._numbers.shape[1]
        for _ in range(most):
            if not self.running.size:
                return
            if self._step:
                self._logits = self._read()
            rows = torch.from_numpy(self.running).to(self._numbers.device)
            drawn = draw(self._logits, self._numbers[rows, self._step], self._temperature)
            self._unread = drawn[:, None]
            ended: Bools = torch.isin(drawn, self._ends).cpu().numpy()
            for row, token, is_end in zip(self.running, drawn.tolist(), ended, strict=True):
                if not is_end:
                    self.tokens[row].append(token)
            self.finished[self.running[ended]] = True
            self._step += 1
            self._keep(~ended if self._step < longest else np.zeros_like(ended))

    def drop(self, rows: Collection[int]) -> None:
        """End samples without a last token."""
        self._keep(~np.isin(self.running, [*rows]))

    @torch.inference_mode()
    def _read(self) -> Tensor:
        """Read what is unread; returns the logits of the next tokens, (rows, vocabulary)."""
        self.tokens_read += self._unread.numel()
        found = self._model(
            input_ids=self._unread,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = found.logits[:, -1]
        return logits

    def _keep(self, kept: Bools) -> None:
        """Go on with some of the running samples."""
        if kept.all():
            return
        places = torch.from_numpy(np.flatnonzero(kept)).to(self._unread.device)
        self.running = self.running[kept]
        self._unread = self._unread[places]
        self._cache.batch_select_indices(places)
