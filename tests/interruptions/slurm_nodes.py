"""A run on Slurm that loses a node: its job goes on elsewhere, and it ends as without Slurm."""

import random
import shutil
import subprocess
import time
from pathlib import Path

from interruptions.record import Record

from helpers.interruption import results
from helpers.slurm.cluster import Cluster
from helpers.workflow_runs import SMALL, SNAKEMAKE, copy_project, snakemake

HOME = "results/small"
MADE = {
    "sample": "completions/preference-gsm8k/output-rs0.jsonl",
    "pair": "preferences/pairs.jsonl",
    "train": "models/contrastive/seed0/model.safetensors",
}
"""a file that a stage makes; its folder is what is missing"""

# The profile's own waits are for real clusters; and this one keeps no accounts of jobs.
WORDS = ["--workflow-profile", "workflow/profiles/slurm", "--jobs", "1", "--latency-wait", "10"]
WORDS += ["--slurm-init-seconds-before-status-checks", "2", "--seconds-between-status-checks", "2"]
WORDS += ["--slurm-status-command", "squeue", "--slurm-no-account", "--"]
PATIENCE = 900


def undisturbed(project: Path) -> Path:
    """A project in which all of `MADE` is made."""
    files = [f"{HOME}/{file}" for file in MADE.values()]
    done = snakemake(copy_project(project, SMALL), "--cores", "1", *files)
    assert done.returncode == 0, done.stdout + done.stderr
    return project


def lose_a_node(
    stage: str, reference: Path, project: Path, draw: random.Random, record: Record
) -> None:
    """Lose the node at a random moment of the job that makes a stage, and compare all files."""
    shutil.copytree(reference, project)
    shutil.rmtree((project / HOME / MADE[stage]).parent)
    cluster = Cluster()
    command = [str(SNAKEMAKE), *WORDS, f"{HOME}/{MADE[stage]}"]
    try:
        cluster.start()
        run = cluster.use(command, project, project.with_suffix(".txt"))
        job = _running(cluster, run)
        delay = draw.uniform(0, 8)
        time.sleep(delay)
        record.add(f"slurm {stage}", "Slurm node lost", stage, delay, _lose(cluster, job))
        completed = run.wait(PATIENCE) == 0
    finally:
        cluster.stop()
    ours, theirs = results(project), results(reference)
    names = ours.keys() | theirs.keys()
    differing = sorted(name for name in names if ours.get(name) != theirs.get(name))
    record.end(completed, len(names), differing)
    if completed and not differing:
        shutil.rmtree(project)


def _running(cluster: Cluster, run: subprocess.Popen[bytes]) -> dict[str, str]:
    """The first job, as soon as it runs."""
    while run.poll() is None:
        if running := [job for job in cluster.jobs() if job["JobState"] == "RUNNING"]:
            return running[0]
        time.sleep(0.3)
    raise AssertionError("no job began")


def _lose(cluster: Cluster, job: dict[str, str]) -> str:
    """Lose the node of a job, and bring it back when the job is no longer on it."""
    node = job["NodeList"]
    killed = cluster.lose(node)
    deadline = time.monotonic() + 120
    while (state := _state(cluster, job)) == "RUNNING" and time.monotonic() < deadline:
        time.sleep(0.5)
    cluster.bring_back(node)
    return f"{node} with {len(killed)} processes; the job was {state} then"


def _state(cluster: Cluster, job: dict[str, str]) -> str:
    return next(one["JobState"] for one in cluster.jobs() if one["JobId"] == job["JobId"])
