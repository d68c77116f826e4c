"""Selecting the completions whose mean hidden state is a goal state.

These are the chosen completions of preference pairs or, with attributes, the responses of rows
`prompt`, `response` and numeric scores (the layout of HelpSteer). The goal state of an attribute
uses the completions with its highest values.
"""

import heapq
import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gcrm.data.fields import check_number
from gcrm.data.layouts import RESPONSE, Layout, layout_of
from gcrm.data.preferences import Preference, iter_pairs, pair_rank
from gcrm.utils.errors import UserError
from gcrm.utils.io import Row


@dataclass(frozen=True)
class Response:
    """A completion and its attribute values.

    Attributes:
        pair: prompt and chosen completion; `rejected` is empty for a single response.
        is_chosen: whether it is the chosen completion of a pair.
        values: its attribute values, in the order of the attributes.
    """

    pair: Preference
    is_chosen: bool
    values: tuple[float, ...]


@dataclass(frozen=True)
class Selection:
    """The completions that belong to each goal state; iterate to read them.

    Attributes:
        lowest: for each attribute, the lowest value that is selected.
        counts: number of completions of each goal state; "" is the one of all attributes.
        total: number of completions of any goal state.
        sample: numbers of the completions within max_pairs; None for all.
    """

    sources: Sequence[str]
    lowest: dict[str, float]
    counts: dict[str, int]
    total: int
    sample: frozenset[int] | None

    def __iter__(self) -> Iterator[tuple[Preference, list[bool]]]:
        """Each completion, and whether it belongs to the joint goal state and each attribute's."""
        for number, response in enumerate(_iter_responses(self.sources, list(self.lowest))):
            if self.sample is None or number in self.sample:
                members = _members(response.is_chosen, response.values, self.lowest)
                if any(members):
                    yield response.pair, members


def select(
    sources: Sequence[str],
    attributes: Sequence[str] = (),
    share: float = 0.0,
    max_pairs: int | None = None,
) -> Selection:
    """Read and check the data, and select completions. Keeps 8 bytes per value and no text.

    Args:
        share: share of the completions to select for each attribute, from the highest value down,
            with all ties; 0: only the highest value.
        max_pairs: largest number of completions, chosen by hash of the prompt before the selection.

    Raises:
        UserError: a source cannot be read, or a row is invalid or lacks an attribute.
    """
    responses = enumerate(_iter_responses(sources, attributes, report=True))
    kept: Iterable[tuple[bool, tuple[float, ...]]]
    sample: frozenset[int] | None = None
    if max_pairs is None:
        kept = ((one.is_chosen, one.values) for _, one in responses)
    else:
        ranked = (
            (pair_rank(one.pair), number, one.is_chosen, one.values) for number, one in responses
        )
        smallest = heapq.nsmallest(max_pairs, ranked)
        sample = frozenset(number for _, number, _, _ in smallest)
        kept = ((is_chosen, values) for _, _, is_chosen, values in smallest)
    flags, columns = array("b"), [array("d") for _ in attributes]
    for is_chosen, values in kept:
        flags.append(is_chosen)
        for column, value in zip(columns, values, strict=True):
            column.append(value)
    number = max(1, math.ceil(share * len(flags)))
    lowest = {
        name: heapq.nlargest(number, column)[-1]
        for name, column in zip(attributes, columns, strict=True)
    }
    counts = dict.fromkeys(["", *attributes], 0)
    for row, flag in enumerate(flags):
        members = _members(bool(flag), [column[row] for column in columns], lowest)
        for name, member in zip(counts, members, strict=True):
            counts[name] += member
    return Selection(sources, lowest, counts, counts[""], sample)


def _members(is_chosen: bool, values: Sequence[float], lowest: Mapping[str, float]) -> list[bool]:
    """Whether a completion belongs to the joint goal state, and to each attribute's."""
    best = [value >= least for value, least in zip(values, lowest.values(), strict=True)]
    return [is_chosen or any(best), *best]


def _iter_responses(
    sources: Sequence[str], attributes: Sequence[str], report: bool = False
) -> Iterator[Response]:
    """The completions of all sources, without pairs of two equal completions."""

    def find_layout(row: Row, where: str) -> Layout:
        layout = layout_of(row, where, responses=True)
        if layout.sides == RESPONSE and not attributes:
            raise UserError(
                f"{where}: has a prompt and one response, which are no pair; name the columns with "
                "their scores (such as --attributes helpfulness)"
            )
        return layout

    for source in sources:
        for layout, row, pair in iter_pairs(source, find_layout=find_layout, report=report):
            values = tuple(_value(row, name, pair.where) for name in attributes)
            yield Response(pair, layout.sides != RESPONSE, values)


def _value(row: Row, name: str, where: str) -> float:
    if row.get(name) is None:
        numeric = [key for key, value in row.items() if isinstance(value, int | float)]
        raise UserError(
            f"{where}: attribute {name} is missing or null; expected a number (columns with "
            f"numbers: {', '.join(numeric) or 'none'})"
        )
    return check_number(row[name], name, where)
