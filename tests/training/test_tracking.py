"""Reports to wandb: failures do not stop a job, the key stays secret, no step is lost."""

import json
import os
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from gcrm.config.track import TrackSettings
from gcrm.config.train import TrainOptions
from gcrm.training import tracking
from gcrm.training.callbacks import TrainingCurve
from gcrm.training.tracking import FROM_RUN, WandbRun, connection, settings_of, without_timings
from gcrm.utils.io import read_jsonl

KEY = "0123456789abcdef-secret"
ROWS = [{"loss": 0.7, "step": 1}, {"loss": 0.6, "step": 2}, {"eval_accuracy": 0.5, "step": 2}]


def fail(*_: Any, **__: Any) -> None:
    raise RuntimeError(f"no network for {KEY}")


def leave(*_: Any, **__: Any) -> None:
    raise SystemExit(3)


def hang(*_: Any, **__: Any) -> None:
    time.sleep(20)


class StandIn(ModuleType):
    """A stand-in for wandb that records its calls in `calls`; each function can be replaced."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.calls: list[Any] = []
        self.Settings = dict
        self.starting_step = 0
        self.init = self._init
        self.log = lambda row, step: self.calls.append(("log", step, row))
        self.finish = lambda exit_code: self.calls.append(("finish", exit_code))

    def _init(self, **options: Any) -> Any:
        self.calls.append(("init", options))
        summary = SimpleNamespace(update=lambda found: self.calls.append(("summary", found)))
        return SimpleNamespace(
            log=self.log, finish=self.finish, summary=summary, starting_step=self.starting_step
        )


@pytest.fixture
def wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A stand-in for wandb, on a machine without a key."""
    for name in ("RANK", "WANDB_API_KEY", "WANDB_MODE", FROM_RUN):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    module = StandIn()
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def options(folder: Path, **given: Any) -> TrainOptions:
    save_path = folder / "models" / "vanilla" / "seed0"
    return TrainOptions(pretrain="base", dataset=["pairs.jsonl"], save_path=save_path, **given)


def run(
    curve: TrainingCurve, rows: list[dict[str, Any]], before: Any = (), steps: int = 2, first=True
) -> None:
    """Act as the Trainer, which has logged `before` and now logs `rows`, in `steps` steps."""
    state = SimpleNamespace(
        log_history=[*before], global_step=0, max_steps=steps, is_world_process_zero=first
    )
    curve.on_train_begin(None, state, None)
    for row in rows:
        state.global_step = row["step"]
        state.log_history.append(row)
        curve.on_log(None, state, None)
    curve.on_train_end(None, state, None)


# --- the local file ----------------------------------------------------------------------------


def test_curve_is_written_without_wandb(wandb: StandIn, tmp_path: Path) -> None:
    rows = [{"loss": 0.7, "step": 1, "eval_runtime": 3.0}, {"train_runtime": 9.0, "step": 1}]
    run(TrainingCurve(options(tmp_path), "t"), rows)
    assert read_jsonl(tmp_path / "models/vanilla/seed0.curve.jsonl") == [{"loss": 0.7, "step": 1}]
    assert not wandb.calls


def test_resumed_curve_neither_repeats_nor_loses_a_step(wandb: StandIn, tmp_path: Path) -> None:
    """The first attempt got further than its checkpoint, and was killed within a line."""
    path = tmp_path / "curve.jsonl"
    given = options(tmp_path, curve_path=path, wandb_project="p")
    run(TrainingCurve(given, "t"), ROWS)
    with path.open("a") as file:
        file.write('{"loss": 0.5, "st')
    wandb.starting_step = 3  # wandb has the run up to step 2
    wandb.calls.clear()
    run(TrainingCurve(given, "t"), [*ROWS[1:], {"loss": 0.4, "step": 3}], before=ROWS[:1], steps=3)
    assert read_jsonl(path) == [*ROWS, {"loss": 0.4, "step": 3}]
    assert [call for call in wandb.calls if call[0] == "log"] == [("log", 3, {"train/loss": 0.4})]


def test_only_the_first_process_writes_and_reports(wandb: StandIn, tmp_path: Path) -> None:
    run(TrainingCurve(options(tmp_path, wandb_project="p"), "t"), ROWS, first=False)
    assert not (tmp_path / "models").exists() and not wandb.calls


def test_log_without_timings() -> None:
    log = [{"step": 1, "loss": 1.0, "eval_samples_per_second": 2.0}, {"train_runtime": 1}]
    assert json.dumps(without_timings(log)) == '[{"loss": 1.0, "step": 1}]'


# --- wandb -------------------------------------------------------------------------------------


def test_wandb_gets_the_curve_and_the_exit_code(wandb: StandIn, tmp_path: Path) -> None:
    given = options(tmp_path, wandb_project="p", wandb_group="g", wandb_org="o", wandb_tags="a,b")
    curve = TrainingCurve(given, "t")
    run(curve, ROWS)
    (_, init), *calls = wandb.calls
    assert (init["project"], init["group"], init["entity"]) == ("p", "g", "o")
    assert (init["name"], init["tags"], init["job_type"]) == ("vanilla/seed0", ["a", "b"], "train")
    assert (init["id"], init["resume"]) == (curve.id, "allow")
    assert init["config"]["learning_rate"] == 9e-6
    assert calls == [
        ("log", 1, {"train/loss": 0.7}),
        ("log", 2, {"train/loss": 0.6}),
        ("log", 2, {"eval/accuracy": 0.5}),
        ("summary", {}),
        ("finish", 0),
    ]

    run(TrainingCurve(given, "t"), ROWS, steps=9)
    assert wandb.calls[-1] == ("finish", 1)  # not completed


def test_attempts_at_a_training_are_one_run(tmp_path: Path) -> None:
    one = TrainingCurve(options(tmp_path), "t").id
    assert TrainingCurve(options(tmp_path, wandb_group="another"), "t").id == one
    assert TrainingCurve(options(tmp_path), "u").id != one
    assert TrainingCurve(options(tmp_path / "elsewhere"), "t").id != one


@pytest.mark.parametrize("problem", [fail, leave, hang])
@pytest.mark.parametrize("where", ["import", "init", "log", "finish"])
def test_training_continues_if_wandb_fails(
    wandb: StandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    where: str,
    problem: Any,
) -> None:
    """Any failure is reported in one line, and delays training by at most PATIENCE."""
    monkeypatch.setattr(tracking, "PATIENCE", -9.8)  # 10 s are added to wandb's own limit
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    if where == "import":
        monkeypatch.setitem(sys.modules, "wandb", None)
    else:
        monkeypatch.setattr(wandb, where, problem)
    started = time.monotonic()
    run(TrainingCurve(options(tmp_path, wandb_project="p"), "t"), ROWS)
    assert time.monotonic() - started < 5
    assert read_jsonl(tmp_path / "models/vanilla/seed0.curve.jsonl") == ROWS
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1
    assert "WARNING: cannot report" in err and KEY not in err


def test_real_wandb_works_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It accepts these settings, does not store the key, and prints nothing."""
    monkeypatch.setattr(sys, "argv", ["train", "--use_wandb", KEY, f"--use-wandb={KEY}"])
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")
    given = options(tmp_path, wandb_project="p", use_wandb=KEY)
    for name in ("once", "resumed"):
        run(TrainingCurve(given, "t"), ROWS)
        assert len(list(tmp_path.glob("wandb/offline-run-*"))) >= 1, name
    assert capfd.readouterr() == ("", "")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_key_is_passed_only_to_wandb(
    wandb: StandIn, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = options(tmp_path, use_wandb=KEY)
    run(TrainingCurve(given, "t"), ROWS)
    [(_, init), *_] = wandb.calls
    assert init.pop("settings")["api_key"] == KEY
    assert init["project"] == "gcrm"
    shown = [init, dict(os.environ), sys.argv, capfd.readouterr(), given]
    assert KEY not in repr(shown)


def test_run_without_a_key_is_kept_offline(
    wandb: StandIn, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = connection()
    for _ in range(2):
        assert WandbRun({"project": "p"}, settings).finish()
    assert [init["settings"]["mode"] for what, init in wandb.calls if what == "init"] == [
        "offline"
    ] * 2
    assert capfd.readouterr().err.count("no key") == 1


@pytest.mark.parametrize("way", ["login", "mode"])
def test_login_and_mode_of_the_user_are_respected(
    wandb: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "login":
        (tmp_path / "netrc").write_text(f"machine api.wandb.ai\n login user\n password {KEY}\n")
        (tmp_path / "netrc").chmod(0o600)
    else:
        monkeypatch.setenv("WANDB_MODE", "disabled")
    assert "mode" not in connection()


def test_jobs_of_a_pipeline_run_use_its_settings(
    wandb: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = TrackSettings(wandb_project="p", wandb_run_name="tiny", wandb_tags=["x"])
    monkeypatch.setenv(FROM_RUN, run.model_dump_json())
    as_run = settings_of(options(tmp_path), "vanilla/seed0")
    assert (as_run.wandb_project, as_run.wandb_run_name) == ("p", "tiny/vanilla/seed0")
    assert as_run.wandb_tags == ["x"]
    own = settings_of(options(tmp_path, wandb_project="q", wandb_run_name="mine"), "vanilla/seed0")
    assert (own.wandb_project, own.wandb_run_name, own.wandb_tags) == ("q", "mine", [])


def test_final_metrics_are_the_summary_of_a_run(wandb: StandIn) -> None:
    run = WandbRun({"id": "1"}, {})
    run.log(ROWS)
    assert run.finish({"gsm8k/auroc": 0.7})
    assert [what for what, *_ in wandb.calls] == ["init", "log", "log", "log", "summary", "finish"]
    assert wandb.calls[4] == ("summary", {"gsm8k/auroc": 0.7})
