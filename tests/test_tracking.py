"""Reporting to wandb never costs a training run, and never shows the key."""

import os
import sys
from types import SimpleNamespace

import pytest

from gcrm.settings.train import TrainOptions
from gcrm.tracking import start_wandb

KEY = "0123456789abcdef-secret"


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in that keeps what it is started with; the environment is as before at the end."""
    for name in ("RANK", "WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    calls = []
    stand_in = SimpleNamespace(calls=calls, init=lambda **options: calls.append(options))
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    return stand_in


def options(**given):
    return TrainOptions(pretrain="base", dataset=["pairs.jsonl"], save_path="out", **given)


def test_nothing_is_reported_unasked(wandb):
    assert not start_wandb(options())
    assert wandb.calls == [] and os.environ.get("WANDB_MODE") is None


def test_the_key_is_in_the_environment_alone(wandb, monkeypatch, capsys, caplog):
    """wandb keeps the command line of a run with it: the key must not be there, either."""
    argv = ["train", "--use_wandb", KEY, f"--use_wandb={KEY}", "--save_path", "out"]
    monkeypatch.setattr(sys, "argv", argv)
    given = options(use_wandb=KEY, wandb_project="p", wandb_group="g", wandb_org="o")
    assert start_wandb(given)
    [call] = wandb.calls
    assert (call["project"], call["group"], call["entity"]) == ("p", "g", "o")
    assert call["config"]["learning_rate"] == 9e-6
    assert os.environ.get("WANDB_API_KEY") == KEY
    assert os.environ.get("WANDB_MODE") is None
    shown = [call, sys.argv, given, capsys.readouterr(), caplog.text, given.model_dump_json()]
    assert KEY not in repr(shown)
    assert sys.argv[4:] == ["--save_path", "out"]


def test_without_a_key_the_run_is_kept_offline(wandb, capsys):
    assert start_wandb(options(wandb_project="p"))
    assert os.environ.get("WANDB_MODE") == "offline"
    assert "offline" in capsys.readouterr().err


def test_a_key_or_mode_of_the_environment_is_respected(wandb, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert start_wandb(options(wandb_project="p"))
    assert os.environ.get("WANDB_MODE") is None
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert start_wandb(options(wandb_project="p"))
    assert os.environ.get("WANDB_MODE") == "disabled"


def test_only_the_first_process_reports(wandb, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert not start_wandb(options(use_wandb=KEY))
    assert wandb.calls == []


@pytest.mark.parametrize(
    "error", [RuntimeError("no network"), ImportError("no wandb"), OSError(KEY)]
)
def test_training_goes_on_where_wandb_fails(wandb, capsys, error):
    def init(**_):
        raise error

    wandb.init = init
    assert not start_wandb(options(use_wandb=KEY))
    said = capsys.readouterr().err
    assert "training goes on" in said and type(error).__name__ in said
    assert KEY not in said


def test_training_goes_on_without_the_package(wandb, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert not start_wandb(options(wandb_project="p"))
    assert "training goes on" in capsys.readouterr().err
