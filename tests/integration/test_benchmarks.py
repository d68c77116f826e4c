"""The benchmarks of a GPU and of the server run here, with small shapes, and a client of ours."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.processes import ROOT


def test_the_benchmark_of_a_gpu_runs() -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--small"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("  gcrm")]
    assert len(rows) == 4 and all(float(row[1]) > 0 for row in rows)


def test_the_server_bears_its_load() -> None:
    """64 clients at once; each gets its own rewards."""
    words = ["--model", "micro", "--requests", "1000", "--rounds", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.serving", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "requests: 1000 with 200; wrong rewards: 0 " in done.stdout
    assert "the server ended with status 0" in done.stdout
    assert len(re.findall(r"^memory after", done.stdout, re.MULTILINE)) == 10


@pytest.mark.slow
def test_trl_trains_with_our_rewards(tmp_path: Path) -> None:
    """The other clients need environments of their own: `make clients`."""
    pytest.importorskip("trl")
    command = [sys.executable, "-m", "benchmarks.clients.trl_grpo", "--work_dir", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "largest difference" in done.stdout
