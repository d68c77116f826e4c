"""How completions share forward passes.

Completions of one prompt share the pass over it: its keys and values are computed once, and the
completions follow behind them. Prompts of similar lengths are read together, and completions of
similar lengths behind them, so that there are few passes with little padding.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from gcrm.modeling.tokenization import Encoded

Sharing = Literal["none", "same length", "any length"]
"""whose prompts an architecture can read before their completions, in one pass"""
PASSES_PER_BATCH = 32
"""about as many passes behind the same prompts; then they are read again, so that batches stay
small enough to share out, and to save one by one"""


@dataclass(frozen=True)
class Batch:
    """Completions that are scored together.

    Attributes:
        passes: their indices, a list for each forward pass.
        prompt_tokens: length of the longest of their prompts, where these are read first, once for
            all; 0 where each completion is read with its prompt.
    """

    passes: list[list[int]]
    prompt_tokens: int = 0

    @property
    def rows(self) -> list[int]:
        """The indices of all passes."""
        return [row for one in self.passes for row in one]


def batches(
    encoded: Sequence[Encoded], tokens_per_pass: int, overhead: float, shared: Sharing
) -> list[Batch]:
    """All completions in batches, the longest first.

    Longest first, so that a lack of memory shows in the first batch and not after hours.

    Args:
        tokens_per_pass: most tokens in a pass, with prompts and padding; a longer sequence has a
            pass of its own.
        overhead: cost of a pass, in tokens: a pass ends where more are lost to padding.
        shared: which completions may share the pass over their prompts.
    """
    of_prompt: dict[bytes, list[int]] = defaultdict(list)
    for row, one in enumerate(encoded):
        of_prompt[prompt_key(one)].append(row)
    lengths = [len(one) for one in encoded]
    alone: list[int] = []
    of_length: dict[int, list[list[int]]] = defaultdict(list)
    for rows in of_prompt.values():
        tokens = encoded[rows[0]].start
        if shared != "none" and len(rows) > 1 and tokens:
            of_length[tokens].append(rows)
        else:
            alone += rows
    if shared == "any length":
        in_order = sorted(of_length, reverse=True)
        groups = [[rows for tokens in in_order for rows in of_length[tokens]]]
    else:
        groups = list(of_length.values())
    new = [one.num_tokens for one in encoded]  # after the prompts
    prompt = [one.start for one in encoded]
    found = []
    for same in groups:
        for rows, prompts in _together(same, prompt, new, tokens_per_pass, overhead):
            if sum(prompt[row] for row in rows) - prompts * prompt[rows[0]] > overhead:
                longest = prompt[rows[0]]
                passes = by_length(rows, new, tokens_per_pass, overhead, longest)
                found.append(Batch(passes, longest))
            else:
                alone += rows
    found += [Batch([rows]) for rows in by_length(alone, lengths, tokens_per_pass, overhead)]
    return sorted(found, key=lambda batch: -max(lengths[row] for row in batch.rows))


def prompt_key(one: Encoded) -> bytes:
    """The tokens of a prompt, to compare and to look up."""
    return one.ids[: one.start].tobytes()


def _together(
    groups: Iterable[list[int]],
    prompt: Sequence[int],
    new: Sequence[int],
    tokens_per_pass: int,
    overhead: float,
) -> Iterator[tuple[list[int], int]]:
    """Rows of prompts that are read in one pass, the longest first, and the number of prompts.

    Args:
        groups: the rows of each prompt.
        prompt, new: tokens of each row's prompt, and of its completion.
    """
    rows: list[int] = []
    prompts = size = lost = 0
    for group in groups:
        longest = prompt[(rows or group)[0]]
        lost += longest - prompt[group[0]]
        full = (prompts + 1) * longest > tokens_per_pass
        if rows and (full or lost > overhead or size >= PASSES_PER_BATCH * tokens_per_pass):
            yield rows, prompts
            rows, prompts, size, lost = [], 0, 0, 0
        prompts += 1
        for row in group:
            if size >= PASSES_PER_BATCH * tokens_per_pass:
                yield rows, prompts
                rows, prompts, size, lost = [], 1, 0, 0
            rows.append(row)
            size += prompt[row] + new[row]
    if rows:
        yield rows, prompts


def by_length(
    rows: Iterable[int],
    lengths: Sequence[int],
    tokens_per_pass: int,
    overhead: float,
    before: int = 0,
) -> list[list[int]]:
    """Rows of similar length together, the longest first; see `batches`.

    Args:
        before: tokens that were read before each row, which count for `tokens_per_pass` too.
    """
    found: list[list[int]] = []
    lost = 0
    for row in sorted(rows, key=lambda row: (-lengths[row], row)):
        longest = lengths[found[-1][0]] if found else 0
        lost += longest - lengths[row]
        size = (len(found[-1]) + 1) * (before + longest) if found else 0
        if found and lost <= overhead and size <= tokens_per_pass:
            found[-1].append(row)
        else:
            found.append([row])
            lost = 0
    return found
