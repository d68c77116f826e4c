"""A stage ends with the Snakemake that started it, and only with that one."""

import os
import signal
import subprocess
import sys
import time

import pytest

from helpers.processes import is_running

STAGE = """
import sys, time
from gcrm.utils.processes import end_with_snakemake
end_with_snakemake()
print("running", flush=True)
time.sleep(60)
"""
# As Snakemake does: jobs are started by threads, which may end before their jobs.
SNAKEMAKE = """
import os, subprocess, sys, threading, time
from gcrm.utils.processes import VARIABLE, end_stages_with_this_process
if sys.argv[1] == "here":
    end_stages_with_this_process()
elif sys.argv[1] == "elsewhere":
    os.environ[VARIABLE] = f"another-host:{os.getpid()}"
def start():
    job = subprocess.Popen([sys.executable, "-c", sys.argv[2]], stdout=subprocess.PIPE)
    job.stdout.readline()
    print(job.pid, flush=True)
thread = threading.Thread(target=start)
thread.start()
thread.join()
time.sleep(60)
"""


@pytest.mark.parametrize("who", ["here", "elsewhere", "nobody"])
def test_a_stage_ends_with_its_snakemake(who: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", SNAKEMAKE, who, STAGE], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    job = int(parent.stdout.readline())
    try:
        time.sleep(0.5)
        assert is_running(job)  # the end of a thread is not that of its process
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + (30 if who == "here" else 0.5)
        while is_running(job) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert is_running(job) == (who != "here")
    finally:
        parent.stdout.close()
        if is_running(job):
            os.kill(job, signal.SIGKILL)


def test_a_stage_that_starts_after_the_end_of_its_snakemake() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    script = "import socket, os\n"
    script += f"os.environ['GCRM_SNAKEMAKE'] = f'{{socket.gethostname()}}:{gone.pid}'\n" + STAGE
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == -signal.SIGTERM
    assert "Snakemake is gone" in done.stderr
