"""The kinds of interruption of a stage. Each is done to it now, and says what came of it at once.

It says nothing where the stage ended well before it met it. Afterwards the stage goes on, or it has
ended; what was in its way is gone.
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.context import ForkProcess
from pathlib import Path

Start = Callable[[], ForkProcess]
"""starts the command of the stage once more"""
Kind = Callable[[ForkProcess, Path, Start, random.Random], str]
PATIENCE = 300
"""seconds that a stage may take to end"""
DAYS = 3
CLOCK = "FAKETIME_TIMESTAMP_FILE"
"""names the file that says by how much the clock is wrong, for libfaketime"""


def _signal(how: signal.Signals) -> Kind:
    def strike(process: ForkProcess, folder: Path, start: Start, draw: random.Random) -> str:
        os.kill(process.pid or 0, how)
        return _end(process)

    return strike


def full_disk(process: ForkProcess, folder: Path, start: Start, draw: random.Random) -> str:
    """Its file system is full, or has a few bytes left, until it has given up."""
    ballast = folder / ".ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1 << 16)):
            pass
    os.truncate(ballast, max(0, ballast.stat().st_size - draw.choice([0, 0, 4096, 65536])))
    try:
        return _end(process)
    finally:
        ballast.unlink()


def read_only(process: ForkProcess, folder: Path, start: Start, draw: random.Random) -> str:
    """It may not write in any of its folders until it has given up."""
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for one in folders:
        one.chmod(0o555)
    try:
        return _end(process)
    finally:
        for one in folders:
            one.chmod(0o755)


def clock_jump(process: ForkProcess, folder: Path, start: Start, draw: random.Random) -> str:
    """Its clock jumps by up to three days, and files get times around them; it goes on."""
    jump = round(draw.uniform(-DAYS, DAYS) * 86400)
    set_clock(jump)
    now = time.time()
    for path in folder.rglob("*"):
        with suppress(OSError):
            when = now + draw.uniform(-DAYS, DAYS) * 86400
            os.utime(path, (when, when))
    return f"by {jump} s" if process.is_alive() else ""


def set_clock(seconds: int) -> None:
    """Let the clock be wrong by so much, for processes that libfaketime is loaded into."""
    Path(os.environ[CLOCK]).write_text(f"{seconds:+d}\n", "utf-8")


def second_run(process: ForkProcess, folder: Path, start: Start, draw: random.Random) -> str:
    """The same command is started beside it; it goes on."""
    second = start()
    if not process.is_alive():
        second.join(PATIENCE)
        return ""
    return f"the second {_end(second) or 'did the same work'}"


def _end(process: ForkProcess) -> str:
    process.join(PATIENCE)
    assert process.exitcode is not None, f"it goes on after {PATIENCE} s"
    return f"ended with status {process.exitcode}" if process.exitcode else ""


@contextmanager
def small_disk(folder: Path, megabytes: int = 64) -> Iterator[Path]:
    """`folder` is a file system of its own, in memory."""
    folder.mkdir()
    size = f"size={megabytes}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "gcrm-test", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()


KINDS: dict[str, Kind] = {
    "kill -9": _signal(signal.SIGKILL),
    "SIGTERM": _signal(signal.SIGTERM),
    "Ctrl-C": _signal(signal.SIGINT),
    "disk full": full_disk,
    "folder read-only": read_only,
    "clock jump": clock_jump,
    "second run": second_run,
}
