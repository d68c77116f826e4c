"""Making preference pairs of a correct and an incorrect solution to the same question."""

import hashlib
import random
from collections.abc import Iterable, Iterator
from itertools import product

from gcrm.data.questions import question_key
from gcrm.utils.io import Row


def all_combinations(rows: Iterable[Row], most: int, seed: int) -> list[Row]:
    """Draw at most `most` distinct pairs {question, correct, incorrect} of each question.

    Pairs are drawn from all combinations of a correct and an incorrect solution, since correct
    samples of a base model are often identical. The choice depends on seed, question and texts, not
    on the order of the rows.

    Args:
        rows: labelled solutions (question, generated_solution, is_correct).
    """
    pairs = []
    for key, question, correct, incorrect in _group_texts(rows, seed):
        combinations = list(product(sorted(correct), sorted(incorrect)))
        drawn = random.Random(f"{seed} {key}").sample(combinations, min(most, len(combinations)))
        pairs += [{"question": question, "correct": good, "incorrect": bad} for good, bad in drawn]
    return pairs


def exchange_sides(pairs: Iterable[Row], share: float, seed: int) -> list[Row]:
    """Exchange the sides of each pair with a probability, which depends on its texts and the seed.

    Args:
        pairs: {question, correct, incorrect}.
    """
    found = []
    for pair in pairs:
        texts = (pair["question"], pair["correct"], pair["incorrect"])
        if random.Random(f"{seed} exchange {texts}").random() < share:
            pair = pair | {"correct": pair["incorrect"], "incorrect": pair["correct"]}
        found.append(pair)
    return found


def disjoint_pairs(rows: Iterable[Row], most: int, seed: int) -> Iterator[Row]:
    """Make at most `most` pairs {question, correct, incorrect} of each question, without reuse.

    No solution is in two pairs. The solutions with the smallest hash are used; memory holds at most
    `most` correct and `most` incorrect solutions of each question. The choice depends on seed,
    question and texts, not on the order of the rows.

    Args:
        rows: labelled solutions (question, generated_solution, is_correct).
    """
    rows = (row for row in rows if row["generated_solution"].strip())
    for _, question, correct, incorrect in _group_texts(rows, seed, most):
        for good, bad in zip(correct, incorrect, strict=False):
            yield {"question": question, "correct": good, "incorrect": bad}


def _group_texts(
    rows: Iterable[Row], seed: int, most: int | None = None
) -> Iterator[tuple[str, str, list[str], list[str]]]:
    """For each question: its key, text, correct and incorrect solutions in the order of their hash.

    Blank solutions are left out, and those labelled both correct and incorrect (equal texts of
    which one was truncated).

    Args:
        most: number of solutions of each label to keep, those with the smallest hash.
    """
    keys: dict[str, str] = {}
    kept: dict[str, tuple[str, dict[bool, dict[bytes, str]]]] = {}
    for row in rows:
        question, text = row["question"], row["generated_solution"]
        key = keys.get(question) or keys.setdefault(question, question_key(question))
        texts = kept.setdefault(key, (question, {True: {}, False: {}}))[1][row["is_correct"]]
        if text.strip():
            texts[hashlib.sha256(f"{seed} {key} {text}".encode()).digest()] = text
        if most is not None and len(texts) > most:
            del texts[max(texts)]
    for key, (question, labels) in kept.items():
        both = labels[True].keys() & labels[False].keys()
        correct, incorrect = (
            [labels[label][digest] for digest in sorted(labels[label].keys() - both)]
            for label in (True, False)
        )
        yield key, question, correct, incorrect
