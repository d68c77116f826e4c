"""Rows of two tables are matched by question and sample; other rows are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gcrm.data.scores import ScoreTable, read_scores
from gcrm.stats.matching import Completions
from gcrm.utils.errors import UserError
from helpers.score_rows import columns, write_columns

FIRST, SECOND = Path("first.parquet"), Path("second.parquet")


def table(tmp_path: Path, written: dict[str, Any]) -> ScoreTable:
    write_columns(tmp_path / "s.parquet", written)
    return read_scores(tmp_path / "s.parquet")


def rows(written: dict[str, Any], order: Any) -> dict[str, Any]:
    return {name: [values[i] for i in order] for name, values in written.items()}


def test_rows_in_any_order_are_put_into_the_first_tables_order(tmp_path: Path) -> None:
    first = columns(per_problem=4)
    second = first | {"reward": np.arange(160.0)}
    shuffled = rows(second, np.random.default_rng(0).permutation(160))
    shuffled["prompt"] = [f"  {q.upper()}" for q in shuffled["prompt"]]  # spelt otherwise
    found = Completions(table(tmp_path, first), FIRST).in_order(table(tmp_path, shuffled), SECOND)
    assert found.reward.tolist() == list(range(160))
    assert found.sample.tolist() == first["sample"]
    assert found.q_values is not None
    assert all(np.array_equal(found.q_values[i], first["q_values"][i]) for i in range(160))


def test_copies_of_one_completion_are_each_matched_once(tmp_path: Path) -> None:
    first = rows(columns(), [0, 1, 0, 2, 0])
    second = rows(columns(), [2, 0, 0, 0, 1])
    found = Completions(table(tmp_path, first), FIRST).in_order(table(tmp_path, second), SECOND)
    assert found.completion is not None
    assert found.completion.tolist() == first["completion"]
    two = rows(columns(), [2, 0, 0, 1, 1])
    with pytest.raises(UserError, match="1 of its rows are missing here, and 1 here are not there"):
        Completions(table(tmp_path, first), FIRST).in_order(table(tmp_path, two), SECOND)


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
def test_other_rows_are_refused_in_one_line(tmp_path: Path, change: Any, message: str) -> None:
    first = Completions(table(tmp_path, columns()), FIRST)
    with pytest.raises(UserError) as error:
        first.in_order(table(tmp_path, change(columns())), SECOND)
    assert message in str(error.value)
    assert "evaluate both models on the same completions" in str(error.value)
    assert "\n" not in str(error.value)
