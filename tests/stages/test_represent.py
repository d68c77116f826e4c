"""The goal state through the command, against the mean taken one completion at a time."""

import json
import tracemalloc

import numpy as np
import pytest
import torch

import gcrm
from gcrm.cli import run_stage
from gcrm.config.represent import RepresentOptions
from gcrm.modeling.loading import new_reward_model
from gcrm.modeling.reward_model import RewardModel
from gcrm.represent import run
from gcrm.scoring import goal_state
from gcrm.utils.errors import UserError
from helpers.models import save_base_model, save_reward_model
from helpers.training import write_pairs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("represent")
    save_reward_model(folder / "rm", save_base_model(folder / "base"))
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


def test_the_public_function_gives_the_same(folder):
    _, path = represent(folder, "by-stage")
    rm = RewardModel.from_pretrained(folder / "rm")
    pairs = gcrm.load_preferences([str(folder / "pairs.jsonl")])
    mean = gcrm.goal_state(rm, ((pair.prompt, pair.chosen) for pair in pairs))
    np.testing.assert_allclose(mean, np.load(path)[0], rtol=0, atol=1e-7)
    rm = RewardModel.from_pretrained(folder / "rm", goal_state=mean, max_len=12)
    with pytest.raises(UserError, match="no completion fits into 12 tokens"):
        gcrm.goal_state(rm, [("tom has", "apples " * 20)])


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


def rated(count=12):
    """Responses with two attributes; completions of different lengths."""
    return [
        {
            "prompt": f"how many apples does tom have ? {i}",
            "response": "3 + 4 = 7 . " * (1 + i % 3) + f"answer {i}",
            "helpfulness": i % 5,
            "complexity": 1 + (i > 8),
        }
        for i in range(count)
    ]


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def slow_mean(rm, rows, prompt="prompt", completion="response"):
    states = []
    for row in rows:
        ids = rm.encoder.encode(row[prompt], row[completion]).input_ids
        with torch.no_grad():
            states.append(rm.model.model(torch.tensor([ids])).last_hidden_state[0, -1].numpy())
    return np.mean(states, axis=0, dtype=np.float64)


def test_each_attribute_has_a_goal_state_of_its_best_completions(folder):
    rows = rated()
    data = write_rows(folder / "rated.jsonl", rows)
    flags = ("--dataset-path", data, "--attributes", "helpfulness", "complexity")
    status, path = represent(folder, "rated", *flags, "--tokens_per_batch", "100")
    assert status == 0
    rm = RewardModel.from_pretrained(folder / "rm")
    best = {"helpfulness": [4, 9], "complexity": [9, 10, 11], "": [4, 9, 10, 11]}
    for name, numbers in best.items():
        file = path.with_name(f"goal_state-{name}.npy" if name else "goal_state.npy")
        goal = np.load(file)
        assert goal.shape == (1, 32) and goal.dtype == np.float32
        expected = slow_mean(rm, [rows[i] for i in numbers])
        np.testing.assert_allclose(goal[0], expected, atol=1e-5)
    provenance = json.loads(path.with_name("provenance.json").read_text())
    assert provenance["completions"] == 4
    assert provenance["attributes"] == {
        "helpfulness": {"lowest_value": 4.0, "completions": 2},
        "complexity": {"lowest_value": 2.0, "completions": 3},
    }


def test_the_mean_over_tokens_and_one_random_token(folder):
    rows = rated(3)
    data = write_rows(folder / "three.jsonl", rows)
    flags = ("--attributes", "complexity", "--goal_token")
    rm = RewardModel.from_pretrained(folder / "rm")
    means, tokens = [], []
    for row in rows:
        one = rm.encoder.encode(row["prompt"], row["response"])
        with torch.no_grad():
            hidden = rm.model.model(torch.tensor([one.input_ids])).last_hidden_state[0]
        tokens.append(hidden[one.start :].numpy())
        means.append(tokens[-1].mean(axis=0))
    _, path = represent(folder, "mean", *flags, "mean", "--dataset-path", data)
    np.testing.assert_allclose(np.load(path)[0], np.mean(means, axis=0), atol=1e-5)
    goals = []
    for row in rows:
        one_row = write_rows(folder / "one.jsonl", [row])
        _, path = represent(folder, "random", *flags, "random", "--dataset-path", one_row)
        goals.append(np.load(path)[0])
    for goal, states in zip(goals, tokens, strict=True):
        assert min(np.abs(states - goal).max(axis=1)) < 1e-5
    _, path = represent(folder, "random", *flags, "random", "--dataset-path", data)
    np.testing.assert_allclose(np.load(path)[0], np.mean(goals, axis=0), atol=1e-5)


def test_a_random_token_is_any_token(folder):
    """Over many completions of one length, each position is taken."""
    rm = RewardModel.from_pretrained(folder / "rm")
    rows = [f"{a} + {b} = {c}" for a in range(8) for b in range(6) for c in range(4)]
    positions = []
    for text in rows:
        one = rm.encoder.encode("tom", text)
        hidden = torch.arange(len(one.input_ids))[:, None]
        positions.append(int(goal_state.state_of(hidden, one, "random").item()) - one.start)
    counts = np.bincount(positions)
    assert len(counts) == 6 and counts.min() > len(rows) / 6 / 2


def test_official_parity_represents_by_its_own_prompt(folder):
    """Another prompt than in evaluation, and nothing appended."""
    (folder / "rm" / "reward_model.json").write_text('{"parity": "official"}')
    try:
        status, path = represent(folder, "official")
        rm = RewardModel.from_pretrained(folder / "rm")
    finally:
        (folder / "rm" / "reward_model.json").unlink()
    assert status == 0
    rows = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    head = (
        "System:\nYou're an expert Python programmer and mathematician. Help the user to solve "
        "this problem using code when necessary. Make sure to put the answer (and only answer) "
        "inside \\boxed{}.\n\nUser:\n"
    )
    states = []
    for row in rows:
        text = head + row["question"] + "\n\nAssistant:\n" + row["correct"]
        ids = rm.tokenizer(text, return_tensors="pt").input_ids
        with torch.no_grad():
            states.append(rm.model.model(ids).last_hidden_state[0, -1].numpy())
    np.testing.assert_allclose(np.load(path)[0], np.mean(states, axis=0), atol=1e-5)


@pytest.mark.parametrize("flags", [(), ("--attributes", "helpfulness"), ("--max_pairs", "30")])
def test_memory_does_not_grow_with_the_data(folder, monkeypatch, flags):
    """Eight times as many pairs, each of some 1,500 characters, take no more memory."""
    monkeypatch.setattr(goal_state, "COMPLETIONS_AT_ONCE", 16)
    peaks = []
    for count in (32, 256):
        rows = [
            {
                "question": f"tom has {i} apples . ? " + " " * 1000,
                "correct": "answer 7 ." + " " * 500,
                "incorrect": "answer 8",
                "helpfulness": i % 4,
            }
            for i in range(count)
        ]
        data = write_rows(folder / f"{count}.jsonl", rows)
        options = ("--dataset-path", data, "--tokens_per_batch", "512", *flags)
        if not peaks:
            represent(folder, "warm", *options)  # loads what is loaded once
        tracemalloc.start()
        status, _ = represent(folder, f"memory{count}", *options)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert status == 0
    assert peaks[1] - peaks[0] < 100_000  # the 224 pairs more have 350,000 characters


def test_weights_that_are_no_numbers_give_no_goal_state(folder, tmp_path, capsys):
    model, tokenizer = new_reward_model(str(folder / "base"), "sdpa", seed=0)
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    model.save_pretrained(tmp_path / "rm")
    tokenizer.save_pretrained(tmp_path / "rm")
    status, path = represent(tmp_path, "goal", "--dataset-path", str(folder / "pairs.jsonl"))
    assert status == 1 and not path.exists()
    assert "gives rewards that are no finite numbers" in capsys.readouterr().err
