"""Goal states of few, wrong or mixed examples, against means and cosines taken one by one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor

from gcrm.cli import run_stage
from gcrm.config.goals import GoalsOptions
from gcrm.config.represent import RepresentOptions
from gcrm.goals import run
from gcrm.modeling.reward_model import RewardModel
from gcrm.represent import run as run_represent
from gcrm.stats.goals import over_draws, read_measurements
from gcrm.utils.errors import UserError
from helpers.models import save_base_model, save_reward_model
from helpers.rows import write_rows
from helpers.training import write_pairs

SKIP, THRESHOLD = 2, -0.25


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("goals")
    save_reward_model(folder / "rm", save_base_model(folder / "base"))
    write_pairs(folder / "pairs.jsonl")
    long = {"question": "tom", "correct": "apples " * 200, "incorrect": "now"}
    write_rows(folder / "long.jsonl", long)
    for k in range(3):
        write_rows(
            folder / "completions" / "gsm8k" / f"output-rs{k}.jsonl",
            *(
                {
                    "question": f"tom has {i} apples . tom buys 4 apples . how many ?",
                    "generated_solution": f"{i} + 4 = {i + 4 + k % 2} . " + "now " * (i % 3),
                    "is_correct": k % 2 == 0,
                }
                for i in range(8)
            ),
        )
    return folder


def goals(folder: Path, **changed: Any) -> int:
    given = {
        "output": folder / "out" / "seed3.jsonl",
        "reward_model_path": folder / "rm",
        "dataset_path": [folder / "pairs.jsonl", folder / "long.jsonl"],
        "completions_data_path": folder / "completions",
        "benchmarks": ["gsm8k"],
        "examples": [1, 5, 1000],
        "draws": 2,
        "skip_tokens": SKIP,
        "filter_threshold": THRESHOLD,
    }
    words: list[object] = []
    for name, value in (given | changed).items():
        words += [f"--{name}", *(value if isinstance(value, list) else [value])]
    return run_stage(GoalsOptions, run, list(map(str, words)))


@pytest.fixture(scope="module")
def found(folder: Path) -> pd.DataFrame:
    assert goals(folder) == 0
    return read_measurements([folder / "out" / "seed3.jsonl"])


def states(model: RewardModel, prompt: str, completion: str) -> Tensor:
    """The hidden states of a completion by plain transformers, (tokens, hidden_size)."""
    one = model.encoder.encode(prompt, completion)
    with torch.no_grad():
        hidden = model.model.model(torch.tensor([one.input_ids])).last_hidden_state[0]
    return hidden[one.start :].double()


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def by_hand(folder: Path, mean: Tensor) -> dict[str, float]:
    """The measurements with a goal state, one sample at a time."""
    model = RewardModel.from_pretrained(folder / "rm")
    files = sorted((folder / "completions" / "gsm8k").iterdir())
    rows = [row for file in files for row in rows_of(file)]
    q = [
        F.cosine_similarity(states(model, row["question"], row["generated_solution"]), mean, dim=-1)
        for row in rows
    ]
    labels = np.array([row["is_correct"] for row in rows])
    kept = np.array([float(values[SKIP:].min()) >= THRESHOLD for values in q])
    return {
        "correct_kept": labels[kept].mean() if kept.any() else np.nan,
        "dropped": 1 - kept.mean(),
        "auroc": roc_auc_score(labels, [float(values[-1]) for values in q]),
        "auroc_lowest": roc_auc_score(labels, [float(values[SKIP:].min()) for values in q]),
    }


def test_whole_kinds_are_the_means_of_all(folder: Path, found: pd.DataFrame) -> None:
    """All chosen, all rejected, and both, each of them once; the too long one in none."""
    model = RewardModel.from_pretrained(folder / "rm")
    pairs = rows_of(folder / "pairs.jsonl")
    last = {
        side: torch.stack([states(model, row["question"], row[side])[-1] for row in pairs])
        for side in ("correct", "incorrect")
    }
    short = states(model, "tom", "now")[-1:]
    rejected = torch.cat([last["incorrect"], short])
    expected = {
        ("chosen", 24): last["correct"].mean(0),
        ("rejected", 25): rejected.mean(0),
        ("corrupted", 25): torch.cat([last["correct"], rejected]).mean(0),
    }
    for (kind, examples), mean in expected.items():
        rows = found[(found["kind"] == kind) & (found["examples"] == examples)]
        [row] = rows.to_dict("records")
        assert (row["variant"], row["seed"], row["benchmark"]) == ("out", 3, "gsm8k")
        assert (row["samples"], row["correct"]) == (24, pytest.approx(2 / 3))
        for name, value in by_hand(folder, mean).items():
            assert row[name] == pytest.approx(value, nan_ok=True), (kind, name)


def test_single_examples_are_completions_of_the_right_side(
    folder: Path, found: pd.DataFrame
) -> None:
    model = RewardModel.from_pretrained(folder / "rm")
    pairs = [*rows_of(folder / "pairs.jsonl"), *rows_of(folder / "long.jsonl")]
    for kind, side in (("chosen", "correct"), ("rejected", "incorrect")):
        fitting = [row for row in pairs if len(row[side]) < 500]
        known = [by_hand(folder, states(model, row["question"], row[side])[-1]) for row in fitting]
        of_one = found[(found["kind"] == kind) & (found["examples"] == 1)]
        assert list(of_one["draw"]) == [0, 1]
        for row in of_one.to_dict("records"):
            assert any(
                all(row[name] == pytest.approx(value, nan_ok=True) for name, value in one.items())
                for one in known
            )


def test_random_tokens_are_those_of_represent(
    folder: Path, found: pd.DataFrame, tmp_path: Path
) -> None:
    words = ["--dataset-path", folder / "pairs.jsonl", folder / "long.jsonl"]
    words += ["--reward-model-path", folder / "rm", "--save-dir", tmp_path, "--goal_token"]
    assert run_stage(RepresentOptions, run_represent, [*map(str, words), "random"]) == 0
    mean = torch.from_numpy(np.load(tmp_path / "goal_state.npy")[0]).double()
    all_chosen = found[(found["kind"] == "random token") & (found["examples"] == 24)]
    first, second = all_chosen.to_dict("records")
    for name, value in by_hand(folder, mean).items():
        assert first[name] == pytest.approx(value, nan_ok=True)
    assert first["auroc"] != second["auroc"]


def test_draws_depend_on_texts_alone_and_are_nested(folder: Path, tmp_path: Path) -> None:
    """Another order of the rows and other numbers of examples change no draw."""
    rows = rows_of(folder / "pairs.jsonl")
    turned = write_rows(tmp_path / "turned.jsonl", *reversed(rows))
    files = [tmp_path / "out" / f"seed{k}.jsonl" for k in range(2)]
    assert goals(folder, output=files[0], dataset_path=folder / "pairs.jsonl") == 0
    assert goals(folder, output=files[1], dataset_path=turned, examples=[1, 3, 5]) == 0
    straight, other = (
        {
            (row["kind"], row["examples"], row["draw"]): row["auroc"]
            for row in rows_of(file)
            if row["examples"] in (1, 5)
        }
        for file in files
    )
    assert len(straight) == 16 and len(set(straight.values())) > 8
    assert straight == pytest.approx(other)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"benchmarks": "svamp"}, "benchmark 'svamp' needs it"),
        ({"max_len": 8}, "leaves no room for a completion"),
        ({"dataset_path": "{}/long.jsonl"}, "no chosen completion fits into 128 tokens"),
    ],
)
def test_mistakes_are_told_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, Any], message: str
) -> None:
    if source := changed.get("dataset_path"):
        changed = {"dataset_path": source.format(folder)}
    assert goals(folder, **changed) == 1
    [line] = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert message in line


def test_measurements_over_draws_and_broken_files(folder: Path, tmp_path: Path) -> None:
    row = {
        **{"variant": "a", "seed": 0, "benchmark": "gsm8k", "kind": "chosen", "examples": 1},
        **{"draw": 0, "samples": 4, "correct": 0.5, "dropped": 0.5, "auroc_lowest": 0.5},
    }
    rows = [
        row | {"correct_kept": 0.5, "auroc": None},
        row | {"draw": 1, "correct_kept": 0.7, "auroc": None},
        row | {"draw": 2, "correct_kept": None, "auroc": None},
    ]
    found = over_draws(read_measurements([write_rows(tmp_path / "a.jsonl", *rows)]), ["kind"])
    kept = found[found["measure"] == "correct_kept"].iloc[0]
    assert (kept.value, kept.low, kept.high, kept.n) == (pytest.approx(0.6), 0.5, 0.7, 2)
    assert "auroc" not in set(found["measure"])
    path = write_rows(tmp_path / "b.jsonl", rows[0], rows[0] | {"kind": "other"})
    with pytest.raises(UserError, match=r"b.jsonl, row 2: kind: .*; expected a file that `goals"):
        read_measurements([path])
