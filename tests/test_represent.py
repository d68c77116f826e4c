"""The goal state through the command, against the mean taken one completion at a time."""

import json

import numpy as np
import pytest
import torch
from models import save_base_model
from test_train import write_pairs

from gcrm.checkpoints import new_reward_model
from gcrm.cli import run_stage
from gcrm.represent import run
from gcrm.reward_model import RewardModel
from gcrm.settings.represent import RepresentOptions


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("represent")
    model, tokenizer = new_reward_model(str(save_base_model(folder / "base")), "sdpa", seed=0)
    model.save_pretrained(folder / "rm")
    tokenizer.save_pretrained(folder / "rm")
    write_pairs(folder / "pairs.jsonl")
    return folder


def represent(folder, name, *flags):
    options = ["--save-dir", str(folder / name), "--reward-model-path", str(folder / "rm"), *flags]
    if "--dataset-path" not in flags:
        options += ["--dataset-path", str(folder / "pairs.jsonl")]
    return run_stage(RepresentOptions, run, options), folder / name / "goal_state.npy"


def test_is_the_mean_last_state_of_the_chosen_completions(folder):
    status, path = represent(folder, "goal", "--tokens_per_batch", "100")
    goal_state = np.load(path)
    assert status == 0 and goal_state.shape == (1, 32) and goal_state.dtype == np.float32
    rm = RewardModel.from_pretrained(folder / "rm")
    total = np.zeros(32)
    rows = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    for row in rows:
        ids = rm.encoder.encode(row["question"], row["correct"]).input_ids
        assert ids[-1] == rm.tokenizer.eos_token_id
        with torch.no_grad():
            total += rm.model.model(torch.tensor([ids])).last_hidden_state[0, -1].double().numpy()
    np.testing.assert_allclose(goal_state[0], total / len(rows), atol=1e-5)


def test_same_bytes_again_and_provenance_beside_it(folder):
    _, first = represent(folder, "first")
    _, again = represent(folder, "again")
    assert first.read_bytes() == again.read_bytes()
    provenance = json.loads(first.with_name("provenance.json").read_text())
    assert provenance["completions"] == 24 and provenance["options"]["max_len"] == 2048
    assert all(digest for digest in provenance["inputs"].values())


def test_cap_and_length_leave_pairs_out(folder, capsys):
    _, path = represent(folder, "capped", "--max_pairs", "5")
    assert json.loads(path.with_name("provenance.json").read_text())["completions"] == 5
    long = {"question": "tom", "correct": "apples " * 200, "incorrect": "now"}
    text = (folder / "pairs.jsonl").read_text() + json.dumps(long) + "\n"
    (folder / "long.jsonl").write_text(text)
    status, _ = represent(folder, "long", "--dataset-path", str(folder / "long.jsonl"))
    assert status == 0 and "1 of 25 pairs left out" in capsys.readouterr().err


def test_mistakes_end_in_one_line(folder, capsys):
    assert represent(folder, "bad", "--reward-model-path", str(folder / "base"))[0] == 1
    assert "not a whole reward model" in capsys.readouterr().err
    status, path = represent(folder, "bad", "--max_len", "5")
    assert status == 1 and "no completion fits" in capsys.readouterr().err
    assert not path.exists()
