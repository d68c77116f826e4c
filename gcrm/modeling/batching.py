"""How completions share forward passes.

Completions of one prompt share the pass over it: its keys and values are computed once, and the
completions follow behind them. Prompts of one length are read together, so that no mask is needed:
a token attends to all of its prompt and to what comes before it, and padding comes last.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gcrm.modeling.tokenization import Encoded

PASSES_PER_BATCH = 32
"""about as many passes behind the same prompts; then they are read again, so that batches stay
small enough to share out, and to save one by one"""


@dataclass(frozen=True)
class Batch:
    """Completions that are scored together.

    Attributes:
        passes: their indices, a list for each forward pass.
        prompt_tokens: length of their prompts, where these are read first, once for all; 0 where
            each completion is read with its prompt.
    """

    passes: list[list[int]]
    prompt_tokens: int = 0

    @property
    def rows(self) -> list[int]:
        """The indices of all passes."""
        return [row for one in self.passes for row in one]


def batches(
    encoded: Sequence[Encoded], tokens_per_pass: int, overhead: float, shared: bool
) -> list[Batch]:
    """All completions in batches, the longest first.

    Longest first, so that a lack of memory shows in the first batch and not after hours.

    Args:
        tokens_per_pass: most tokens in a pass, with prompts and padding; a longer sequence has a
            pass of its own.
        overhead: cost of a pass, in tokens: a pass ends where more are lost to padding.
        shared: completions may share the pass over their prompt.
    """
    of_prompt: dict[bytes, list[int]] = defaultdict(list)
    for row, one in enumerate(encoded):
        of_prompt[prompt_key(one)].append(row)
    lengths = [len(one.input_ids) for one in encoded]
    alone: list[int] = []
    of_length: dict[int, list[list[int]]] = defaultdict(list)
    for rows in of_prompt.values():
        tokens = encoded[rows[0]].start
        if shared and len(rows) > 1 and tokens:
            of_length[tokens].append(rows)
        else:
            alone += rows
    found = []
    for tokens, groups in of_length.items():
        for rows, prompts in _together(groups, lengths, tokens, tokens_per_pass):
            if (len(rows) - prompts) * tokens > overhead:
                passes = by_length(rows, lengths, tokens_per_pass, overhead)
                found.append(Batch(passes, tokens))
            else:
                alone += rows
    found += [Batch([rows]) for rows in by_length(alone, lengths, tokens_per_pass, overhead)]
    return sorted(found, key=lambda batch: -lengths[batch.passes[0][0]])


def prompt_key(one: Encoded) -> bytes:
    """The tokens of a prompt, to compare and to look up."""
    return array("q", one.input_ids[: one.start]).tobytes()


def _together(
    groups: Iterable[list[int]], lengths: Sequence[int], tokens: int, tokens_per_pass: int
) -> Iterable[tuple[list[int], int]]:
    """Rows of prompts of one length that are read in one pass, and the number of prompts."""
    rows: list[int] = []
    prompts = size = 0
    for group in groups:
        first = 0
        for last, row in enumerate(group, start=1):
            size += lengths[row]
            if size >= PASSES_PER_BATCH * tokens_per_pass and last < len(group):
                yield [*rows, *group[first:last]], prompts + 1
                rows, prompts, size, first = [], 0, 0, last
        rows, prompts = [*rows, *group[first:]], prompts + 1
        if (prompts + 1) * tokens > tokens_per_pass or size >= PASSES_PER_BATCH * tokens_per_pass:
            yield rows, prompts
            rows, prompts, size = [], 0, 0
    if rows:
        yield rows, prompts


def by_length(
    rows: Iterable[int], lengths: Sequence[int], tokens_per_pass: int, overhead: float
) -> list[list[int]]:
    """Rows of similar length together, the longest first; see `batches`."""
    found: list[list[int]] = []
    lost = 0
    for row in sorted(rows, key=lambda row: (-lengths[row], row)):
        longest = lengths[found[-1][0]] if found else 0
        lost += longest - lengths[row]
        if found and lost <= overhead and (len(found[-1]) + 1) * longest <= tokens_per_pass:
            found[-1].append(row)
        else:
            found.append([row])
            lost = 0
    return found
