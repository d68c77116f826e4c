"""The same completions in the score tables of several models.

Rows are matched by the question and the sample, never by their position: files may be in any order.
Models can only be compared on the same completions, so that tables with other rows are refused.
"""

from collections import Counter
from hashlib import blake2b
from pathlib import Path

import numpy as np

from gcrm.data.questions import question_key
from gcrm.data.scores import ScoreTable
from gcrm.utils.errors import UserError

COLUMNS = ("prompt", "sample", "predicted_answer", "completion", "label")
"""What tells completions apart, and must have been read."""

Identity = tuple[bytes, int]


class Completions:
    """The completions of a table, which gives the order for the tables of other models.

    Args:
        table: with the columns `COLUMNS`.
        path: its file, for messages.
    """

    def __init__(self, table: ScoreTable, path: Path):
        self.path = path
        self.identities = _identities(table)
        self.samples = _samples(table)

    def in_order(self, table: ScoreTable, path: Path) -> ScoreTable:
        """Another model's table with its rows in the order of these completions.

        Raises:
            UserError: it has other rows, or one has another solution, answer or label.
        """
        found = _identities(table)
        if found == self.identities:
            return table
        rows = {identity: row for row, identity in enumerate(found)}
        if rows.keys() != set(self.identities):
            raise UserError(self._refusal(table, found, path))
        return table.take(np.array([rows[identity] for identity in self.identities]))

    def _refusal(self, table: ScoreTable, found: list[Identity], path: Path) -> str:
        remedy = "evaluate both models on the same completions, with the same max_problems"
        ours, theirs = Counter(self.samples), Counter(_samples(table))
        lacking, new = ours - theirs, theirs - ours
        if lacking or new:
            question, sample = next(iter(lacking or new))
            return (
                f"{path}: scores other completions than {self.path}: {lacking.total()} of its rows "
                f"are missing here, and {new.total()} here are not there (the first: sample "
                f"{sample} of {_short(question)}); {remedy}"
            )
        known = set(self.identities)
        row = next(row for row, identity in enumerate(found) if identity not in known)
        return (
            f"{path}, row {row + 1}: another solution, answer or label than in {self.path} (sample "
            f"{table.sample[row]} of {_short(table.prompt[row])}); {remedy}"
        )


def _samples(table: ScoreTable) -> list[tuple[str, int]]:
    keys = map(question_key, table.prompt)
    return list(zip(keys, table.sample.tolist(), strict=True))


def _identities(table: ScoreTable) -> list[Identity]:
    """A digest of all that makes a row, and how often it was there before.

    Rows that agree in all of it are copies of one completion, of which any may stand for any.
    """
    seen: Counter[bytes] = Counter()
    identities = []
    solutions, answers = table.completion, table.predicted_answer
    if solutions is None or answers is None:
        raise ValueError(f"a table is matched by {', '.join(COLUMNS)}")
    rows = zip(_samples(table), answers, table.label.tolist(), solutions, strict=True)
    for row in rows:
        digest = blake2b(repr(row).encode(), digest_size=16).digest()
        identities.append((digest, seen[digest]))
        seen[digest] += 1
    return identities


def _short(question: str) -> str:
    return repr(question if len(question) <= 60 else question[:59] + "…")
