"""A part of the 100 interruptions, in a process of its own."""

import random
import sys
from pathlib import Path

from interruptions.kinds import KINDS, small_disk
from interruptions.record import Record
from interruptions.server import interrupt_server
from interruptions.slurm_nodes import MADE, lose_a_node, undisturbed
from interruptions.stages import STAGES, Interrupted, Plan, world_in

A_STAGE = 5
"""interruptions of each stage"""
OF_THE_SERVER = 7


def main() -> None:
    """Draw and do one part: its name, the seed, the folder for runs, and the table are given."""
    part, seed, folder, table = sys.argv[1:]
    draw, scratch, record = random.Random(f"{seed} {part}"), Path(folder), Record(Path(table))
    if part == "stages":
        _interrupt_stages(world_in(scratch / "world"), scratch, draw, record)
    elif part == "server":
        screen = scratch / "server.txt"
        interrupt_server(world_in(scratch / "world"), screen, OF_THE_SERVER, draw, record)
    else:
        reference = scratch / "undisturbed"
        if not reference.exists():
            undisturbed(reference)
        for stage in MADE:
            lose_a_node(stage, reference, scratch / f"slurm-{stage}", draw, record)


def _interrupt_stages(world: Path, scratch: Path, draw: random.Random, record: Record) -> None:
    """The kinds come in turn, at moments drawn evenly."""
    kinds = [kind for _ in STAGES for kind in draw.sample(list(KINDS), len(KINDS))]
    plans = [Plan(kind, draw.uniform(0, 1)) for kind in kinds[: A_STAGE * len(STAGES)]]
    for number, stage in enumerate(STAGES):
        own = random.Random(draw.random())
        with small_disk(scratch / f"disk-{stage}") as disk:
            run = Interrupted(stage, world, disk, scratch / f"{stage}.txt")
            run.go(plans[A_STAGE * number : A_STAGE * (number + 1)], own, record)


if __name__ == "__main__":
    main()
