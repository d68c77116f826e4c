"""Making preference pairs of solutions."""

import hashlib
import json
import random
import tracemalloc
from collections import defaultdict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gcrm.data.pairing import all_combinations, disjoint_pairs
from gcrm.data.questions import question_key
from helpers.originals import prediction

Row = dict[str, Any]


def row(question: str, solution: str, is_correct: bool) -> Row:
    return {"question": question, "generated_solution": solution, "is_correct": is_correct}


# --- all combinations -------------------------------------------------------------------------


def test_pairs_are_all_combinations_of_distinct_texts():
    rows = [row("q", text, True) for text in ("r1", "r2", "r2", "r3")]
    rows += [row("q", text, False) for text in ("w1", "w1", "w2")]
    pairs = {(one["correct"], one["incorrect"]) for one in all_combinations(rows, most=9, seed=0)}
    assert pairs == {(right, wrong) for right in ("r1", "r2", "r3") for wrong in ("w1", "w2")}
    assert len(all_combinations(rows, most=1, seed=0)) == 1


def test_blank_solutions_and_contradicting_labels_are_left_out():
    rows = [row("q", " ", False), row("q", "same", True), row("q", "same", False)]
    assert all_combinations([*rows, row("q", "good", True)], most=2, seed=0) == []


ROWS = st.lists(
    st.builds(row, st.sampled_from("abc"), st.sampled_from("stuvw"), st.booleans()), max_size=40
)


@given(rows=ROWS, most=st.integers(1, 3), data=st.data())
def test_pairs_follow_the_labels_in_any_order_of_rows(rows, most, data):
    pairs = all_combinations(rows, most, seed=3)
    assert len({tuple(one.values()) for one in pairs}) == len(pairs)
    for kind, label in (("correct", True), ("incorrect", False)):
        assert {(one["question"], one[kind]) for one in pairs} <= {
            (one["question"], one["generated_solution"])
            for one in rows
            if one["is_correct"] is label
        }
    for question in "abc":
        assert sum(one["question"] == question for one in pairs) <= most
    shuffled = all_combinations(data.draw(st.permutations(rows)), most, seed=3)
    assert sorted(map(json.dumps, shuffled)) == sorted(map(json.dumps, pairs))


# --- disjoint pairs ---------------------------------------------------------------------------


def slow_pairs(rows: list[Row], most: int, seed: int) -> dict[str, list[tuple[str, str]]]:
    """Sort all solutions of a question and label by hash, and pair the first ones."""
    groups: dict[str, dict[bool, set[str]]] = defaultdict(lambda: {True: set(), False: set()})
    for row in rows:
        if row["generated_solution"].strip():
            key = question_key(row["question"])
            groups[key][row["is_correct"]].add(row["generated_solution"])
    pairs = {}
    for key, sides in groups.items():

        def rank(text: str, key: str = key) -> str:
            return hashlib.sha256(f"{seed} {key} {text}".encode()).hexdigest()

        good, bad = (sorted(sides[label], key=rank)[:most] for label in (True, False))
        both = set(good) & set(bad)
        good, bad = ([text for text in side if text not in both] for side in (good, bad))
        if drawn := list(zip(good, bad, strict=False)):
            pairs[key] = drawn
    return pairs


labelled = st.builds(
    lambda question, correct, text: prediction(question, correct, text or " "),
    st.sampled_from(["a?", " A ?", "b?", "c"]),
    st.booleans(),
    st.sampled_from(["", " ", *"uvwxyz"]),
)


@given(st.lists(labelled, max_size=60), st.integers(1, 4), st.integers(0, 3), st.randoms())
def test_disjoint_pairs_equal_the_slow_ones(
    rows: list[Row], most: int, seed: int, shuffle: random.Random
) -> None:
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in disjoint_pairs(rows, most, seed):
        found[question_key(row["question"])].append((row["correct"], row["incorrect"]))
    assert dict(found) == slow_pairs(rows, most, seed)
    shuffle.shuffle(rows)
    again = {(row["correct"], row["incorrect"]) for row in disjoint_pairs(rows, most, seed)}
    assert again == {pair for pairs in found.values() for pair in pairs}


def test_memory_does_not_grow_with_the_number_of_solutions() -> None:
    def peak(solutions: int) -> int:
        rows = (
            prediction(f"question {k % 10}", k % 20 < 10, f"{k} " + "x" * 5000)
            for k in range(solutions)
        )
        tracemalloc.start()
        assert len(list(disjoint_pairs(rows, 2, 0))) == 20
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(4000) < 1.5 * peak(400)
