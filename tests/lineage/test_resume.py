"""Unfinished work: which run resumes from it, what is left out, and what is removed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gcrm.lineage import resume
from gcrm.lineage.resume import SEAL, Unfinished, is_whole, seal


@pytest.fixture
def work(tmp_path: Path) -> dict[str, Any]:
    """Arguments of `Unfinished`."""
    (tmp_path / "pairs.jsonl").write_text("1\n")
    return {
        "result": tmp_path / "models" / "seed0",
        "stage": "train",
        "settings": {"learning_rate": 0.1, "max_len": 5},
        "sources": [tmp_path / "pairs.jsonl", "owner/hub-id"],
        "parent": tmp_path / "checkpoints",
    }


def test_the_same_work_has_the_same_folder(work: dict[str, Any], tmp_path: Path) -> None:
    folder = Unfinished(**work).folder
    assert folder.parent == work["parent"] and not folder.exists()
    turned = dict(reversed(work["settings"].items()))
    assert Unfinished(**work | {"settings": turned}).folder == folder
    (tmp_path / "pairs.jsonl").touch()
    moved = (tmp_path / "pairs.jsonl").rename(tmp_path / "moved.jsonl")
    assert Unfinished(**work | {"sources": [moved, "owner/hub-id"]}).folder == folder
    del work["parent"]
    beside = tmp_path / "models" / "seed0.parts"
    assert Unfinished(**work).folder.parent == beside


def test_other_work_has_another_folder(
    work: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other settings, stages, results, threads, data, code or libraries."""
    changes: list[dict[str, Any]] = [
        {},
        {"settings": {"learning_rate": 0.2, "max_len": 5}},
        {"settings": {"learning_rate": 0.1}},
        {"stage": "represent"},
        {"result": tmp_path / "models" / "seed1"},
    ]
    folders = {Unfinished(**work | change).folder for change in changes}
    parent = work.pop("parent")
    folders |= {Unfinished(*work.values(), threads, parent=parent).folder for threads in (1, 2)}
    (tmp_path / "pairs.jsonl").write_text("2\n")
    folders.add(Unfinished(**work, parent=parent).folder)
    for changed in ("code_version", "versions_now"):
        monkeypatch.setattr(resume, changed, lambda *_: "changed")
        folders.add(Unfinished(**work, parent=parent).folder)
    assert len(folders) == 10


def test_discarding_removes_the_work_on_this_result_only(
    work: dict[str, Any], tmp_path: Path
) -> None:
    other = work | {"result": tmp_path / "models" / "seed1"}
    for one in (work, work | {"settings": {}}, other):
        (Unfinished(**one).folder / "checkpoint-1").mkdir(parents=True)
    (work["parent"] / "notes.txt").write_text("mine")
    Unfinished(**work).discard()
    left = {path.name for path in work["parent"].iterdir()}
    assert left == {Unfinished(**other).folder.name, "notes.txt"}
    (work["parent"] / "notes.txt").unlink()
    for _ in range(2):
        Unfinished(**other).discard()
        assert not work["parent"].exists()


def test_arrays_come_back_and_damaged_files_are_left_out(work: dict[str, Any]) -> None:
    """A machine that lost its power may leave files cut off."""
    unfinished = Unfinished(**work)
    for name in ("1", "2", "3", "process0"):
        unfinished.write(name, {"rows": np.arange(int(name[-1]))})
    (unfinished.folder / "2.npz").write_bytes(b"PK\x03\x04 cut")
    whole = (unfinished.folder / "3.npz").read_bytes()
    (unfinished.folder / "3.npz").write_bytes(whole[:-20])
    (unfinished.folder / "4.npz").write_bytes(b"")
    found = [arrays["rows"].tolist() for arrays in unfinished.read("[0-9]*")]
    assert found == [[0]]


def test_arrays_are_due_after_a_minute(
    work: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(resume.time, "monotonic", lambda: now[0])
    unfinished = Unfinished(**work)
    due = []
    for _ in range(8):
        now[0] += 20
        due.append(unfinished.is_due)
        if due[-1]:
            unfinished.write("0", {})
    assert due == [False, False, True, False, False, True, False, False]


def test_a_folder_is_whole_as_long_as_all_its_files_are(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-3"
    (folder / "global_step3").mkdir(parents=True)
    (folder / "weights").write_text("1234")
    (folder / "global_step3" / "states").write_text("12")
    assert not is_whole(folder)
    seal(folder)
    assert is_whole(folder)
    assert json.loads((folder / SEAL).read_text()) == {"weights": 4, "global_step3/states": 2}
    (folder / "weights").write_text("123")
    assert not is_whole(folder)
    (folder / "weights").write_text("4321")
    assert is_whole(folder)
    (folder / "global_step3" / "states").unlink()
    assert not is_whole(folder)
    (folder / SEAL).write_text('{"wei')
    assert not is_whole(folder)
