"""Completions whose states make goal states, one by one: data of any size fits into memory.

They are the chosen completions of preference pairs or, where attributes are asked for, the
responses of rows `prompt`, `response` and scores, as HelpSteer has them. An attribute's goal state
is made from the completions with its highest values.
"""

import heapq
import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gcrm.data.preferences import (
    Preference,
    check_text,
    columns_of,
    finite_number,
    messages_of,
    pair_of,
    pair_rank,
    say_equal_sides,
)
from gcrm.data.rows import rows_of
from gcrm.utils.errors import UserError
from gcrm.utils.io import Row

RESPONSE_COLUMNS = ("prompt", "response")


@dataclass(frozen=True)
class Response:
    """A completion and its values.

    Attributes:
        pair: prompt and chosen completion; `rejected` is empty where the data has responses alone.
        is_chosen: it is the chosen completion of a pair, and not a response of unknown worth.
        values: of the attributes, in their order.
    """

    pair: Preference
    is_chosen: bool
    values: tuple[float, ...]


@dataclass(frozen=True)
class Selection:
    """Which completions of the data count for which goal state. Iterate to read them.

    Attributes:
        lowest: for each attribute, the lowest value that counts as one of the highest.
        counts: completions for each goal state; that of all attributes together is "".
        total: completions that count for anything.
    """

    sources: Sequence[str]
    lowest: dict[str, float]
    counts: dict[str, int]
    total: int
    sample: frozenset[int] | None

    def __iter__(self) -> Iterator[tuple[Preference, list[bool]]]:
        """Prompt and completion, and whether it counts for the goal state and each attribute's."""
        responses = _all(self.sources, list(self.lowest), aloud=False)
        for number, response in enumerate(responses):
            if self.sample is None or number in self.sample:
                members = _members(response.is_chosen, response.values, self.lowest.values())
                if any(members):
                    yield response.pair, members


def select(
    sources: Sequence[str],
    attributes: Sequence[str] = (),
    share: float = 0.0,
    max_pairs: int | None = None,
) -> Selection:
    """Read the data once, check it, and decide what counts. Keeps 8 bytes a value, and no text.

    Args:
        share: of the completions, how many have an attribute's highest values; equal values are
            all in. 0: only the very highest value.
        max_pairs: cap on the completions, by hash of the prompt, before anything else.

    Raises:
        UserError: a source cannot be read, a row is broken, or lacks an attribute.
    """
    columns = [array("d") for _ in attributes]
    is_chosen = array("b")
    responses = enumerate(_all(sources, attributes, aloud=True))
    sample: frozenset[int] | None = None
    if max_pairs is not None:
        ranked = (
            (pair_rank(one.pair), number, one.is_chosen, one.values) for number, one in responses
        )
        smallest = heapq.nsmallest(max_pairs, ranked)
        sample = frozenset(number for _, number, _, _ in smallest)
        kept = ((chosen, values) for _, _, chosen, values in smallest)
    else:
        kept = ((one.is_chosen, one.values) for _, one in responses)
    for chosen, values in kept:
        is_chosen.append(chosen)
        for column, value in zip(columns, values, strict=True):
            column.append(value)
    number = max(1, math.ceil(share * len(is_chosen)))
    lowest = {
        name: heapq.nlargest(number, column)[-1]
        for name, column in zip(attributes, columns, strict=True)
    }
    counts = dict.fromkeys(["", *attributes], 0)
    for row in range(len(is_chosen)):
        values = tuple(column[row] for column in columns)
        members = _members(bool(is_chosen[row]), values, lowest.values())
        for name, member in zip(counts, members, strict=True):
            counts[name] += member
    return Selection(sources, lowest, counts, counts[""], sample)


def _members(is_chosen: bool, values: Sequence[float], lowest: Iterable[float]) -> list[bool]:
    best = [value >= least for value, least in zip(values, lowest, strict=True)]
    return [is_chosen or any(best), *best]


def _all(sources: Sequence[str], attributes: Sequence[str], aloud: bool) -> Iterator[Response]:
    for source in sources:
        yield from _responses(source, attributes, aloud)


def _responses(source: str, attributes: Sequence[str], aloud: bool) -> Iterator[Response]:
    """The completions of one source; pairs with two equal sides are left out."""
    columns: tuple[str, ...] = ()
    kept = equal = 0
    for number, row in rows_of(source):
        where = f"{source}, row {number}"
        columns = columns or _columns(source, row, attributes)
        if columns == RESPONSE_COLUMNS:
            pair = _response(row, where)
        else:
            pair = pair_of(row, columns, where)
            if pair.chosen == pair.rejected:
                equal += 1
                continue
        kept += 1
        values = tuple(_value(row, name, where) for name in attributes)
        yield Response(pair, columns != RESPONSE_COLUMNS, values)
    if aloud:
        say_equal_sides(source, kept, equal)


def _columns(source: str, row: Row, attributes: Sequence[str]) -> tuple[str, ...]:
    if all(column in row for column in RESPONSE_COLUMNS) and "chosen" not in row:
        if not attributes:
            raise UserError(
                f"{source}: has rows of prompt and response, which are no pairs; name the columns "
                "with their scores (--attributes helpfulness, say)"
            )
        return RESPONSE_COLUMNS
    return columns_of(source, row)


def _response(row: Row, where: str) -> Preference:
    prompt, response = (row.get(column) for column in RESPONSE_COLUMNS)
    check_text("response", response, where)
    if isinstance(prompt, list) and prompt:
        return Preference(messages_of(prompt, where), str(response), "")
    check_text("prompt", prompt, where)
    return Preference(str(prompt), str(response), "")


def _value(row: Row, name: str, where: str) -> float:
    if row.get(name) is None:
        numeric = [key for key, value in row.items() if isinstance(value, int | float)]
        raise UserError(
            f"{where}: attribute {name} is missing or null; expected a number (columns with "
            f"numbers are: {', '.join(numeric) or 'none'})"
        )
    return finite_number(row[name], name, where)
