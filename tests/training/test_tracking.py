"""Reports to wandb never cost a result, never show the key, and lose or repeat no step."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from gcrm.config.track import TrackSettings
from gcrm.config.train import TrainOptions
from gcrm.training import tracking
from gcrm.training.tracking import FROM_RUN, Report, Wandb, curve, init_of, settings_of
from gcrm.training.training_curve import TrainingCurve

ROOT = Path(__file__).parents[2]
KEY = "0123456789abcdef-secret"
ROWS = [{"loss": 0.7, "step": 1}, {"loss": 0.6, "step": 2}, {"eval_accuracy": 0.5, "step": 2}]

# A wandb that writes down what it is told, in the folder that WANDB_DIR names.
RECORDING = """
import json, os

def note(*what):
    with open(os.path.join(os.environ["WANDB_DIR"], "told.jsonl"), "a") as file:
        file.write(json.dumps(what) + "\\n")

def Settings(**options):
    return options

class Run:
    summary = type("Summary", (dict,), {"__setitem__": lambda s, k, v: note("summary", k, v)})()
    def log(self, row, step):
        note("log", step, row)
    def finish(self, exit_code):
        note("finish", exit_code)

def init(**options):
    print("wandb speaks")
    kept = {name: os.environ.get(name) for name in ("WANDB_MODE", "WANDB_API_KEY")}
    note("init", options, kept)
    return Run()
"""
FAILING = {
    "on import": "raise ImportError('no such thing')",
    "on init": f"{RECORDING}\ndef init(**_): raise RuntimeError('no network for {KEY}')",
    "in the middle": f"{RECORDING}\nRun.log = lambda *_, **__: 1 / 0",
    "by ending the program": f"{RECORDING}\ndef init(**_): os._exit(3)",
    "by a crash": f"{RECORDING}\ndef init(**_): os.abort()",
    "by hanging": f"{RECORDING}\nimport time\ndef init(**_): time.sleep(600)",
    "at the end": f"{RECORDING}\nimport time\nRun.finish = lambda *_, **__: time.sleep(600)",
}


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lays a stand-in for wandb in the way of the installed one; gives what it was told."""
    for name in ("RANK", "WANDB_API_KEY", "WANDB_MODE", FROM_RUN):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "stand-in"), str(ROOT)]))
    use(tmp_path, RECORDING)

    def read() -> list[list[Any]]:
        file = tmp_path / "told.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()]

    return read


def use(folder: Path, wandb: str) -> None:
    (folder / "stand-in").mkdir(exist_ok=True)
    (folder / "stand-in" / "wandb.py").write_text(wandb)


def options(folder: Path, **given: Any) -> TrainOptions:
    save_path = folder / "models" / "vanilla" / "seed0"
    return TrainOptions(pretrain="base", dataset=["pairs.jsonl"], save_path=save_path, **given)


class Training:
    """A Trainer's part in a callback: what it has logged so far, and how far it is to go."""

    def __init__(self, folder: Path, log: list[dict[str, Any]], steps: int = 2):
        self.arguments = TrainingArguments(output_dir=str(folder), use_cpu=True, report_to=[])
        self.state = TrainerState(max_steps=steps, log_history=list(log))
        self.state.global_step = max((row["step"] for row in log), default=0)

    def run(self, callback: TrainingCurve, rows: list[dict[str, Any]]) -> None:
        callback.on_train_begin(self.arguments, self.state, TrainerControl())
        for row in rows:
            self.state.global_step = row["step"]
            self.state.log_history.append(row)
            callback.on_log(self.arguments, self.state, TrainerControl())
        callback.on_train_end(self.arguments, self.state, TrainerControl())


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- the local file ----------------------------------------------------------------------------


def test_the_curve_is_written_as_it_goes_without_wandb(told: Any, tmp_path: Path) -> None:
    rows = [{"loss": 0.7, "step": 1, "eval_runtime": 3.0}, {"train_runtime": 9.0, "step": 1}]
    Training(tmp_path, []).run(TrainingCurve(options(tmp_path), "t"), rows)
    beside = tmp_path / "models/vanilla/seed0.curve.jsonl"
    assert lines(beside) == [{"loss": 0.7, "step": 1}]
    assert not (tmp_path / "told.jsonl").exists()


def test_a_resumed_curve_neither_repeats_nor_loses_a_step(told: Any, tmp_path: Path) -> None:
    """The first attempt came further than its checkpoint, and was cut off within a line."""
    path = tmp_path / "curve.jsonl"
    Training(tmp_path, []).run(TrainingCurve(options(tmp_path, curve_path=path), "t"), ROWS)
    with path.open("a") as file:
        file.write('{"loss": 0.5, "st')
    resumed = TrainingCurve(options(tmp_path, curve_path=path), "t")
    after = [*ROWS[1:], {"loss": 0.4, "step": 3}]
    Training(tmp_path, ROWS[:1], steps=3).run(resumed, after)
    assert lines(path) == [*ROWS, {"loss": 0.4, "step": 3}]


def test_only_the_first_process_writes_and_reports(told: Any, tmp_path: Path) -> None:
    training = Training(tmp_path, [])
    training.state.is_world_process_zero = False
    training.run(TrainingCurve(options(tmp_path, wandb_project="p"), "t"), ROWS)
    assert not (tmp_path / "models").exists() and not (tmp_path / "told.jsonl").exists()


# --- wandb -------------------------------------------------------------------------------------


def test_wandb_gets_the_curve_and_how_it_ended(told: Any, tmp_path: Path) -> None:
    given = options(tmp_path, wandb_project="p", wandb_group="g", wandb_org="o", wandb_tags="a,b")
    callback = TrainingCurve(given, "t")
    Training(tmp_path, []).run(callback, ROWS)
    (_, init, _), *logged, finish = told()
    assert (init["project"], init["group"], init["entity"]) == ("p", "g", "o")
    assert (init["name"], init["tags"], init["job_type"]) == ("vanilla/seed0", ["a", "b"], "train")
    assert (init["id"], init["resume"]) == (callback.id, "allow")
    assert init["config"]["learning_rate"] == 9e-6
    assert logged == [
        ["log", 1, {"train/loss": 0.7}],
        ["log", 2, {"train/loss": 0.6}],
        ["log", 2, {"eval/accuracy": 0.5}],
    ]
    assert finish == ["finish", 0]


def test_a_training_that_did_not_come_to_its_end_says_so(told: Any, tmp_path: Path) -> None:
    stopped = Training(tmp_path, [], steps=9)
    stopped.run(TrainingCurve(options(tmp_path, wandb_project="p"), "t"), ROWS)
    assert told()[-1] == ["finish", 1]


def test_attempts_are_one_run_and_other_trainings_others(tmp_path: Path) -> None:
    one = TrainingCurve(options(tmp_path), "t").id
    assert TrainingCurve(options(tmp_path, wandb_group="another"), "t").id == one
    assert TrainingCurve(options(tmp_path), "u").id != one
    assert TrainingCurve(options(tmp_path / "elsewhere"), "t").id != one


@pytest.mark.parametrize("how", FAILING)
def test_training_goes_on_where_wandb_fails(
    told: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    how: str,
) -> None:
    use(tmp_path, FAILING[how])
    monkeypatch.setattr(tracking, "PATIENCE", -9.0)  # 1 s with the 10 s for a report
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    given = options(tmp_path, wandb_project="p")
    Training(tmp_path, []).run(TrainingCurve(given, "t"), ROWS)
    assert lines(tmp_path / "models/vanilla/seed0.curve.jsonl") == ROWS
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1
    assert "WARNING: cannot report" in err and KEY not in err


def test_the_key_is_in_the_environment_of_wandb_alone(
    told: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """wandb keeps the command line of its process and the settings: the key must not be there."""
    given = options(tmp_path, use_wandb=KEY)
    Training(tmp_path, []).run(TrainingCurve(given, "t"), ROWS)
    [(_, init, environ), *_] = told()
    assert (init["project"], environ) == ("gcrm", {"WANDB_MODE": None, "WANDB_API_KEY": KEY})
    shown = [init, dict(os.environ), sys.argv, capfd.readouterr(), given]
    assert KEY not in repr(shown)


def test_without_a_key_the_run_is_kept_offline(
    told: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Wandb([Report({"project": "p"})]).finish()
    assert told()[0] == [
        "init",
        {"project": "p", "settings": {"console": "off"}},
        {"WANDB_MODE": "offline", "WANDB_API_KEY": None},
    ]
    assert "no key" in capfd.readouterr().err
    assert "WANDB_MODE" not in os.environ


@pytest.mark.parametrize("way", ["login", "mode"])
def test_a_login_or_mode_of_the_user_is_respected(
    told: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "login":
        (tmp_path / "netrc").write_text(f"machine api.wandb.ai\n login user\n password {KEY}\n")
        (tmp_path / "netrc").chmod(0o600)
    else:
        monkeypatch.setenv("WANDB_MODE", "disabled")
    Wandb([Report({})]).finish()
    assert told()[0][2]["WANDB_MODE"] == (None if way == "login" else "disabled")


def test_a_job_of_a_run_reports_as_the_config_says(
    told: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = TrackSettings(wandb_project="p", wandb_run_name="tiny", wandb_tags=["x"])
    monkeypatch.setenv(FROM_RUN, run.model_dump_json())
    as_run = settings_of(options(tmp_path), "vanilla/seed0")
    assert (as_run.wandb_project, as_run.wandb_run_name) == ("p", "tiny/vanilla/seed0")
    assert as_run.wandb_tags == ["x"]
    own = settings_of(options(tmp_path, wandb_project="q", wandb_run_name="mine"), "vanilla/seed0")
    assert (own.wandb_project, own.wandb_run_name, own.wandb_tags) == ("q", "mine", [])


def test_final_numbers_are_the_summary_of_a_run_with_its_curve(told: Any, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    init = init_of(TrackSettings(wandb_project="p"), "1", "train", {})
    reports = [
        Report(init, str(tmp_path / "log.jsonl"), summary={"gsm8k/auroc": 0.7}),
        Report(init | {"id": "2"}, summary={"a-b/gsm8k/auroc": 0.1}),
    ]
    Wandb(reports).finish()
    assert [what for what, *_ in told()] == [
        *("init", "log", "log", "log", "summary", "finish"),
        *("init", "summary", "finish"),
    ]
    assert told()[4] == ["summary", "gsm8k/auroc", 0.7]


def test_a_log_without_timings() -> None:
    log = [
        {"loss": 1.0, "step": 1, "eval_samples_per_second": 2.0},
        {"train_runtime": 1, "step": 1},
    ]
    assert curve(log) == [{"loss": 1.0, "step": 1}]
