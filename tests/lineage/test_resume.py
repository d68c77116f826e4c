"""What may be taken up by the next run, what may not, and what goes."""

import json
from pathlib import Path
from typing import Any

import pytest

from gcrm.lineage import resume as resumption
from gcrm.lineage.resume import SEAL, discard, is_whole, parts_of, remove, seal, unfinished


@pytest.fixture
def work(tmp_path: Path) -> dict[str, Any]:
    """What `unfinished` is asked with."""
    (tmp_path / "pairs.jsonl").write_text("1\n")
    return {
        "parent": tmp_path / "checkpoints",
        "result": tmp_path / "models" / "seed0",
        "stage": "train",
        "settings": {"learning_rate": 0.1, "max_len": 5},
        "sources": [tmp_path / "pairs.jsonl", "owner/hub-id"],
    }


def test_the_same_work_has_the_same_folder(work: dict[str, Any], tmp_path: Path) -> None:
    folder = unfinished(**work)
    assert folder.parent == work["parent"] and not folder.exists()
    turned = dict(reversed(work["settings"].items()))
    assert unfinished(**(work | {"settings": turned})) == folder
    (tmp_path / "pairs.jsonl").touch()
    moved = (tmp_path / "pairs.jsonl").rename(tmp_path / "moved.jsonl")
    assert unfinished(**(work | {"sources": [moved, "owner/hub-id"]})) == folder


def test_changed_settings_data_results_and_threads_have_another(
    work: dict[str, Any], tmp_path: Path
) -> None:
    folders = {
        unfinished(**work),
        unfinished(**work | {"settings": {"learning_rate": 0.2, "max_len": 5}}),
        unfinished(**work | {"settings": {"learning_rate": 0.1}}),
        unfinished(**work | {"stage": "represent"}),
        unfinished(**work | {"result": tmp_path / "models" / "seed1"}),
        unfinished(*work.values(), 1),
        unfinished(*work.values(), 2),
    }
    (tmp_path / "pairs.jsonl").write_text("2\n")
    folders.add(unfinished(**work))
    assert len(folders) == 8


@pytest.mark.parametrize("what", ["code_version", "versions_now"])
def test_changed_code_and_libraries_have_another(
    work: dict[str, Any], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    before = unfinished(**work)
    monkeypatch.setattr(resumption, what, lambda *_: "changed")
    assert unfinished(**work) != before


def test_what_is_discarded_is_the_results_own(work: dict[str, Any], tmp_path: Path) -> None:
    other = work | {"result": tmp_path / "models" / "seed1"}
    for one in (work, work | {"settings": {}}, other):
        (unfinished(**one) / "checkpoint-1").mkdir(parents=True)
    (work["parent"] / "notes.txt").write_text("mine")
    discard(work["parent"], work["result"])
    left = sorted(path.name for path in work["parent"].iterdir())
    assert left == sorted([unfinished(**other).name, "notes.txt"])
    discard(work["parent"], other["result"])
    (work["parent"] / "notes.txt").unlink()
    discard(work["parent"], work["result"])
    assert not work["parent"].exists()
    discard(work["parent"], work["result"])


def test_parts_lie_beside_their_result() -> None:
    assert parts_of(Path("a/scores.parquet")) == Path("a/scores.parquet.parts")


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


def test_half_removed_is_not_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoint-3").mkdir()
    (tmp_path / "checkpoint-3" / "weights").write_text("1234")
    seal(tmp_path / "checkpoint-3")

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(resumption.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        remove(tmp_path / "checkpoint-3")
    assert not is_whole(tmp_path / "checkpoint-3")
