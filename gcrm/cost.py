"""Command `cost`: estimates pairs, tokens, FLOPs, disk space and hours of a run before it starts.

`python -m gcrm.cost` shows each stage with its formula; a run begins with the same in one line.
"""

import shutil
from pathlib import Path

from gcrm.cli import run_stage, show
from gcrm.config.cost import CostOptions, CostSettings
from gcrm.config.loading import load, read_config
from gcrm.config.run import Config
from gcrm.estimate.run import PAIRS_UNIT, Estimate, StageCost, estimate


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
        f"run {config.run}: {_models(config)} ({', '.join(config.variants)}; "
        f"seeds {', '.join(map(str, config.seeds))}) from {config.base_model or 'a made model'}"
    ]
    if found.size is None:
        lines.append("FLOPs are unknown, because the size of the base model is")
    else:
        lines += [
            f"N = {found.size.multiplied:,} parameters that multiply each token, of "
            f"{found.size.parameters:,}",
            f"{'stage':20} {'data':44} {'FLOPs':>8} {'hours':>8}  FLOPs by",
        ]
        total = [StageCost("all", "", "", found.flops)] if found.pairs and found.scored else []
        lines += [
            f"{one.stage:20} {one.data:44} {one.flops:8.1e} {_hours(found, one.flops):>8}  "
            f"{one.formula}".rstrip()
            for one in [*found.stages, *total]
        ]
    files = [f"{purpose} {size / 1e9:.1f} GB" for purpose, size in found.disk.items()]
    if found.unknown_files:
        files.append(f"and {found.unknown_files} downloads of unknown size")
    lines += [f"hours on {found.devices}", f"disk {_disk(found)}: {', '.join(files) or 'unknown'}"]
    lines += _unknown(found)
    if any(size is None or size.assumed for size in (found.pairs, found.scored)):
        tokens = config.cost.sequence_tokens
        lines.append(f"assumed of data not here yet: {tokens} tokens a prompt with completion")
    return "\n".join(lines)


def _unknown(found: Estimate) -> list[str]:
    """What the stages do not contain, or assume."""
    pairs = f"the number of pairs is not known yet: estimated for {PAIRS_UNIT:,} (or --pairs N)"
    scored = "the number of completions is not known yet: estimated without scoring"
    return [pairs] * (found.pairs is None) + [scored] * (found.scored is None)


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
    needed, free = sum(found.disk.values()), shutil.disk_usage(Path()).free
    room = f", of which {free / 1e9:.0f} GB are free" if needed > free else ""
    data = dict.fromkeys(stage.data for stage in found.stages if stage.stage != "represent")
    facts = [_models(config), *data, *_unknown(found)]
    return (
        f"cost: {found.flops:.1e} FLOPs, {_hours(found, found.flops)} hours on {found.devices}; "
        f"{_disk(found)} of disk{room}; {', '.join(facts)}; {more}"
    )


def _models(config: Config) -> str:
    return f"{len(config.variants) * len(config.seeds)} reward models"


def _disk(found: Estimate) -> str:
    return f"{sum(found.disk.values()) / 1e9:.1f} GB"


def _hours(found: Estimate, flops: float) -> str:
    """Hours for these operations if all devices are busy."""
    if found.flops_per_second is None:
        return "unknown"
    hours = flops / found.flops_per_second / 3600
    return f"{hours:.2g}" if hours < 100 else f"{hours:,.0f}"


if __name__ == "__main__":
    raise SystemExit(run_stage(CostOptions, run))
