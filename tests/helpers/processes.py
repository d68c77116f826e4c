"""Other processes, as tests see them: any of them may end between two looks."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]


def is_running(process: int) -> bool:
    """A zombie, whose parent has not asked for it yet, is not."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def torchrun(*words: Any, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """Start it as the rules do."""
    launcher = Path(sys.executable).with_name("torchrun")
    command = [launcher, "--nproc-per-node", processes, "--standalone", *words]
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
        "OMP_NUM_THREADS": "1",
    }
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        environment.pop(name, None)  # of a DeepSpeed training in this process, of another test
    return subprocess.run(
        list(map(str, command)),
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
