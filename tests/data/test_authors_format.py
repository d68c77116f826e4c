"""Score tables as the authors' JSON lines: nothing is lost, and bad rows are refused."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcrm.data.authors_format import authors_files, read_authors_jsonl, write_authors_jsonl
from gcrm.data.scores import Ragged, ScoreTable, read_scores
from gcrm.utils.errors import UserError
from gcrm.utils.io import read_jsonl
from helpers.score_rows import score_file

NO_LISTS = {"partial_rewards": None, "cosine_sim": None}
AUTHORS_KEYS = {
    *("question", "generated_solution", "predicted_answer", "expected_answer", "is_correct"),
    *("reward", "partial_rewards", "cosine_sim", "num_actions"),
}


def test_authors_jsonl_round_trip(tmp_path: Path) -> None:
    table = read_scores(score_file(tmp_path / "s.parquet", per_problem=2))
    write_authors_jsonl(tmp_path / "output.jsonl", table)
    rows = [json.loads(line) for line in (tmp_path / "output.jsonl").read_text().split("\n")[:-1]]
    assert all(set(row) == AUTHORS_KEYS for row in rows)
    assert rows[0]["num_actions"] == len(rows[0]["cosine_sim"]) == table.num_tokens[0]
    again = read_authors_jsonl([tmp_path / "output.jsonl"], "all")
    for name, column in table.columns().items():
        found = getattr(again, name)
        if isinstance(column, Ragged):
            assert np.array_equal(found.values, column.values)  # to the last bit
            assert np.array_equal(found.offsets, column.offsets)
        else:
            assert list(found) == list(column)
    assert again.split == "all"


@pytest.mark.parametrize("read_again", [False, True])
def test_without_goal_state_there_is_no_cosine(tmp_path: Path, read_again: bool) -> None:
    """In the file, or where the reader does not ask for it."""
    path = tmp_path / "o.jsonl"
    table = read_scores(score_file(tmp_path / "s.parquet", with_q_values=read_again))
    write_authors_jsonl(path, table)
    assert ("cosine_sim" in json.loads(path.read_text().splitlines()[0])) == read_again
    assert read_authors_jsonl([path], "greedy", with_q_values=False).q_values is None


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_are_spelt_as_numpy_spells_a_float32(values: list[float]) -> None:
    row = {"prompt": "q", "label": True, "sample": 0, "reward": values[-1], "truncated": False}
    row |= {"partial_rewards": values, "num_tokens": len(values)}
    table = ScoreTable.of("greedy", {name: [value] for name, value in row.items()})
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
    table = read_authors_jsonl(files, "all")
    assert (table.sample.tolist(), table.group.tolist()) == ([0, 1], [0, 0])
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
        read_authors_jsonl([path], "greedy")
