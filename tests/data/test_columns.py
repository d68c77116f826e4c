"""Score tables that were changed by hand or by another program."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gcrm.data.scores import read_scores
from gcrm.utils.errors import UserError
from helpers.score_rows import score_file


def changed(tmp_path: Path, name: str, values: Any) -> Path:
    table = pq.read_table(score_file(tmp_path / "scores.parquet", problems=3))
    column = table.schema.get_field_index(name)
    path = tmp_path / "changed.parquet"
    pq.write_table(table.set_column(column, name, pa.array(values)), path)
    return path


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("question", [1, 2, 3], "column question holds int64, not text"),
        ("question", [b"a", b"b", b"c"], "column question holds binary, not text"),
        ("question", ["a", None, "c"], "row 2: question is missing"),
        ("is_correct", ["yes", "no", "yes"], "column is_correct holds string, not bool"),
        ("is_correct", [True, None, False], "row 2: is_correct is missing"),
        ("is_correct", [1.0, 0.0, 1.0], "column is_correct holds double, not bool"),
        ("reward", ["a", "b", "c"], "column reward holds string, not float32"),
        ("reward", [1.0, 2.0, None], "row 3: reward is missing"),
        ("num_tokens", [1.5, 2.5, 3.5], "column num_tokens holds double, not int32"),
        ("partial_rewards", [1.0, 2.0, 3.0], "holds double, not a list of float32"),
        ("partial_rewards", [[1.0], None, [2.0]], "row 2: partial_rewards is missing"),
        ("q_values", [["a"], ["b"], ["c"]], "not a list of float32"),
        ("q_values", [[1.0, None], [1.0], [1.0]], "column q_values has missing values"),
        ("sample", [None, None, None], "column sample holds null, not int32"),
    ],
)
def test_what_a_column_cannot_hold(tmp_path: Path, name: str, values: Any, message: str) -> None:
    path = changed(tmp_path, name, values)
    with pytest.raises(UserError, match=message) as told:
        read_scores(path)
    assert str(told.value).startswith(str(path))


def test_text_that_is_none(tmp_path: Path) -> None:
    table = pq.read_table(score_file(tmp_path / "scores.parquet", problems=1))
    broken = pa.array([b"\xff\xfe"]).view(pa.string())
    pq.write_table(table.set_column(0, "question", broken), tmp_path / "broken.parquet")
    with pytest.raises(UserError, match=r"broken.parquet: not a readable Parquet file"):
        read_scores(tmp_path / "broken.parquet")


def test_a_table_that_went_through_pandas_is_the_same(tmp_path: Path) -> None:
    path = score_file(tmp_path / "scores.parquet", problems=3)
    frame = pd.read_parquet(path)
    frame["predicted_answer"] = None
    frame.astype({"sample": "int64", "num_tokens": "int64"}).to_parquet(tmp_path / "pandas.parquet")
    one, other = read_scores(path), read_scores(tmp_path / "pandas.parquet")
    assert other.predicted_answer is not None and other.predicted_answer.tolist() == [None] * 3
    assert other.reward.tolist() == one.reward.tolist()
    assert other.sample.tolist() == one.sample.tolist()
    assert one.q_values is not None and other.q_values is not None
    assert other.q_values.values.tolist() == one.q_values.values.tolist()
