"""Forward passes of a reward model, and what they show of completions.

A hook on the head of an unmodified `AutoModelForSequenceClassification` sees the last hidden
states (its input) and the reward of every token (its output).
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import Cache, DynamicCache, PreTrainedModel

from gcrm.modeling.batching import Batch, Sharing, batches, prompt_key
from gcrm.modeling.heads import compute_in_fp32
from gcrm.modeling.loading import embeddings_of
from gcrm.modeling.tokenization import Encoded
from gcrm.utils.errors import UserError
from gcrm.utils.logging import say

TOKENS_PER_PASS = {"cuda": 16_384, "cpu": 2_048}
"""most tokens in a pass: a GPU needs many to be busy"""
CACHED_NUMBERS = 400_000
"""On a CPU the tokens of a pass of a small model are also limited by the width of its widest layer:
more numbers than this leave the caches. benchmarks/scoring.py shows the speed."""
FLOPS_OF_A_LAYER = {"cuda": 1e10, "cpu": 5e6}
"""what could be computed while a linear layer is started, in FLOPs"""
FLOPS_OF_A_WEIGHT = 60
"""what a CPU could compute while it reads a weight from memory, in FLOPs: 30 tokens' use of it"""
CACHED_WEIGHTS = 4_000_000
"""A CPU keeps about as many in its caches; a model is small where it has fewer."""
Item = TypeVar("Item")
Fetched = Callable[[], Mapping[str, NDArray[np.float32]]]
"""Waits for arrays that are on their way from the device."""


class HeadWatch:
    """Input and output of a model's head in the last forward pass.

    Attributes:
        hidden: last hidden states, after the final norm, (batch, tokens, hidden_size), fp32.
        rewards: the head's value at every token, (batch, tokens), fp32.
    """

    hidden: Tensor
    rewards: Tensor

    def __init__(self, model: PreTrainedModel):
        head = model.get_submodule("score")
        assert isinstance(head, nn.Linear)  # loading ensures it
        compute_in_fp32(head)
        head.register_forward_hook(self._see)

    def _see(self, head: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        self.hidden = inputs[0].float()
        self.rewards = output.squeeze(-1)


class Passes:
    """The forward passes of a model over completions."""

    def __init__(self, model: PreTrainedModel):
        self.model = model
        self._watch = HeadWatch(model)

    def batches(
        self, encoded: Sequence[Encoded], tokens_per_pass: int | None = None
    ) -> list[Batch]:
        """Completions in batches; see `gcrm.modeling.batching`."""
        tokens, overhead = self.limits
        return batches(encoded, tokens_per_pass or tokens, overhead, self.sharing)

    @cached_property
    def vocabulary(self) -> int:
        """The number of tokens that the model knows; their ids are below it."""
        return embeddings_of(self.model).num_embeddings

    @cached_property
    def _linear(self) -> list[nn.Linear]:
        """The linear layers, without the head."""
        return [one for one in self.model.base_model.modules() if isinstance(one, nn.Linear)]

    @cached_property
    def _weights(self) -> int:
        return sum(one.weight.numel() for one in self._linear)

    @property
    def _reads_weights(self) -> bool:
        """Whether each pass reads the weights from the memory of a CPU, so that few are better."""
        return self.model.device.type == "cpu" and self._weights > CACHED_WEIGHTS

    @cached_property
    def limits(self) -> tuple[int, float]:
        """Most tokens in a pass, and the cost of a pass in tokens; see `batching.batches`."""
        linear, device = self._linear, self.model.device.type
        tokens_per_pass = TOKENS_PER_PASS[device]
        if device == "cpu" and linear and not self._reads_weights:
            widest = max(one.out_features for one in linear)
            tokens_per_pass = min(tokens_per_pass, max(1, CACHED_NUMBERS // widest))
        flops = FLOPS_OF_A_LAYER[device] * len(linear)
        if self._reads_weights:
            flops += FLOPS_OF_A_WEIGHT * self._weights
        return tokens_per_pass, flops / (2 * self._weights) if linear else 0

    @torch.inference_mode()
    def __call__(
        self, encoded: Sequence[Encoded], batch: Batch
    ) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """The passes of a batch.

        Yields:
            Indices of completions; the last hidden states of their tokens, one completion after the
            other, (tokens, hidden_size) fp32; and the rewards of these tokens, (tokens,) fp32.
        """
        prompts, cache = self._read_prompts(encoded, batch)
        for rows in batch.passes:
            numbers = [prompts[prompt_key(encoded[row])] for row in rows] if cache else []
            yield rows, *self._read([encoded[row] for row in rows], cache, numbers)

    def _read_prompts(
        self, encoded: Sequence[Encoded], batch: Batch
    ) -> tuple[dict[bytes, int], Cache | None]:
        """Numbers of the prompts that are read first, and their keys and values."""
        if not batch.prompt_tokens:
            return {}, None
        first = {prompt_key(encoded[row]): encoded[row] for row in batch.rows}
        ids = self._filled([one.input_ids[: one.start] for one in first.values()])
        cache = DynamicCache(config=self.model.config)
        self.model.base_model(
            input_ids=ids.to(self.model.device), past_key_values=cache, use_cache=True
        )
        return {key: number for number, key in enumerate(first)}, cache

    def _read(
        self, encoded: Sequence[Encoded], cache: Cache | None, numbers: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Hidden states and rewards of the completions' tokens, in one pass.

        Args:
            cache: prompts that were read before.
            numbers: of each completion's prompt there.
        """
        device = self.model.device
        begins = [one.start if cache else 0 for one in encoded]
        ids = self._filled([one.input_ids[b:] for one, b in zip(encoded, begins, strict=True)])
        width = ids.shape[1]
        inputs: dict[str, Any] = {"use_cache": bool(cache)}
        if cache:
            inputs["past_key_values"] = past = copy.copy(cache)
            past.layers = [copy.copy(layer) for layer in cache.layers]
            past.batch_select_indices(torch.tensor(numbers, device=device))
            inputs |= _behind(begins, cache.get_seq_length(), width)
        inputs = {name: _to(value, device) for name, value in inputs.items()}
        hidden, rewards = self.run(ids, **inputs)
        where = torch.cat(
            [
                torch.arange(row * width + one.start - begin, row * width + len(one) - begin)
                for row, (one, begin) in enumerate(zip(encoded, begins, strict=True))
            ]
        ).to(device)
        return hidden.flatten(0, 1)[where], rewards.flatten()[where]

    def _filled(self, texts: Sequence[list[int]]) -> Tensor:
        """Token ids, (rows, longest). Padding comes last, where no token attends to it."""
        width = max(map(len, texts))
        return torch.tensor([text + [self.pad_id] * (width - len(text)) for text in texts])

    @property
    def pad_id(self) -> int:
        """The token that fills passes up."""
        return int(self.model.config.get_text_config().pad_token_id)

    def run(self, ids: Tensor, **inputs: Any) -> tuple[Tensor, Tensor]:
        """One pass over tokens (rows, width), with other inputs of the model.

        Returns:
            Last hidden states, (rows, width, hidden_size), and rewards, (rows, width), fp32.
        """
        self.model(input_ids=ids.to(self.model.device, non_blocking=True), **inputs)
        return self._watch.hidden, self._watch.rewards

    def check_finite(self, found: NDArray[Any]) -> None:
        """Check rewards or states that the passes showed.

        Raises:
            UserError: some are NaN or infinite.
        """
        if not np.isfinite(found).all():
            raise UserError(
                f"{self.model.name_or_path}: gives rewards that are no finite numbers, so its "
                "weights are broken; train or download it again"
            )

    @cached_property
    def sharing(self) -> Sharing:
        """Behind which prompts completions get the same states as when they are read with them.

        Measured, since it depends on the architecture's code. Different lengths need a mask, which
        pays where a pass reads all weights.
        """
        if self._reads_weights and self.reads_behind(8, 5):
            return "any length"
        if self.reads_behind(8, 8):
            return "same length"
        name = self.model.name_or_path
        say(f"{name}: this architecture reads a prompt anew for each completion")
        return "none"

    @torch.inference_mode()
    def reads_behind(self, *prompts: int) -> bool:
        """Whether it does for completions of made prompts of these lengths, in one pass."""
        if len({*prompts}) > 1 and not sees_all(self.model):  # a window counts padding, too
            return False
        numbers = [number % self.vocabulary for number in range(24)]
        encoded = [Encoded(numbers[8 - start :], start) for start in prompts]
        whole = torch.cat([self._read([one], None, [])[0] for one in encoded])
        rows = [*range(len(encoded))]
        try:
            numbers_of, cache = self._read_prompts(encoded, Batch([rows], max(prompts)))
            behind, _ = self._read(encoded, cache, [numbers_of[prompt_key(one)] for one in encoded])
        except Exception:  # of architectures without such a cache, each with an error of its own
            return False
        error = (whole - behind).norm() / whole.norm()
        return bool(error < (1e-4 if self.model.dtype == torch.float32 else 0.1))


def sees_all(model: PreTrainedModel) -> bool:
    """Whether every token attends to all tokens before it: there are no windows or chunks."""
    config = model.config.get_text_config()
    layers = set(getattr(config, "layer_types", None) or [])
    return layers <= {"full_attention"} and getattr(config, "sliding_window", None) is None


def _behind(starts: Sequence[int], prompt_tokens: int, width: int) -> dict[str, Tensor]:
    """Positions and mask of completions after prompts of different lengths.

    Args:
        starts: the lengths; the longest prompt has `prompt_tokens`.
        width: of the completions.
    """
    if min(starts) == prompt_tokens:  # there is no padding before them
        return {}
    start, place = torch.tensor(starts)[:, None], torch.arange(prompt_tokens + width)
    return {
        "position_ids": start + torch.arange(width),
        "attention_mask": ((place < start) | (place >= prompt_tokens)).long(),
    }


def _to(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value


def pad(
    rows: Sequence[Sequence[int]], pad_id: int, side: Literal["left", "right"] = "right"
) -> dict[str, Tensor]:
    """Padded `input_ids` and `attention_mask`, (rows, longest), int64."""
    ids = [torch.tensor(row, dtype=torch.int64) for row in rows]
    return {
        "input_ids": pad_sequence(ids, True, pad_id, side),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], True, 0, side),
    }


def fetch(found: Mapping[str, Tensor]) -> Fetched:
    """Start to copy tensors to the CPU; the copies are complete once the result has returned."""
    if all(values.device.type == "cpu" for values in found.values()):
        return lambda: {name: values.numpy() for name, values in found.items()}
    copies = {
        name: torch.empty_like(values, device="cpu", pin_memory=True).copy_(
            values, non_blocking=True
        )
        for name, values in found.items()
    }
    done = torch.cuda.Event()
    done.record()

    def wait() -> Mapping[str, NDArray[np.float32]]:
        done.synchronize()
        return {name: values.numpy() for name, values in copies.items()}

    return wait


def fetch_scores(hidden: Tensor, rewards: Tensor, goal_state: Tensor | None) -> Fetched:
    """Start to copy the scores of tokens to the CPU: `partial_rewards`, and perhaps `q_values`.

    Args:
        hidden: last hidden states, (tokens, hidden_size). rewards: (tokens,).
        goal_state: (hidden_size,) unit vector; Q-values are the cosines with it.
    """
    found = {"partial_rewards": rewards}
    if goal_state is not None:
        found["q_values"] = F.normalize(hidden, dim=-1) @ goal_state
    return fetch(found)


def one_behind(items: Iterable[Item]) -> Iterator[Item]:
    """The items, each when the next has been asked for."""
    held: list[Item] = []
    for item in items:
        yield from held
        held = [item]
    yield from held


def unique(encoded: Sequence[Encoded]) -> tuple[list[Encoded], list[int]]:
    """The different completions, and for each completion its index among them."""
    numbers: dict[Encoded, int] = {}
    which = [numbers.setdefault(one, len(numbers)) for one in encoded]
    return list(numbers), which
