"""The goal state through the command, against the mean taken one completion at a time."""

import json
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

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

Row = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("represent")
    save_reward_model(folder / "rm", save_base_model(folder / "base"))
    write_pairs(folder / "pairs.jsonl")
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> RewardModel:
    return RewardModel.from_pretrained(folder / "rm")


@pytest.fixture(scope="module")
def pairs(folder: Path) -> list[tuple[str, str]]:
    """Prompt and chosen completion of each."""
    rows = map(json.loads, (folder / "pairs.jsonl").read_text().splitlines())
    return [(row["question"], row["correct"]) for row in rows]


def represent(folder: Path, save_dir: Path, *flags: object) -> int:
    words = ["--save-dir", save_dir, "--reward-model-path", folder / "rm", *flags]
    if "--dataset-path" not in flags:
        words += ["--dataset-path", folder / "pairs.jsonl"]
    return run_stage(RepresentOptions, run, list(map(str, words)))


def test_errors_name_the_row(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = [[{"role": "user", "content": "tom", **field}] for field in ({}, {"name": "tom"})]
    rows = [{"prompt": prompt, "chosen": "3", "rejected": "4"} for prompt in prompts]
    path = write_rows(tmp_path / "pairs.jsonl", rows)
    assert represent(folder, tmp_path, "--dataset-path", path) == 1
    assert f"error: {path}, row 2: message 1 (user) has name, which" in capsys.readouterr().err


def goal_of(folder: Path, save_dir: Path, *flags: object) -> NDArray[Any]:
    """The goal state that the command makes, (hidden_size,)."""
    assert represent(folder, save_dir, *flags) == 0
    goal = np.load(save_dir / "goal_state.npy")
    assert goal.shape == (1, 32) and goal.dtype == np.float32
    return np.asarray(goal[0])


def provenance(save_dir: Path) -> Any:
    return json.loads((save_dir / "provenance.json").read_text())


def write_rows(path: Path, rows: Iterable[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def states_of(model: RewardModel, prompt: str, completion: str) -> Tensor:
    """The hidden states of a completion by plain transformers, (tokens, hidden_size)."""
    one = model.encoder.encode(prompt, completion)
    with torch.no_grad():
        hidden = model.model.model(torch.tensor([one.input_ids])).last_hidden_state[0]
    return hidden[one.start :].double()


def slow_mean(
    model: RewardModel,
    completions: Iterable[tuple[str, str]],
    state: Callable[[Tensor], Tensor] = lambda states: states[-1],
) -> NDArray[Any]:
    return torch.stack([state(states_of(model, *one)) for one in completions]).mean(dim=0).numpy()


def test_is_the_mean_last_state_of_the_chosen_completions(
    folder: Path, model: RewardModel, pairs: list[tuple[str, str]], tmp_path: Path
) -> None:
    """By the command, twice to the last byte, and by the public function."""
    goal = goal_of(folder, tmp_path / "goal", "--tokens_per_batch", 100)
    np.testing.assert_allclose(goal, slow_mean(model, pairs), atol=1e-5)
    goal_of(folder, tmp_path / "again", "--tokens_per_batch", 100)
    first, again = (tmp_path / name / "goal_state.npy" for name in ("goal", "again"))
    assert first.read_bytes() == again.read_bytes()
    facts = provenance(tmp_path / "goal")
    assert facts["completions"] == 24 and facts["options"]["max_len"] == 2048
    assert all(facts["inputs"].values())
    mean = gcrm.goal_state(model, pairs)
    np.testing.assert_allclose(mean, goal, rtol=0, atol=1e-7)
    short = RewardModel.from_pretrained(folder / "rm", goal_state=mean, max_len=12)
    with pytest.raises(UserError, match="no completion fits into 12 tokens"):
        gcrm.goal_state(short, [("tom has", "apples " * 20)])


def test_cap_and_length_leave_pairs_out(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    goal_of(folder, tmp_path / "capped", "--max_pairs", 5)
    assert provenance(tmp_path / "capped")["completions"] == 5
    long = {"question": "tom", "correct": "apples " * 200, "incorrect": "now"}
    data = write_rows(tmp_path / "long.jsonl", [long])
    data.write_text((folder / "pairs.jsonl").read_text() + data.read_text())
    goal_of(folder, tmp_path / "long", "--dataset-path", data)
    assert "1 of 25 pairs left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--reward-model-path", "{}/base"], "not a whole reward model"),
        (["--max_len", "5"], "no completion fits"),
        (["--reward-model-path", "{}/broken"], "gives rewards that are no finite numbers"),
    ],
)
def test_mistakes_end_in_one_line(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    message: str,
) -> None:
    if "{}/broken" in flags:
        model, tokenizer = new_reward_model(str(folder / "base"), "sdpa", seed=0)
        with torch.no_grad():
            model.get_submodule("model.norm").weight[0] = float("nan")
        model.save_pretrained(folder / "broken")
        tokenizer.save_pretrained(folder / "broken")
    assert represent(folder, tmp_path, *(flag.format(folder) for flag in flags)) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "goal_state.npy").exists()


def rated(count: int) -> list[Row]:
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


def texts_of(rows: list[Row]) -> list[tuple[str, str]]:
    return [(row["prompt"], row["response"]) for row in rows]


def test_each_attribute_has_a_goal_state_of_its_best_completions(
    folder: Path, model: RewardModel, tmp_path: Path
) -> None:
    texts = texts_of(rated(12))
    data = write_rows(tmp_path / "rated.jsonl", rated(12))
    flags = ("--dataset-path", data, "--attributes", "helpfulness", "complexity")
    goal_of(folder, tmp_path, *flags, "--tokens_per_batch", 100)
    best = {"-helpfulness": [4, 9], "-complexity": [9, 10, 11], "": [4, 9, 10, 11]}
    for name, numbers in best.items():
        goal = np.load(tmp_path / f"goal_state{name}.npy")
        assert goal.shape == (1, 32) and goal.dtype == np.float32
        expected = slow_mean(model, [texts[i] for i in numbers])
        np.testing.assert_allclose(goal[0], expected, atol=1e-5)
    assert provenance(tmp_path)["completions"] == 4
    assert provenance(tmp_path)["attributes"] == {
        "helpfulness": {"lowest_value": 4.0, "completions": 2},
        "complexity": {"lowest_value": 2.0, "completions": 3},
    }


def test_the_mean_over_tokens_and_one_random_token(
    folder: Path, model: RewardModel, tmp_path: Path
) -> None:
    rows, flags = rated(3), ("--attributes", "complexity", "--goal_token")
    data = write_rows(tmp_path / "three.jsonl", rows)
    goal = goal_of(folder, tmp_path, *flags, "mean", "--dataset-path", data)
    expected = slow_mean(model, texts_of(rows), lambda states: states.mean(dim=0))
    np.testing.assert_allclose(goal, expected, atol=1e-5)
    goals = []
    for row in rows:
        alone = write_rows(tmp_path / "one.jsonl", [row])
        goals.append(goal_of(folder, tmp_path, *flags, "random", "--dataset-path", alone))
        [states] = (states_of(model, *text).numpy() for text in texts_of([row]))
        assert min(np.abs(states - goals[-1]).max(axis=1)) < 1e-5
    goal = goal_of(folder, tmp_path, *flags, "random", "--dataset-path", data)
    np.testing.assert_allclose(goal, np.mean(goals, axis=0), atol=1e-5)


def test_a_random_token_is_any_token(model: RewardModel) -> None:
    """Over many completions of one length, each position is taken."""
    texts = [f"{a} + {b} = {c}" for a in range(8) for b in range(6) for c in range(4)]
    positions = []
    for one in model.encoder.encode_many(("tom", text) for text in texts):
        hidden = torch.arange(one.num_tokens)[:, None]
        positions.append(int(goal_state.state_of(hidden, one, "random").item()))
    counts = np.bincount(positions)
    assert len(counts) == 6 and counts.min() > len(texts) / 6 / 2


def test_official_parity_represents_by_its_own_prompt(
    folder: Path, model: RewardModel, pairs: list[tuple[str, str]], tmp_path: Path
) -> None:
    """Another prompt than in evaluation, and nothing appended."""
    (folder / "rm" / "reward_model.json").write_text('{"parity": "official"}')
    try:
        goal = goal_of(folder, tmp_path)
    finally:
        (folder / "rm" / "reward_model.json").unlink()
    head = (
        "System:\nYou're an expert Python programmer and mathematician. Help the user to solve "
        "this problem using code when necessary. Make sure to put the answer (and only answer) "
        "inside \\boxed{}.\n\nUser:\n"
    )
    states = []
    for question, completion in pairs:
        text = head + question + "\n\nAssistant:\n" + completion
        with torch.no_grad():
            ids = model.tokenizer(text, return_tensors="pt").input_ids
            states.append(model.model.model(ids).last_hidden_state[0, -1].numpy())
    np.testing.assert_allclose(goal, np.mean(states, axis=0), atol=1e-5)


@pytest.mark.parametrize("flags", [(), ("--attributes", "helpfulness"), ("--max_pairs", "30")])
def test_memory_does_not_grow_with_the_data(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    """Eight times as many pairs, each of some 1,500 characters, take no more memory."""
    monkeypatch.setattr(goal_state, "COMPLETIONS_AT_ONCE", 16)
    peaks = []
    for count in (32, 32, 256):  # the first loads what is loaded once
        rows = [
            {
                "question": f"tom has {i} apples . ? " + " " * 1000,
                "correct": "answer 7 ." + " " * 500,
                "incorrect": "answer 8",
                "helpfulness": i % 4,
            }
            for i in range(count)
        ]
        data = write_rows(tmp_path / "rows.jsonl", rows)
        tracemalloc.start()
        goal_of(folder, tmp_path, "--dataset-path", data, "--tokens_per_batch", 512, *flags)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] - peaks[1] < 100_000  # the 224 pairs more have 350,000 characters
