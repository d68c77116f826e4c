"""The final numbers of a run in one file, and what wandb is told of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from gcrm import track
from gcrm.cli import run_stage
from gcrm.config.track import TrackOptions


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def estimate(value: float | None) -> dict[str, Any]:
    return {"value": value, "interval": None if value is None else [0.0, 1.0], "n": 9}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Metrics of a variant, a comparison, and a model with its curve."""
    metrics = {
        "variant": "vanilla",
        "seed": 3,
        "benchmark": "gsm8k",
        "settings": {"percentiles": [0.5]},
        "auroc": {"reward": estimate(0.7), "q_value": estimate(None)},
        "partial_auroc": {"reward": {"0.5": estimate(0.6)}},
        "voting": {"filter_curve": [estimate(0.1)], "reason": "no samples"},
    }
    difference = {"variant": "b", "baseline": "a", "auroc": {"reward": estimate(-0.25)}}
    compared = {"benchmark": "gsm8k", "variants": {}, "differences": [difference]}
    model = tmp_path / "models/vanilla/seed3"
    write(model / "provenance.json", {"tracking_id": "abc", "options": {"max_len": 5}})
    return {
        "metrics": write(tmp_path / "metrics.json", metrics),
        "comparisons": write(tmp_path / "comparisons.json", compared),
        "models_dir": model.parent.parent,
        "output": tmp_path / "tracking/metrics.jsonl",
    }


def run(files: dict[str, Path], *more: str) -> int:
    words = [str(word) for name, path in files.items() for word in (f"--{name}", path)]
    return run_stage(TrackOptions, track.run, [*words, *more])


def test_every_number_is_there_with_its_place(files: dict[str, Path]) -> None:
    assert run(files) == 0
    rows = [json.loads(line) for line in files["output"].read_text().splitlines()]
    assert rows == [
        {
            "variant": "vanilla",
            "seed": 3,
            "benchmark": "gsm8k",
            "numbers": {"auroc.reward": 0.7, "partial_auroc.reward.0.5": 0.6},
        },
        {
            "variant": "b",
            "minus": "a",
            "benchmark": "gsm8k",
            "numbers": {"auroc.reward": -0.25},
        },
    ]
    provenance = json.loads(Path(f"{files['output']}.provenance.json").read_text())
    assert list(provenance["inputs"]) == [str(files["metrics"]), str(files["comparisons"])]


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("metrics", "[]", "expected a JSON object"),
        ("metrics", "null", "expected a JSON object"),
        ("metrics", "{}", "does not name its variant"),
        ("metrics", '{"variant": "a", "seed": 0, "benchmark": NaN}', "NaN is no number"),
        ("comparisons", "{}", "no comparisons; expected a file that `compare` wrote"),
    ],
)
def test_what_no_stage_wrote_is_told_in_one_line(
    files: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
    file: str,
    content: str,
    problem: str,
) -> None:
    files[file].write_text(content)
    assert run(files) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(f"track: error: {files[file]}: ") and problem in told
    assert not files["output"].exists()


@pytest.mark.parametrize("wandb_works", [True, False])
def test_wandb_has_them_beside_the_training(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, wandb_works: bool
) -> None:
    """Where wandb fails once, it is asked no further."""
    told: list[tuple[Any, ...]] = []

    class Recorded:
        def __init__(self, init: dict[str, Any], connection: dict[str, Any]):
            told.append((init["id"], init["name"], init["config"]))

        def log(self, rows: list[dict[str, Any]]) -> None:
            told.append(("log", rows))

        def finish(self, summary: dict[str, float]) -> bool:
            told.append(("summary", summary))
            return wandb_works

    (files["models_dir"] / "vanilla/seed3/training_log.jsonl").write_text('{"step": 1, "loss": 2}')
    monkeypatch.setattr(track, "WandbRun", Recorded)
    assert run(files, "--wandb_project", "p", "--wandb_run_name", "tiny") == 0
    model = [
        ("abc", "tiny/vanilla/seed3", {"max_len": 5}),
        ("log", [{"step": 1, "loss": 2}]),
        ("summary", {"gsm8k/auroc.reward": 0.7, "gsm8k/partial_auroc.reward.0.5": 0.6}),
    ]
    assert told[:3] == model
    assert [what[1:] for what in told[3:]] == (
        [("tiny/comparisons", {}), ({"b-a/gsm8k/auroc.reward": -0.25},)] if wandb_works else []
    )
