"""`python -m gcrm.compare`: files by the models in their paths."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gcrm.cli import run_stage
from gcrm.compare import run
from gcrm.config.compare import CompareOptions
from gcrm.config.metrics import MetricsSettings
from gcrm.data.scores import read_scores
from gcrm.stats.compute import compare_models
from gcrm.stats.estimates import read_estimates
from helpers.score_rows import columns, write_columns

RESAMPLES = 60


def write(tmp_path: Path, variant: str, seed: int, split: str, table: dict[str, Any]) -> Path:
    home = tmp_path / "scores" / variant / f"seed{seed}" / "gsm8k" / split
    return write_columns(home / "scores.parquet", table)


def scores(reward: int, per_problem: int = 1) -> dict[str, Any]:
    """The same completions, with other rewards and Q-values."""
    made = columns(30, per_problem)
    changed = {
        name: [row - 0.01 * reward * len(row) for row in made[name]]
        for name in ("partial_rewards", "q_values")
    }
    return made | changed | {"reward": [row[-1] for row in changed["partial_rewards"]]}


def test_paths_name_the_models(tmp_path: Path) -> None:
    models = [(variant, seed) for variant in ("vanilla", "contrastive") for seed in (0, 1)]
    files = {
        model: [
            write(tmp_path, *model, split, scores(number, per_problem))
            for split, per_problem in (("greedy", 1), ("all", 5))
        ]
        for number, model in enumerate(models)
    }
    output = tmp_path / "comparisons" / "gsm8k.json"
    greedy, sampled = ([each[place] for each in files.values()] for place in (0, 1))
    options = CompareOptions(
        scores=greedy, sample_scores=sampled[::-1], output=output, bootstrap_resamples=RESAMPLES
    )
    run(options)
    first = output.read_bytes()
    tables = {model: [read_scores(path) for path in paths] for model, paths in files.items()}
    settings = MetricsSettings(bootstrap_resamples=RESAMPLES)
    expected = compare_models(tables, settings, benchmark="gsm8k")
    pd.testing.assert_frame_equal(read_estimates(output, "compare"), expected)
    assert set(expected["seed"].dropna()) == {0, 1} and expected["baseline"].notna().any()
    run(options)
    assert output.read_bytes() == first
    provenance = json.loads(Path(f"{output}.provenance.json").read_text())
    assert set(provenance["inputs"]) == {str(path) for path in (*greedy, *sampled)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": ["other.parquet"]}, "other.parquet: does not name its model; expected .../<v"),
        ({"scores": ["{a}", "{a}"]}, "a second file of a, seed 0"),
        ({"scores": ["{a}", "{svamp}"]}, "files of several benchmarks (gsm8k, svamp)"),
        ({"scores": ["{a}", "x/b/seed1/gsm8k/greedy/no.parquet"]}, "no.parquet: no such file"),
        (
            {"sample_scores": ["{a}"]},
            "a, seed 0 on gsm8k; expected those of --scores: a, seed 0, b",
        ),
        ({"baseline": ["z"]}, "there is no variant 'z'; there are a, b"),
        ({"pairs": ["b:z"]}, "there is no variant 'z'; there are a, b"),
        ({"pairs": ["b:b"]}, "compares a variant with itself"),
        ({"pairs": ["b:a", "b:a"]}, "pairs: b:a is there more than once"),
        ({"pairs": ["b"]}, "--pairs.0: String should match pattern"),
        ({"pairs": ["b:a"], "baseline": ["a"]}, "baseline does nothing beside pairs"),
        ({"scores": ["{a}", "{fewer}"]}, "1 of its rows are missing here"),
    ],
)
def test_mistakes_are_one_clear_line(
    tmp_path: Path,
    change: dict[str, list[str]],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = scores(1)
    paths = {name: str(write(tmp_path, name, 0, "greedy", table)) for name in "ab"}
    fewer = {name: list(values)[1:] for name, values in table.items()}
    paths["fewer"] = str(write(tmp_path, "fewer", 0, "greedy", fewer))
    paths["svamp"] = str(tmp_path / "b" / "seed0" / "svamp" / "greedy" / "scores.parquet")
    given = {"scores": ["{a}", "{b}"], "output": [str(tmp_path / "o.json")]} | change
    words = [
        word
        for name, values in given.items()
        for word in (f"--{name}", *(value.format(**paths) for value in values))
    ]
    assert run_stage(CompareOptions, run, words) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert line.startswith("compare: error: ")
    assert message in line


def test_no_torch_is_imported() -> None:
    code = "import sys, gcrm.compare; sys.exit(any(m in sys.modules for m in ('torch', 'sympy')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
