"""Tables of scored pairs survive Parquet, and bad ones are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gcrm.data.pair_scores import read_pair_scores, write_pair_scores
from gcrm.data.preferences import Preference
from gcrm.utils.errors import UserError

PAIRS = [
    Preference("Who?", "Tom.", "Ann."),
    Preference([{"role": "user", "content": "Hi"}, {"role": "user", "content": "you"}], "a", ""),
]
SCORES: dict[str, Any] = {
    "reward": np.array([1.5, -2.0, 0.25, 0.25], np.float32),
    "partial_rewards": [[0.5, 1.5], [-2.0], [3.0, 1.0, 0.25], [0.25]],
    "q_values": [[0.1, 0.2], [0.3], [0.4, 0.5, 0.6], [0.7]],
    "num_tokens": np.array([2, 1, 3, 1]),
    "truncated": np.array([False, False, True, False]),
}


def written(path: Path, left_out: int = 0, **change: Any) -> Path:
    scores = {name: values for name, values in (SCORES | change).items() if values is not None}
    write_pair_scores(path, PAIRS, scores, left_out)
    return path


def test_both_sides_of_each_pair_come_back(tmp_path: Path) -> None:
    table = read_pair_scores(written(tmp_path / "scores.parquet", left_out=3))
    assert (len(table), table.left_out) == (2, 3)
    assert table.question.tolist() == ["Who?", "Hi\nyou"]
    assert table.chosen.completion.tolist() == ["Tom.", "a"]
    assert table.rejected.completion.tolist() == ["Ann.", ""]
    assert table.chosen.reward.tolist() == [1.5, 0.25]
    assert table.rejected.reward.tolist() == [-2.0, 0.25]
    assert table.chosen.num_tokens.tolist() == [2, 3]
    assert table.chosen.truncated.tolist() == [False, True]
    assert table.rejected.truncated.tolist() == [False, False]
    assert table.chosen.partial_rewards[1].tolist() == [3.0, 1.0, 0.25]
    assert table.rejected.q_values is not None
    assert table.rejected.q_values.values.tolist() == pytest.approx([0.3, 0.7])
    assert table.without_q_values().rejected.q_values is None
    assert table.without_q_values().left_out == 3


def test_the_columns_of_the_file(tmp_path: Path) -> None:
    rows = pq.read_table(written(tmp_path / "scores.parquet")).to_pylist()
    assert [(row["pair"], row["side"]) for row in rows] == [
        *[(0, "chosen"), (0, "rejected"), (1, "chosen"), (1, "rejected")],
    ]
    assert [row["completion"] for row in rows] == ["Tom.", "Ann.", "a", ""]
    assert set(rows[0]) == {
        *("pair", "side", "question", "completion", "reward", "partial_rewards", "q_values"),
        *("num_tokens", "truncated"),
    }


def test_the_same_scores_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (written(tmp_path / f"{name}.parquet", left_out=1) for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_without_goal_state_there_are_no_q_values(tmp_path: Path) -> None:
    table = read_pair_scores(written(tmp_path / "scores.parquet", q_values=None))
    assert table.chosen.q_values is None and table.left_out == 0


@pytest.mark.parametrize("rows", [[3, 0, 2, 1], [2, 3, 1, 0]])
def test_the_order_of_rows_does_not_matter(tmp_path: Path, rows: list[int]) -> None:
    path = written(tmp_path / "scores.parquet")
    expected = read_pair_scores(path)
    pq.write_table(pq.read_table(path).take(rows), path)
    found = read_pair_scores(path)
    assert found.question.tolist() == expected.question.tolist()
    assert found.chosen.reward.tolist() == expected.chosen.reward.tolist()
    assert found.rejected.partial_rewards[0].tolist() == [-2.0]


@pytest.mark.parametrize("rows", [[0, 1, 2], [0, 1, 2, 2], [0, 1, 2, 3, 2, 3]])
def test_pairs_that_are_not_whole_are_refused(tmp_path: Path, rows: list[int]) -> None:
    path = written(tmp_path / "scores.parquet")
    pq.write_table(pq.read_table(path).take(rows), path)
    with pytest.raises(UserError, match="every pair must have one row with side chosen and one"):
        read_pair_scores(path)


def test_unusable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file; `evaluate` makes it"):
        read_pair_scores(tmp_path / "none.parquet")
    pq.write_table(pa.table({"pair": [1]}), tmp_path / "other.parquet")
    with pytest.raises(UserError, match="not a table of scored pairs: lacks completion, num_"):
        read_pair_scores(tmp_path / "other.parquet")
    path = written(tmp_path / "nan.parquet", reward=np.array([1, 2, np.nan, 3]))
    with pytest.raises(UserError, match="row 3: reward is not a finite number"):
        read_pair_scores(path)
