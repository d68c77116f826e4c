"""Snakemake at work in a project, to be interrupted, and the results that it leaves."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from helpers.processes import is_running
from helpers.workflow_runs import SNAKEMAKE, clean_environment, whole_environment

SNAKEMAKE_ITSELF = "kill -9 of Snakemake"
How = signal.Signals | str


class Run:
    """A run of a project of `WHOLE` in the background.

    Args:
        words: targets and flags.

    Attributes:
        screen: the file with the output of Snakemake and of its jobs.
    """

    def __init__(self, project: Path, *words: str) -> None:
        self.project = project
        self.screen = project / "screen.txt"
        with self.screen.open("w") as screen:
            self.process = subprocess.Popen(
                [str(SNAKEMAKE), "--cores", "2", *words],
                cwd=project,
                env=clean_environment(project, **whole_environment(project)),
                stdout=screen,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def jobs(self, stage: str = "") -> list[psutil.Process]:
        """The processes of all its jobs, or of those of a stage."""
        module = f"-m gcrm.{stage}" if stage else "-m gcrm."
        children = psutil.Process(self.process.pid).children(True)
        return [process for process in children if module in _command(process)]

    def has_begun(self, stage: str) -> bool:
        """Whether a job of the stage is at work."""
        logs = self.project / "results/small/logs" / stage
        # Making pairs takes so little time that the job may be over when its log is seen.
        return bool(self.jobs(stage)) and (stage == "pair" or any(logs.glob("*.log")))

    def checkpoint(self) -> int:
        """The step of the newest complete checkpoint; 0 without any."""
        found = (self.project / "results/small/checkpoints").rglob("checkpoint-*/whole.json")
        return max((int(path.parent.name.rpartition("-")[2]) for path in found), default=0)

    def wait_until(self, condition: Callable[[], object], seconds: float = 600) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"ended by itself: {self.said()}"
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.01)

    def kill_jobs(self, stages: Iterable[str], how: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to one job of each stage as soon as it is at work; Snakemake goes on."""
        waiting = set(stages)

        def kill() -> bool:
            for stage in [stage for stage in waiting if self.has_begun(stage)]:
                killed = self.jobs(stage)[:1]
                _signal(killed, how)
                waiting.difference_update([stage] * len(killed))
            return not waiting

        self.wait_until(kill)

    def interrupt(self, how: How, stage: str = "") -> bool:
        """Interrupt it, and wait until it and its jobs have ended.

        SIGKILL ends the jobs of the stage alone, as a lack of memory does. Other signals reach
        Snakemake and its jobs, as those of a terminal and of a batch system do.

        Returns:
            Whether the folder is still locked: Snakemake was killed, as asked for, or because
            SIGTERM came in a moment in which Snakemake waits for itself forever.
        """
        jobs = self.jobs()
        if how == SNAKEMAKE_ITSELF:
            self.process.kill()
        elif how == signal.SIGKILL:
            _signal(self.jobs(stage), signal.SIGKILL)
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
        assert self.process.returncode != 0, self.said()
        return self.process.returncode == -signal.SIGKILL

    def finish(self) -> str:
        """Wait for its end; returns its screen."""
        assert self.process.wait(timeout=1800) == 0, self.said()
        return self.said()

    def said(self) -> str:
        return self.screen.read_text(errors="replace")


def _command(process: psutil.Process) -> str:
    """The command line; empty for a process that has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def _signal(processes: Iterable[psutil.Process], how: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(how)


def results(project: Path) -> dict[str, bytes]:
    """The content of all results. Provenance has dates, logs have times."""
    home = project / "results/small"
    return {
        str(path.relative_to(home)): path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and "logs" not in path.parts and "provenance" not in path.name
    }


def assert_same(project: Path, undisturbed: Path, names: Iterable[str] | None = None) -> None:
    """All results, or those of these names, are bit for bit those of the undisturbed run."""
    ours, theirs = results(project), results(undisturbed)
    names = theirs.keys() | ours.keys() if names is None else names
    differing = [name for name in names if ours.get(name) != theirs.get(name)]
    assert differing == [], differing
