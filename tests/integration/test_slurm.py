"""The run on a real Slurm of two nodes, through its profile. See tests/helpers/slurm."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from helpers.models import save_base_model
from helpers.training import write_pairs
from helpers.workflow_runs import SMALL, SNAKEMAKE, copy_project, slow_training, snakemake

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers" / "slurm"))

from cluster import Cluster, HostInUse, check_host

on_slurm = pytest.mark.skipif(
    not os.environ.get("GCRM_TEST_SLURM"),
    reason="starts Slurm: tests/helpers/slurm/install.sh, then GCRM_TEST_SLURM=1 (as .ci/run does)",
)
# The profile's own waits are for real clusters; and this one keeps no accounts of jobs.
QUICK = ["--latency-wait", "10", "--slurm-init-seconds-before-status-checks", "2"]
QUICK += ["--seconds-between-status-checks", "2"]
QUICK += ["--slurm-status-command", "squeue", "--slurm-no-account"]
ONE_OF_EACH = SMALL | {
    "benchmarks": ["gsm8k"],
    "variants": {"contrastive": SMALL["variants"]["contrastive"]},
}
MODEL = "results/own/models/only/seed0"
SCREEN = "screen.txt"
HELDOUT = {"held": "pairs.jsonl"}


@dataclass
class Run:
    """Snakemake at work on the cluster in `project`."""

    project: Path
    process: subprocess.Popen[bytes]

    def finish(self) -> int:
        """Wait for its end, and return its exit status."""
        return self.process.wait(900)

    @property
    def screen(self) -> str:
        """What it printed."""
        return (self.project / SCREEN).read_text()

    def slurm_log(self, job: dict[str, str]) -> str:
        """What a job of Slurm printed."""
        paths = self.project.glob(f".snakemake/slurm_logs/**/{job['JobId']}.log")
        return "".join(path.read_text() for path in paths)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def start(cluster: Cluster, project: Path, *args: str) -> Run:
    """Start Snakemake with the profile; targets come last."""
    command = [str(SNAKEMAKE), "--workflow-profile", "workflow/profiles/slurm", *QUICK, *args]
    return Run(project, cluster.use(command, project, project / SCREEN))


def jobs_of(cluster: Cluster, run: Run) -> list[dict[str, str]]:
    """The run's jobs, oldest first."""
    return [job for job in cluster.jobs() if job["WorkDir"] == str(run.project)]


def training(cluster: Cluster, run: Run) -> dict[str, str] | None:
    """The run's first job, if it is at least in its second step of training."""
    jobs = jobs_of(cluster, run)
    running = jobs and jobs[0]["JobState"] == "RUNNING"
    return jobs[0] if running and ": step " in run.slurm_log(jobs[0]) else None


def wait_for(ready: Callable[[], Any], seconds: float = 180) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.5)
    return found


def own_project(folder: Path, **config: Any) -> Path:
    """A run that brings a base model and pairs, so that it begins with training."""
    project = copy_project(
        folder,
        {
            "run": "own",
            "base_model": "base",
            "preferences": "pairs.jsonl",
            "heldout": HELDOUT,
            "train": {"train_batch_size": 8, "micro_train_batch_size": 2, "max_len": 64},
            "variants": {"only": {}},
            **config,
        },
    )
    save_base_model(project / "base")
    write_pairs(project / "pairs.jsonl", 24)
    return project


def slow_project(folder: Path, **config: Any) -> Path:
    """`own_project` with a training of 150 steps, which takes as many seconds on any machine."""
    train = {"train_batch_size": 8, "micro_train_batch_size": 2, "max_len": 64, "max_epochs": 50}
    project = own_project(folder, train=train, **config)
    # It is saved when it is stopped, and goes on at full speed.
    slow_training(project, 1, 'not list(Path(args.output_dir).glob("checkpoint-*"))')
    return project


@pytest.fixture(scope="module")
def limited(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A training by two processes on one node, whose time ends (see its test), and then suffices.

    Without the profile's early signal: at the limit Slurm sends SIGTERM, and SIGKILL later.
    """
    gpus = {"gpus": {"train": 2}}
    project = slow_project(tmp_path_factory.mktemp("limited"), **gpus)
    runtime = "train:runtime=10 if attempt == 1 else 15"
    return start(cluster, project, "--set-resources", runtime, "--", f"{MODEL}/model.safetensors")


@pytest.fixture(scope="module")
def cancelled(cluster: Cluster, limited: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A training whose job is cancelled while it runs."""
    project = slow_project(tmp_path_factory.mktemp("cancelled"))
    return start(cluster, project, "--retries", "0", "--", f"{MODEL}/model.safetensors")


@pytest.fixture(scope="module")
def on_two_nodes(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A training on two nodes, then goal states and scores by two processes on one."""
    project = own_project(
        tmp_path_factory.mktemp("nodes"),
        gpus={"train": 2, "evaluate": 2},
        nodes={"train": 2},
        processes={"represent": 2},
    )
    return start(cluster, project, "--", "results/own/metrics/only/seed0/held.json")


@pytest.fixture(scope="module")
def small(cluster: Cluster, limited: Run, cancelled: Run, on_two_nodes: Run, tmp_path_factory):
    """The small run, while the others wait for their time to be over."""
    gpus = {"gpus": {"train": 1, "evaluate": 1}}
    project = copy_project(tmp_path_factory.mktemp("small"), ONE_OF_EACH | gpus)
    return start(cluster, project)


@on_slurm
def test_a_cancelled_job_is_reported_as_such(cluster: Cluster, cancelled: Run, small: Run) -> None:
    job = wait_for(lambda: training(cluster, cancelled))
    cluster.run("scancel", job["JobId"])
    assert cancelled.finish() == 1
    message = f"SLURM-job '{job['JobId']}' failed, SLURM status is: 'CANCELLED'"
    assert message in cancelled.screen
    assert not (cancelled.project / MODEL / "model.safetensors").exists()
    # It had its time to save, and both logs tell.
    log = cancelled.project / "results/own/logs/train/only-seed0.log"
    for text in (cancelled.slurm_log(job), log.read_text()):
        assert "train: stopped by SIGTERM, saved at step" in text
    assert list(cancelled.project.glob("results/own/checkpoints/only/seed0/*/checkpoint-*"))


@on_slurm
def test_a_job_out_of_time_saves_is_tried_again_and_resumes(cluster: Cluster, limited: Run) -> None:
    job = wait_for(lambda: training(cluster, limited))
    # A minute from its start, but not asked for then: a busy machine may take that long to begin.
    cluster.run("scontrol", "update", f"JobId={job['JobId']}", "TimeLimit=1")
    assert limited.finish() == 0, limited.screen
    first, *_, last = jobs = jobs_of(cluster, limited)
    assert [job["JobState"] for job in jobs] == ["TIMEOUT", "COMPLETED"]
    assert (first["TimeLimit"], last["TimeLimit"]) == ("00:01:00", "00:15:00")
    assert (first["NumNodes"], first["NumCPUs"], first["TresPerJob"]) == ("1", "2", "gres:gpu:2")
    [step] = re.findall(r"stopped by SIGTERM, saved at step (\d+) of 150", limited.slurm_log(first))
    assert int(step) > 1
    assert re.search(rf"train: resuming from \S+/checkpoint-{step}\n", limited.slurm_log(last))
    assert "SLURM status is: 'TIMEOUT'" in limited.screen
    log = [json.loads(line) for line in (limited.project / MODEL / "training_log.jsonl").open()]
    assert [line["step"] for line in log] == list(range(1, 151))
    # Its own log is the last attempt's; Slurm's are of all attempts.
    text = (limited.project / "results/own/logs/train/only-seed0.log").read_text()
    assert "resuming from" in text and "stopped by SIGTERM" not in text


@on_slurm
def test_a_training_on_two_nodes_is_that_of_one_process(
    cluster: Cluster, on_two_nodes: Run, tmp_path: Path
) -> None:
    alone = own_project(tmp_path / "alone")
    done = snakemake(alone, "--cores", "2", f"{MODEL}/training_log.jsonl")
    assert done.returncode == 0, done.stderr
    assert on_two_nodes.finish() == 0, on_two_nodes.screen
    jobs = {job["Comment"]: job for job in jobs_of(cluster, on_two_nodes)}
    assert {job["JobState"] for job in jobs.values()} == {"COMPLETED"}
    train = jobs["rule_train_wildcards_only_0"]
    assert (train["NumNodes"], train["NumTasks"], train["CPUs/Task"]) == ("2", "2", "1")
    assert (train["TresPerJob"], train["TresPerNode"]) == ("gres:gpu:2", "gres:gpu:1")
    evaluate = jobs["rule_evaluate_wildcards_only_0_held_pairs"]
    assert (evaluate["NumNodes"], evaluate["TresPerJob"]) == ("1", "gres:gpu:2")
    assert (evaluate["NumCPUs"], evaluate["MinMemoryNode"]) == ("2", "16000M")
    represent = jobs["rule_represent_wildcards_only_0"]
    assert (represent["NumCPUs"], "TresPerJob" in represent) == ("2", False)

    logs = [
        [json.loads(line) for line in (project / MODEL / "training_log.jsonl").open()]
        for project in (on_two_nodes.project, alone)
    ]
    assert len(logs[0]) == 3
    for ours, theirs in zip(*logs, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-4)


@on_slurm
def test_the_small_run_is_that_of_this_machine(
    cluster: Cluster, small: Run, tmp_path: Path
) -> None:
    local = copy_project(tmp_path / "local", ONE_OF_EACH)
    done = snakemake(local, "--cores", "2")
    assert done.returncode == 0, done.stderr
    assert small.finish() == 0, small.screen
    assert (small.project / "results/small/report/summary.txt").read_text().strip() in small.screen
    results = [project / "results/small" for project in (small.project, local)]
    for pattern in ("models/*/*/model.safetensors", "scores/**/*.parquet", "metrics/*/*/*.json"):
        names = {
            str(path.relative_to(results[1]))
            for path in results[1].glob(pattern)
            if "provenance" not in path.name
        }
        assert names
        for name in names:
            assert (results[0] / name).read_bytes() == (results[1] / name).read_bytes(), name


@on_slurm
def test_its_jobs_asked_for_what_they_need(cluster: Cluster, small: Run) -> None:
    jobs = {job["Comment"]: job for job in jobs_of(cluster, small)}
    assert {job["JobState"] for job in jobs.values()} == {"COMPLETED"}
    assert {job["Partition"] for job in jobs.values()} == {"main"}
    assert {job["NumNodes"] for job in jobs.values()} == {"1"}
    wanted = {  # runtime, memory and GPUs, as the rules and the config have them
        "rule_prepare": ("01:00:00", "4000M", None),
        "rule_train_wildcards_contrastive_0": ("1-00:00:00", "8000M", "gres:gpu:1"),
        "rule_represent_wildcards_contrastive_0": ("08:00:00", "8000M", None),
        "rule_evaluate_wildcards_contrastive_0_gsm8k_all": ("08:00:00", "8000M", "gres:gpu:1"),
        "rule_metrics_wildcards_contrastive_0_gsm8k": ("01:00:00", "4000M", None),
    }
    found = {
        name: (job["TimeLimit"], megabytes(job["MinMemoryNode"]), job.get("TresPerJob"))
        for name, job in jobs.items()
        if name in wanted
    }
    assert found == wanted
    # Each job's log is kept, also of those that went well, and says what the stage said.
    train = jobs["rule_train_wildcards_contrastive_0"]
    assert "train contrastive/seed0: " in small.slurm_log(train)
    assert all(small.slurm_log(job) for job in jobs.values())


def megabytes(memory: str) -> str:
    """Slurm writes 4000M as such, and 4096M as 4G."""
    return f"{int(memory[:-1]) * 1024}M" if memory.endswith("G") else memory


@pytest.mark.parametrize("name", ["etc/slurm/slurm.conf", "etc/munge/munge.key"])
def test_a_host_of_a_cluster_is_refused(tmp_path: Path, monkeypatch, name: str) -> None:
    monkeypatch.delenv("SLURM_CONF", raising=False)
    check_host(tmp_path)
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.raises(HostInUse, match="belongs to a Slurm cluster"):
        check_host(tmp_path)
    shutil.rmtree(tmp_path / "etc")
    monkeypatch.setenv("SLURM_CONF", "/nfs/slurm.conf")
    with pytest.raises(HostInUse, match="SLURM_CONF is there"):
        check_host(tmp_path)


def test_the_profile_marks_what_is_the_sites() -> None:
    """One place for it, and nothing of a site outside."""
    root = Path(__file__).parents[2]
    text = (root / "workflow/profiles/slurm/profile.yaml").read_text()
    site, rest = text.split("# --- End of what is your site's. ---")
    for name in ("slurm_partition", "slurm_account", "gpu_model", "latency-wait", "slurm_extra"):
        assert name in site and name not in rest
    assert "rerun-incomplete: true" in rest and re.search(r"^retries: [1-9]", rest, re.MULTILINE)
