"""Says what a run will cost before it starts: pairs, tokens, operations, disk and hours.

The command `python -m gcrm.cost` tells each stage with its formula; a run begins with one line.
"""

import shutil
from pathlib import Path

from gcrm.cli import run_stage, show
from gcrm.config.cost import CostOptions, CostSettings
from gcrm.config.loading import load, read_config
from gcrm.config.run import Config
from gcrm.estimate.run import PAIRS_UNIT, Estimate, estimate, flops


def run(options: CostOptions) -> None:
    """Print the estimate for a config.

    Raises:
        UserError: the config cannot be read, or is wrong.
    """
    config = load(read_config(options.config), str(options.config))
    stated = options.model_dump(exclude_unset=True, exclude={"config"})
    assumed = CostSettings(**config.cost.model_dump(exclude_unset=True) | stated)
    config = config.model_copy(update={"cost": assumed})
    show(as_table(estimate(config), config) + "\n")


def as_table(found: Estimate, config: Config) -> str:
    """The whole estimate: a line for each stage, and what it rests on."""
    lines = [
        f"run {config.run}: {found.models} reward models ({', '.join(config.variants)}; "
        f"seeds {', '.join(map(str, config.seeds))}) from {config.base_model or 'a made model'}"
    ]
    if found.size is None:
        lines.append("operations are not known: the size of the base model is not")
    else:
        lines += [
            f"N = {found.size.multiplied:,} parameters that multiply each token, of "
            f"{found.size.parameters:,}",
            f"{'stage':20} {'data':44} {'FLOPs':>8} {'hours':>8}  FLOPs by",
        ]
        items = [*found.training, *found.scoring]
        rows = [(item.stage, item.data, [item], item.formula) for item in items]
        if found.pairs and found.scored:
            rows.append(("all", "", items, ""))
        for stage, data, parts, formula in rows:
            hours = _told(found.hours(parts))
            lines.append(f"{stage:20} {data:44} {flops(parts):8.1e} {hours:>8}  {formula}".rstrip())
    return "\n".join([*lines, *_notes(found, config)])


def _notes(found: Estimate, config: Config) -> list[str]:
    """On what the numbers rest."""
    told = ", ".join(f"{what} {size / 1e9:.1f} GB" for what, size in found.disk.items())
    if found.unknown_files:
        told += f", and {found.unknown_files} downloads of unknown size"
    notes = [
        f"hours on {found.devices.words}",
        f"disk {_disk(found)} GB: {told or 'nothing is known'}",
    ]
    if found.pairs is None:
        notes.append(
            f"how many pairs there are is not known yet: told for {PAIRS_UNIT:,} (or --pairs N)"
        )
    if found.scored is None:
        notes.append("how many completions there are is not known yet")
    if any(amount is None or amount.assumed for amount in (found.pairs, found.scored)):
        tokens = config.cost.sequence_tokens
        notes.append(f"assumed of data not here yet: {tokens} tokens a prompt with completion")
    return notes


def estimate_line(config: Config, where: str, cores: int | None = None) -> str:
    """The estimate in one line, which a run begins with.

    Args:
        where: the config file, for the command that tells more.
        cores: CPU cores that the run may use.
    """
    if config.made:
        return f"cost: not known before; the run makes {', '.join(config.made)} itself"
    more = f"more: python -m gcrm.cost --config {where}"
    found = estimate(config, cores)
    if found.size is None:
        return f"cost: not known, for the size of {config.base_model} is not; {more}"
    known = [*(found.training if found.pairs else []), *found.scoring]
    on = dict.fromkeys(item.data for item in known if item.stage != "represent")
    parts = [f"{flops(known):.1e} FLOPs, {_told(found.hours(known))} hours"] if known else []
    if not found.pairs:
        parts.append(
            f"{flops(found.training):.1e} FLOPs, {_told(found.hours(found.training))} hours for "
            f"each {PAIRS_UNIT:,} of an unknown number of pairs"
        )
    free = shutil.disk_usage(Path()).free
    room = f", of which {free / 1e9:.0f} GB are free" if sum(found.disk.values()) > free else ""
    return (
        f"cost: {' and '.join(parts)}, on {found.devices.words}; {_disk(found)} GB of disk{room}; "
        f"{', '.join([f'{found.models} reward models', *on])}; {more}"
    )


def _disk(found: Estimate) -> str:
    return f"{sum(found.disk.values()) / 1e9:.1f}"


def _told(hours: float | None) -> str:
    if hours is None:
        return "unknown"
    return f"{hours:.2g}" if hours < 100 else f"{hours:,.0f}"


if __name__ == "__main__":
    raise SystemExit(run_stage(CostOptions, run))
