"""Stage `policy`: what RLOO and DPO train, interruptions, and messages. TRL trains for real."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from gcrm import policy
from gcrm.cli import run_stage
from gcrm.config.policy import PolicyOptions
from gcrm.config.sample import SampleOptions
from gcrm.sample import run as sample
from gcrm.utils.io import read_jsonl
from helpers.models import save_base_model, save_reward_model
from helpers.rows import write_rows
from helpers.training import write_pairs

pytest.importorskip("trl", reason="TRL is not installed: pip install -e .[rl]")

from gcrm.rl.callbacks import Accuracy
from gcrm.rl.trainers import in_order_of_steps

SMALL = {"batch_size": 8, "max_new_tokens": 8, "logging_steps": 1, "learning_rate": 1e-3}
RLOO = SMALL | {"standardise_rewards": False, "steps": 6, "eval_steps": 2}
DPO = SMALL | {"method": "dpo", "steps": 12, "beta": 0.5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policy")
    save_reward_model(folder / "rm", save_base_model(folder / "base"), scale=20)
    write_pairs(folder / "pairs.jsonl")
    questions = [f"tom has {i} apples . tom buys 4 apples . how many ?" for i in range(8)]
    rows = [{"question": q, "expected_answer": str(i + 4)} for i, q in enumerate(questions)]
    write_rows(folder / "dev.jsonl", *rows)
    write_rows(folder / "test.jsonl", *rows[:5])
    return folder


def train(folder: Path, name: str, **given: Any) -> tuple[int, Path]:
    """Train in this process and return (exit status, folder of the policy)."""
    paths = {"pretrain": "base", "dataset": "pairs.jsonl", "save_path": name}
    if given.get("method") != "dpo":
        paths["reward_model_path"] = "rm"
    values = {key: str(folder / path) for key, path in paths.items()} | given
    words = []
    for key, value in values.items():
        if isinstance(value, bool):
            words.append(f"--{key}" if value else f"--no_{key}")
        elif value is not None:
            words += [f"--{key}", str(value)]
    return run_stage(PolicyOptions, policy.run, words), folder / name


def weights(model: Path) -> dict[str, torch.Tensor]:
    return dict(AutoModelForCausalLM.from_pretrained(model).state_dict())


def log(model: Path) -> list[dict[str, Any]]:
    return read_jsonl(model / "training_log.jsonl")


def assert_same(one: Path, other: Path) -> None:
    """Bit for bit."""
    assert log(one) == log(other)
    mine, theirs = weights(one), weights(other)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def with_problems(folder: Path) -> dict[str, Any]:
    return {"eval_problems": folder / "dev.jsonl", "problems": folder / "test.jsonl"}


@pytest.fixture(scope="module")
def trained(folder: Path) -> Path:
    """A policy of six steps of RLOO, not interrupted."""
    status, model = train(folder, "whole", **RLOO, **with_problems(folder))
    assert status == 0
    return model


def test_the_policy_is_a_standard_checkpoint_that_was_trained(folder: Path, trained: Path) -> None:
    model, info = AutoModelForCausalLM.from_pretrained(trained, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    before = weights(folder / "base")
    assert any(not torch.equal(value, before[name]) for name, value in weights(trained).items())
    assert model.config.eos_token_id == 2
    facts = json.loads((trained / "provenance.json").read_text())
    assert facts["command"] == "policy" and facts["options"]["batch_size"] == 8
    read = {str(folder / name) for name in ("base", "rm", "pairs.jsonl", "dev.jsonl", "test.jsonl")}
    assert facts["inputs"].keys() == read
    assert "solutions.jsonl" in facts["outputs"]
    assert not (folder / "whole.checkpoints").exists()


def test_the_log_has_reward_kl_and_accuracy(folder: Path, trained: Path) -> None:
    steps = [row for row in log(trained) if "loss" in row]
    assert [row["step"] for row in steps] == [1, 2, 3, 4, 5, 6]
    assert steps[0]["kl"] == 0 and any(row["kl"] != 0 for row in steps)
    assert all(row["reward"] == row["rewards/gcrm/mean"] for row in steps)
    measured = [row for row in log(trained) if "accuracy" in row]
    assert [row["step"] for row in measured] == [0, 2, 4, 6]
    assert measured[0]["greedy_reward"] != measured[-1]["greedy_reward"]
    assert all(row["accuracy"] == row["accuracy/dev"] for row in measured)


def test_solutions_are_those_of_sample(folder: Path, trained: Path) -> None:
    words = ["--model", trained, "--problems", folder / "test.jsonl", "--max_new_tokens", "8"]
    words += ["--save_dir", folder / "sampled"]
    assert run_stage(SampleOptions, sample, list(map(str, words))) == 0
    expected = read_jsonl(folder / "sampled" / "output-greedy.jsonl")
    assert read_jsonl(trained / "solutions.jsonl") == [
        {"benchmark": "test", **row} for row in expected
    ]


def test_the_same_seed_gives_the_same_policy_and_another_seed_another(
    folder: Path, trained: Path
) -> None:
    """In smaller forward passes, too, up to rounding."""
    given = RLOO | with_problems(folder)
    _, again = train(folder, "again", **given)
    assert_same(again, trained)
    _, other = train(folder, "other", **given, seed=1)
    assert log(other) != log(trained)
    _, micro = train(folder, "micro", **given, micro_batch_size=4)
    rewards = [[row["reward"] for row in log(one) if "reward" in row] for one in (micro, trained)]
    assert rewards[0][0] == pytest.approx(rewards[1][0], abs=1e-4)


@pytest.fixture
def signal_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A function that lets a signal reach this process in the measurement after a step."""
    usual = Accuracy.on_step_end

    def set_up(step: int, number: signal.Signals) -> None:
        def on_step_end(self: Accuracy, args: Any, state: Any, control: Any, **more: Any) -> None:
            usual(self, args, state, control, **more)
            if state.global_step == step:
                os.kill(os.getpid(), number)

        monkeypatch.setattr(Accuracy, "on_step_end", on_step_end)

    yield set_up
    monkeypatch.undo()


@pytest.mark.parametrize("micro", [8, 4])
def test_a_resumed_training_gives_the_same_policy(
    folder: Path, trained: Path, signal_at: Any, capfd: pytest.CaptureFixture[str], micro: int
) -> None:
    given = RLOO | with_problems(folder) | {"micro_batch_size": micro}
    whole = trained if micro == 8 else train(folder, "whole4", **given)[1]
    if micro == 8:
        given.pop("micro_batch_size")
    signal_at(3, signal.SIGTERM)
    name = f"resumed{micro}"
    with pytest.raises(SystemExit) as ended:
        train(folder, name, **given)
    assert ended.value.code == 128 + signal.SIGTERM
    assert "policy: stopped by SIGTERM, saved at step 3 of 6" in capfd.readouterr().err
    assert not (folder / name / "config.json").exists()
    signal_at(0, signal.SIGTERM)
    status, resumed = train(folder, name, **given)
    assert status == 0 and "policy: resuming from" in capfd.readouterr().err
    assert_same(resumed, whole)
    assert read_jsonl(resumed / "solutions.jsonl") == read_jsonl(whole / "solutions.jsonl")


def test_the_reward_grows(folder: Path) -> None:
    """Against a reward model that is easy to please, without anything that holds the policy."""
    given = RLOO | {"steps": 40, "beta": 0, "learning_rate": 5e-3, "eval_steps": -1}
    _, model = train(folder, "grown", **given)
    rewards = [row["reward"] for row in log(model) if "reward" in row]
    assert sum(rewards[-10:]) > sum(rewards[:10]) + 5


def test_dpo_moves_the_policy_to_the_chosen_side(folder: Path, tmp_path: Path) -> None:
    given = DPO | {"learning_rate": 5e-3}
    status, model = train(folder, "dpo", **given)
    assert status == 0
    steps = [row for row in log(model) if "loss" in row]
    assert len(steps) == 12 and steps[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert steps[-1]["loss"] < 0.5 and steps[-1]["rewards/margins"] > 0.5
    _, again = train(folder, "dpo-again", **given)
    assert_same(again, model)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"reward_model_path": None}, "rloo needs --reward_model_path"),
        ({"method": "dpo", "reward_model_path": "rm"}, "--reward_model_path does nothing with dpo"),
        ({"method": "dpo", "temperature": 2}, "--temperature does nothing with dpo; remove it"),
        ({"batch_size": 6}, "batch_size (6) must be a multiple of samples_per_prompt (4)"),
        ({"micro_batch_size": 3}, "batch_size (8) must be a multiple of micro_batch_size (3)"),
        ({"method": "dpo", "beta": 0}, "beta must be above 0 for dpo"),
        ({"pretrain": "model.gguf"}, "a .gguf file is not trained here"),
        ({"max_len": 12}, "no prompt with max_new_tokens = 8 fits into max_len = 12 tokens"),
        ({"method": "dpo", "max_len": 12}, "no pair fits into max_len = 12 tokens"),
        ({"max_new_tokens": 128}, "no prompt with max_new_tokens = 128 fits into max_len = 128"),
        ({"problems": "pairs.jsonl"}, "row 1: expected_answer must be text"),
        ({"learning_rate": 1e30}, "lower learning_rate"),
    ],
)
def test_mistakes_are_told_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, Any], message: str
) -> None:
    given: dict[str, Any] = dict(DPO if changed.get("method") == "dpo" else RLOO)
    changed = dict(changed)
    if changed.get("problems"):
        changed["problems"] = folder / changed["problems"]
    assert train(folder, "wrong", **given | changed)[0] == 1
    [line] = [line for line in capsys.readouterr().err.splitlines() if "policy: error" in line]
    assert message in line
    assert not (folder / "wrong" / "config.json").exists()


def test_problems_that_do_not_fit_are_refused_before_the_training(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gcrm.rl.run._train", lambda *given: pytest.fail("it was trained"))
    given: dict[str, Any] = DPO | {"problems": folder / "dev.jsonl", "max_new_tokens": 120}
    assert train(folder, "wrong", **given)[0] == 1
    assert "is longer than the context of" in capsys.readouterr().err


def test_files_of_problems_have_names_of_their_own(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "dev.jsonl").write_text((folder / "dev.jsonl").read_text())
    words = [folder / "dev.jsonl", tmp_path / "dev.jsonl"]
    flags = ["--pretrain", folder / "base", "--dataset", folder / "pairs.jsonl", "--method", "dpo"]
    flags += ["--save_path", folder / "wrong", "--problems", *words]
    assert run_stage(PolicyOptions, policy.run, list(map(str, flags))) == 1
    assert "another file of problems has this name" in capsys.readouterr().err


def test_without_trl_the_extra_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy.importlib.util, "find_spec", lambda name: None)
    assert train(folder, "none", **RLOO)[0] == 1
    assert "pip install 'gcrm[rl]'" in capsys.readouterr().err


def test_every_pass_over_the_data_has_all_of_it_in_another_order() -> None:
    order = in_order_of_steps(5, 12, seed=3)
    assert sorted(order[:5]) == sorted(order[5:10]) == list(range(5))
    assert order[:5] != order[5:10] and len(order) == 12
    assert order != in_order_of_steps(5, 12, seed=4)
