"""Variants compared on the same held-out pairs, through the command."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gcrm.cli import run_stage
from gcrm.compare import run
from gcrm.config.compare import CompareOptions
from gcrm.config.metrics import MetricsOptions
from gcrm.data.scores import write_scores
from gcrm.metrics import run as run_metrics
from helpers.score_rows import pair_table

PAIRS = [(f"prompt {i // 2}", f"yes {i % 7}", f"no {i}") for i in range(60)]
Json = dict[str, Any]


def write(
    home: Path,
    variant: str,
    seed: int,
    pairs: list[tuple[str, str, str]] = PAIRS,
    left_out: int = 0,
    with_q_values: bool = True,
) -> Path:
    """Made scores of a model; a pair has the same scores wherever it stands."""
    number = sum(map(ord, variant)) + seed
    partial = []
    for pair in pairs:
        generator = np.random.default_rng([number, PAIRS.index(pair)])
        partial += [generator.normal(lift, 1, generator.integers(1, 6)) for lift in (0.5, 0)]
    scores: Json = {
        "reward": np.array([row[-1] for row in partial]),
        "partial_rewards": partial,
        "num_tokens": np.array([len(row) for row in partial]),
        "truncated": np.zeros(len(partial), bool),
    }
    scores |= {"q_values": [np.tanh(row) for row in partial]} if with_q_values else {}
    path = home / variant / f"seed{seed}" / "hh" / "pairs" / "scores.parquet"
    write_scores(path, pair_table(pairs, scores, left_out))
    return path


def right_of(path: Path) -> np.ndarray:
    """Which pairs of a file have the higher reward on the chosen side."""
    import pandas as pd

    table = pd.read_parquet(path).pivot(index="group", columns="label", values="reward")
    return (table[True] > table[False]).to_numpy(float)


def compared(tmp_path: Path, *paths: Path, **options: Any) -> Json:
    output = tmp_path / "comparisons" / "hh.json"
    options = {"bootstrap_resamples": 500} | options
    run(CompareOptions(pair_scores=list(paths), output=output, **options))
    found: Json = json.loads(output.read_text())
    return found


def test_a_difference_is_paired_over_prompts(tmp_path: Path) -> None:
    vanilla, contrastive = (write(tmp_path, name, 0) for name in ("vanilla", "contrastive"))
    found = compared(tmp_path, vanilla, contrastive, bootstrap_resamples=4000)
    assert (found["benchmark"], list(found["variants"])) == ("hh", ["vanilla", "contrastive"])
    assert set(found["settings"]) == {"percentiles", "bootstrap_resamples", "bootstrap_seed"}
    (difference,) = found["differences"]
    assert (difference["variant"], difference["baseline"]) == ("contrastive", "vanilla")
    reward = difference["accuracy"]["reward"]
    gap = right_of(contrastive) - right_of(vanilla)
    assert reward["value"] == pytest.approx(gap.mean())
    assert (reward["n"], reward["seeds"]) == (60, {"0": pytest.approx(gap.mean())})
    drawn = np.random.default_rng(0).integers(0, 30, (4000, 30))  # prompts, of two pairs each
    means = gap.reshape(30, 2).mean(axis=1)[drawn].mean(axis=1)
    assert reward["interval"] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.02)
    assert {"q_value", "reward"} == set(difference["accuracy"])  # and not those of the length
    assert len(difference["partial_accuracy"]["q_value"]) == 11
    assert difference["margin"]["value"] is not None


def test_of_one_seed_the_estimates_are_those_of_its_metrics(tmp_path: Path) -> None:
    paths = [write(tmp_path, name, 0) for name in ("vanilla", "contrastive")]
    found = compared(tmp_path, *paths)["variants"]["contrastive"]
    output = tmp_path / "contrastive" / "seed0" / "hh.json"
    run_metrics(MetricsOptions(pair_scores=paths[1], output=output, bootstrap_resamples=500))
    expected = json.loads(output.read_text())
    for section, name in (
        *(("accuracy", score) for score in ("reward", "q_value", "reward_minus_longer")),
        *(("partial_accuracy", score) for score in ("reward", "q_value")),
    ):
        mine, metrics = found[section][name], expected[section][name]
        for one, other in (
            [(mine, metrics)]
            if "value" in mine
            else zip(mine.values(), metrics.values(), strict=True)
        ):
            assert [one[key] for key in ("value", "interval", "n")] == [
                *(pytest.approx(other[key]) for key in ("value", "interval", "n")),
            ]


def test_several_seeds_are_taken_in(tmp_path: Path) -> None:
    paths = [write(tmp_path, name, seed) for name in ("vanilla", "other") for seed in (0, 1, 2)]
    (difference,) = compared(tmp_path, *paths)["differences"]
    reward = difference["accuracy"]["reward"]
    gaps = [right_of(paths[3 + k]).mean() - right_of(paths[k]).mean() for k in range(3)]
    assert list(reward["seeds"].values()) == pytest.approx(gaps)
    assert reward["value"] == pytest.approx(np.mean(gaps))


def test_pairs_are_matched_by_their_texts(tmp_path: Path) -> None:
    vanilla = write(tmp_path, "vanilla", 0)
    first = compared(tmp_path, vanilla, write(tmp_path, "other", 0))
    shuffled = [PAIRS[i] for i in np.random.default_rng(0).permutation(60)]
    assert compared(tmp_path, vanilla, write(tmp_path, "other", 0, shuffled)) == first


def test_pairs_that_one_model_left_out_are_left_out_for_all(tmp_path: Path) -> None:
    vanilla = write(tmp_path, "vanilla", 0, PAIRS[:58], left_out=2)
    contrastive = write(tmp_path, "contrastive", 0)
    (difference,) = compared(tmp_path, vanilla, contrastive)["differences"]
    gap = right_of(contrastive)[:58] - right_of(vanilla)
    assert difference["accuracy"]["reward"]["n"] == 58
    assert difference["accuracy"]["reward"]["value"] == pytest.approx(gap.mean())


def test_a_model_without_q_values_has_a_reason(tmp_path: Path) -> None:
    paths = [write(tmp_path, "a", 0, with_q_values=False), write(tmp_path, "b", 0)]
    (difference,) = compared(tmp_path, *paths)["differences"]
    assert difference["accuracy"]["q_value"]["value"] is None
    assert "goal state" in difference["accuracy"]["q_value"]["reason"]
    assert difference["accuracy"]["reward"]["value"] is not None


def test_other_pairs_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [write(tmp_path, "a", 0), write(tmp_path, "b", 0, PAIRS[1:])]
    words = ["--output", str(tmp_path / "o.json"), "--pair_scores", *map(str, paths)]
    assert run_stage(CompareOptions, run, words) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"{paths[1]}: lacks 1 pairs that other models have scored, and left out 0" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give either --scores or --pair_scores"),
        (["--scores", "a", "--pair_scores", "b"], "give either --scores or --pair_scores"),
        (["--pair_scores", "a", "--sample_scores", "b"], "--sample_scores goes with --scores"),
        (["--pair_scores", "a"], "--pair_scores: a: does not name its model"),
    ],
)
def test_mistakes_are_one_clear_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_stage(CompareOptions, run, ["--output", "o.json", *words]) == 1
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
