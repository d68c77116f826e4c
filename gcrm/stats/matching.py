"""The same completions in the score tables of several models.

Rows are matched by their texts, never by their position: files may be in any order. Models can only
be compared on the same completions. Tables of solutions with other rows are refused; a pair that
one model left out, since its prompt is too long for it, is left out for all.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from gcrm.data.questions import question_key
from gcrm.data.scores import ScoreTable
from gcrm.utils.errors import UserError


class Completions:
    """The solutions of a table, whose order the tables of other models take.

    Args:
        table: with the columns `completion` and `predicted_answer`.
        name: its file, for messages.
    """

    def __init__(self, table: ScoreTable, name: str):
        self.name, self.samples, self.identities = name, _samples(table), _identities(table)

    def in_order(self, table: ScoreTable, name: str) -> ScoreTable:
        """Another model's table with its rows in the order of these solutions.

        Raises:
            UserError: it has other rows, or one has another solution, answer or label.
        """
        found = _identities(table)
        rows = found.get_indexer(self.identities)
        if len(found) != len(rows) or (rows < 0).any():
            raise UserError(self._refusal(table, found, name))
        return table if (np.diff(rows) == 1).all() else table.take(rows)

    def _refusal(self, table: ScoreTable, found: pd.MultiIndex, name: str) -> str:
        remedy = "evaluate both models on the same completions, with the same max_problems"
        ours, theirs = Counter(self.samples), Counter(_samples(table))
        lacking, new = ours - theirs, theirs - ours
        if lacking or new:
            question, sample = next(iter(lacking or new))
            return (
                f"{name}: scores other completions than {self.name}: {lacking.total()} of its rows "
                f"are missing here, and {new.total()} here are not there (the first: sample "
                f"{sample} of {_short(question)}); {remedy}"
            )
        row = int(np.argmin(found.isin(self.identities)))
        return (
            f"{name}, row {row + 1}: another solution, answer or label than in {self.name} (sample "
            f"{table.sample[row]} of {_short(table.prompt[row])}); {remedy}"
        )


class SharedPairs:
    """The preference pairs that all models have scored.

    Args:
        tables: the table of each model with its name, with the column `completion`; read one by
            one.

    Raises:
        UserError: a table lacks pairs that its model did not leave out, or no pair is in all.
    """

    def __init__(self, tables: Iterable[tuple[str, ScoreTable]]):
        found = {name: (_identities(table), table.left_out) for name, table in tables}
        every = {pair for pairs, _ in found.values() for pair in pairs}
        for name, (pairs, left_out) in found.items():
            if (lacking := len(every) - len(pairs)) > left_out:
                raise UserError(
                    f"{name}: lacks {lacking} pairs that other models have scored, and left out "
                    f"{left_out}; evaluate all models on the same held-out set, with the same "
                    "max_pairs"
                )
        (first, _), *others = found.values()
        self.identities = first[np.logical_and.reduce([first.isin(each) for each, _ in others])]
        if self.identities.empty:
            raise UserError(f"{', '.join(found)}: no pair is in all of them")

    def in_order(self, table: ScoreTable) -> ScoreTable:
        """A model's table with these pairs alone, in the same order for all models."""
        found = _identities(table)
        pairs = found.get_indexer(self.identities)
        rows = np.stack([2 * pairs, 2 * pairs + 1], axis=1).ravel()
        return replace(table.take(rows), left_out=table.left_out + len(found) - len(pairs))


def _samples(table: ScoreTable) -> list[tuple[str, int]]:
    """Question and sample of each row."""
    return list(zip(map(question_key, table.prompt), table.sample.tolist(), strict=True))


def _identities(table: ScoreTable) -> pd.MultiIndex:
    """A hash of each solution or pair, and the number of its copies before it."""
    texts: Any = table.completion
    answers: Any = table.predicted_answer
    rows: Iterable[tuple[Any, ...]]
    if table.split == "pairs":
        rows = zip(table.prompt[::2], texts[::2], texts[1::2], strict=True)
    else:
        rows = zip(_samples(table), answers, table.label.tolist(), texts, strict=True)
    hashes = pd.Series([hash(row) for row in rows])
    return pd.MultiIndex.from_arrays([hashes, hashes.groupby(hashes).cumcount()])


def _short(question: str) -> str:
    return repr(question if len(question) <= 60 else question[:59] + "…")
