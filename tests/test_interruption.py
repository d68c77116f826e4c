"""A training that is sent SIGTERM: it saves, says so, and is resumed as if nothing had been."""

import os
import signal

import pytest
from models import save_base_model
from test_train import log_of, train, weights_of, write_pairs

from gcrm.interruption import STATUS, last_checkpoint
from gcrm.trainer import ProgressLine


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interrupted")
    save_base_model(folder / "base")
    write_pairs(folder / "pairs.jsonl")
    return folder


@pytest.fixture
def sigterm_at(monkeypatch):
    """Call it to have SIGTERM come in a step, the first time that it is reached."""

    def send(step):
        def on_step_end(self, args, state, control, **_):
            if state.global_step == step and not sent:
                sent.append(step)
                os.kill(os.getpid(), signal.SIGTERM)

        sent = []
        monkeypatch.setattr(ProgressLine, "on_step_end", on_step_end)

    return send


# 24 pairs, 8 a step, 4 passes: 12 steps. The head counts, and so do the optimiser and the schedule.
FLAGS = ["--reward_model_strategy", "contrastive", "--max_epochs", "4"]


def test_it_saves_and_the_next_one_resumes_to_the_same_weights(folder, sigterm_at, capsys):
    """Without save_steps: nothing else would have saved a checkpoint."""
    _, whole = train(folder, "uninterrupted", *FLAGS)
    before = signal.getsignal(signal.SIGTERM)
    sigterm_at(5)
    with pytest.raises(SystemExit) as stopped:
        train(folder, "stopped", *FLAGS)
    assert stopped.value.code == STATUS == 143
    assert "stopped by SIGTERM, saved at step 5 of 12" in capsys.readouterr().err
    assert not (folder / "stopped" / "model.safetensors").exists()
    assert list((folder / "stopped.checkpoints").glob("*/checkpoint-5"))

    status, resumed = train(folder, "stopped", *FLAGS)
    assert status == 0 and "resuming from" in capsys.readouterr().err
    assert log_of(resumed) == log_of(whole)
    for name, weight in weights_of(whole).items():
        assert weight.equal(weights_of(resumed)[name]), name
    assert not (folder / "stopped.checkpoints").exists()
    assert signal.getsignal(signal.SIGTERM) == before


def test_no_pair_is_missing_from_the_log(folder, sigterm_at):
    """Where lines are means over several steps, the signal ends one."""
    flags = [*FLAGS, "--logging_steps", "3"]
    sigterm_at(4)
    with pytest.raises(SystemExit):
        train(folder, "counted", *flags)
    _, resumed = train(folder, "counted", *flags)
    assert [line["step"] for line in log_of(resumed)] == [3, 4, 6, 9, 12]


def test_in_the_last_step_it_comes_too_late_to_matter(folder, sigterm_at, capsys):
    sigterm_at(12)
    status, model = train(folder, "late", *FLAGS)
    assert status == 0 and (model / "model.safetensors").exists()


def test_a_checkpoint_that_was_cut_off_is_not_resumed_from(tmp_path):
    assert last_checkpoint(tmp_path / "none") is None
    for step in (2, 10, 12):
        (tmp_path / f"checkpoint-{step}").mkdir()
    assert last_checkpoint(tmp_path) is None
    for step in (2, 10):
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
