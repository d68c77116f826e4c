"""The model card that `train` writes, with the front matter by which the hub finds a model."""

from collections.abc import Sequence
from typing import Any

from huggingface_hub import ModelCardData

from gcrm.config.train import TrainOptions
from gcrm.utils.paths import is_local, set_name, source_parts
from gcrm.utils.templates import render_template

TAGS = ["reward-model", "goal-conditioned", "gcrm"]


def model_card(options: TrainOptions, facts: dict[str, Any]) -> str:
    """The README.md of a reward model.

    Args:
        facts: the content of `reward_model.json`.
    """
    mlp = options.value_head_strategy != "linear"
    return render_template(
        "gcrm.training",
        "model_card.md.j2",
        facts=facts,
        options=options,
        front_matter=front_matter(options.pretrain, options.dataset, standard=not mlp),
        base_model=public_name(options.pretrain),
        datasets=[public_name(one) for one in options.dataset],
        mlp=mlp,
        official=options.parity == "official",
    )


def front_matter(base_model: str, datasets: Sequence[str], standard: bool) -> str:
    """The YAML between two lines of dashes at the beginning of the card.

    Args:
        base_model, datasets: only those on the hub are named, since paths are private.
        standard: whether transformers can load the model.
    """
    data = ModelCardData(
        base_model=None if is_local(base_model) else base_model,
        datasets=[source_parts(one).home for one in datasets if not is_local(one)] or None,
        library_name="transformers" if standard else None,
        pipeline_tag="text-classification" if standard else None,
        tags=TAGS,
    )
    return f"---\n{data.to_yaml()}\n---"


def public_name(source: str) -> str:
    """What a card calls a model or data set: its hub id, or the name of its file or folder."""
    return set_name(source) if is_local(source) else source
