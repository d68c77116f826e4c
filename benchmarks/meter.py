"""What a command takes: seconds and memory."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
# A small process between, since Linux counts the memory of a process that starts another as the
# other's. It prints exit status, seconds and GiB.
METER = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=sys.stderr).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(status, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20)
"""


@dataclass(frozen=True)
class Used:
    """Seconds of the wall clock and of the processor, the most memory in GiB, and what was said."""

    wall: float
    processor: float
    gib: float
    text: str


def metered(*words: object, env: Mapping[str, str] | None = None) -> Used:
    """Run Python with these words in a process of its own.

    Raises:
        SystemExit: it fails.
    """
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as said:
        command = [sys.executable, "-c", METER, sys.executable, *map(str, words)]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=said, cwd=ROOT, env=env, text=True
        )
        said.seek(0)
        text = said.read()
    status, processor, gib = map(float, done.stdout.split())
    if status:
        raise SystemExit(f"{' '.join(map(str, words))[:200]} failed:\n{text[-2000:]}")
    return Used(time.monotonic() - started, processor, gib, text)
