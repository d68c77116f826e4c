"""The same completions in the score tables of several models.

Rows are matched by their texts, never by their position: files may be in any order. Models can only
be compared on the same completions. Tables of solutions with other rows are refused; a pair that
one model left out, since its prompt is too long for it, is left out for all.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from hashlib import blake2b

import numpy as np

from gcrm.data.questions import question_key
from gcrm.data.scores import ScoreTable
from gcrm.utils.errors import UserError

Identity = tuple[bytes, int]
"""digest of a completion or pair, and how many copies of it came before"""


class Completions:
    """The solutions of a table, whose order the tables of other models take.

    Args:
        table: with the columns `completion` and `predicted_answer`.
        name: its file, for messages.
    """

    def __init__(self, table: ScoreTable, name: str):
        self.name = name
        self.identities = _identities(table)
        self.samples = _samples(table)

    def in_order(self, table: ScoreTable, name: str) -> ScoreTable:
        """Another model's table with its rows in the order of these solutions.

        Raises:
            UserError: it has other rows, or one has another solution, answer or label.
        """
        found = _identities(table)
        if found == self.identities:
            return table
        rows = {identity: row for row, identity in enumerate(found)}
        if rows.keys() != set(self.identities):
            raise UserError(self._refusal(table, found, name))
        return table.take(np.array([rows[identity] for identity in self.identities]))

    def _refusal(self, table: ScoreTable, found: list[Identity], name: str) -> str:
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
        known = set(self.identities)
        row = next(row for row, identity in enumerate(found) if identity not in known)
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
        found: dict[str, dict[Identity, None]] = {}
        left_out: dict[str, int] = {}
        for name, table in tables:
            found[name], left_out[name] = dict.fromkeys(_pair_identities(table)), table.left_out
        every = {identity for identities in found.values() for identity in identities}
        for name, identities in found.items():
            if (lacking := len(every) - len(identities)) > left_out[name]:
                raise UserError(
                    f"{name}: lacks {lacking} pairs that other models have scored, and left out "
                    f"{left_out[name]}; evaluate all models on the same held-out set, with the "
                    "same max_pairs"
                )
        first, *others = found.values()
        self.identities = [pair for pair in first if all(pair in each for each in others)]
        if not self.identities:
            raise UserError(f"{', '.join(found)}: no pair is in all of them")

    def in_order(self, table: ScoreTable) -> ScoreTable:
        """A model's table with these pairs alone, in the same order for all models."""
        numbers = {identity: pair for pair, identity in enumerate(_pair_identities(table))}
        pairs = np.array([numbers[identity] for identity in self.identities])
        left_out = table.left_out + len(numbers) - len(pairs)
        rows = np.stack([2 * pairs, 2 * pairs + 1], axis=1).ravel()
        return replace(table.take(rows), left_out=left_out)


def _samples(table: ScoreTable) -> list[tuple[str, int]]:
    keys = map(question_key, table.prompt)
    return list(zip(keys, table.sample.tolist(), strict=True))


def _identities(table: ScoreTable) -> list[Identity]:
    if table.completion is None or table.predicted_answer is None:
        raise ValueError("a table is matched by its completions and answers")
    return _numbered(
        zip(
            _samples(table),
            table.predicted_answer,
            table.label.tolist(),
            table.completion,
            strict=True,
        )
    )


def _pair_identities(table: ScoreTable) -> list[Identity]:
    if table.completion is None:
        raise ValueError("a table is matched by its completions")
    texts = table.completion
    return _numbered(zip(table.prompt[::2], texts[::2], texts[1::2], strict=True))


def _numbered(rows: Iterable[tuple[object, ...]]) -> list[Identity]:
    """A digest of each row; of rows that agree in everything, any may stand for any."""
    seen: Counter[bytes] = Counter()
    identities = []
    for row in rows:
        digest = blake2b(repr(row).encode(), digest_size=16).digest()
        identities.append((digest, seen[digest]))
        seen[digest] += 1
    return identities


def _short(question: str) -> str:
    return repr(question if len(question) <= 60 else question[:59] + "…")
