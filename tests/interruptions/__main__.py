"""Interrupt stages at random moments, and compare what they make with undisturbed ones.

    PYTHONPATH=tests python -m interruptions --seed 1 --scratch /tmp/interruptions --out DIR

100 times: each of 18 stages five times (`stages`), the server seven times (`server`), and a Slurm
that makes a stage loses a node three times (`slurm_nodes`). It writes DIR/interruptions.csv. It
needs root for full disks, and Debian's libfaketime and Slurm (tests/helpers/slurm/install.sh). The
machine's clock and disks stay as they are.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from interruptions.kinds import CLOCK
from interruptions.record import Record

PARTS = ("stages", "server", "slurm")
AS_ROOT_THAT_RESPECTS_FOLDERS = ["setpriv", "--bounding-set=-dac_override"]
CLOCK_THAT_JUMPS = {
    "LD_PRELOAD": str(next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), "")),
    "FAKETIME_NO_CACHE": "1",
    "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    "NO_FAKE_STAT": "1",
}
OFFLINE = {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}


def main() -> int:
    """Status 1 where something did not end, or ended with other results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, required=True, help="decides about kinds and moments")
    parser.add_argument("--scratch", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--out", type=Path, required=True, help="folder for the table")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="only these")
    given = parser.parse_args()
    if os.geteuid() != 0 or not CLOCK_THAT_JUMPS["LD_PRELOAD"]:
        parser.error("needs root and libfaketime")
    scratch, table = given.scratch.resolve(), given.out.resolve() / "interruptions.csv"
    scratch.mkdir(parents=True, exist_ok=True)
    clock = scratch / "clock"
    clock.write_text("+0\n", "utf-8")
    print(f"seed {given.seed}", flush=True)
    table.unlink(missing_ok=True)
    for part in given.parts:
        command = [sys.executable, "-m", "interruptions.suite"]
        command += [part, str(given.seed), str(scratch), str(table)]
        environment = os.environ | OFFLINE
        if part == "stages":
            command = AS_ROOT_THAT_RESPECTS_FOLDERS + command
            environment |= CLOCK_THAT_JUMPS | {CLOCK: str(clock)}
        subprocess.run(command, env=environment, check=True)
    record = Record(table)
    print(record.summary())
    return any(one.differing or not one.completed for one in record.ended)


if __name__ == "__main__":
    raise SystemExit(main())
