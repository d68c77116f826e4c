"""What a run will cost: tokens, operations, disk and hours, before anything is computed.

Operations (FLOPs) are those of the matrix products: a parameter multiplies and adds once for each
token forward (2), twice as much backward (4), and once more forward where gradient checkpointing
computes the activations again (2). Attention between tokens is left out: 2 % at 500 tokens.
"""

from dataclasses import dataclass

from gcrm.config.run import Config
from gcrm.config.train import TrainSettings
from gcrm.estimate.amounts import Amount, pairs_of, scored_amount, training_amount
from gcrm.estimate.devices import Devices, devices_of
from gcrm.estimate.model_size import ModelSize, model_size

PAIRS_UNIT = 10_000
"""pairs that training is told for where their number is not known"""
BYTES_OF_SCORES = 8
"""of each token: its partial reward and its Q-value"""


@dataclass(frozen=True)
class Item:
    """One stage of all reward models: on what, by which formula, how many operations."""

    stage: str
    data: str
    formula: str
    flops: float


@dataclass(frozen=True)
class Estimate:
    """What a run will cost.

    Attributes:
        models: reward models, all variants and seeds.
        size: of one reward model; None if it is not known, and then there are no items.
        pairs: preference pairs before any cap; None if their number is not known.
        scored: completions that each reward model scores; None if their number is not known.
        training, scoring: the stages that compute, where N is `size.multiplied`. Where `pairs` is
            None, training is told for PAIRS_UNIT of them.
        devices: on which the hours are told.
        disk: bytes by what they are for.
        unknown_files: files to download whose size is not known, so that it is not in `disk`.
    """

    models: int
    size: ModelSize | None
    pairs: Amount | None
    scored: Amount | None
    training: list[Item]
    scoring: list[Item]
    devices: Devices
    disk: dict[str, int]
    unknown_files: int

    def hours(self, items: list[Item]) -> float | None:
        """Hours of these stages, if all devices are kept busy."""
        speed = self.devices.per_second
        return None if speed is None else flops(items) / speed / 3600


def flops(items: list[Item]) -> float:
    """Operations of these stages together."""
    return sum(item.flops for item in items)


def estimate(config: Config, cores: int | None = None) -> Estimate:
    """What a run will cost, as far as it is known before it.

    Args:
        cores: CPU cores that the run may use (default: all).
    """
    size = model_size(config.base_model) if config.base_model else None
    pairs, scored = training_amount(config), scored_amount(config)
    files = [file for entry in config.used_downloads().values() for file in entry.files]
    return Estimate(
        models=len(config.variants) * len(config.seeds),
        size=size,
        pairs=pairs,
        scored=scored,
        training=_training(config, size, pairs or pairs_of(config, PAIRS_UNIT)) if size else [],
        scoring=_scoring(config, size, scored) if size and scored else [],
        devices=devices_of(config.cost, cores),
        disk=_disk(config, size, scored),
        unknown_files=sum(file.size is None for file in files),
    )


def _training(config: Config, size: ModelSize, pairs: Amount) -> list[Item]:
    n, seeds = size.multiplied, len(config.seeds)
    items = []
    for name in config.variants:
        settings = config.variant(name)
        amount, factor = pairs.capped(settings.max_pairs), _factor(settings)
        # The layers before those that train need no backward pass, and frozen weights no gradients.
        least = "" if settings.train_layers is None and not settings.lora_rank else "at most "
        items.append(
            Item(
                f"train {name}",
                f"{amount.rows:,} pairs of {amount.tokens:,} tokens",
                f"{least}{factor} N tokens x epochs {settings.max_epochs} x seeds {seeds}",
                factor * n * amount.tokens * settings.max_epochs * seeds,
            )
        )
    amount = pairs.capped(config.represent.max_pairs)
    tokens = amount.tokens // 2
    models = len(config.variants) * seeds
    items.append(
        Item(
            "represent",
            f"{amount.rows:,} chosen of {tokens:,} tokens",
            f"2 N tokens x models {models}",
            2 * n * tokens * models,
        )
    )
    return items


def _scoring(config: Config, size: ModelSize, scored: Amount) -> list[Item]:
    models = len(config.variants) * len(config.seeds)
    return [
        Item(
            "evaluate",
            f"{scored.rows:,} completions of {scored.tokens:,} tokens",
            f"2 N tokens x models {models}",
            2 * size.multiplied * scored.tokens * models,
        )
    ]


def _factor(settings: TrainSettings) -> int:
    return 8 if settings.gradient_checkpointing else 6


def _disk(config: Config, size: ModelSize | None, scored: Amount | None) -> dict[str, int]:
    """Bytes that the run writes, by what they are for."""
    disk = {}
    variants = [config.variant(name) for name in config.variants]
    if size is not None:
        weights = [2 if v.bf16 and v.zero_stage == 3 else 4 for v in variants]
        disk["reward models"] = size.parameters * sum(weights) * len(config.seeds)
        if any(settings.save_steps > 0 for settings in variants):
            # Weights, and what AdamW knows of each: two moments, with bf16 also the fp32 weight.
            state = max(4 + 8 if width == 4 else 2 + 12 for width in weights)
            most = max(v.max_checkpoints for v in variants if v.save_steps > 0) + 1
            disk["checkpoints while one trains"] = most * state * size.parameters
    if scored is not None:
        models = len(variants) * len(config.seeds)
        disk["scores"] = BYTES_OF_SCORES * scored.tokens * models
    files = [file for entry in config.used_downloads().values() for file in entry.files]
    if known := [file.size for file in files if file.size is not None]:
        disk["downloads"] = sum(known)
    return disk
