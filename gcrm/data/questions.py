"""Matching of questions, and choice of a subset by hash."""

import hashlib
import unicodedata
from collections.abc import Iterable


def question_key(question: str) -> str:
    """Normalise a question's Unicode form, case, spaces and final punctuation, for matching."""
    text = unicodedata.normalize("NFKC", question).casefold()
    text = unicodedata.normalize("NFKC", text)  # casefold decomposes some characters
    return " ".join(text.split()).rstrip(" .?!:;,")


def first_by_hash(questions: Iterable[str], most: int | None) -> set[str]:
    """The keys of the `most` questions with the smallest hash; all keys if `most` is None.

    The choice depends neither on the order of the questions nor on a seed, and a larger subset
    contains the smaller one.
    """
    keys = {question_key(question) for question in questions}
    if most is None or len(keys) <= most:
        return keys
    return set(sorted(keys, key=question_hash)[:most])


def question_hash(key: str) -> str:
    """Hexadecimal SHA-256 of a question's key."""
    return hashlib.sha256(key.encode()).hexdigest()
