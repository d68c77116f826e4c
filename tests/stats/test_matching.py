"""Rows of tables are matched by their texts; other rows are refused."""

from typing import Any

import numpy as np
import pytest

from gcrm.data.scores import ScoreTable
from gcrm.stats.matching import Completions, SharedPairs
from gcrm.utils.errors import UserError
from helpers.score_rows import columns, pair_table

FIRST, SECOND = "first.parquet", "second.parquet"


def table(written: dict[str, Any]) -> ScoreTable:
    return ScoreTable.of("all", written)


def rows(written: dict[str, Any], order: Any) -> dict[str, Any]:
    return {name: [values[i] for i in order] for name, values in written.items()}


def test_rows_take_the_order_of_the_first_table() -> None:
    first = columns(per_problem=4)
    second = first | {"reward": np.arange(160.0)}
    shuffled = rows(second, np.random.default_rng(0).permutation(160))
    shuffled["prompt"] = [f"  {q.upper()}" for q in shuffled["prompt"]]  # spelt otherwise
    found = Completions(table(first), FIRST).in_order(table(shuffled), SECOND)
    assert found.reward.tolist() == list(range(160))
    assert found.sample.tolist() == first["sample"]
    assert found.q_values is not None
    assert all(np.array_equal(found.q_values[i], first["q_values"][i]) for i in range(160))


def test_copies_of_one_completion_are_each_matched_once() -> None:
    first = rows(columns(), [0, 1, 0, 2, 0])
    second = rows(columns(), [2, 0, 0, 0, 1])
    found = Completions(table(first), FIRST).in_order(table(second), SECOND)
    assert found.completion is not None
    assert found.completion.tolist() == first["completion"]
    two = rows(columns(), [2, 0, 0, 1, 1])
    with pytest.raises(UserError, match="1 of its rows are missing here, and 1 here are not there"):
        Completions(table(first), FIRST).in_order(table(two), SECOND)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda made: rows(made, range(39)),
            "second.parquet: scores other completions than first.parquet: 1 of its rows are "
            "missing here, and 0 here are not there (the first: sample 0 of 'question 39')",
        ),
        (
            lambda made: made | {"sample": [0] * 39 + [1]},
            "1 of its rows are missing here, and 1 here are not there",
        ),
        (
            lambda made: made | {"label": ~made["label"]},
            "second.parquet, row 1: another solution, answer or label than in first.parquet "
            "(sample 0 of 'question 0?')",
        ),
        (
            lambda made: made | {"completion": [*made["completion"][:-1], "new"]},
            "second.parquet, row 40: another solution",
        ),
        (lambda made: made | {"predicted_answer": ["7"] * 40}, "row 1: another solution"),
    ],
)
def test_other_rows_are_refused_in_one_line(change: Any, message: str) -> None:
    first = Completions(table(columns()), FIRST)
    with pytest.raises(UserError) as error:
        first.in_order(table(change(columns())), SECOND)
    assert message in str(error.value)
    assert "evaluate both models on the same completions" in str(error.value)
    assert "\n" not in str(error.value)


def scored_pairs(numbers: list[int], left_out: int = 0) -> ScoreTable:
    """Pairs with these numbers; their reward is that of the number, on both sides."""
    texts = [(f"prompt {n // 2}", f"yes {n}", f"no {n}") for n in numbers]
    values = [float(n) for n in numbers for _ in range(2)]
    scores: dict[str, Any] = {"reward": values, "partial_rewards": [[v] for v in values]}
    scores |= {"num_tokens": [1] * len(values), "truncated": [False] * len(values)}
    return pair_table(texts, scores, left_out)


def test_pairs_that_one_model_left_out_are_left_out_for_all() -> None:
    tables = {"a": scored_pairs([0, 1, 2, 2, 3]), "b": scored_pairs([3, 2, 2, 0], left_out=1)}
    shared = SharedPairs(tables.items())
    for each in tables.values():
        found = shared.in_order(each)
        assert found.reward.tolist() == [0, 0, 2, 2, 2, 2, 3, 3]
        assert found.label.tolist() == [True, False] * 4
        assert found.left_out == 1


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([0, 1], [0], "b: lacks 1 pairs that other models have scored, and left out 0; evaluate"),
        ([0], [1], "lacks 1 pairs that other models have scored"),
    ],
)
def test_other_pairs_are_refused(first: list[int], second: list[int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SharedPairs({"a": scored_pairs(first), "b": scored_pairs(second)}.items())


def test_no_pair_in_all_is_refused() -> None:
    tables = {"a": scored_pairs([0], left_out=1), "b": scored_pairs([1], left_out=1)}
    with pytest.raises(UserError, match="a, b: no pair is in all of them"):
        SharedPairs(tables.items())
