"""The numbers by which variants are compared on the pairs of a held-out set.

They have the places of the metrics file as names, and rest on the same resamples of the same
prompts. Pairs are matched by their texts. A pair that one model left out, since its prompt is too
long for it, is left out for all.
"""

from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path

import numpy as np

from gcrm.config.metrics import StatisticsSettings
from gcrm.data.scores import ScoreTable
from gcrm.stats.bootstrap import Bootstrap, Floats
from gcrm.stats.measures import Measures
from gcrm.stats.places import Place
from gcrm.stats.preference_metrics import (
    mean_replicates_over_pairs,
    pair_values,
    read_pairs,
    sides,
)
from gcrm.stats.seeds import Measure
from gcrm.stats.vote_metrics import NO_Q_VALUES
from gcrm.utils.errors import UserError

Model = tuple[str, int]
"""A variant and a seed."""
Identity = tuple[str, str, str, int]
"""Prompt, chosen and rejected completion, and how often these were there before."""

OF_LENGTH: tuple[Place, ...] = (("accuracy", "shorter"), ("accuracy", "longer"))
"""numbers that no model has a part in"""


def preference_measures(
    paths: Mapping[Model, Path],
    settings: StatisticsSettings,
    on_table: Callable[[], None] = lambda: None,
) -> dict[Model, Measures]:
    """The numbers of each model on the pairs that all of them have scored.

    Args:
        paths: the file of scored pairs of each model.
        on_table: called when a file has been read.

    Raises:
        UserError: a file cannot be read, or has other pairs than the others.
    """
    rows: dict[Model, dict[Identity, int]] = {}
    values: dict[Model, dict[Place, Floats]] = {}
    left_out: dict[Model, int] = {}
    for model, path in paths.items():
        scores = read_pairs(path)
        rows[model] = _identities(scores)
        values[model] = pair_values(scores, settings.percentiles)
        left_out[model] = scores.left_out
        on_table()
    every = {identity for found in rows.values() for identity in found}
    for model, path in paths.items():
        if (lacking := len(every) - len(rows[model])) > left_out[model]:
            raise UserError(
                f"{path}: lacks {lacking} pairs that other models have scored, and left out "
                f"{left_out[model]}; evaluate all models on the same held-out set, with the same "
                "max_pairs"
            )
    first = next(iter(rows.values()))
    shared = [identity for identity in first if all(identity in each for each in rows.values())]
    if not shared:
        raise UserError(f"{', '.join(map(str, paths.values()))}: no pair is in all of them")
    bootstrap = Bootstrap.over_problems([identity[0] for identity in shared], settings)
    places = dict.fromkeys(place for found in values.values() for place in found)
    measured: dict[Model, Measures] = {}
    for model, found in values.items():
        order = np.array([rows[model][identity] for identity in shared])
        table = np.stack([row[order] for row in found.values()])
        replicates = mean_replicates_over_pairs(table, bootstrap)
        known = {
            place: Measure(float(row.mean()), resampled, len(shared))
            for place, row, resampled in zip(found, table, replicates, strict=True)
        }
        none = np.full(bootstrap.resamples, np.nan)
        lacks = Measure(None, none, len(shared), NO_Q_VALUES["reason"])
        measured[model] = {
            place: known.get(place, lacks) for place in places if place not in OF_LENGTH
        }
    return measured


def _identities(scores: ScoreTable) -> dict[Identity, int]:
    """The row of each pair."""
    found: dict[Identity, int] = {}
    chosen, rejected = sides(scores)
    assert chosen.completion is not None and rejected.completion is not None
    texts = zip(chosen.prompt, chosen.completion, rejected.completion, strict=True)
    for row, pair in enumerate(texts):
        number = next(number for number in count() if (*pair, number) not in found)
        found[*pair, number] = row
    return found
