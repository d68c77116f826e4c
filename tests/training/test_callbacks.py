"""Interrupted trainings resume and give the same model; progress and checkpoints."""

import errno
import os
import signal
from types import SimpleNamespace

import pytest
import torch
from transformers import Trainer

from gcrm.lineage import resume as resumption
from gcrm.lineage.resume import seal
from gcrm.training import callbacks
from gcrm.training.callbacks import ProgressLine, last_checkpoint
from gcrm.utils.locks import claim
from helpers.training import log_of, train, training_folder, weights_of, write_pairs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return training_folder(tmp_path_factory.mktemp("interrupted"))


@pytest.fixture
def signal_at(monkeypatch):
    """A function that makes signals arrive in a step, the first time it is reached."""

    def send(step, *numbers):
        def on_step_end(self, args, state, control, **_):
            if state.global_step == step and not sent:
                sent.append(step)
                for number in numbers:
                    os.kill(os.getpid(), number)

        sent = []
        monkeypatch.setattr(ProgressLine, "on_step_end", on_step_end)

    return send


# 24 pairs, 8 per step, 4 epochs: 12 steps.
FLAGS = ["--reward_model_strategy", "contrastive", "--max_epochs", "4"]


@pytest.fixture(scope="module")
def whole(folder):
    """The model of an uninterrupted training."""
    status, model = train(folder, "uninterrupted", *FLAGS)
    assert status == 0
    return model


def assert_same(model, whole):
    assert log_of(model) == log_of(whole)
    for name, weight in weights_of(whole).items():
        assert weight.equal(weights_of(model)[name]), name


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signal_saves_a_checkpoint_and_resuming_gives_the_same_weights(
    folder, whole, signal_at, capfd, number
):
    """Without save_steps, only the signal saves a checkpoint."""
    name = f"stopped-{number.name}"
    before = signal.getsignal(number)
    signal_at(5, number)
    with pytest.raises(SystemExit) as stopped:
        train(folder, name, *FLAGS)
    assert stopped.value.code == 128 + number
    said = capfd.readouterr().err
    assert f"stopped by {number.name}, saved at step 5 of 12" in said
    assert ("Ctrl-C again stops" in said) == (number == signal.SIGINT)
    assert not (folder / name / "model.safetensors").exists()
    assert list((folder / f"{name}.checkpoints").glob("*/checkpoint-5"))

    status, resumed = train(folder, name, *FLAGS)
    assert status == 0 and "resuming from" in capfd.readouterr().err
    assert_same(resumed, whole)
    assert not (folder / f"{name}.checkpoints").exists()
    assert signal.getsignal(number) == before


def test_second_ctrl_c_stops_at_once(folder, signal_at, capsys):
    signal_at(5, signal.SIGINT, signal.SIGINT)
    status, _ = train(folder, "twice", *FLAGS)
    assert status == 130 and "train: interrupted" in capsys.readouterr().err
    assert not list(folder.glob("twice.checkpoints/*/checkpoint-*"))


def test_signal_ends_a_line_of_the_log(folder, signal_at):
    """Lines are means over several steps; no step is lost."""
    flags = [*FLAGS, "--logging_steps", "3"]
    signal_at(4, signal.SIGTERM)
    with pytest.raises(SystemExit):
        train(folder, "counted", *flags)
    _, resumed = train(folder, "counted", *flags)
    assert [line["step"] for line in log_of(resumed)] == [3, 4, 6, 9, 12]


def test_signal_in_the_last_step_is_ignored(folder, signal_at, capsys):
    signal_at(12, signal.SIGTERM)
    status, model = train(folder, "late", *FLAGS)
    assert status == 0 and (model / "model.safetensors").exists()


def test_incomplete_checkpoints_are_not_resumed_from(tmp_path):
    assert last_checkpoint(tmp_path / "none") is None
    for step in (2, 10, 12):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
    assert last_checkpoint(tmp_path) is None
    for step in (2, 10):
        seal(tmp_path / f"checkpoint-{step}")
        assert last_checkpoint(tmp_path) == str(tmp_path / f"checkpoint-{step}")


@pytest.mark.parametrize(
    ("where", "resumed_from"), [("between", 6), ("saving", 3), ("removing", 6)]
)
def test_killed_training_resumes_from_the_last_complete_checkpoint(
    folder, whole, monkeypatch, capsys, where, resumed_from
):
    """Killed between two checkpoints, while one is saved, or while an older one is removed. An
    interrupt stands in for kill -9."""

    def killed_saving(checkpoint):
        if checkpoint.name == "checkpoint-6":
            (checkpoint / "optimizer.pt").write_bytes(b"half")
            raise KeyboardInterrupt
        seal(checkpoint)

    def killed_removing(checkpoint, **_):
        (checkpoint / "optimizer.pt").unlink()
        raise KeyboardInterrupt

    def killed_between(self, args, state, control, **_):
        if state.global_step == 8:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if where == "between":
            patch.setattr(ProgressLine, "on_step_end", killed_between)
        elif where == "saving":
            patch.setattr(callbacks, "seal", killed_saving)
        else:
            patch.setattr(callbacks, "shutil", SimpleNamespace(rmtree=killed_removing))
        most = "2" if where == "between" else "1"
        flags = [*FLAGS, "--save_steps", "3", "--max_checkpoints", most]
        status, model = train(folder, where, *flags)
    assert status == 130
    [home] = (folder / f"{where}.checkpoints").iterdir()
    assert {path.name for path in home.iterdir()} == {"checkpoint-3", "checkpoint-6"}
    capsys.readouterr()
    status, model = train(folder, where, *flags)
    assert status == 0
    assert f"resuming from {home}/checkpoint-{resumed_from}\n" in capsys.readouterr().err
    assert_same(model, whole)


@pytest.mark.parametrize("most", [1, 3])
def test_max_checkpoints_are_kept(folder, monkeypatch, most):
    seen = []

    def watched(checkpoint):
        seal(checkpoint)
        seen.append(sorted(path.name for path in checkpoint.parent.iterdir()))

    monkeypatch.setattr(callbacks, "seal", watched)
    flags = ["--max_epochs", "2", "--save_steps", "1", "--max_checkpoints", str(most)]
    status, _ = train(folder, f"kept{most}", *flags)
    assert status == 0
    assert [len(names) for names in seen] == [min(step, most + 1) for step in range(1, 7)]
    assert "checkpoint-6" in seen[-1] and f"checkpoint-{6 - most}" in seen[-1]
    assert not list(folder.glob(f"kept{most}.checkpoints"))


def change_setting(folder, flags, monkeypatch):
    return [*flags, "--learning_rate", "2e-3"]


def change_data(folder, flags, monkeypatch):
    pairs = folder / "changed.jsonl"
    pairs.write_text(pairs.read_text().replace("now", "many"))
    return flags


def change_code(folder, flags, monkeypatch):
    monkeypatch.setattr(resumption, "code_version", lambda module: "edited")
    return flags


def change_threads(folder, flags, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    return flags


@pytest.mark.parametrize("change", [change_setting, change_data, change_code, change_threads])
def test_changed_training_starts_from_the_beginning(folder, signal_at, monkeypatch, capsys, change):
    """It removes the checkpoints of the previous training, but not those of another model in the
    same folder of checkpoints."""
    write_pairs(folder / "changed.jsonl")
    shared = folder / change.__name__
    another = shared / "0123abcd-another" / "checkpoint-2"
    another.mkdir(parents=True)
    flags = ["--max_epochs", "2", "--ckpt_path", str(shared)]
    flags += ["--dataset", str(folder / "changed.jsonl")]
    signal_at(2, signal.SIGTERM)
    with pytest.raises(SystemExit):
        train(folder, f"{change.__name__}-stale", *flags)
    assert len(list(shared.glob("*/checkpoint-2"))) == 2
    flags = change(folder, flags, monkeypatch)
    capsys.readouterr()
    status, stale = train(folder, f"{change.__name__}-stale", *flags)
    assert status == 0 and "resuming" not in capsys.readouterr().err
    assert list(shared.glob("*/checkpoint-2")) == [another]
    assert list(shared.iterdir()) == [another.parent]
    status, fresh = train(folder, f"{change.__name__}-fresh", *flags)
    assert_same(stale, fresh)


def test_second_training_of_the_same_model_is_refused(folder, capsys):
    with claim(folder / "claimed"):
        status, model = train(folder, "claimed", *FLAGS)
    assert status == 1
    said = capsys.readouterr().err
    assert f"{model}: is being written by another process ({os.getpid()} on " in said
    assert said.count("\n") == 1 and not model.exists()


def test_a_checkpoint_folder_without_permission_is_told_in_one_line(folder, monkeypatch, capsys):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Trainer, "_save_checkpoint", refuse)
    status, model = train(folder, "refused", *FLAGS, "--save_steps", "1")
    assert status == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"train: error: {model}.checkpoints/")
    assert "cannot be written: no permission to write there" in last
