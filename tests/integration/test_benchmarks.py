"""The benchmark of a GPU runs where there is none, with small shapes."""

import subprocess
import sys

from helpers.processes import ROOT


def test_the_benchmark_of_a_gpu_runs() -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--small"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("  gcrm")]
    assert len(rows) == 4 and all(float(row[1]) > 0 for row in rows)
