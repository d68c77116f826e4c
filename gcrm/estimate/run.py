"""The cost of a run: tokens, FLOPs, hours and disk space, before anything is computed.

FLOPs are those of the matrix products: for each token and parameter 2 forward, 4 backward, and 2
more where gradient checkpointing repeats the forward pass. Attention between tokens is left out:
2 % at 500 tokens. Every head is counted as the linear one; an MLP adds at most 1 % to a 7 B model.
"""

import os
from dataclasses import dataclass

from gcrm.config.cost import CostSettings
from gcrm.config.run import Config
from gcrm.estimate.sizes import (
    DataSize,
    ModelSize,
    assumed_pairs,
    generated_size,
    model_size,
    sampled_size,
    scored_size,
    training_size,
)
from gcrm.utils.gpus import visible_gpus

PEAK_FLOPS = {
    "cpu": 85e9,
    "rtx4090": 165e12,
    "a6000": 155e12,
    "l40s": 362e12,
    "a100": 312e12,
    "h100": 989e12,
}
"""FLOPs a second: of GPUs in dense bf16, by their data sheets; of one CPU core in fp32 matrix
products, measured (170e9 on two cores)"""
CPU_SHARE, GPU_SHARE = 0.45, 0.4
"""share of the peak that training and scoring reach: measured with SmolLM2-135M on a CPU; an
assumption for GPUs, where 0.3 to 0.5 is common"""
PAIRS_UNIT = 10_000
"""number of pairs for which training is estimated if their number is unknown"""
SCORE_BYTES = 8
"""for each token: its partial reward and its Q-value"""


@dataclass(frozen=True)
class StageCost:
    """The FLOPs of one stage for all reward models, with its data and formula in words."""

    stage: str
    data: str
    formula: str
    flops: float


@dataclass(frozen=True)
class Estimate:
    """The cost of a run.

    Attributes:
        size: of one reward model; None if it is unknown, and then there are no stages.
        pairs: preference pairs before any cap; None if their number is unknown.
        scored: completions that each reward model scores; None if their number is unknown.
        stages: the stages that compute. If `pairs` is None, PAIRS_UNIT are assumed; if `scored` is
            None, `evaluate` is left out.
        devices: kind, number and speed in words.
        flops_per_second: really reached by all devices together; None if it is unknown.
        disk: bytes by purpose.
        unknown_files: number of files to download whose size is unknown and not in `disk`.
    """

    size: ModelSize | None
    pairs: DataSize | None
    scored: DataSize | None
    stages: list[StageCost]
    devices: str
    flops_per_second: float | None
    disk: dict[str, int]
    unknown_files: int

    @property
    def flops(self) -> float:
        """FLOPs of all stages."""
        return sum(stage.flops for stage in self.stages)


def estimate(config: Config, cores: int | None = None) -> Estimate:
    """Estimate the cost of a run as far as it can be known.

    Args:
        cores: CPU cores that the run may use (default: all).
    """
    size = model_size(config.base_model) if config.base_model else None
    pairs, scored = training_size(config), scored_size(config)
    files = [file for entry in config.used_downloads().values() for file in entry.files]
    known = [file.size for file in files if file.size is not None]
    devices, speed = find_devices(config.cost, cores)
    return Estimate(
        size=size,
        pairs=pairs,
        scored=scored,
        stages=_stages(config, size, pairs, scored) if size else [],
        devices=devices,
        flops_per_second=speed,
        disk=_disk(config, size, scored) | ({"downloads": sum(known)} if known else {}),
        unknown_files=len(files) - len(known),
    )


def _stages(
    config: Config, size: ModelSize, pairs: DataSize | None, scored: DataSize | None
) -> list[StageCost]:
    stages = []

    def add(stage: str, data: DataSize, unit: str, factor: int, of: str, times: int) -> None:
        words = f"{data.rows:,} {unit} of {data.tokens:,} tokens"
        flops = factor * size.multiplied * data.tokens * times
        stages.append(StageCost(stage, words, f"{factor} N tokens x {of}", flops))

    pairs = pairs or assumed_pairs(config, PAIRS_UNIT)
    seeds, models = len(config.seeds), len(config.seeds) * len(config.variants)
    for name in config.variants:
        one = config.variant(name)
        factor, data = 8 if one.gradient_checkpointing else 6, pairs.capped(one.max_pairs)
        of = f"epochs {one.max_epochs} x seeds {seeds}"
        if one.train_layers is not None or one.lora_rank:
            of += ", or less: some weights are frozen"
        add(f"train {name}", data, "pairs", factor, of, one.max_epochs * seeds)
    data = pairs.capped(config.represent.max_pairs)
    chosen = DataSize(data.rows, data.tokens // 2)
    add("represent", chosen, "chosen", 2, f"models {models}", models)
    if scored:
        add("evaluate", scored, "completions", 2, f"models {models}", models)
    if config.goals is not None:
        examples = pairs.capped(config.goals.max_pairs)
        of = f"models {models}, or less: not all rejected are read"
        add("goals, examples", examples, "pairs", 2, of, models)
        if samples := sampled_size(config):
            add("goals, samples", samples, "completions", 2, f"models {models}", models)
    if config.generate is not None and (begun := generated_size(config)):
        of = f"language and reward model x models {models}, or less: some are dropped"
        add("generate", begun, "samples", 2, of, 2 * models)
    return stages


def _disk(config: Config, size: ModelSize | None, scored: DataSize | None) -> dict[str, int]:
    """Bytes that the run writes, by purpose."""
    disk = {}
    variants = [config.variant(name) for name in config.variants]
    if size is not None:
        widths = [2 if v.bf16 and v.zero_stage == 3 else 4 for v in variants]
        disk["reward models"] = size.parameters * sum(widths) * len(config.seeds)
        if kept := [v.max_checkpoints for v in variants if v.save_steps > 0]:
            # The weights and AdamW's state: two moments; with bf16 also the fp32 weight.
            state = max(4 + 8 if width == 4 else 2 + 12 for width in widths)
            disk["checkpoints while one trains"] = (max(kept) + 1) * state * size.parameters
    if scored is not None:
        disk["scores"] = SCORE_BYTES * scored.tokens * len(variants) * len(config.seeds)
    return disk


def find_devices(assumed: CostSettings, cores: int | None = None) -> tuple[str, float | None]:
    """The devices that the config names, or those of this machine.

    Args:
        cores: CPU cores that the run may use (default: all).

    Returns:
        Kind, number and speed in words; FLOPs a second of all together, None if unknown.
    """
    kind: str = assumed.device or "cpu"
    number = 1
    if assumed.device is None and (gpus := visible_gpus()):
        number, plain = len(gpus), gpus[0].name.lower().replace(" ", "")
        kind = next((known for known in PEAK_FLOPS if known in plain), gpus[0].name)
    elif assumed.device is None:
        here = os.cpu_count() or 1
        number = min(cores or here, here)
    number = assumed.devices or number
    words = f"{number} {'CPU cores' if kind == 'cpu' else kind}"
    if (each := assumed.flops_per_second) is not None:
        return f"{words} ({each:.3g} FLOP/s each)", number * each
    if kind not in PEAK_FLOPS:
        return f"{words} (of unknown speed: give flops_per_second)", None
    peak, share = PEAK_FLOPS[kind], CPU_SHARE if kind == "cpu" else GPU_SHARE
    return f"{words} ({peak:.3g} FLOP/s each, {share:.0%} of it used)", number * peak * share
