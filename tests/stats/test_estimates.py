"""Tables of estimates go to a file and come back the same; other files are refused."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcrm.stats.estimates import (
    COLUMNS,
    estimates_frame,
    read_all_estimates,
    read_estimates,
    write_estimates,
)
from gcrm.utils.errors import UserError

texts = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.floats(allow_nan=False, allow_infinity=False)
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "variant": st.none() | texts,
    "baseline": st.none() | texts,
    "seed": st.none() | st.integers(0, 2**32 - 1),
    "benchmark": texts,
    "split": texts,
    "metric": texts,
    "n": st.integers(0, 2**62),
    "reason": st.none() | texts,
    **dict.fromkeys(("at", "value", "low", "high", "p"), st.none() | numbers),
}
ROW: dict[str, Any] = {
    **{"variant": "a", "seed": 0, "benchmark": "gsm8k", "split": "greedy", "metric": "correct"},
    **{"at": None, "value": 0.1, "low": 0.0, "high": 0.30000000000000004, "n": 7},
    **{"p": None, "reason": None},
}


@pytest.mark.parametrize("stage", ["metrics", "compare"])
@given(data=st.data())
@settings(max_examples=40)
def test_a_table_survives_writing_and_reading(
    tmp_path_factory: pytest.TempPathFactory, stage: Any, data: st.DataObject
) -> None:
    row = st.fixed_dictionaries({name: KINDS[name] for name in COLUMNS[stage]})
    rows = data.draw(st.lists(row, max_size=4))
    frame = estimates_frame(rows, stage)
    path = tmp_path_factory.getbasetemp() / f"{stage}.json"
    write_estimates(path, frame)
    assert json.loads(path.read_text()) == rows
    pd.testing.assert_frame_equal(read_estimates(path, stage), frame, check_exact=True)


def test_a_file_has_one_object_a_line_and_null_for_missing_values(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    write_estimates(path, estimates_frame([ROW, ROW | {"value": None, "reason": "no ≥ 2"}]))
    assert json.loads(path.read_text()) == [ROW, ROW | {"value": None, "reason": "no ≥ 2"}]
    assert len(path.read_text().splitlines()) == 4
    assert "0.30000000000000004" in path.read_text() and "no ≥ 2" in path.read_text()
    found = read_estimates(path)
    assert math.isnan(found["value"][1]) and found["seed"].dtype == "Int64"
    with pytest.raises(ValueError):
        write_estimates(path, estimates_frame([ROW | {"value": math.inf}]))
    assert len(read_estimates(path)) == 2  # a write that fails leaves the old file


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", ": Input should be a valid array"),
        ("[", ": Invalid JSON"),
        ("[" * 100_000, ": Invalid JSON"),
        ("[1]", ", row 1: Input should be an object"),
        (json.dumps([ROW, {"variant": "a"}]), ", row 2: seed: Field required"),
        (json.dumps([ROW | {"baseline": None}]), ", row 1: baseline: Extra inputs"),
        (
            json.dumps([ROW | {"value": "much"}]),
            "value: Input should be a valid number, not 'much'",
        ),
        (json.dumps([ROW | {"value": math.nan}]), "value: Input should be a finite number, not"),
        (json.dumps([ROW | {"value": 10**400}]), "value: Input should be a"),
        (json.dumps([ROW | {"n": 1.5}]), "n: Input should be a valid integer, not '1.5'"),
        (json.dumps([ROW | {"n": None}]), "n: Input should be a valid integer"),
        (json.dumps([ROW | {"n": 2**63}]), "n: Input should be less than"),
        (json.dumps([ROW | {"metric": None}]), "metric: Input should be a valid string"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(UserError) as error:
        read_estimates(tmp_path / "m.json")
    assert str(error.value).startswith(f"{tmp_path / 'm.json'}") and message in str(error.value)
    assert str(error.value).endswith("; not a table of estimates: `metrics` makes it anew")
    assert "\n" not in str(error.value)


def test_a_missing_file_names_its_stage(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file; `compare` makes it"):
        read_estimates(tmp_path / "c.json", "compare")


def test_files_are_concatenated_and_must_name_their_model(tmp_path: Path) -> None:
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for seed, path in enumerate(paths):
        write_estimates(path, estimates_frame([ROW | {"seed": seed}]))
    assert read_all_estimates(paths)["seed"].tolist() == [0, 1]
    assert read_all_estimates([]).columns.tolist() == list(COLUMNS["metrics"])
    for nameless in ([ROW | {"variant": None}], [ROW | {"seed": None}], []):
        write_estimates(paths[1], estimates_frame(nameless))
        with pytest.raises(UserError, match=r"b.json: does not name its variant; expected a file"):
            read_all_estimates(paths)
