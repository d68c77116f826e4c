"""The README beside each trained reward model."""

from typing import Any

from gcrm.config.train import TrainOptions


def model_card(facts: dict[str, Any], options: TrainOptions) -> str:
    """A model card in the hub's format: what it is, how it was trained, how to use it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(  # noqa: S701 -- Markdown, not HTML
        loader=PackageLoader("gcrm.training", ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("model_card.md.j2").render(
        facts=facts,
        options=options,
        mlp=options.value_head_strategy == "mlp",
        official=options.parity == "official",
    )
