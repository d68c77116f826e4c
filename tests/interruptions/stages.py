"""Stages that are interrupted, started again until they are done, and compared.

A stage is forked from this process, which has loaded the libraries: so interruptions meet its work,
not its imports, and a hundred of them take minutes.
"""

import multiprocessing
import os
import random
import shlex
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.context import ForkProcess
from pathlib import Path

import psutil
from interruptions.kinds import KINDS, PATIENCE, set_clock
from interruptions.record import Record

from helpers.stage_world import COMMANDS, make_world, run

WRITTEN = ("--output", "--save_dir", "--save_path", "--report")
MORE = {
    "train": " --max_epochs 3 --save_steps 1",
    "policy": " --steps 3 --save_steps 1",
    "pretrain": " --steps 6",
}
"""longer trainings, with checkpoints to resume from"""
STAGES = {
    stage: words + MORE.get(stage, "")
    for stage, words in COMMANDS.items()
    if any(name in words for name in WRITTEN)
}
"""the commands of all stages that write files"""
FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Plan:
    """An interruption to come.

    Attributes:
        kind: one of `KINDS`.
        share: of the CPU time that the stage takes when nothing disturbs it.
    """

    kind: str
    share: float


def world_in(folder: Path) -> Path:
    """The folder that all stages work in, undisturbed; loads what they load."""
    modules = folder.with_suffix(".modules")

    def work() -> int:
        make_world(folder)
        modules.write_text("\n".join(sys.modules), "utf-8")
        return 0

    if not modules.exists():
        _end_well(fork(work, folder.with_suffix(".txt")))
    for name in modules.read_text("utf-8").split():
        with suppress(Exception):  # some are made, and cannot be imported
            import_module(name)
    return folder


class Interrupted:
    """A stage at work in a copy of the world, on a small disk.

    Args:
        screen: the file that gets what it prints.
    """

    def __init__(self, stage: str, world: Path, folder: Path, screen: Path) -> None:
        self.stage, self._folder, self._screen = stage, folder, screen
        self._words = shlex.split(STAGES[stage])
        shutil.copytree(world, folder, dirs_exist_ok=True)

    def go(self, plans: list[Plan], draw: random.Random, record: Record) -> None:
        """Interrupt it as planned, let it end, and compare its files with an undisturbed run's.

        Args:
            draw: decides what the plans leave open.
        """
        self._remove()
        seconds = self._undisturbed()
        expected = _files(self._folder)
        self._remove()
        process = self._start()
        for plan in plans:
            share, seen = plan.share, ""
            while not seen:
                assert share > 1e-4, f"{plan.kind} never meets {self.stage}"
                if not process.is_alive():
                    if process.exitcode == 0:  # it was done before: once more, and earlier
                        self._remove()
                        share /= 2
                    process = self._start()
                if moment := _reach(process, share * seconds):
                    seen = KINDS[plan.kind](process, self._folder, self._start, draw)
            record.add(self.stage, plan.kind, self.stage, moment, seen)
        process.join(PATIENCE)
        if process.exitcode != 0:
            process = self._start()
            process.join(PATIENCE)
        set_clock(0)
        found = _files(self._folder)
        names = expected.keys() | found.keys()
        differing = sorted(name for name in names if expected.get(name) != found.get(name))
        if "Process ForkProcess" in self._screen.read_text("utf-8", errors="replace"):
            differing.append("traceback")  # multiprocessing shows an exception that it got
        record.end(process.exitcode == 0, len(names), differing)

    def _start(self) -> ForkProcess:
        os.chdir(self._folder)
        return fork(lambda: run(self.stage, self._words), self._screen)

    def _undisturbed(self) -> float:
        """Run it to its end; the CPU seconds that it took."""
        before = os.times()
        _end_well(self._start())
        after = os.times()
        return sum(after[2:4]) - sum(before[2:4])

    def _remove(self) -> None:
        """Remove what it writes."""
        for name, value in zip(self._words, self._words[1:], strict=False):
            if name in WRITTEN:
                path = self._folder / value
                shutil.rmtree(path, ignore_errors=True)
                for file in [path, *path.parent.glob(f"{path.name}.*")]:
                    file.unlink(missing_ok=True)


def fork(work: Callable[[], int], screen: Path) -> ForkProcess:
    """Start a process that does some work, and prints to the end of a file."""

    def child() -> None:
        # A shell lets what it starts in the background ignore Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with screen.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        raise SystemExit(work())

    process = FORK.Process(target=child)
    process.start()
    return process


def _end_well(process: ForkProcess) -> None:
    process.join()
    assert process.exitcode == 0, f"undisturbed, it ended with status {process.exitcode}"


def _reach(process: ForkProcess, seconds: float) -> float:
    """Wait until it has used so much CPU: what it has used, 0 where it ended before."""
    with suppress(psutil.Error):
        watched = psutil.Process(process.pid)
        while process.is_alive():
            used = sum(watched.cpu_times()[:2])
            if used > 0 and used >= seconds:
                return float(used)
            process.join(0.005)  # libfaketime spoils time.sleep
    return 0.0


def _files(folder: Path) -> dict[str, bytes]:
    """The content of all files. Provenance has dates; locks are empty."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "provenance" not in path.name and ".lock" not in path.name
    }
