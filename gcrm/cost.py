"""Estimate what a run will cost before it starts: pairs, tokens, FLOPs, disk space and hours.

`python -m gcrm.cost` shows each stage with its formula; a run begins with the same in one line.
"""

import shutil
from pathlib import Path

from gcrm.cli import run_stage, show
from gcrm.config.cost import CostOptions, CostSettings
from gcrm.config.loading import load, read_config
from gcrm.config.run import Config
from gcrm.estimate.run import PAIRS_UNIT, Estimate, StageCost, estimate, total_flops


def run(options: CostOptions) -> None:
    """Print the estimate for a config.

    Raises:
        UserError: the config cannot be read or is wrong.
    """
    config = load(read_config(options.config), str(options.config))
    given = options.model_dump(exclude_unset=True, exclude={"config"})
    assumed = CostSettings(**config.cost.model_dump(exclude_unset=True) | given)
    config = config.model_copy(update={"cost": assumed})
    show(as_table(estimate(config), config) + "\n")


def as_table(found: Estimate, config: Config) -> str:
    """The whole estimate: a line for each stage, then what the numbers are based on."""
    lines = [
        f"run {config.run}: {found.models} reward models ({', '.join(config.variants)}; "
        f"seeds {', '.join(map(str, config.seeds))}) from {config.base_model or 'a made model'}"
    ]
    if found.size is None:
        lines.append("FLOPs are unknown, because the size of the base model is")
    else:
        stages = [*found.training, *found.scoring]
        if found.pairs and found.scored:
            stages.append(StageCost("all", "", "", total_flops(stages)))
        lines += [
            f"N = {found.size.multiplied:,} parameters that multiply each token, of "
            f"{found.size.parameters:,}",
            f"{'stage':20} {'data':44} {'FLOPs':>8} {'hours':>8}  FLOPs by",
        ]
        lines += [
            f"{one.stage:20} {one.data:44} {one.flops:8.1e} {_hours(found, one.flops):>8}  "
            f"{one.formula}".rstrip()
            for one in stages
        ]
    return "\n".join([*lines, *_notes(found, config)])


def _notes(found: Estimate, config: Config) -> list[str]:
    """What the numbers are based on."""
    files = ", ".join(f"{purpose} {size / 1e9:.1f} GB" for purpose, size in found.disk.items())
    if found.unknown_files:
        files += f", and {found.unknown_files} downloads of unknown size"
    notes = [f"hours on {found.devices}", f"disk {_disk(found)} GB: {files or 'unknown'}"]
    if found.pairs is None:
        notes.append(
            f"the number of pairs is not known yet: estimated for {PAIRS_UNIT:,} (or --pairs N)"
        )
    if found.scored is None:
        notes.append("the number of completions is not known yet")
    if any(size is None or size.assumed for size in (found.pairs, found.scored)):
        tokens = config.cost.sequence_tokens
        notes.append(f"assumed of data not here yet: {tokens} tokens a prompt with completion")
    return notes


def estimate_line(config: Config, where: str, cores: int | None = None) -> str:
    """The estimate in one line, for the beginning of a run.

    Args:
        where: the config file, for the command that shows more.
        cores: CPU cores that the run may use (default: all).
    """
    if config.made:
        return f"cost: not known before; the run makes {', '.join(config.made)} itself"
    more = f"more: python -m gcrm.cost --config {where}"
    found = estimate(config, cores)
    if found.size is None:
        return f"cost: unknown, because the size of {config.base_model} is; {more}"
    known = [*(found.training if found.pairs else []), *found.scoring]
    costs = [_compute(found, known)] if known else []
    if not found.pairs:
        unit = f"for each {PAIRS_UNIT:,} of an unknown number of pairs"
        costs.append(f"{_compute(found, found.training)} {unit}")
    data = dict.fromkeys(stage.data for stage in known if stage.stage != "represent")
    free = shutil.disk_usage(Path()).free
    room = f", of which {free / 1e9:.0f} GB are free" if sum(found.disk.values()) > free else ""
    return (
        f"cost: {' and '.join(costs)}, on {found.devices}; {_disk(found)} GB of disk{room}; "
        f"{', '.join([f'{found.models} reward models', *data])}; {more}"
    )


def _disk(found: Estimate) -> str:
    return f"{sum(found.disk.values()) / 1e9:.1f}"


def _compute(found: Estimate, stages: list[StageCost]) -> str:
    flops = total_flops(stages)
    return f"{flops:.1e} FLOPs, {_hours(found, flops)} hours"


def _hours(found: Estimate, flops: float) -> str:
    hours = found.hours(flops)
    if hours is None:
        return "unknown"
    return f"{hours:.2g}" if hours < 100 else f"{hours:,.0f}"


if __name__ == "__main__":
    raise SystemExit(run_stage(CostOptions, run))
