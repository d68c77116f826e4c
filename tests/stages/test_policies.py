"""Stage `policies`: accuracies against means by hand, and its page."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gcrm.cli import run_stage
from gcrm.config.policies import PoliciesOptions
from gcrm.policies import run
from helpers.rows import write_rows

SIZES = {"gsm8k": 40, "svamp": 10, "mawps": 90}
RIGHT = {"a": [0.9, 0.8], "b": [0.5, 0.4]}
"""chance of a right solution, by policy and seed"""


def labels(name: str, seed: int) -> dict[str, np.ndarray]:
    """Whether the problems of each benchmark are solved."""
    rng = np.random.default_rng([ord(name[0]), seed])
    share = RIGHT[name][seed] if name in RIGHT else 0.5
    return {benchmark: rng.random(size) < share for benchmark, size in SIZES.items()}


def rows(name: str, seed: int) -> list[dict[str, Any]]:
    """Solutions; each policy has another order of the problems."""
    found = [
        {"benchmark": benchmark, "question": f"{benchmark} {i} ?", "is_correct": bool(right)}
        for benchmark, each in labels(name, seed).items()
        for i, right in enumerate(each)
    ]
    return found[seed:] + found[:seed]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in RIGHT:
        for seed in range(2):
            home = tmp_path / name / f"seed{seed}"
            write_rows(home / "solutions.jsonl", *rows(name, seed))
            measured = [{"step": s, "accuracy": 0.5, "greedy_reward": s / 10} for s in (0, 5)]
            write_rows(home / "training_log.jsonl", *measured, {"step": 5, "loss": 0.1})
    for benchmark in SIZES:
        solutions = [row for row in rows("base", 0) if row["benchmark"] == benchmark]
        write_rows(tmp_path / "base" / benchmark / "output-greedy.jsonl", *solutions)
    return tmp_path


def compare(folder: Path, *more: str) -> int:
    words = ["--policies", *(f"{folder}/{name}/seed{seed}" for name in RIGHT for seed in (0, 1))]
    words += ["--in_distribution", "gsm8k", "--save_dir", f"{folder}/out", *more]
    return run_stage(PoliciesOptions, run, words)


def base_flags(folder: Path) -> list[str]:
    files = [f"{folder}/base/{name}/output-greedy.jsonl" for name in SIZES]
    return ["--base_solutions", *files]


def test_accuracies_are_over_all_problems_of_a_group(folder: Path) -> None:
    assert compare(folder, *base_flags(folder)) == 0
    found = pd.read_csv(folder / "out" / "accuracy.csv")
    own = found[found["baseline"].isna()].set_index(["policy", "benchmarks"])
    groups = {"in distribution": ["gsm8k"], "out of distribution": ["svamp", "mawps"]}
    groups |= {name: [name] for name in SIZES}
    for name, seeds in {"a": (0, 1), "b": (0, 1), "base": (0,)}.items():
        for group, parts in groups.items():
            each = [np.concatenate([labels(name, s)[part] for part in parts]) for s in seeds]
            row = own.loc["base model" if name == "base" else name, group]
            assert row["value"] == pytest.approx(np.mean(each))
            assert row["problems"] == len(each[0]) and row["seeds"] == 2
            assert row["low"] < row["value"] < row["high"]
    # The interval of one set of labels is about that of a share.
    share = own.loc["base model", "out of distribution"]
    width = 2 * 1.96 * np.sqrt(share["value"] * (1 - share["value"]) / 100)
    assert share["high"] - share["low"] == pytest.approx(width, rel=0.15)


def test_differences_are_of_all_pairs_and_corrected(folder: Path) -> None:
    assert compare(folder, *base_flags(folder)) == 0
    found = pd.read_csv(folder / "out" / "accuracy.csv")
    pairs = found[found["baseline"].notna()]
    assert len(pairs) == 3 * 2
    inside = pairs[pairs["benchmarks"] == "in distribution"].set_index(["policy", "baseline"])
    mean = {name: np.mean([labels(name, s)["gsm8k"] for s in (0, 1)]) for name in RIGHT}
    row = inside.loc["b", "a"]
    assert row["value"] == pytest.approx(mean["b"] - mean["a"]) and row["high"] < 0
    assert row["p"] == inside["p"].min() and row["p_holm"] == pytest.approx(3 * row["p"])
    page = (folder / "out" / "report.md").read_text()
    assert f"{100 * row['value']:.1f} [" in page and "synthetic" not in page
    assert (folder / "out" / "figures" / "training.png").stat().st_size > 10_000


def test_trainings_with_fewer_steps_than_are_logged_have_accuracies(folder: Path) -> None:
    for log in folder.glob("*/*/training_log.jsonl"):
        log.write_text("")
    assert compare(folder) == 0
    assert set(pd.read_csv(folder / "out" / "accuracy.csv")["policy"]) == {"a", "b"}
    assert (folder / "out" / "figures" / "training.png").is_file()


def test_without_a_base_model_and_with_made_benchmarks(folder: Path) -> None:
    assert compare(folder, "--synthetic") == 0
    found = pd.read_csv(folder / "out" / "accuracy.csv")
    assert set(found["policy"]) == {"a", "b"}
    assert "synthetic stand-in" in (folder / "out" / "report.md").read_text()


def broken_other(folder: Path) -> list[str]:
    write_rows(folder / "b" / "seed1" / "solutions.jsonl", *rows("b", 1)[:-1])
    return []


def broken_missing(folder: Path) -> list[str]:
    (folder / "b" / "seed1" / "solutions.jsonl").unlink()
    return []


def broken_base(folder: Path) -> list[str]:
    return base_flags(folder)[:-1]


def broken_name(folder: Path) -> list[str]:
    return ["--policies", f"{folder}/base"]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (broken_other, "b/seed1/solutions.jsonl: has solutions to other problems than the first"),
        (broken_missing, "b/seed1/solutions.jsonl: no such file"),
        (broken_base, "output-greedy.jsonl: has solutions to other problems than the first"),
        (broken_name, "expected a folder .../<name>/seed<k>"),
    ],
)
def test_mistakes_are_told_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], broken: Any, message: str
) -> None:
    assert compare(folder, *broken(folder)) == 1
    [line] = [line for line in capsys.readouterr().err.splitlines() if "policies: error" in line]
    assert message in line
