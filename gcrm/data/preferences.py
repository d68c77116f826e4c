"""Reading preference data, in any of the accepted layouts, as pairs of two completions."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from gcrm.data.fields import check_number
from gcrm.data.layouts import (
    RESPONSE,
    SIDES,
    Layout,
    begin_with,
    layout_of,
    read_response,
    read_sides,
)
from gcrm.data.messages import Prompt, text_of
from gcrm.data.questions import question_hash, question_key
from gcrm.data.sources import HELDOUT_SPLITS, TRAINING_SPLITS, iter_rows
from gcrm.utils.errors import UserError
from gcrm.utils.io import Row
from gcrm.utils.logging import say


@dataclass(frozen=True)
class Preference:
    """Two completions of one prompt; `chosen` is better than `rejected`.

    `margin` is how much higher the reward of `chosen` should be; None if the data has no margins.
    `where` names the row, for messages.
    """

    prompt: Prompt
    chosen: str
    rejected: str
    margin: float | None = None
    where: str = field(default="", compare=False)

    @property
    def question(self) -> str:
        """The prompt as one text, used to match, hold out and cap pairs."""
        return text_of(self.prompt)


def load_preferences(
    sources: Sequence[str],
    probs: Sequence[float] | None = None,
    max_pairs: int | None = None,
    *,
    heldout: bool = False,
) -> list[Preference]:
    """Read and mix preference data.

    Args:
        sources: .jsonl or .parquet files, folders saved by `datasets`, or hub ids, each in a layout
            of `gcrm.data.layouts`, and optionally with a number `margin` in every row.
        probs: each source's share of the mixture. No row is repeated: the source that is smallest
            relative to its share is used in full, the others up to their shares.
        max_pairs: largest number of pairs, chosen by hash of the prompt.
        heldout: read the test split of data with several splits, instead of the training split.

    Raises:
        UserError: a source cannot be read, or a row is invalid.
    """
    splits = HELDOUT_SPLITS if heldout else TRAINING_SPLITS
    mixed = [list(iter_preferences(source, splits)) for source in sources]
    if not heldout:
        _check_margins(sources, mixed)
    if probs is not None:
        total = min(len(pairs) / share for pairs, share in zip(mixed, probs, strict=True))
        mixed = [
            cap_pairs(pairs, max(1, round(total * share)))
            for pairs, share in zip(mixed, probs, strict=True)
        ]
    return cap_pairs([pair for pairs in mixed for pair in pairs], max_pairs)


def cap_pairs(pairs: list[Preference], most: int | None) -> list[Preference]:
    """At most `most` pairs, those with the smallest hash of the prompt, in their original order.

    The choice does not depend on the order of the pairs, even within one prompt.
    """
    if most is None or len(pairs) <= most:
        return pairs
    ranks = [pair_rank(pair) for pair in pairs]
    kept = sorted(range(len(pairs)), key=ranks.__getitem__)[:most]
    return [pairs[i] for i in sorted(kept)]


def pair_rank(pair: Preference) -> tuple[str, str]:
    """Sort key of `cap_pairs`: a hash of the question, then one of the completions."""
    return question_hash(question_key(pair.question)), question_hash(pair.chosen + pair.rejected)


def iter_preferences(source: str, splits: Sequence[str] = TRAINING_SPLITS) -> Iterator[Preference]:
    """Iterate over the pairs of one source, without reading all of it into memory.

    Args:
        splits: the first of these splits that the data has is read.

    Raises:
        UserError: as `load_preferences`, when the invalid row is reached.
    """
    has_margins: bool | None = None
    for _, _, pair in iter_pairs(source, splits):
        if has_margins is None:
            has_margins = pair.margin is not None
        elif has_margins != (pair.margin is not None):
            raise UserError(
                f"{pair.where}: margin is {'missing' if has_margins else 'given'}, unlike in the "
                "previous rows; expected a number in every row, or in none"
            )
        yield pair


def iter_pairs(
    source: str,
    splits: Sequence[str] = TRAINING_SPLITS,
    find_layout: Callable[[Row, str], Layout] = layout_of,
    report: bool = True,
) -> Iterator[tuple[Layout, Row, Preference]]:
    """Iterate over layout, rows and pairs of one source, without pairs of two equal sides.

    Args:
        find_layout: gives the layout of the first row, which all rows have.
        report: say at the end how many pairs were left out, and which columns were not read.

    Raises:
        UserError: as `load_preferences`, when the invalid row is reached.
    """
    layout: Layout | None = None
    unread: dict[str, None] = {}
    kept = equal = restating = 0
    for number, row in iter_rows(source, splits):
        where = f"{source}, row {number}"
        layout = layout or find_layout(row, where)
        pair = parse_pair(row, layout, where)
        unread |= dict.fromkeys(layout.unread(row))
        if pair.chosen == pair.rejected:
            equal += 1
        else:
            kept += 1
            # Solutions may restate their question, but other completions may be whole texts.
            texts = (pair.chosen, pair.rejected)
            restating += layout.sides != SIDES[0] and all(begin_with(pair.prompt, texts))
            yield layout, row, pair
    if equal and not kept:
        raise UserError(
            f"{source}: both completions of every pair are equal; expected a better and a worse "
            "completion in each row"
        )
    if report and equal:
        say(f"{source}: left out {equal} pairs with two equal completions")
    if report and unread and layout:
        prompt = layout.prompt or "the beginning of both sides"
        say(f"{source}: reads the prompt from {prompt}, and not {', '.join(unread)}")
    if report and restating:
        say(
            f"{source}: {restating} pairs whose completions both begin with their prompt are read "
            "as they stand; the prompt would be removed if it were in those of the first row, too"
        )


def parse_pair(row: Row, layout: Layout, where: str) -> Preference:
    """Return the pair of a row; of a row with one response, `rejected` is empty.

    Raises:
        UserError: a value is missing, has the wrong type, or would be lost; `where` names the row.
    """
    if layout.sides == RESPONSE:
        sides = (*read_response(row, layout, where), "")
    else:
        sides = read_sides(row, layout, where)
    margin = row.get("margin")
    return Preference(
        *sides,
        margin=None if margin is None else check_number(margin, "margin", where),
        where=where,
    )


def _check_margins(sources: Sequence[str], mixed: Sequence[list[Preference]]) -> None:
    """Check that all sources or none have margins."""
    has_margins = [pairs[0].margin is not None for pairs in mixed]
    if any(has_margins) and not all(has_margins):
        raise UserError(
            f"{sources[has_margins.index(False)]}: has no column margin, but "
            f"{sources[has_margins.index(True)]} has; add it to all (0 for no margin), or remove it"
        )
