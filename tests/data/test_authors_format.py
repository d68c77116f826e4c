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
from gcrm.data.scores import ScoreTable, read_scores
from gcrm.utils.errors import UserError
from gcrm.utils.io import read_jsonl
from helpers.score_rows import assert_same_table, score_file

AUTHORS_KEYS = [
    *("question", "generated_solution", "predicted_answer", "expected_answer", "is_correct"),
    *("reward", "partial_rewards", "cosine_sim", "num_actions"),
]


def test_a_table_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    table = read_scores(score_file(tmp_path / "s.parquet", per_problem=2))
    write_authors_jsonl(tmp_path / "output.jsonl", table)
    rows = read_jsonl(tmp_path / "output.jsonl")
    assert all(list(row) == AUTHORS_KEYS for row in rows)
    assert rows[0]["num_actions"] == len(rows[0]["cosine_sim"]) == table.num_tokens[0]
    assert_same_table(read_authors_jsonl([tmp_path / "output.jsonl"], "all"), table)


@pytest.mark.parametrize("in_file", [False, True])
def test_without_goal_state_there_is_no_cosine(tmp_path: Path, in_file: bool) -> None:
    """In the file, or where the reader does not ask for it."""
    path = tmp_path / "output.jsonl"
    table = read_scores(score_file(tmp_path / "s.parquet", with_q_values=in_file))
    write_authors_jsonl(path, table)
    assert ("cosine_sim" in read_jsonl(path)[0]) == in_file
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
    row = {"question": "How many?", "is_correct": True, "num_actions": 3, "expected_answer": 18}
    for number in (10, 2):
        text = json.dumps(row | {"reward": [number], "question": "how  many"}) + "\n"
        (tmp_path / f"output-rs{number}.jsonl").write_text(text)
    files = authors_files(tmp_path)
    assert [file.name for file in files] == ["output-rs2.jsonl", "output-rs10.jsonl"]
    table = read_authors_jsonl(files, "all")
    assert (table.sample.tolist(), table.group.tolist()) == ([0, 1], [0, 0])
    assert table.reward.tolist() == [2, 10]
    assert table.expected_answer is not None and table.expected_answer.tolist() == ["18", "18"]
    assert table.partial_rewards is table.q_values is None


NO_LISTS = {"partial_rewards": None, "cosine_sim": None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": None}, r"question: .* valid string \(got None\)"),
        ({"is_correct": "maybe"}, r"is_correct: .* valid boolean.* \(got 'maybe'\)"),
        *(
            ({"reward": reward}, "reward: .* valid number")
            for reward in (None, "high", "1.5", True, 10**400, [1, 2])
        ),
        ({"reward": float("nan")}, r"reward: .* finite number \(got nan\)"),
        *(
            ({"partial_rewards": [0.1, value]}, rf"partial_rewards.1: {message}")
            for value, message in [
                (None, "Input should be a valid number"),
                ("0.1", "Input should be a valid number"),
                (True, "Input should be a valid number"),
                ([0.2], "Input should be a valid number"),
                (1e39, "Input should be less than"),
                (float("inf"), "Input should be a finite number"),
            ]
        ),
        ({"partial_rewards": {"a": 1}}, "partial_rewards: Input should be a valid list"),
        ({"partial_rewards": None}, "partial_rewards is missing, unlike in the rows before"),
        ({"cosine_sim": None}, "cosine_sim is missing, unlike in the rows before"),
        ({"cosine_sim": [0.5, 2.0]}, r"cosine_sim.1: .* less than or equal to 1.02 \(got 2.0\)"),
        ({"cosine_sim": [0.5, float("nan")]}, r"cosine_sim.1: .* \(got nan\)"),
        ({"cosine_sim": [0.5]}, "partial_rewards and cosine_sim must have the same length"),
        ({"partial_rewards": [], "cosine_sim": []}, "num_actions must be a whole number above 0"),
        *(
            ({"num_actions": odd} | NO_LISTS, "num_actions: .* valid integer")
            for odd in (2.5, 2.0, True, "3")
        ),
        ({"num_actions": 0} | NO_LISTS, "num_actions: .* greater than 0"),
        ({"num_actions": 2**40} | NO_LISTS, "num_actions: .* less than 2147483648"),
    ],
)
def test_bad_rows_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    good = {"question": "q", "is_correct": True, "reward": 1.0, "partial_rewards": [0.1, 0.2]}
    rows = [good | {"cosine_sim": [0.5, 0.5]}, good | {"cosine_sim": [0.5, 0.5]} | change]
    path = tmp_path / "output.jsonl"
    path.write_text("\n\n".join(json.dumps(row) for row in rows))
    # A blank line is no row, but an editor counts it.
    with pytest.raises(UserError, match=rf"output.jsonl, row 3: {message}"):
        read_authors_jsonl([path], "greedy")


@pytest.mark.parametrize("key", ["question", "is_correct", "reward"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    row = {"question": "q", "is_correct": True, "reward": 1.0, "num_actions": 3}
    del row[key]
    (tmp_path / "o.jsonl").write_text(json.dumps(row))
    with pytest.raises(UserError, match=rf"row 1: key '{key}' is missing \(there are: .*num_act"):
        read_authors_jsonl([tmp_path / "o.jsonl"], "greedy")
