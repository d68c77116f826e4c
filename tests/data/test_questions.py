"""Matching of questions, and subsets by hash."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcrm.data.questions import first_by_hash, question_hash, question_key


@pytest.mark.parametrize(
    "other",
    [
        "How many apples does Tom have?",
        "  how many\n apples\tdoes tom\u00a0have ? ",
        "HOW MANY APPLES DOES TOM HAVE",
        "How many apples does Tom have ...",
        "Ｈow many apples does Tom have？",
    ],
)
def test_spellings_of_one_question_match(other):
    assert question_key(other) == "how many apples does tom have"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (".5 + 3 = ?", "5 + 3 = ?"),
        ("what is -5 + 3", "what is 5 + 3"),
        ("1.5 apples", "15 apples"),
        ("a, b", "a b"),
    ],
)
def test_different_questions_do_not_match(one, other):
    assert question_key(one) != question_key(other)


def test_characters_that_casefold_decomposes():
    assert question_key("\u0390") == question_key("\u03b9\u0308\u0301")


@given(st.text())
def test_normalising_a_key_changes_nothing(text):
    assert question_key(question_key(text)) == question_key(text)


@given(st.lists(st.text(), max_size=12), st.randoms(), st.integers(0, 12), st.integers(0, 12))
def test_subsets_are_nested_and_do_not_depend_on_the_order(questions, random, one, other):
    mixed = questions * 2
    random.shuffle(mixed)
    assert first_by_hash(questions, one) == first_by_hash(mixed, one)
    small, large = sorted((one, other))
    assert first_by_hash(questions, small) <= first_by_hash(questions, large)
    keys = {question_key(question) for question in questions}
    assert len(first_by_hash(questions, one)) == min(one, len(keys))
    assert first_by_hash(questions, None) == keys


def test_smallest_hashes_are_chosen():
    keys = [f"question {i}" for i in range(20)]
    by_digest = sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest())
    assert first_by_hash(keys, 5) == set(by_digest[:5])
    assert question_hash("a") == hashlib.sha256(b"a").hexdigest()
