"""A language model that writes solutions step by step, and tells how likely each step was."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from gcrm.decoding.sampling import check_prompts, end_ids
from gcrm.decoding.search import Beam, Step
from gcrm.modeling.passes import pad
from gcrm.modeling.tokenization import Encoder


class Policy:
    """Draws steps after the beams of some problems: a `search.Generator`.

    Each step is drawn after the whole text so far, which is read anew: all beams of a round are
    one batch, and no cache is kept in between.

    Attributes:
        tokens_read: tokens that the model has computed for each problem: prompts and solutions so
            far, in every round, and those drawn.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[str],
        temperature: float,
        max_new_tokens: int,
    ):
        """Prepare to answer prompts.

        Args:
            temperature: softmax temperature of the draws, without top-k or top-p.

        Raises:
            UserError: a prompt with max_new_tokens exceeds the model's context, or the model's
                logits are not finite.
        """
        encoder = Encoder(tokenizer, max_len=1)  # max_len does not apply to prompts
        self._prompts = [encoder.prompt_ids(prompt) for prompt in prompts]
        check_prompts(model, self._prompts, max_new_tokens)
        self._model, self._temperature = model, temperature
        self._ends = end_ids(model, tokenizer)
        self.tokens_read = [0] * len(prompts)

    @torch.inference_mode()
    def __call__(self, beams: Sequence[Beam], most: int) -> list[Step]:
        """One step of at most `most` tokens after each beam, all drawn independently."""
        texts = [[*self._prompts[beam.problem], *beam.tokens] for beam in beams]
        inputs = pad(texts, self._ends[0], "left")
        watch = _LogProbs()
        generate: Any = self._model.generate  # its declared type does not match the model's
        drawn = generate(
            **{name: values.to(self._model.device) for name, values in inputs.items()},
            max_new_tokens=most,
            eos_token_id=self._ends,
            pad_token_id=self._ends[0],
            logits_processor=LogitsProcessorList([watch]),
            do_sample=True,
            temperature=self._temperature,
            top_p=1.0,
            top_k=0,
        )
        log_probs = watch.of(drawn).tolist()
        new = drawn[:, inputs["input_ids"].shape[1] :].tolist()
        steps = []
        for beam, text, row, each in zip(beams, texts, new, log_probs, strict=True):
            end = next((n for n, token in enumerate(row) if token in self._ends), None)
            length = len(row) if end is None else end + 1
            self.tokens_read[beam.problem] += len(text) + length
            steps.append(Step(tuple(row[:length]), sum(each[:length]), end is not None))
        return steps


class _LogProbs(LogitsProcessor):
    """The log-probabilities of the drawn tokens at temperature 1.

    It sees the logits before the temperature, and keeps those of one token alone: of a whole step
    they would not fit into memory where the vocabulary is large.
    """

    def __init__(self) -> None:
        self._columns: list[Tensor] = []
        self._last: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self._take(input_ids)
        self._last = scores.float().log_softmax(dim=-1)
        return scores

    def _take(self, ids: Tensor) -> None:
        if self._last is not None:
            self._columns.append(self._last.gather(1, ids[:, -1:]))

    def of(self, ids: Tensor) -> Tensor:
        """Of all tokens that were drawn, (rows, tokens); ids are those at the end."""
        self._take(ids)
        return torch.cat(self._columns, dim=1)
