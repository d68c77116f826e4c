"""The small run, interrupted in every stage, ends as if nothing had been: bit for bit."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from helpers.dialogues import write_dialogues
from helpers.processes import is_running
from helpers.workflow_runs import (
    HELDOUT,
    SNAKEMAKE,
    WHOLE,
    clean_environment,
    copy_project,
    snakemake,
    whole_environment,
    would_run,
)

RESULTS = "results/small"
SNAKEMAKE_ITSELF = "kill -9 of Snakemake"
PLAN = [
    ("prepare", signal.SIGKILL),
    ("pretrain", signal.SIGTERM),
    ("sample", signal.SIGINT),
    ("pair", signal.SIGKILL),
    ("train", signal.SIGINT),
    ("train", SNAKEMAKE_ITSELF),
    ("represent", signal.SIGKILL),
    ("evaluate", signal.SIGTERM),
    ("metrics", signal.SIGINT),
    ("compare", signal.SIGKILL),
    ("report", signal.SIGTERM),
]
"""where it is interrupted, and how: kill -9 ends the job alone, as a lack of memory does; SIGTERM
and Ctrl-C reach Snakemake and its jobs, as a batch system's and a terminal's do"""


class Run:
    """Snakemake at work in a project.

    Attributes:
        screen: the file with all that it and its jobs say.
    """

    def __init__(self, project: Path) -> None:
        self.project = project
        self.screen = project / "screen.txt"
        with self.screen.open("w") as screen:
            self.process = subprocess.Popen(
                [str(SNAKEMAKE), "--cores", "2"],
                cwd=project,
                env=clean_environment(project, **whole_environment(project)),
                stdout=screen,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def jobs(self, stage: str = "") -> list[psutil.Process]:
        """The processes of its jobs, or of those of a stage."""
        module = f"-m gcrm.{stage}" if stage else "-m gcrm."
        found = [(job, _command(job)) for job in psutil.Process(self.process.pid).children(True)]
        return [job for job, command in found if module in command]

    def wait_until(self, condition: Callable[[], object], seconds: float = 300) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"ended by itself: {self.said()}"
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.01)

    def interrupt(self, how: signal.Signals | str, stage: str = "") -> bool:
        """Interrupt it, and wait for its end and for that of its jobs.

        Returns:
            Whether it was killed, so that the folder is still locked: if it is what was asked for,
            or where SIGTERM came in a moment in which Snakemake waits for itself forever.
        """
        jobs = self.jobs()
        if how == SNAKEMAKE_ITSELF:
            self.process.kill()
        elif how == signal.SIGKILL:
            for job in self.jobs(stage):
                with suppress(psutil.NoSuchProcess):
                    job.kill()
        else:
            os.killpg(self.process.pid, how)
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        deadline = time.monotonic() + 120
        while any(is_running(job.pid) for job in jobs):
            assert time.monotonic() < deadline, f"a job goes on without Snakemake: {self.said()}"
            time.sleep(0.05)
        return self.process.returncode == -signal.SIGKILL

    def said(self) -> str:
        return self.screen.read_text(errors="replace")


def _command(process: psutil.Process) -> str:
    """Empty of one that has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


@contextmanager
def halted(processes: list[psutil.Process]) -> Iterator[None]:
    for process in processes:
        process.suspend()
    yield
    for process in processes:
        process.resume()


def new_project(folder: Path) -> Path:
    project = copy_project(folder, WHOLE)
    write_dialogues(project / HELDOUT["dialogues"], 12)
    return project


def results(project: Path) -> dict[str, bytes]:
    """The content of all results; provenance has dates, and logs have times."""
    home = project / RESULTS
    return {
        str(path.relative_to(home)): path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and "logs" not in path.parts and "provenance" not in path.name
    }


def assert_same_results(project: Path, whole: Path) -> None:
    ours, theirs = results(project), results(whole)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    kinds = {Path(name).name for name in ours}
    assert {"model.safetensors", "goal_state.npy", "scores.parquet", "gsm8k.json"} <= kinds


def unlock(project: Path) -> None:
    refused = snakemake(project, "--cores", "2")
    said = refused.stdout + refused.stderr
    assert refused.returncode != 0 and "Directory cannot be locked" in said
    assert "It can be removed with the --unlock argument" in said
    assert snakemake(project, "--unlock").returncode == 0


def has_begun(run: Run, stage: str) -> bool:
    """Whether a job of the stage is at work: of a training, that it has saved a checkpoint."""
    if not run.jobs(stage):
        return False
    if stage == "train":
        return any((run.project / RESULTS / "checkpoints").rglob("whole.json"))
    # Making pairs takes so little time that the process may be gone when its log is seen.
    return stage == "pair" or any((run.project / RESULTS / "logs" / stage).glob("*.log"))


def test_interrupted_once_in_every_stage(small_run: tuple[Path, str], tmp_path: Path) -> None:
    project = new_project(tmp_path)
    said = []
    for stage, how in PLAN:
        run = Run(project)
        run.wait_until(lambda run=run, stage=stage: has_begun(run, stage))
        if stage == "pretrain":
            with halted(run.jobs()):
                second = snakemake(project, "--cores", "2")
            assert second.returncode != 0
            assert "Directory cannot be locked" in second.stdout + second.stderr
            assert run.process.poll() is None
        killed = run.interrupt(how, stage)
        assert run.process.returncode != 0, f"{stage}: {run.said()}"
        if killed:
            unlock(project)
        said.append(run.said())
    done = snakemake(project, "--cores", "2", **whole_environment(project))
    assert done.returncode == 0, done.stderr
    assert_same_results(project, small_run[0])
    assert would_run(project) == {}
    by_hand, by_orphans, after = said[4:7]
    assert "train: stopped by SIGINT, saved at step" in by_hand
    assert "Snakemake is gone" in by_orphans
    # The kill may come before the training has begun again.
    assert "train: resuming from" in by_orphans + after


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_interrupted_at_random_moments(
    small_run: tuple[Path, str], tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    project = new_project(tmp_path)
    ways = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, SNAKEMAKE_ITSELF]
    interrupted = 0
    while interrupted < 15:
        run = Run(project)
        moment = time.monotonic() + draw.uniform(3, 20)
        while run.process.poll() is None and time.monotonic() < moment:
            time.sleep(0.05)
        if run.process.poll() is not None:
            assert run.process.returncode == 0, run.said()
            break
        how = draw.choice(ways)
        run.interrupt(how)
        interrupted += 1
        snakemake(project, "--unlock")
    done = snakemake(project, "--cores", "2", **whole_environment(project))
    assert done.returncode == 0, done.stderr
    assert interrupted >= 3
    assert_same_results(project, small_run[0])
