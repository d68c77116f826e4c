"""A full or read-only disk: one line, status 1, and earlier results stay."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gcrm.cli import run_stage, show
from gcrm.config.evaluate import EvaluateOptions
from gcrm.config.export import ExportOptions
from gcrm.evaluate import run as run_evaluate
from gcrm.export import run as run_export
from gcrm.lineage import resume
from gcrm.modeling.loading import new_reward_model
from gcrm.utils.disk import check_writable, disk_problem
from gcrm.utils.errors import UserError
from gcrm.utils.io import atomic_folder, atomic_path, write_jsonl
from helpers.completions import write_completions
from helpers.models import save_base_model
from helpers.score_rows import score_file
from helpers.training import train, write_pairs

FULL = OSError(errno.ENOSPC, "No space left on device")
NOWHERE = Path("/sys/gcrm/results")
"""Nobody may make files there, not even root."""


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The kernel refuses to write files larger than `size` bytes, in place of a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def export(scores: Path, output: Path, *more: str) -> int:
    words = ["--scores", str(scores), "--output", str(output), *more]
    return run_stage(ExportOptions, run_export, words)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FULL, "the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "quota"),
        (OSError(errno.EROFS, "Read-only file system"), "read-only"),
        (RuntimeError("Error while serializing: I/O error: … (os error 28)"), "the disk is full"),
        (RuntimeError("[enforce fail] PytorchStreamWriter failed writing file data/0"), "whole"),
        (RuntimeError("[enforce fail at inline_container.cc] . unexpected pos 5 vs 4"), "whole"),
        (ValueError("bad value"), None),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), None),
        (PermissionError(errno.EACCES, "Permission denied"), None),
    ],
)
def test_disk_problems_are_recognised(error: Exception, words: str | None) -> None:
    found = disk_problem(error)
    assert found is None if words is None else found is not None and words in found
    outer = RuntimeError("could not save")
    outer.__cause__ = error
    assert disk_problem(outer) == found


@pytest.mark.parametrize("save", [torch.save, save_file])
def test_errors_of_torch_and_safetensors_are_recognised(
    tmp_path: Path, save: Callable[..., None]
) -> None:
    with largest_file(50_000), pytest.raises(Exception) as raised:
        save({"a": torch.zeros(100_000)}, tmp_path / "weights")
    assert disk_problem(raised.value) is not None


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path: Path, kind: str) -> None:
    old = tmp_path / "model" / "scores.jsonl"
    old.parent.mkdir()
    old.write_text("old")
    target = old if kind == "file" else old.parent
    with (
        pytest.raises(UserError, match=f"^{target}: cannot be written: the disk is full"),
        atomic_path(old) if kind == "file" else atomic_folder(target, last=old.name) as new,
    ):
        (new if kind == "file" else new / old.name).write_text("half")
        raise FULL
    assert files(tmp_path) == {"model/scores.jsonl": b"old"}


def test_a_stage_on_a_full_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = score_file(tmp_path / "scores.parquet", problems=100)
    output = tmp_path / "output.jsonl"
    output.write_text("old")
    before = files(tmp_path)
    with largest_file(10_000):
        assert export(scores, output) == 1
    assert capsys.readouterr().err == (
        f"export: error: {output}: cannot be written: larger than a file may be here; raise the "
        "limit (ulimit -f) and start again\n"
    )
    assert files(tmp_path) == before


def test_a_full_log_disk_does_not_stop_a_stage(tmp_path: Path) -> None:
    """A process of its own, because the log is closed at exit."""
    words = ["--scores", score_file(tmp_path / "scores.parquet")]
    words += ["--output", tmp_path / "output.jsonl", "--log-file", Path("/dev/full")]
    command = [sys.executable, "-m", "gcrm.export", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "output.jsonl").read_text().count("\n") == 40


def test_standard_output_on_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", full)
        with pytest.raises(UserError, match="standard output: cannot be written: the disk is full"):
            show("a table\n")


def test_a_reader_that_stops_early_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """For example `head`."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as pipe, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", pipe)
        show("a table\n")


def test_training_on_a_full_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_base_model(tmp_path / "base", hidden_size=64)
    write_pairs(tmp_path / "pairs.jsonl")
    with largest_file(60_000):  # less than a checkpoint
        status, model = train(
            tmp_path, "rm", "--save_steps", "1", "--log-file", str(tmp_path / "log")
        )
    assert status == 1
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("train: error: ") and "start again" in said
    assert "Traceback" not in said
    assert not list(model.glob("*"))


def test_scoring_resumes_after_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(resume, "SECONDS", 0)
    model, tokenizer = new_reward_model(str(save_base_model(tmp_path / "base")), "sdpa", seed=0)
    model.save_pretrained(tmp_path / "rm")
    tokenizer.save_pretrained(tmp_path / "rm")
    write_completions(tmp_path / "completions", "gsm8k", samples=3)
    words = ["--reward_model_path", tmp_path / "rm", "--vanilla", "--tokens_per_batch", "40"]
    words += ["--completions_data_path", tmp_path / "completions", "--benchmarks", "gsm8k"]
    words += ["--splits", "all", "--output"]

    def evaluate(output: Path) -> int:
        return run_stage(EvaluateOptions, run_evaluate, list(map(str, [*words, output])))

    whole, scores = tmp_path / "whole.parquet", tmp_path / "scores" / "scores.parquet"
    assert evaluate(whole) == 0
    with largest_file(whole.stat().st_size // 2):
        assert evaluate(scores) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("evaluate: error: ")
    assert evaluate(scores) == 0
    assert " gsm8k all: resuming: " in capsys.readouterr().err
    assert scores.read_bytes() == whole.read_bytes()
    names = sorted(path.name for path in scores.parent.iterdir())
    assert names == ["scores.parquet", "scores.parquet.provenance.json"]


# --- paths that cannot be written ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("file/new/scores.jsonl", "one of the folders in this path is a file; give another path"),
        ("file/scores.jsonl", "there is a file where a folder is needed; give another path"),
        ("folder", "there is a folder of this name; give another path"),
        ("n" * 300, "the name is longer than the file system takes; give a shorter one"),
        ("/proc/gcrm/scores.jsonl", "its folder is gone, or cannot be made; give another path"),
    ],
)
def test_paths_that_cannot_be_files_are_refused(tmp_path: Path, path: str, reason: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(UserError, match=f"{path}: cannot be written: {reason}"):
        write_jsonl(tmp_path / path, [{"a": 1}])
    assert (tmp_path / "folder" / "inside").is_dir()


def test_a_folder_is_checked_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^{NOWHERE}: cannot be written: .*(another|read-only)"):
        check_writable(NOWHERE)
    check_writable(tmp_path / "new" / "folder")
    assert not list((tmp_path / "new" / "folder").iterdir())


@pytest.mark.parametrize("log", [[], ["--log-file", "/sys/gcrm/export.log"]])
def test_a_stage_that_cannot_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: list[str]
) -> None:
    assert export(score_file(tmp_path / "s.parquet"), NOWHERE / "output.jsonl", *log) == 1
    said = capsys.readouterr().err
    assert said.startswith("export: error: /sys/gcrm/") and said.count("\n") == 1
    assert "cannot be written: " in said
