"""Score tables survive Parquet, and bad ones are refused by row."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcrm.data.ragged import Ragged
from gcrm.data.scores import (
    COLUMNS,
    ScoreTable,
    Split,
    has_true_values,
    read_scores,
    write_scores,
)
from gcrm.utils.errors import UserError
from helpers.score_rows import (
    assert_same_table,
    columns,
    pair_table,
    score_file,
    write_columns,
)

PAIRS = [("Who?", "Tom.", "Ann."), ("Hi\nyou", "a", "")]
OF_PAIRS: dict[str, Any] = {
    "reward": [1.5, -2.0, 0.25, 0.25],
    "partial_rewards": [[0.5, 1.5], [-2.0], [3.0, 1.0, 0.25], [0.25]],
    "q_values": [[0.1, 0.2], [0.3], [0.4, 0.5, 0.6], [0.7]],
    "num_tokens": [2, 1, 3, 1],
    "truncated": [False, False, True, False],
}


def pair_file(path: Path, left_out: int = 0, **change: Any) -> Path:
    write_scores(path, pair_table(PAIRS, OF_PAIRS | change, left_out))
    return path


@pytest.mark.parametrize("split", ["greedy", "all", "pairs"])
@pytest.mark.parametrize("with_q_values", [True, False])
def test_parquet_gives_back_what_was_written(
    tmp_path: Path, split: Split, with_q_values: bool
) -> None:
    made = columns(per_problem=3 if split == "all" else 1, with_q_values=with_q_values)
    table = ScoreTable.of(split, made)
    if split == "pairs":
        table = pair_table(PAIRS, OF_PAIRS | ({} if with_q_values else {"q_values": None}), 3)
    write_scores(tmp_path / "scores.parquet", table)
    found = read_scores(tmp_path / "scores.parquet")
    assert_same_table(found, table)
    assert (found.q_values is not None) == with_q_values
    assert found.reward.dtype == np.float32
    assert found.group.dtype == found.num_tokens.dtype == found.sample.dtype == np.int32
    assert found.without_q_values().q_values is None
    again = tmp_path / "again.parquet"
    write_scores(again, table)
    assert again.read_bytes() == (tmp_path / "scores.parquet").read_bytes()


def test_the_columns_of_the_file(tmp_path: Path) -> None:
    solutions = pq.read_schema(score_file(tmp_path / "scores.parquet"))
    assert solutions.names == [name for name in COLUMNS if name != "true_values"]
    assert solutions.field("q_values").type == pa.large_list(pa.float32())
    pairs = pq.read_table(pair_file(tmp_path / "pairs.parquet", left_out=3))
    assert "expected_answer" not in pairs.column_names
    assert pairs.schema.metadata == {b"split": b"pairs", b"left_out": b"3"}
    rows = [(row["group"], row["prompt"], row["label"]) for row in pairs.to_pylist()]
    who, hi = "Who?", "Hi\nyou"
    assert rows == [(0, who, True), (0, who, False), (1, hi, True), (1, hi, False)]
    assert pairs["completion"].to_pylist() == ["Tom.", "Ann.", "a", ""]


def test_completions_of_one_question_are_a_group() -> None:
    made = columns(problems=2, per_problem=2)
    made["prompt"] = ["Who?", "What?", "who", "WHO ?"]
    assert ScoreTable.of("all", made).group.tolist() == [0, 1, 0, 0]
    assert ScoreTable.of("all", made | {"group": [3, 2, 1, 0]}).group.tolist() == [3, 2, 1, 0]


def test_only_the_wanted_columns_are_read(tmp_path: Path) -> None:
    table = read_scores(score_file(tmp_path / "s.parquet"), ["predicted_answer", "q_values"])
    assert table.q_values is not None
    assert table.predicted_answer is not None
    assert table.partial_rewards is table.completion is table.expected_answer is None


@pytest.mark.parametrize("batch", [7, 1000])
def test_partial_rewards_are_reduced_to_shares_on_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr("gcrm.data.scores.BATCH", batch)
    path, shares = score_file(tmp_path / "s.parquet"), [0.0, 0.3, 1.0]
    whole, reduced = read_scores(path), read_scores(path, ["partial_rewards"], shares)
    order = np.random.default_rng(0).permutation(len(whole))
    for table, expected in ((reduced, whole), (reduced.take(order), whole.take(order))):
        assert table.partial_rewards is not None and expected.partial_rewards is not None
        assert len(table.partial_rewards) == len(expected)
        for share in shares:
            found = table.partial_rewards.at_percentile(share)
            assert np.array_equal(found, expected.partial_rewards.at_percentile(share))


def test_a_table_of_several_row_groups_is_one(tmp_path: Path) -> None:
    path = score_file(tmp_path / "whole.parquet")
    pq.write_table(pq.read_table(path), tmp_path / "groups.parquet", row_group_size=7)
    assert_same_table(read_scores(path), read_scores(tmp_path / "groups.parquet"))


@pytest.mark.parametrize("split", ["greedy", "all", "pairs"])
def test_a_table_that_went_through_pandas_is_the_same(tmp_path: Path, split: Split) -> None:
    """Without our metadata, with shorter lists, longer integers and floats, and null for texts."""
    made = columns(3, 2 if split == "all" else 1) | {"predicted_answer": None}
    path = tmp_path / "scores.parquet"
    if split == "pairs":
        table = pair_table(PAIRS, OF_PAIRS)
        write_scores(path, table)
    else:
        table = ScoreTable.of(split, made | {"predicted_answer": [None] * len(made["label"])})
        write_scores(path, table)
    frame = pd.read_parquet(path)
    wider = {"sample": "int64", "num_tokens": "int64", "reward": "float64"}
    frame.astype(wider).to_parquet(tmp_path / "pandas.parquet")
    assert_same_table(read_scores(tmp_path / "pandas.parquet"), table)


@pytest.mark.parametrize("rows", [[3, 0, 2, 1], [2, 3, 1, 0]])
def test_pairs_are_put_in_order(tmp_path: Path, rows: list[int]) -> None:
    path = pair_file(tmp_path / "scores.parquet", left_out=2)
    expected = read_scores(path)
    pq.write_table(pq.read_table(path).take(rows), path)
    assert_same_table(read_scores(path), expected)


@pytest.mark.parametrize("rows", [[0, 1, 2], [0, 1, 2, 2], [0, 1, 2, 3, 2, 3], [1, 3]])
def test_pairs_that_are_not_whole_are_refused(tmp_path: Path, rows: list[int]) -> None:
    path = pair_file(tmp_path / "scores.parquet")
    pq.write_table(pq.read_table(path).take(rows), path)
    with pytest.raises(UserError, match="every pair must have one row with label true"):
        read_scores(path)


def put(row: int, value: float) -> Callable[[list[Any]], list[Any]]:
    return lambda column: [*column[:row], column[row] * 0 + np.float32(value), *column[row + 1 :]]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("reward", put(3, np.nan), "row 4: reward is not a finite number"),
        ("q_values", put(2, np.inf), "row 3: q_values has a value that is not a finite number"),
        ("partial_rewards", put(39, np.nan), "row 40: partial_rewards has a value that is not"),
    ],
)
def test_numbers_that_are_not_finite_are_refused_by_row(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    change: Callable[[Any], Any],
    message: str,
) -> None:
    monkeypatch.setattr("gcrm.data.scores.BATCH", 7)
    made = columns()
    path = write_columns(tmp_path / "scores.parquet", made | {name: change(list(made[name]))})
    for shares in ((), [0.5]):  # batch by batch, too
        with pytest.raises(UserError, match=message):
            read_scores(path, shares=shares)


def changed(tmp_path: Path, name: str, values: Any) -> Path:
    """A table of three rows with one column replaced by another program."""
    table = pq.read_table(score_file(tmp_path / "scores.parquet", problems=3))
    column = table.schema.get_field_index(name)
    path = tmp_path / "changed.parquet"
    pq.write_table(table.set_column(column, name, pa.array(values)), path)
    return path


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("prompt", [1, 2, 3], "column prompt holds int64, not string"),
        ("prompt", [b"a", b"b", b"c"], "column prompt holds binary, not string"),
        ("prompt", ["a", None, "c"], "row 2: prompt is missing"),
        ("label", ["yes", "no", "yes"], "column label holds string, not bool"),
        ("label", [True, None, False], "row 2: label is missing"),
        ("label", [1.0, 0.0, 1.0], "column label holds double, not bool"),
        ("reward", ["a", "b", "c"], "column reward holds string, not float"),
        ("reward", [1.0, 2.0, None], "row 3: reward is missing"),
        ("group", [None, 1, 2], "row 1: group is missing"),
        ("num_tokens", [1.5, 2.5, 3.5], "column num_tokens holds double, not int32"),
        ("num_tokens", [1, 1, 1], "row 1: number of partial_rewards is not num_tokens"),
        ("partial_rewards", [1.0, 2.0, 3.0], "holds double, not large_list"),
        ("partial_rewards", [[1.0], None, [2.0]], "row 2: partial_rewards is missing"),
        ("q_values", [["a"], ["b"], ["c"]], "holds list<.*string>, not large_list"),
        ("q_values", [[1.0, None], [1.0], [1.0]], "column q_values has missing values"),
        ("sample", [None, None, None], "column sample holds null, not int32"),
    ],
)
def test_what_a_column_cannot_hold(tmp_path: Path, name: str, values: Any, message: str) -> None:
    path = changed(tmp_path, name, values)
    with pytest.raises(UserError, match=message) as told:
        read_scores(path)
    with pytest.raises(UserError, match=message):
        read_scores(path, shares=[0.5])
    assert str(told.value).startswith(str(path))


@pytest.mark.parametrize("noise", [b"\x80", b"\xff" * 8])
def test_a_damaged_file_is_refused_or_read_wherever_the_damage_lies(
    tmp_path: Path, noise: bytes
) -> None:
    path = tmp_path / "scores.parquet"
    score_file(path)
    whole = path.read_bytes()
    refused = 0
    for start in range(0, len(whole), 17):
        path.write_bytes(whole[:start] + noise + whole[start + len(noise) :])
        has_true_values(path)  # never raises
        try:
            read_scores(path)
        except UserError as error:
            assert str(error).startswith(str(path))
            refused += 1
    assert refused > 50


def test_files_that_are_no_score_tables_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.parquet"
    with pytest.raises(UserError, match="no such file; `evaluate` makes it"):
        read_scores(path)
    path.write_text("no parquet")
    with pytest.raises(UserError, match="not a readable Parquet file"):
        read_scores(path)
    pq.write_table(pa.table({"prompt": ["a"]}), path)
    with pytest.raises(UserError, match="not a score table: lacks group, label"):
        read_scores(path)
    table = pq.read_table(score_file(tmp_path / "whole.parquet", problems=1))
    pq.write_table(table.replace_schema_metadata({"split": "some"}), path)
    with pytest.raises(UserError, match="split is 'some'; score it again"):
        read_scores(path)
    pq.write_table(table.replace_schema_metadata({"left_out": "some"}), path)
    with pytest.raises(UserError, match="left_out is 'some'; score it again"):
        read_scores(path)
    pq.write_table(table.slice(0, 0), path)
    with pytest.raises(UserError, match="has no rows"):
        read_scores(path)
    broken = pa.array([b"\xff\xfe"]).view(pa.string())
    column = table.schema.get_field_index("prompt")
    pq.write_table(table.set_column(column, "prompt", broken), path)
    with pytest.raises(UserError, match=r"file.parquet: not a readable Parquet file"):
        read_scores(path)


@pytest.mark.parametrize("names", [["question", "is_correct"], ["pair", "side"]])
def test_tables_of_an_older_version_are_refused(tmp_path: Path, names: list[str]) -> None:
    pq.write_table(pa.table({name: [1] for name in names}), tmp_path / "old.parquet")
    with pytest.raises(UserError, match=r"old.parquet: has the columns of an older version; score"):
        read_scores(tmp_path / "old.parquet")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"completion": None}, "missing columns completion"),
        ({"predicted_answer": None, "partial_rewards": None}, "partial_rewards, predicted_answer"),
        ({"num_tokens": [1] * 40}, "num_tokens values"),
        ({"label": [True]}, "label has 1 rows, not 40"),
    ],
)
def test_columns_that_do_not_fit_are_a_defect(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_columns(tmp_path / "s.parquet", columns() | change)


@given(
    st.lists(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=12), min_size=1),
    st.floats(0, 1),
)
def test_percentiles_take_the_token_of_the_definition(
    rows: list[list[float]], percentile: float
) -> None:
    found = Ragged.of(rows).at_percentile(percentile)
    assert found.tolist() == [row[max(int(len(row) * percentile) - 1, 0)] for row in rows]


def test_rows_of_a_table_are_taken(tmp_path: Path) -> None:
    table = read_scores(score_file(tmp_path / "s.parquet"))
    taken = table.take(np.array([7, 3]))
    assert taken.prompt.tolist() == ["question 7?", "question 3?"]
    assert taken.q_values is not None
    assert table.q_values is not None
    assert np.array_equal(taken.q_values[1], table.q_values[3])
    assert taken.reward.tolist() == table.reward[[7, 3]].tolist()


def test_ragged_rows_are_joined_and_taken() -> None:
    both = Ragged.of([[1], [2, 3]]) + Ragged.of([[], [4]])
    assert both.take(np.array([3, 1])).values.tolist() == [4, 2, 3]
    assert both.lengths.tolist() == [1, 2, 0, 1]
