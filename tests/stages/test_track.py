"""Stage `track`: the final metrics of a run in one file and on wandb."""

import json
from pathlib import Path
from typing import Any

import pytest

from gcrm import track
from gcrm.cli import run_stage
from gcrm.config.track import TrackOptions
from gcrm.stats.estimates import estimates_frame, write_estimates


def estimates(path: Path, stage: Any, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_estimates(path, estimates_frame(rows, stage))
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Metrics of a variant, comparisons, and a model folder."""
    of = {"benchmark": "gsm8k", "split": "greedy", "n": 9}
    model = of | {"variant": "vanilla", "seed": 3}
    metrics = [
        {"metric": "auroc.reward", "value": 0.7},
        {"metric": "auroc.q_value", "reason": "no Q-values"},
        {"metric": "partial_auroc.reward", "at": 0.5, "value": 0.6},
        {"metric": "partial_auroc.reward", "at": 1.0, "value": 0.7},
        {"metric": "filter_curve.majority@n", "at": -0.25, "value": 0.1},
        # counts, which greedy solutions and samples have under the same name
        {"metric": "num_problems", "value": 5.0},
        {"metric": "num_problems", "value": 4.0, "split": "all"},
        {"metric": "samples_per_problem.max", "value": 4.0, "split": "all"},
    ]
    compared = of | {"variant": "b", "metric": "auroc.reward"}
    comparisons = [
        {"value": 0.5},  # averages, differences, and those of one seed
        {"value": 0.5, "seed": 0},
        {"value": -0.25, "baseline": "a"},
        {"value": -0.5, "baseline": "a", "seed": 0},
    ]
    folder = tmp_path / "models/vanilla/seed3"
    folder.mkdir(parents=True)
    provenance = {"tracking_id": "abc", "options": {"max_len": 5}}
    (folder / "provenance.json").write_text(json.dumps(provenance))
    return {
        "metrics": estimates(tmp_path / "metrics.json", "metrics", [model | m for m in metrics]),
        "comparisons": estimates(
            tmp_path / "comparisons.json", "compare", [compared | c for c in comparisons]
        ),
        "models_dir": folder.parent.parent,
        "output": tmp_path / "tracking/metrics.jsonl",
    }


def run(files: dict[str, Path], *more: str) -> int:
    words = [str(word) for name, path in files.items() for word in (f"--{name}", path)]
    return run_stage(TrackOptions, track.run, [*words, *more])


def test_file_has_all_metrics_by_name(files: dict[str, Path]) -> None:
    assert run(files) == 0
    rows = [json.loads(line) for line in files["output"].read_text().splitlines()]
    assert rows == [
        {
            "variant": "vanilla",
            "seed": 3,
            "benchmark": "gsm8k",
            "numbers": {
                "auroc.reward": 0.7,
                "partial_auroc.reward@0.5": 0.6,
                "partial_auroc.reward@1": 0.7,
            },
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


@pytest.mark.parametrize(("file", "stage"), [("metrics", "metrics"), ("comparisons", "compare")])
def test_other_files_are_refused_in_one_line(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str], file: str, stage: str
) -> None:
    files[file].write_text("{}")
    assert run(files) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"track: error: {files[file]}: ")
    assert error.endswith(f"; not a table of estimates: `{stage}` makes it anew")
    assert not files["output"].exists()


@pytest.mark.parametrize("wandb_works", [True, False])
@pytest.mark.parametrize("curve", [[{"step": 1, "loss": 2}], []], ids=["curve", "few steps"])
def test_wandb_gets_metrics_as_the_summary_of_the_training(
    files: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    wandb_works: bool,
    curve: list[dict[str, Any]],
) -> None:
    """After a failure of wandb, nothing more is reported. A short training has an empty log."""
    calls: list[tuple[Any, ...]] = []

    class Recorded:
        def __init__(self, init: dict[str, Any], connection: dict[str, Any]):
            calls.append((init["id"], init["name"], init["config"]))

        def log(self, rows: list[dict[str, Any]]) -> None:
            calls.append(("log", rows))

        def finish(self, summary: dict[str, float]) -> bool:
            calls.append(("summary", summary))
            return wandb_works

    log = files["models_dir"] / "vanilla/seed3/training_log.jsonl"
    log.write_text("".join(map(json.dumps, curve)))
    monkeypatch.setattr(track, "WandbRun", Recorded)
    assert run(files, "--wandb_project", "p", "--wandb_run_name", "tiny") == 0
    model = [
        ("abc", "tiny/vanilla/seed3", {"max_len": 5}),
        ("log", curve),
        (
            "summary",
            {
                "gsm8k/auroc.reward": 0.7,
                "gsm8k/partial_auroc.reward@0.5": 0.6,
                "gsm8k/partial_auroc.reward@1": 0.7,
            },
        ),
    ]
    assert calls[:3] == model
    assert [what[1:] for what in calls[3:]] == (
        [("tiny/comparisons", {}), ({"b-a/gsm8k/auroc.reward": -0.25},)] if wandb_works else []
    )
