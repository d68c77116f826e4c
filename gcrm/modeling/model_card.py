"""The front matter of a model card, by which the hub finds and shows a model."""

from collections.abc import Iterable, Sequence

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from pandas import DataFrame

from gcrm.utils.errors import UserError
from gcrm.utils.paths import is_local, set_name, source_parts

TAGS = ["reward-model", "goal-conditioned", "gcrm"]
NO_RESULTS = r"_minus_|\.length$|\.longer$"
"""metrics that say nothing of the model alone: differences, and the baselines"""


def front_matter(base_model: str, datasets: Sequence[str], standard: bool) -> str:
    """The YAML between two lines of dashes at the beginning of the card.

    Args:
        base_model, datasets: only those on the hub are named; paths are nobody else's business.
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


def with_results(card: str, name: str, estimates: DataFrame) -> str:
    """A card with results: in its front matter, and as a table at its end.

    Args:
        name: of the model on the hub.
        estimates: rows of metrics files. Points of curves, differences and baselines are left out.

    Raises:
        UserError: none is left.
    """
    shown = estimates[
        estimates["at"].isna()
        & estimates["low"].notna()
        & ~estimates["metric"].str.contains(NO_RESULTS)
    ]
    if shown.empty:
        raise UserError("the files of metrics have no estimate with an interval to show")
    rows = [{str(key): value for key, value in row.items()} for row in shown.to_dict("records")]
    full = ModelCard(card)
    results = [
        EvalResult(
            task_type="text-classification",
            task_name="reward modeling",
            dataset_type=row["benchmark"],
            dataset_name=row["benchmark"],
            dataset_split=row["split"],
            metric_type=row["metric"],
            metric_name=f"{row['metric']} (95 % interval {row['low']:.3f} to {row['high']:.3f})",
            metric_value=round(row["value"], 4),
        )
        for row in rows
    ]
    known = vars(full.data) | {"model_name": name, "eval_results": results}
    full.data = ModelCardData(**known)
    return f"{full}\n## Results\n\n" + "\n".join(_table(rows)) + "\n"


def _table(rows: Iterable[dict[str, float | str]]) -> Iterable[str]:
    yield "| benchmark | split | metric | value | 95 % interval | n |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        interval = f"{row['low']:.3f} to {row['high']:.3f}"
        cells = [row["benchmark"], row["split"], row["metric"], f"{row['value']:.3f}", interval]
        yield f"| {' | '.join(map(str, cells))} | {row['n']} |"
