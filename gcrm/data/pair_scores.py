"""Scores of preference pairs: one table a held-out set, one row a side."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcrm.data.preferences import Preference
from gcrm.data.score_files import SCORED, Kinds, Ragged, read_columns, read_fact, write_columns
from gcrm.utils.errors import UserError

SIDES = ("chosen", "rejected")
KINDS: Kinds = {
    "pair": "int32",
    "side": "text",
    "question": "text",
    "completion": "text",
    **SCORED,
}
LEFT_OUT = "pairs_left_out"


@dataclass(frozen=True)
class SideScores:
    """One side of all pairs, in their order: its texts and their scores."""

    completion: NDArray[Any]
    reward: NDArray[np.float32]
    num_tokens: NDArray[np.int32]
    truncated: NDArray[np.bool_]
    partial_rewards: Ragged
    q_values: Ragged | None
    """None where the pairs were scored without a goal state"""


@dataclass(frozen=True)
class PairScores:
    """The scores of a held-out set: both sides of each pair, and its prompt as one text."""

    question: NDArray[Any]
    chosen: SideScores
    rejected: SideScores
    left_out: int
    """pairs that were not scored, since their prompts leave no room for an answer"""

    def __len__(self) -> int:
        return len(self.question)

    def without_q_values(self) -> "PairScores":
        """The same scores as of a model that was scored without a goal state."""
        chosen, rejected = (replace(side, q_values=None) for side in (self.chosen, self.rejected))
        return replace(self, chosen=chosen, rejected=rejected)


def write_pair_scores(
    path: Path, pairs: Sequence[Preference], scores: dict[str, Any], left_out: int
) -> None:
    """Write the scores of pairs; the same scores give the same bytes.

    Args:
        scores: the columns of numbers by name, of shape (2 * pairs,): the chosen and the rejected
            side of the first pair, those of the second …
    """
    rows = [(number, pair, side) for number, pair in enumerate(pairs) for side in SIDES]
    texts = {
        "pair": np.array([number for number, _, _ in rows], np.int32),
        "side": [side for _, _, side in rows],
        "question": [pair.question for _, pair, _ in rows],
        "completion": [getattr(pair, side) for _, pair, side in rows],
    }
    write_columns(path, texts | scores, KINDS, {LEFT_OUT: left_out})


def read_pair_scores(path: Path) -> PairScores:
    """Read the scores of pairs, in the order of their numbers.

    Raises:
        UserError: no such file, no scores of pairs, a number that cannot be used, or a pair without
            exactly one chosen and one rejected side.
    """
    needed = set(KINDS) - {"q_values"}
    found = read_columns(path, KINDS, KINDS, needed, "a table of scored pairs")
    order = np.argsort(found["pair"], kind="stable")
    rows = [order[found["side"][order] == side] for side in SIDES]
    numbers = [found["pair"][side] for side in rows]
    whole = sum(map(len, rows)) == len(order) and np.array_equal(*numbers)
    if not whole or len(np.unique(numbers[0])) < len(numbers[0]):
        raise UserError(
            f"{path}: every pair must have one row with side chosen and one with side rejected; "
            "score it again"
        )
    return PairScores(
        found["question"][rows[0]],
        _side(found, rows[0]),
        _side(found, rows[1]),
        read_fact(path, LEFT_OUT),
    )


def _side(columns: dict[str, Any], rows: NDArray[np.int64]) -> SideScores:
    q_values = columns.get("q_values")
    return SideScores(
        columns["completion"][rows],
        columns["reward"][rows],
        columns["num_tokens"][rows],
        columns["truncated"][rows],
        columns["partial_rewards"].take(rows),
        None if q_values is None else q_values.take(rows),
    )
