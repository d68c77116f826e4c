"""Samples that grow: forward passes over their new tokens alone, where the architecture can.

How is measured once for a model, since it depends on the architecture's code: with keys and values
kept, for samples of any lengths at once, or for those of one length; or, for recurrent layers, each
sample read anew.
"""

import inspect
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from gcrm.modeling.batching import by_length
from gcrm.modeling.passes import Passes
from gcrm.modeling.row_cache import RowCache
from gcrm.modeling.tokenization import Encoded
from gcrm.utils.logging import say

Read = tuple[list[int], Tensor, Tensor]
"""Handles of samples; the last hidden states of their new tokens, one sample after the other,
(tokens, hidden_size) fp32; and the rewards of these tokens, (tokens,) fp32."""


class Growing(ABC):
    """Samples by their handles, as token ids that have been read."""

    def __init__(self, passes: Passes):
        self.passes = passes

    @abstractmethod
    def read_prompt(self, prompt: Sequence[int]) -> None:
        """Read a prompt, once for all its samples."""

    @abstractmethod
    def add(self, handles: Sequence[int], prompt: Sequence[int]) -> None:
        """New samples of a prompt that was read."""

    @abstractmethod
    def fork(self, handle: int, source: int) -> None:
        """A new sample that is a copy of another one."""

    @abstractmethod
    def drop(self, handle: int) -> None:
        """Free a sample."""

    @abstractmethod
    def crop(self, handle: int, length: int) -> None:
        """Forget the tokens of a sample but the first ones."""

    @abstractmethod
    def read(self, new: Mapping[int, Sequence[int]]) -> Iterator[Read]:
        """Append at least one token to each of these samples; a pass after the other."""

    tokens_read: int = 0
    """tokens that have been computed, prompts included, padding not"""


class Cached(Growing):
    """Samples whose keys and values are kept.

    Args:
        mixed: samples of different lengths share a pass.
    """

    def __init__(self, passes: Passes, mixed: bool):
        super().__init__(passes)
        self._mixed = mixed
        self._cache = RowCache()
        self._handles: list[int] = []  # by row
        self._prompts: dict[tuple[int, ...], RowCache] = {}
        self._has_positions = "position_ids" in inspect.signature(passes.model.forward).parameters

    def read_prompt(self, prompt: Sequence[int]) -> None:
        """See `Growing.read_prompt`."""
        if tuple(prompt) not in self._prompts:
            cache = RowCache([0])
            if prompt:
                self._pass(cache, [0], [prompt])
            self._prompts[tuple(prompt)] = cache

    def add(self, handles: Sequence[int], prompt: Sequence[int]) -> None:
        """See `Growing.add`."""
        self._copy(handles, self._prompts[tuple(prompt)], 0)

    def fork(self, handle: int, source: int) -> None:
        """See `Growing.fork`."""
        self._copy([handle], self._cache, self._handles.index(source))

    def _copy(self, handles: Sequence[int], cache: RowCache, row: int) -> None:
        first = len(self._handles)
        self._handles += handles
        self._cache.lengths += [0] * len(handles)
        for new in range(first, len(self._handles)):
            self._cache.copy(cache, row, new)

    def drop(self, handle: int) -> None:
        """See `Growing.drop`."""
        row, last = self._handles.index(handle), len(self._handles) - 1
        if row < last:  # the last one takes its place, so that all rows lie together
            self._cache.copy(self._cache, last, row)
            self._handles[row] = self._handles[last]
        self._handles.pop()
        self._cache.lengths.pop()

    def crop(self, handle: int, length: int) -> None:
        """See `Growing.crop`."""
        row = self._handles.index(handle)
        self._cache.lengths[row] = min(length, self._cache.lengths[row])

    def read(self, new: Mapping[int, Sequence[int]]) -> Iterator[Read]:
        """See `Growing.read`."""
        rows = sorted(map(self._handles.index, new))
        tokens = {row: new[self._handles[row]] for row in rows}
        for part in self._together(tokens):
            hidden, rewards = self._pass(self._cache, part, [tokens[row] for row in part])
            yield [self._handles[row] for row in part], hidden, rewards

    def _together(self, tokens: Mapping[int, Sequence[int]]) -> Iterable[list[int]]:
        """Rows in passes: of similar numbers of new tokens, and of one length if need be."""
        lengths = [len(tokens.get(row, ())) for row in range(len(self._handles))]
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for row in tokens:
            groups[(0, 0) if self._mixed else (self._cache.lengths[row], lengths[row])].append(row)
        for group in groups.values():
            yield from by_length(group, lengths, *self.passes.limits)

    @torch.inference_mode()
    def _pass(
        self, cache: RowCache, rows: Sequence[int], tokens: Sequence[Sequence[int]]
    ) -> tuple[Tensor, Tensor]:
        device = self.passes.model.device
        inputs = cache.begin(rows, [len(one) for one in tokens], device)
        if not self._has_positions:
            inputs.pop("position_ids", None)
        width = max(map(len, tokens))
        ids = torch.tensor([[self.passes.pad_id] * (width - len(one)) + [*one] for one in tokens])
        hidden, rewards = self.passes.run(
            ids, past_key_values=cache.cache, use_cache=True, **inputs
        )
        self.tokens_read += sum(map(len, tokens))
        for row, one in zip(rows, tokens, strict=True):
            cache.lengths[row] += len(one)
        hidden, rewards = hidden.flatten(0, 1), rewards.flatten()
        if any(len(one) < width for one in tokens):
            ends = range(width, width * len(tokens) + 1, width)
            where = torch.cat(
                [torch.arange(end - len(one), end) for end, one in zip(ends, tokens, strict=True)]
            ).to(device)
            hidden, rewards = hidden[where], rewards[where]
        return hidden, rewards


class Recomputed(Growing):
    """Samples that are read anew, as whole texts, whenever they get new tokens."""

    def __init__(self, passes: Passes):
        super().__init__(passes)
        self._ids: dict[int, list[int]] = {}

    def read_prompt(self, prompt: Sequence[int]) -> None:
        """Nothing: it is read with each sample."""

    def add(self, handles: Sequence[int], prompt: Sequence[int]) -> None:
        """See `Growing.add`."""
        self._ids |= {handle: list(prompt) for handle in handles}

    def fork(self, handle: int, source: int) -> None:
        """See `Growing.fork`."""
        self._ids[handle] = list(self._ids[source])

    def drop(self, handle: int) -> None:
        """See `Growing.drop`."""
        del self._ids[handle]

    def crop(self, handle: int, length: int) -> None:
        """See `Growing.crop`."""
        del self._ids[handle][length:]

    def read(self, new: Mapping[int, Sequence[int]]) -> Iterator[Read]:
        """See `Growing.read`."""
        handles = list(new)
        encoded = [
            Encoded([*self._ids[handle], *new[handle]], len(self._ids[handle]))
            for handle in handles
        ]
        for batch in self.passes.batches(encoded):
            for rows, hidden, rewards in self.passes(encoded, batch):
                for row in rows:
                    self._ids[handles[row]] = encoded[row].input_ids
                    self.tokens_read += len(encoded[row].input_ids)
                yield [handles[row] for row in rows], hidden, rewards


def choose_growing(passes: Passes) -> Callable[[], Growing]:
    """The best way in which a model gives growing samples the states of whole texts; measured."""
    numbers = [number % passes.vocabulary for number in range(24)]
    whole = _states(Recomputed(passes), numbers)
    for mixed in (True, False):
        try:
            found = _states(Cached(passes, mixed), numbers)
        except Exception:  # of architectures without such a cache, each with an error of its own
            found = torch.full_like(whole, torch.nan)
        error = (whole - found).norm() / whole.norm()
        if bool(error < (1e-4 if passes.model.dtype == torch.float32 else 0.1)):
            return partial(Cached, passes, mixed)
    name = passes.model.name_or_path
    say(f"{name}: this architecture reads each growing sample anew, at the cost of a whole text")
    return partial(Recomputed, passes)


def _states(samples: Growing, numbers: Sequence[int]) -> Tensor:
    """Hidden states of three samples that grow at different speeds, (tokens, hidden_size)."""
    found: dict[int, list[Tensor]] = defaultdict(list)
    samples.read_prompt(numbers[:8])
    samples.add(range(3), numbers[:8])
    for new in ({0: 1, 1: 3, 2: 1}, {0: 4, 2: 2}, {0: 2, 1: 2, 2: 5}):
        begin = {handle: sum(map(len, found[handle])) + 8 + handle for handle in new}
        given = {handle: numbers[begin[handle] :][:count] for handle, count in new.items()}
        for handles, hidden, _ in samples.read(given):
            parts = hidden.split([new[handle] for handle in handles])
            for handle, part in zip(handles, parts, strict=True):
                found[handle].append(part)
    return torch.cat([part for handle in range(3) for part in found[handle]])
