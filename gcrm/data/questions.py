"""When two questions are the same one, and which of many are taken."""

import hashlib
import unicodedata
from collections.abc import Iterable


def question_key(question: str) -> str:
    """A question without what sources spell differently: Unicode form, case, spaces, end marks."""
    text = unicodedata.normalize("NFKC", question).casefold()
    text = unicodedata.normalize("NFKC", text)  # casefold takes some characters apart
    return " ".join(text.split()).rstrip(" .?!:;,")


def first_by_hash(questions: Iterable[str], most: int | None) -> set[str]:
    """The keys of the `most` questions with the smallest hash (all keys, if `most` is None).

    A cap by hash depends neither on the order of the file nor on a seed, so that a subset is fixed
    before anything is measured on it, and a larger cap contains the smaller one.
    """
    keys = {question_key(question) for question in questions}
    if most is None or len(keys) <= most:
        return keys
    return set(sorted(keys, key=question_hash)[:most])


def question_hash(key: str) -> str:
    """Hexadecimal SHA-256 of a question's key."""
    return hashlib.sha256(key.encode()).hexdigest()
