"""A run that is interrupted in every stage ends as if nothing had happened: bit for bit.

Its reference is `small_run`. Jobs are killed alone, and Snakemake tries them again; or Snakemake is
interrupted with its jobs, and started again.
"""

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from helpers.interruption import SNAKEMAKE_ITSELF, Run, assert_same, results
from helpers.workflow_runs import slow_training, snakemake, whole_project, would_run

RESULTS = "results/small"
EVERY_STAGE = [
    ("prepare", signal.SIGKILL),
    ("pretrain", signal.SIGTERM),
    ("sample", signal.SIGINT),
    ("pair", signal.SIGKILL),
    ("represent", signal.SIGKILL),
    ("evaluate", signal.SIGTERM),
    ("generate", signal.SIGKILL),
    ("metrics", signal.SIGINT),
    ("compare", signal.SIGKILL),
    ("report", signal.SIGTERM),
]


def assert_locked(project: Path) -> None:
    refused = snakemake(project, "--cores", "2")
    said = refused.stdout + refused.stderr
    assert refused.returncode != 0 and "Directory cannot be locked" in said
    assert "It can be removed with the --unlock argument" in said


def unlock(project: Path) -> None:
    assert snakemake(project, "--unlock").returncode == 0


@pytest.mark.slow
def test_interrupted_in_all_stages_up_to_the_goal_state(
    small_run: tuple[Path, str], tmp_path: Path
) -> None:
    """The training is killed, stopped by Ctrl-C, and left alone by a killed Snakemake."""
    project, target = whole_project(tmp_path), f"{RESULTS}/goal_states/contrastive/seed0"
    target += "/goal_state.npy"
    slow_training(project, 0.5, "Path('slowly').exists()")
    (project / "slowly").touch()

    run = Run(project, target, "--retries", "1")
    for stage in ("prepare", "pretrain", "sample", "pair"):
        run.kill_jobs([stage], signal.SIGTERM if stage == "pretrain" else signal.SIGKILL)
    run.wait_until(run.checkpoint)
    run.kill_jobs(["train"])
    reached = run.checkpoint()
    run.wait_until(lambda: run.checkpoint() > reached)
    assert not run.interrupt(signal.SIGINT)
    assert run.said().count("Trying to restart job") == 5
    assert "train: resuming from" in run.said()
    assert "train: stopped by SIGINT, saved at step" in run.said()

    run, reached = Run(project, target), run.checkpoint()
    run.wait_until(lambda: run.checkpoint() > reached)
    assert run.interrupt(SNAKEMAKE_ITSELF)
    assert "train: resuming from" in run.said()
    assert "Snakemake is gone" in run.said()
    assert_locked(project)
    unlock(project)
    assert not (project / RESULTS / "models/contrastive/seed0/model.safetensors").exists()

    (project / "slowly").unlink()
    run = Run(project, target)
    run.wait_until(lambda: run.has_begun("represent"))
    if run.interrupt(signal.SIGTERM):
        unlock(project)
    assert "train: resuming from" in run.said()
    Run(project, target).finish()
    made = results(project).keys()
    kinds = {"pretrain.jsonl", "output-rs2.jsonl", "pairs.jsonl", "model.safetensors"}
    assert kinds | {"training_log.jsonl", "goal_state.npy"} <= {Path(name).name for name in made}
    assert_same(project, small_run[0], made)


@pytest.mark.slow
def test_deleted_results_are_rebuilt_alone_though_a_job_of_each_stage_is_killed(
    small_run: tuple[Path, str], tmp_path: Path
) -> None:
    """Scores, metrics, comparisons, report; and scores in the authors' format, made when asked for.

    All files are touched before: Snakemake compares content, and reruns nothing else.
    """
    project = Path(shutil.copytree(small_run[0], tmp_path / "project"))
    for path in project.rglob("*"):
        if ".snakemake" not in path.parts:
            os.utime(path)
    deleted = [
        "scores/contrastive/seed0/gsm8k/all/scores.parquet",
        "metrics/contrastive/seed0/gsm8k.json",
        "comparisons/gsm8k.json",
        "report/report.md",
    ]
    for name in deleted:
        (project / RESULTS / name).unlink()
    shutil.rmtree(project / RESULTS / "logs")  # a new log says that a job is at work
    exported = f"{RESULTS}/scores/vanilla/seed0/gsm8k/greedy/output.jsonl"
    run = Run(project, f"{RESULTS}/report/report.md", exported, "--retries", "1")
    run.kill_jobs(["evaluate", "metrics", "compare", "report"])
    screen = run.finish()
    assert screen.count("Trying to restart job") == 4
    assert "5 of 5 steps" in screen
    rows = [json.loads(line) for line in (project / exported).read_text().splitlines()]
    assert len(rows) == 100
    assert set(rows[0]) == {
        *("question", "generated_solution", "predicted_answer", "expected_answer", "is_correct"),
        *("reward", "partial_rewards", "cosine_sim", "num_actions"),
    }
    (project / exported).unlink()
    assert_same(project, small_run[0])
    assert would_run(project) == {}


@pytest.mark.slow
def test_with_a_new_snakemake_after_each_interruption(
    small_run: tuple[Path, str], tmp_path: Path
) -> None:
    """A second run is refused while the first is at work."""
    project = whole_project(tmp_path)
    for stage, how in EVERY_STAGE:
        run = Run(project)
        run.wait_until(lambda run=run, stage=stage: run.has_begun(stage))
        if stage == "pretrain":
            jobs = run.jobs()
            for job in jobs:
                job.suspend()
            assert_locked(project)
            for job in jobs:
                job.resume()
            assert run.process.poll() is None
        if run.interrupt(how, stage):
            unlock(project)
    Run(project).finish()
    assert_same(project, small_run[0])
    assert would_run(project) == {}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_interrupted_at_random_moments(
    small_run: tuple[Path, str], tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    project = whole_project(tmp_path)
    interrupted = 0
    while interrupted < 15:
        run = Run(project)
        moment = time.monotonic() + draw.uniform(3, 20)
        while run.process.poll() is None and time.monotonic() < moment:
            time.sleep(0.05)
        if run.process.poll() is not None:
            run.finish()
            break
        ways = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, SNAKEMAKE_ITSELF]
        run.interrupt(draw.choice(ways))
        interrupted += 1
        snakemake(project, "--unlock")
    Run(project).finish()
    assert interrupted >= 3
    assert_same(project, small_run[0])
