import json
import os
from pathlib import Path
from typing import Any

import pytest

from gcrm.config.loading import load
from gcrm.data.checks import check_inputs
from gcrm.utils.errors import UserError
from gcrm.utils.paths import files_of
from helpers.configs import FETCHED, OWN


def test_attributes_of_a_run_are_checked_before_any_job(tmp_path: Path) -> None:
    files = own_files(tmp_path)
    wanted = {"represent": {"attributes": ["helpfulness"]}}
    config = load(files | wanted, "my.yaml")
    with pytest.raises(UserError, match="row 1: attribute helpfulness is missing or null"):
        check_inputs(config, "my.yaml", tmp_path / "memory.json")
    pair = {"question": "q ?", "correct": "a", "incorrect": "b", "helpfulness": 3}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pair) + "\n")
    check_inputs(config, "my.yaml", tmp_path / "memory.json")


def test_sources_may_name_their_splits(tmp_path: Path) -> None:
    import datasets

    pairs = datasets.Dataset.from_list([{"question": "q ?", "correct": "a", "incorrect": "b"}])
    datasets.DatasetDict({"train_prefs": pairs, "test_prefs": pairs}).save_to_disk(tmp_path / "d")
    given = OWN | {
        "benchmarks": [],
        "completions": None,
        "preferences": f"{tmp_path / 'd'}:train_prefs",
        "heldout": {"held": f"{tmp_path / 'd'}:test_prefs"},
    }
    config = load(given, "my.yaml")
    assert config.preference_files() == config.heldout_files() == files_of(str(tmp_path / "d"))
    assert config.scored_files("held", "pairs") == config.heldout_files()
    check_inputs(config, "my.yaml", tmp_path / "memory.json")
    for change in ({"preferences": str(tmp_path / "d")}, {"heldout": {"a": f"{tmp_path / 'd'}:a"}}):
        with pytest.raises(UserError, match=r"name the one to read, as in .*d:train_prefs$"):
            check_inputs(load(given | change, "my.yaml"), "my.yaml", tmp_path / "memory.json")
    with pytest.raises(UserError, match=r"preferences: \./none:train: no such file or folder"):
        missing = load(given | {"preferences": "./none:train"}, "my.yaml")
        check_inputs(missing, "my.yaml", tmp_path / "memory.json")


def test_a_missing_chat_template_is_told_before_any_job(tmp_path: Path) -> None:
    config = load(own_files(tmp_path) | {"chat_template": "none.jinja"}, "my.yaml")
    with pytest.raises(UserError, match=r"my.yaml: chat_template: none.jinja: no such file"):
        check_inputs(config, "my.yaml", tmp_path / "memory.json")


def test_what_is_downloaded_is_not_looked_for_before_the_run(tmp_path: Path) -> None:
    config = load(FETCHED | {"preferences": "download:pairs"}, "my.yaml")
    check_inputs(config, "my.yaml", tmp_path / "memory.json")


def own_files(folder: Path) -> dict[str, Any]:
    pair = {"question": "q ?", "correct": "a", "incorrect": "b"}
    (folder / "pairs.jsonl").write_text(json.dumps(pair) + "\n")
    row = {"question": "p ?", "generated_solution": "2", "is_correct": True}
    for name in ("gsm8k", "simuleq"):
        (folder / name).mkdir()
        (folder / name / "output-greedy.jsonl").write_text(json.dumps(row) + "\n")
    return OWN | {"preferences": str(folder / "pairs.jsonl"), "completions": str(folder)}


def test_what_was_found_good_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load(own_files(tmp_path), "my.yaml")
    memory = tmp_path / ".snakemake" / "inputs.json"
    check_inputs(config, "my.yaml", memory)
    seen: list[object] = []
    monkeypatch.setattr("gcrm.data.checks.read_completions", lambda *args: seen.append(args[1:]))
    monkeypatch.setattr("gcrm.data.checks.load_preferences", lambda *args: seen.append(args))
    check_inputs(config, "my.yaml", memory)
    assert seen == []
    file = tmp_path / "gsm8k" / "output-greedy.jsonl"
    os.utime(file, (1, 1))
    check_inputs(config, "my.yaml", memory)
    assert seen == [("gsm8k", "greedy")]


def test_a_broken_row_stays_refused(tmp_path: Path) -> None:
    config = load(own_files(tmp_path), "my.yaml")
    (tmp_path / "gsm8k" / "output-greedy.jsonl").write_text('{"question": 3}\n')
    for _ in range(2):
        with pytest.raises(UserError, match=r"output-greedy.jsonl, row 1: "):
            check_inputs(config, "my.yaml", tmp_path / "memory.json")


def test_broken_held_out_rows_and_missing_files_are_refused(tmp_path: Path) -> None:
    given_ = own_files(tmp_path)
    pair = {"question": "q ?", "correct": "a", "incorrect": None}
    (tmp_path / "heldout.jsonl").write_text(json.dumps(pair) + "\n")
    for name, message in (
        ("heldout.jsonl", r"heldout.jsonl, row 1: incorrect is missing or null"),
        ("none.jsonl", r"my.yaml: heldout.hh: .*none.jsonl: no such file or folder"),
    ):
        config = load(given_ | {"heldout": {"hh": str(tmp_path / name)}}, "my.yaml")
        with pytest.raises(UserError, match=message):
            check_inputs(config, "my.yaml", tmp_path / "memory.json")


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "no such file"), ("{", "not readable as JSON"), ("[]", "expected a JSON object")],
)
def test_a_deepspeed_configuration_is_read_before_any_job(
    tmp_path: Path, content: str | None, problem: str
) -> None:
    file = tmp_path / "zero.json"
    if content is not None:
        file.write_text(content)
    config = load(OWN | {"train": {"deepspeed_config": str(file)}}, "my.yaml")
    with pytest.raises(UserError, match=f"zero.json: {problem}"):
        check_inputs(config, "my.yaml", tmp_path / "memory.json")


@pytest.mark.parametrize("content", ["", "[]", "{broken"])
def test_a_broken_memory_is_forgotten(tmp_path: Path, content: str) -> None:
    config = load(own_files(tmp_path), "my.yaml")
    memory = tmp_path / "memory.json"
    memory.write_text(content)
    check_inputs(config, "my.yaml", memory)
    assert len(json.loads(memory.read_text())) == 3
