"""Helpful-Harmless data, whole: from dialogues to preference accuracy, without any benchmark."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from gcrm.cli import run_stage
from gcrm.config.evaluate import EvaluateOptions
from gcrm.config.metrics import MetricsOptions
from gcrm.config.prepare import PrepareOptions
from gcrm.config.report import ReportOptions
from gcrm.config.represent import RepresentOptions
from gcrm.config.train import TrainOptions
from gcrm.evaluate import run as run_evaluate
from gcrm.metrics import run as run_metrics
from gcrm.prepare import run as run_prepare
from gcrm.report import run as run_report
from gcrm.represent import run as run_represent
from gcrm.stats.estimates import read_estimates
from gcrm.train import run as run_train
from helpers.dialogues import write_dialogues
from helpers.models import save_base_model
from helpers.score_rows import pick
from helpers.workflow_runs import ROOT, copy_project, snakemake, would_run

CONTRASTIVE = ["--reward_model_strategy", "contrastive"]


def stage(options, run, *words) -> None:
    assert run_stage(options, run, list(map(str, words))) == 0


def test_the_stages_one_after_the_other(tmp_path, capsys):
    """A reward model learns what the chosen answers have in common, and held-out ones show it."""
    base = save_base_model(tmp_path / "base")
    pairs = write_dialogues(tmp_path / "train.jsonl", 60)
    heldout = write_dialogues(tmp_path / "heldout.jsonl", 41, first=59)  # the first is training's
    data = tmp_path / "data.json"
    words = ["--benchmarks", "--dataset", pairs, "--heldout", heldout, "--report", data]
    stage(PrepareOptions, run_prepare, *words)
    assert json.loads(data.read_text())["heldout"][str(heldout)]["shared_with_training"] == 1
    assert "held-out preferences share 1 questions" in capsys.readouterr().err

    files = []
    for variant, strategy in (("vanilla", []), ("contrastive", CONTRASTIVE)):
        model = tmp_path / "models" / variant / "seed0"
        words = ["--pretrain", base, "--dataset", pairs, "--save_path", model, *strategy]
        words += ["--learning_rate", "3e-3", "--max_epochs", 3, "--max_len", 64]
        stage(
            TrainOptions,
            run_train,
            *words,
            "--train_batch_size",
            12,
            "--micro_train_batch_size",
            12,
        )
        goal = tmp_path / "goal_states" / variant
        words = ["--dataset-path", pairs, "--reward-model-path", model, "--save-dir", goal]
        stage(RepresentOptions, run_represent, *words)
        scores = tmp_path / "scores" / f"{variant}.parquet"
        words = ["--dataset", heldout, "--reward_model_path", model, "--goal_state_path", goal]
        stage(EvaluateOptions, run_evaluate, *words, "--output", scores)
        files.append(tmp_path / "metrics" / variant / "seed0" / "hh.json")
        words = ["--scores", scores, "--output", files[-1], "--bootstrap_resamples", 200]
        stage(MetricsOptions, run_metrics, *words)
        found = read_estimates(files[-1])
        assert pick(found, "num_pairs").value == 41 and pick(found, "num_left_out").value == 0
        assert pick(found, "pairwise_accuracy.reward").value > 0.9
        assert pick(found, "pairwise_accuracy.reward_minus_longer").low > 0
        assert pick(found, "margin").low > 0
        assert pick(found, "pairwise_accuracy.q_value").value > 0
    words = ["--run", "hh", "--metrics", *files, "--save_dir", tmp_path / "report"]
    stage(ReportOptions, run_report, *words, "--data_report", data)
    text = (tmp_path / "report" / "report.md").read_text()
    assert re.search(r"\| hh +\| +41 \|", text)


@pytest.fixture
def hh(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """The project with examples/hh.yaml as its config; small data and model in its variables."""
    config = yaml.safe_load((ROOT / "config" / "examples" / "hh.yaml").read_text())
    config["train"]["train_layers"] = 1  # of two
    project = copy_project(tmp_path / "project", config)
    write_dialogues(tmp_path / "data/pairs/hh-harmless-train.jsonl", 60)
    write_dialogues(tmp_path / "data/pairs/hh-harmless-heldout.jsonl", 30, first=60)
    base = save_base_model(tmp_path / "base")
    return project, {"GCRM_BASE_MODEL": str(base), "GCRM_DATA": str(tmp_path / "data")}


def test_the_projects_config_runs_what_it_says(hh: tuple[Path, dict[str, str]]) -> None:
    project, environment = hh
    jobs = would_run(project, **environment)
    counts = {name: sum(job.startswith(f"{name}:") for job in jobs) for name in ("train", "report")}
    assert counts == {"train": 2, "report": 1}
    variants = ("vanilla", "contrastive")
    assert {job for job in jobs if job.startswith(("evaluate", "metrics", "compare"))} == {
        "compare: variants on hh-harmless",
        *(f"evaluate: {variant}, seed 0, hh-harmless (pairs)" for variant in variants),
        *(f"metrics: {variant}, seed 0, hh-harmless" for variant in variants),
    }
    assert len(jobs) == 1 + 4 * 2 + 3


@pytest.mark.slow
def test_the_projects_config_on_a_tiny_model(hh: tuple[Path, dict[str, str]]) -> None:
    """`snakemake --configfile config/examples/hh.yaml`, all of it, from a model of two layers."""
    project, environment = hh
    done = snakemake(project, "--cores", "2", **environment)
    screen = done.stdout + done.stderr
    assert done.returncode == 0, screen
    results = project / "results" / "hh-smoke"
    for variant in ("vanilla", "contrastive"):
        found = read_estimates(results / f"metrics/{variant}/seed0/hh-harmless.json")
        assert pick(found, "num_pairs", variant=variant, benchmark="hh-harmless").value == 30
    assert (results / "report/summary.txt").read_text().strip() in screen
    assert "hh-harmless" in screen
    compared = read_estimates(results / "comparisons/hh-harmless.json", "compare")
    compared = compared[compared["seed"].isna() & compared["baseline"].eq("vanilla")]
    assert pick(compared, "pairwise_accuracy.reward").n == 30
    state = np.load(results / "goal_states/contrastive/seed0/goal_state.npy")
    assert state.shape == (1, 32)
    assert would_run(project, **environment) == {}
