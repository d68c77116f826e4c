"""Full and read-only disks: one line, status 1, and what was there before stays."""

import errno
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gcrm.cli import run_stage
from gcrm.config.evaluate import EvaluateOptions
from gcrm.config.export import ExportOptions
from gcrm.evaluate import run as run_evaluate
from gcrm.export import run as run_export
from gcrm.lineage import resume
from gcrm.modeling.loading import new_reward_model
from gcrm.training.callbacks import last_checkpoint
from gcrm.utils.disk import check_writable, disk_problem
from gcrm.utils.errors import UserError
from gcrm.utils.io import atomic_folder, atomic_path, write_jsonl
from helpers.completions import write_completions
from helpers.models import save_base_model
from helpers.score_rows import score_file
from helpers.training import train, write_pairs

pytestmark = pytest.mark.usefixtures("logging_as_before")

ROOT = Path(__file__).parents[2]
NOWHERE = Path("/sys/gcrm/results")
"""No one may make files there, root neither."""


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The kernel refuses to write files larger than `size` bytes.

    This stands in for a full disk, which only root can make; libraries fail in the same place.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*.*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
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
def test_errors_that_are_a_disks(error: Exception, words: str | None) -> None:
    found = disk_problem(error)
    assert found is None if words is None else found is not None and words in found


def test_the_cause_behind_a_librarys_error_counts() -> None:
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as cause:
            raise RuntimeError("could not save") from cause
    except RuntimeError as error:
        assert "the disk is full" in (disk_problem(error) or "")


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path: Path, kind: str) -> None:
    (tmp_path / "model").mkdir()
    old = tmp_path / "model" / "scores.jsonl"
    old.write_text("old")

    def fill(path: Path) -> None:
        path.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match="cannot be written: the disk is full") as told:
        if kind == "file":
            with atomic_path(old) as path:
                fill(path)
        else:
            with atomic_folder(old.parent, last=old.name) as folder:
                fill(folder / "scores.jsonl")
    assert str(told.value).startswith(str(old if kind == "file" else old.parent))
    assert files(tmp_path) == {"model/scores.jsonl": b"old"}


@pytest.mark.parametrize("save", [torch.save, save_file])
def test_real_writers_of_weights_are_understood(tmp_path: Path, save: Callable[..., None]) -> None:
    """safetensors writes in Rust, torch in C++: neither raises an OSError of Python's."""
    weights = {"a": torch.zeros(100_000)}
    with largest_file(50_000), pytest.raises(Exception) as told:
        save(weights, tmp_path / "weights")
    assert disk_problem(told.value) is not None
    save(weights, tmp_path / "weights")


def test_a_stage_on_a_full_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = score_file(tmp_path / "scores.parquet", problems=100)
    output = tmp_path / "output.jsonl"
    output.write_text("old")
    before = files(tmp_path)
    with largest_file(10_000):
        words = ["--scores", str(scores), "--output", str(output)]
        assert run_stage(ExportOptions, run_export, words) == 1
    assert capsys.readouterr().err == (
        f"export: error: {output}: cannot be written: larger than a file may be here; raise the "
        "limit (ulimit -f) and start again\n"
    )
    assert files(tmp_path) == before


def test_a_log_on_a_full_disk_stops_nothing(tmp_path: Path) -> None:
    """Nor does it end the process with an error when the log is closed."""
    words = ["--scores", score_file(tmp_path / "scores.parquet")]
    words += ["--output", tmp_path / "output.jsonl", "--log-file", Path("/dev/full")]
    command = [sys.executable, "-m", "gcrm.export", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "output.jsonl").read_text().count("\n") == 40


def test_a_printed_table_on_a_full_disk(tmp_path: Path) -> None:
    scores = score_file(tmp_path / "s.parquet")
    home = tmp_path / "eval" / "m" / "gsm8k" / "greedy" / "output.jsonl"
    words = ["--scores", str(scores), "--output", str(home)]
    assert run_stage(ExportOptions, run_export, words) == 0
    words = ["--eval_results_dir", str(tmp_path / "eval"), "--model_name", "m"]
    words += ["--benchmarks", "gsm8k", "--bootstrap_resamples", "20"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "gcrm.metrics", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"},
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "metrics: error: standard output: cannot be written: "
        "the disk is full; free some space and start again"
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("module", ["cost", "trace"])
def test_a_reader_who_has_seen_enough_is_no_error(module: str) -> None:
    """As `head` after its line."""
    command = {
        "cost": [sys.executable, "-m", "gcrm.cost", "--config", "config/paper/paper.yaml"],
        "trace": [sys.executable, "-m", "gcrm.trace", "results/published/tiny/report.md"],
    }[module]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_training_on_a_full_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A checkpoint to resume from does not fit."""
    save_base_model(tmp_path / "base", hidden_size=64)
    write_pairs(tmp_path / "pairs.jsonl")
    with largest_file(60_000):
        status, model = train(
            tmp_path, "rm", "--save_steps", "1", "--log-file", str(tmp_path / "log")
        )
    assert status == 1
    told = capsys.readouterr().err
    assert told.splitlines()[-1].startswith("train: error: ") and "start again" in told
    assert "Traceback" not in told
    assert not list(model.glob("*"))


# --- no place for a file ----------------------------------------------------------------------


def test_a_place_where_nothing_can_be_written() -> None:
    with pytest.raises(UserError, match=rf"^{NOWHERE}: cannot be written: .*(another|read-only)"):
        check_writable(NOWHERE)
    with pytest.raises(UserError, match=r"scores.jsonl: cannot be written: "):
        write_jsonl(NOWHERE / "scores.jsonl", [{"a": 1}])


def test_a_path_through_a_file_or_onto_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    for path in (tmp_path / "file" / "new" / "scores.jsonl", tmp_path / "file" / "scores.jsonl"):
        with pytest.raises(UserError, match=r"cannot be written: .* give another path"):
            write_jsonl(path, [{"a": 1}])
    with pytest.raises(UserError, match="there is a folder of this name"):
        write_jsonl(tmp_path / "folder", [{"a": 1}])
    with pytest.raises(UserError, match="the name is longer"):
        write_jsonl(tmp_path / ("n" * 300), [{"a": 1}])
    assert (tmp_path / "folder" / "inside").is_dir()
    with pytest.raises(UserError, match="its folder is gone, or cannot be made; give another path"):
        check_writable(Path("/proc/gcrm"))


@pytest.mark.parametrize("log", [[], ["--log-file", "/sys/gcrm/export.log"]])
def test_a_stage_with_no_place_to_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: list[str]
) -> None:
    scores = score_file(tmp_path / "scores.parquet")
    words = ["--scores", str(scores), "--output", str(NOWHERE / "output.jsonl")]
    assert run_stage(ExportOptions, run_export, [*words, *log]) == 1
    told = capsys.readouterr().err
    assert told.startswith("export: error: /sys/gcrm/") and told.count("\n") == 1
    assert "cannot be written: " in told


def test_a_folder_that_can_be_written_stays_empty(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "folder")
    assert not list((tmp_path / "new" / "folder").iterdir())


# --- a disk that is really full ---------------------------------------------------------------


@dataclass
class SmallDisk:
    """A file system of 8 MB."""

    folder: Path

    def fill_up_to(self, free: int) -> None:
        """Leave so many bytes."""
        ballast = self.folder / "ballast"
        ballast.unlink(missing_ok=True)
        ballast.write_bytes(b"x" * (shutil.disk_usage(self.folder).free - free))

    def empty(self) -> None:
        (self.folder / "ballast").unlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "gcrm-test", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("a small disk can only be mounted by root")
    yield SmallDisk(folder)
    subprocess.run(["umount", str(folder)], check=True)


def test_a_checkpoint_that_does_not_fit_is_none(
    small_disk: SmallDisk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first fits, the second does not; with room again, it goes on from the first."""
    save_base_model(tmp_path / "base")
    write_pairs(tmp_path / "pairs.jsonl")
    flags = ["--max_epochs", "4", "--save_steps", "3"]
    status, whole = train(tmp_path, "whole", *flags)
    assert status == 0
    (tmp_path / "on").symlink_to(small_disk.folder)
    a_checkpoint = 3.5 * (tmp_path / "base" / "model.safetensors").stat().st_size
    small_disk.fill_up_to(int(1.5 * a_checkpoint))
    capsys.readouterr()
    status, model = train(tmp_path, "on/disk", *flags)
    told = capsys.readouterr().err.splitlines()[-1]
    assert status == 1 and told.startswith("train: error: ") and "start again" in told
    assert not model.is_dir() or not any(model.iterdir())
    [home] = small_disk.folder.glob("disk.checkpoints/*")
    assert last_checkpoint(home) == str(home / "checkpoint-3")

    small_disk.empty()
    status, model = train(tmp_path, "on/disk", *flags)
    assert status == 0 and "resuming from" in capsys.readouterr().err
    for name in ("model.safetensors", "training_log.jsonl"):
        assert (model / name).read_bytes() == (whole / name).read_bytes()
    names = sorted(path.name for path in small_disk.folder.iterdir())
    assert names == ["disk", "disk.curve.jsonl"]


def test_scores_on_a_disk_that_fills_up(
    small_disk: SmallDisk,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What was scored before is not scored again, and the table is that of a larger disk."""
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

    assert evaluate(tmp_path / "scores.parquet") == 0
    scores = small_disk.folder / "scores" / "scores.parquet"
    small_disk.fill_up_to(16_384)
    capsys.readouterr()
    assert evaluate(scores) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("evaluate: error: ") and told.endswith(
        "cannot be written: the disk is full; free some space and start again"
    )
    small_disk.empty()
    assert evaluate(scores) == 0
    assert "evaluate gsm8k all: resuming: " in capsys.readouterr().err
    assert scores.read_bytes() == (tmp_path / "scores.parquet").read_bytes()
    names = sorted(path.name for path in scores.parent.iterdir())
    assert names == ["scores.parquet", "scores.parquet.provenance.json"]
