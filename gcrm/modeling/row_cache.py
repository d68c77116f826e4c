"""Keys and values of many samples that grow at once, a row each, for `gcrm.modeling.stream`.

A pass appends new tokens to some of the rows. Where these rows are as long as each other, and get
as many tokens, the pass needs no mask, and reads its keys and values where they lie. Other rows are
aligned at their ends, and padded on the left, as `generate` of transformers does it: each
architecture then has its own positions and masks right.

Sliding windows are left to the mask: every token stays in its row, so that rows can be shortened.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicLayer

ROOM = 64
"""tokens for which a row has room at least, beyond those it holds"""


@dataclass
class Places:
    """Where the pass under way reads and writes.

    Attributes:
        rows: first and last row plus one, if they lie together and are alike; else None.
        past: columns before those of the new tokens. width: columns of the new tokens.
        write: row, column there, row in the pass, column in the pass of each new token.
        read: row of each row, (rows, 1), and its columns, (rows, past + width).
        capacity: rows and tokens for which there must be room.
    """

    rows: tuple[int, int] | None = None
    past: int = 0
    width: int = 0
    write: tuple[Tensor, ...] = ()
    read: tuple[Tensor, ...] = ()
    capacity: tuple[int, int] = (1, ROOM)


class _Layer(DynamicLayer):
    """Keys and values of a layer, (rows, heads, tokens, width), with room for more."""

    def __init__(self, places: Places):
        super().__init__()  # type: ignore[no-untyped-call]
        self._places = places

    def get_seq_length(self) -> int:
        return self._places.past

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._places.past + query_length, 0

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append to the rows of the pass; returns all keys and values of these rows."""
        places = self._places
        self.is_initialized = True
        self.keys = with_room(self.keys, key_states, places.capacity)
        self.values = with_room(self.values, value_states, places.capacity)
        return _put(self.keys, key_states, places), _put(self.values, value_states, places)


def with_room(old: Tensor | None, like: Tensor, capacity: tuple[int, int]) -> Tensor:
    """A tensor with room for so many rows and tokens, which has what the old one has."""
    if old is not None and old.shape[0] >= capacity[0] and old.shape[2] >= capacity[1]:
        return old
    rows, tokens = capacity
    if old is not None:
        rows = old.shape[0] if old.shape[0] >= rows else max(rows, old.shape[0] * 5 // 4)
        tokens = max(tokens, old.shape[2])
    new = like.new_empty(rows, like.shape[1], tokens, like.shape[3])
    if old is not None:
        new[: old.shape[0], :, : old.shape[2]] = old
    return new


def _put(stored: Tensor, new: Tensor, places: Places) -> Tensor:
    if places.rows is not None:
        first, end = places.rows
        stored[first:end, :, places.past : places.past + places.width] = new
        return stored[first:end, :, : places.past + places.width]
    row, column, row_of_pass, column_of_pass = places.write
    stored[row, :, column] = new[row_of_pass, :, column_of_pass]
    return stored[places.read[0], :, places.read[1]].transpose(1, 2)


@dataclass
class RowCache:
    """A cache of transformers whose rows have lengths of their own.

    Attributes:
        lengths: tokens of each row.
    """

    lengths: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._places = Places()
        layer: Any = partial(_Layer, self._places)
        self.cache = Cache(layer_class_to_replicate=layer)

    def begin(
        self, rows: Sequence[int], new: Sequence[int], device: torch.device
    ) -> dict[str, Tensor]:
        """Prepare a pass that appends new[i] tokens to row rows[i], aligned at their ends.

        Returns:
            The model's inputs beside the tokens: none, or `attention_mask` and `position_ids`.
        """
        places, lengths = self._places, [self.lengths[row] for row in rows]
        ends = [length + count for length, count in zip(lengths, new, strict=True)]
        places.width = max(new)
        places.past = max(ends) - places.width
        places.capacity = self._capacity(max(ends))
        alike = len(set(lengths)) == len(set(new)) == 1
        if alike and list(rows) == list(range(rows[0], rows[0] + len(rows))):
            places.rows = (rows[0], rows[0] + len(rows))
            return {}
        places.rows = None
        at, count, end = (torch.tensor(one)[:, None] for one in (rows, new, ends))
        # Column c of the pass is token c - (columns - end) of a row.
        token = torch.arange(max(ends)) - (max(ends) - end)
        is_new = token[:, places.past :] >= end - count
        row_of_pass, column_of_pass = is_new.nonzero(as_tuple=True)
        write = (
            at[row_of_pass, 0],
            token[:, places.past :][row_of_pass, column_of_pass],
            row_of_pass,
            column_of_pass,
        )
        places.write = tuple(one.to(device) for one in write)
        token = token.to(device)
        places.read = (at.to(device), token.clamp(min=0))
        if alike:
            return {}
        return {
            "attention_mask": (token >= 0).long(),
            "position_ids": token[:, places.past :].clamp(min=0),
        }

    def _capacity(self, tokens: int) -> tuple[int, int]:
        """Rows and tokens; half as many tokens again, so that few passes copy what there is."""
        held = self._places.capacity[1]
        return len(self.lengths), held if held >= tokens else tokens + max(ROOM, tokens // 2)

    @torch.inference_mode()
    def copy(self, source: "RowCache", row: int, to: int) -> None:
        """Let row `to` be a copy of a row, which may be another cache's."""
        tokens = source.lengths[row]
        capacity = self._places.capacity = self._capacity(tokens)
        for number, layer in enumerate(source.cache.layers):
            if len(self.cache.layers) <= number:
                self.cache.layers.append(_Layer(self._places))
            mine: Any = self.cache.layers[number]
            for name in ("keys", "values"):
                theirs = getattr(layer, name)
                if theirs is None:  # a layer that uses another's keys and values
                    continue
                stored = with_room(getattr(mine, name), theirs, capacity)
                stored[to, :, :tokens] = theirs[row, :, :tokens]
                setattr(mine, name, stored)
        self.lengths[to] = tokens
