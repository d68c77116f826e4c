"""Score tables survive Parquet and the authors' JSON lines, and bad ones are refused by row."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcrm.data.score_files import Ragged
from gcrm.data.scores import (
    COLUMNS,
    ScoreTable,
    authors_files,
    read_authors_jsonl,
    read_scores,
    write_authors_jsonl,
    write_scores,
)
from gcrm.utils.errors import UserError
from gcrm.utils.io import read_jsonl
from helpers.score_rows import columns, score_file

NO_LISTS = {"partial_rewards": None, "cosine_sim": None}
AUTHORS_KEYS = {
    *("question", "generated_solution", "predicted_answer", "expected_answer", "is_correct"),
    *("reward", "partial_rewards", "cosine_sim", "num_actions"),
}


def test_parquet_gives_back_what_was_written(tmp_path: Path) -> None:
    written = columns(per_problem=3)
    write_scores(tmp_path / "scores.parquet", written)
    table = read_scores(tmp_path / "scores.parquet")
    assert tuple(table.columns()) == COLUMNS
    for name, column in table.columns().items():
        if isinstance(column, Ragged):
            assert len(column) == len(written[name])
            assert all(np.array_equal(column[i], row) for i, row in enumerate(written[name]))
        else:
            assert list(column) == list(written[name])
    assert table.reward.dtype == np.float32
    assert table.num_tokens.dtype == table.sample.dtype == np.int32


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    first = score_file(tmp_path / "first.parquet").read_bytes()
    assert score_file(tmp_path / "second.parquet").read_bytes() == first


def test_only_the_wanted_columns_are_read(tmp_path: Path) -> None:
    table = read_scores(score_file(tmp_path / "s.parquet"), ["predicted_answer", "q_values"])
    assert table.q_values is not None
    assert table.predicted_answer is not None
    assert table.partial_rewards is table.generated_solution is table.expected_answer is None


def test_a_table_of_several_chunks_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    score_file(tmp_path / "whole.parquet")
    whole = pq.read_table(tmp_path / "whole.parquet")
    pq.write_table(whole, tmp_path / "groups.parquet", row_group_size=7)
    one, several = (read_scores(tmp_path / f"{name}.parquet") for name in ("whole", "groups"))
    assert one.q_values is not None
    assert several.q_values is not None
    assert np.array_equal(one.q_values.values, several.q_values.values)
    assert np.array_equal(one.q_values.offsets, several.q_values.offsets)


def test_without_goal_state_there_are_no_q_values(tmp_path: Path) -> None:
    table = read_scores(score_file(tmp_path / "s.parquet", with_q_values=False))
    assert table.q_values is None
    write_authors_jsonl(tmp_path / "o.jsonl", table)
    assert "cosine_sim" not in json.loads((tmp_path / "o.jsonl").read_text().splitlines()[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": lambda v: np.where(np.arange(40) == 3, np.nan, v)}, "row 4: reward is not a"),
        ({"q_values": lambda v: [*v[:2], v[2] * np.inf, *v[3:]]}, "row 3: q_values has"),
        (
            {"partial_rewards": lambda v: [*v[:39], v[39] + np.float32(np.nan)]},
            "row 40: partial_rewards has nan",
        ),
    ],
)
def test_unusable_numbers_are_refused_by_row(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    written = columns()
    for name, function in change.items():
        written[name] = function(written[name])
    write_scores(tmp_path / "scores.parquet", written)
    with pytest.raises(UserError, match=message):
        read_scores(tmp_path / "scores.parquet")


def test_files_that_are_no_score_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_scores(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(UserError, match="not a readable Parquet file"):
        read_scores(tmp_path / "text.parquet")
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"question": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(UserError, match="not a score table: lacks is_correct"):
        read_scores(tmp_path / "other.parquet")


def test_columns_that_do_not_fit_are_a_defect(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="missing columns"):
        write_scores(tmp_path / "s.parquet", {"question": ["a"]})
    with pytest.raises(ValueError, match="num_tokens values"):
        write_scores(tmp_path / "s.parquet", columns() | {"num_tokens": [1] * 40})


def test_authors_jsonl_round_trip(tmp_path: Path) -> None:
    table = read_scores(score_file(tmp_path / "s.parquet", per_problem=2))
    write_authors_jsonl(tmp_path / "output.jsonl", table)
    rows = [json.loads(line) for line in (tmp_path / "output.jsonl").read_text().split("\n")[:-1]]
    assert all(set(row) == AUTHORS_KEYS for row in rows)
    assert rows[0]["num_actions"] == len(rows[0]["cosine_sim"]) == table.num_tokens[0]
    again = read_authors_jsonl([tmp_path / "output.jsonl"])
    for name, column in table.columns().items():
        found = getattr(again, name)
        if isinstance(column, Ragged):
            assert np.array_equal(found.values, column.values)  # to the last bit
            assert np.array_equal(found.offsets, column.offsets)
        else:
            assert list(found) == list(column)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_are_spelt_as_numpy_spells_a_float32(values: list[float]) -> None:
    one = dict.fromkeys(("question", "generated_solution", "predicted_answer", "expected_answer"))
    table = ScoreTable(
        **{name: np.array(["q"], object) for name in one},
        is_correct=np.array([True]),
        sample=np.zeros(1, np.int32),
        reward=np.array(values[-1:], np.float32),
        num_tokens=np.array([len(values)], np.int32),
        truncated=np.array([False]),
        partial_rewards=Ragged.of([values]),
    )
    with tempfile.TemporaryDirectory() as folder:
        write_authors_jsonl(Path(folder) / "output.jsonl", table)
        [row] = read_jsonl(Path(folder) / "output.jsonl")
    assert row["partial_rewards"] == [float(str(np.float32(value))) for value in values]
    assert row["reward"] == row["partial_rewards"][-1]


def test_several_files_number_the_samples_of_a_question(tmp_path: Path) -> None:
    row = {"question": "How many?", "is_correct": True, "reward": [0.5], "num_actions": 3}
    for number in (10, 2):
        text = json.dumps(row | {"reward": number, "question": "how  many"}) + "\n"
        (tmp_path / f"output-rs{number}.jsonl").write_text(text)
    files = authors_files(tmp_path)
    assert [file.name for file in files] == ["output-rs2.jsonl", "output-rs10.jsonl"]
    table = read_authors_jsonl(files)
    assert table.sample.tolist() == [0, 1]
    assert table.reward.tolist() == [2, 10]
    assert table.partial_rewards is table.q_values is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": None}, "question must be text"),
        ({"is_correct": "yes"}, "is_correct must be true or false"),
        ({"reward": None}, "reward must be a finite number"),
        ({"reward": "high"}, "reward must be numbers"),
        ({"reward": 10**400}, "reward must be numbers"),
        ({"reward": [1, 2]}, "reward must be a finite number"),
        ({"partial_rewards": [1, None]}, "partial_rewards has nan"),
        ({"partial_rewards": [1e39, 1]}, "partial_rewards has inf"),
        ({"partial_rewards": {"a": 1}}, "partial_rewards must be numbers"),
        ({"num_actions": 2.0} | NO_LISTS, "num_actions must be"),
        ({"reward": float("nan")}, "reward must be a finite number"),
        ({"cosine_sim": ["a"]}, "cosine_sim must be numbers"),
        ({"cosine_sim": [0.5]}, "cosine_sim has 1 numbers for 2 tokens"),
        ({"partial_rewards": [0.1, float("inf")]}, "partial_rewards has inf"),
        ({"partial_rewards": [], "cosine_sim": []}, "num_actions must be a whole number above 0"),
        ({"cosine_sim": None}, "cosine_sim is missing, unlike in the rows before"),
        ({"partial_rewards": None}, "partial_rewards is missing, unlike in the rows before"),
        ({"cosine_sim": [0.5, 2.0]}, "cosine_sim has a 2, which is no cosine"),
        ({"partial_rewards": [[0.1], [0.2]]}, "partial_rewards must be numbers"),
        ({"partial_rewards": ["0.1", "0.2"]}, "partial_rewards must be numbers"),
        ({"cosine_sim": [True, False]}, "cosine_sim must be numbers"),
        ({"reward": True}, "reward must be numbers"),
        ({"reward": "1.5"}, "reward must be numbers"),
        ({"num_actions": 2**40} | NO_LISTS, "num_actions must be a whole number above 0"),
        ({"num_actions": True} | NO_LISTS, "num_actions must be a whole number above 0"),
    ],
)
def test_bad_rows_of_jsonl_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    good = {"question": "q", "is_correct": True, "reward": 1.0, "partial_rewards": [0.1, 0.2]}
    rows = [good | {"cosine_sim": [0.5, 0.5]}, good | {"cosine_sim": [0.5, 0.5]} | change]
    path = tmp_path / "output.jsonl"
    path.write_text("\n\n".join(json.dumps(row) for row in rows))
    # A blank line is no row, but an editor counts it.
    with pytest.raises(UserError, match=rf"output.jsonl, row 3: {message}"):
        read_authors_jsonl([path])


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
    assert taken.question.tolist() == ["question 7?", "question 3?"]
    assert taken.q_values is not None
    assert table.q_values is not None
    assert np.array_equal(taken.q_values[1], table.q_values[3])
    assert taken.reward.tolist() == table.reward[[7, 3]].tolist()


def test_ragged_rows_are_joined_and_taken() -> None:
    both = Ragged.of([[1], [2, 3]]) + Ragged.of([[], [4]])
    assert both.take(np.array([3, 1])).values.tolist() == [4, 2, 3]
    assert both.lengths.tolist() == [1, 2, 0, 1]
