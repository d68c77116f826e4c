"""What a reward model is worth on held-out preferences: how often the chosen side is above.

Each measure is a share of pairs, equal scores at a half, or a mean over pairs, with the 95 %
interval of a bootstrap over prompts, since pairs of one prompt are not independent. All measures
share their resamples, so that differences between them are paired.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gcrm.config.metrics import PAIR_SETTINGS, StatisticsSettings
from gcrm.data.scores import Ragged, ScoreTable, read_scores
from gcrm.stats.bootstrap import Bootstrap, Estimate, interval, mean_replicates, sum_by
from gcrm.stats.places import Place
from gcrm.stats.vote_metrics import NO_Q_VALUES
from gcrm.utils.errors import UserError

Floats = NDArray[np.float64]
Json = dict[str, Any]


def chosen_above(chosen: ArrayLike, rejected: ArrayLike) -> Floats:
    """For each pair 1 where the chosen side has the higher score, 0.5 where they are equal, else 0.

    Args:
        chosen, rejected: finite scores, shape (pairs,).
    """
    higher, lower = np.asarray(chosen), np.asarray(rejected)
    return np.asarray((higher > lower) + 0.5 * (higher == lower), np.float64)


def read_pairs(path: Path) -> ScoreTable:
    """Read a table of scored pairs.

    Raises:
        UserError: as `read_scores`, or the table holds solutions.
    """
    table = read_scores(path)
    if table.split != "pairs":
        raise UserError(f"{path}: not a table of scored pairs: its split is {table.split}")
    return table


def sides(scores: ScoreTable) -> tuple[ScoreTable, ScoreTable]:
    """The chosen and the rejected side of each pair."""
    rows = np.arange(len(scores))
    return scores.take(rows[::2]), scores.take(rows[1::2])


def pair_values(scores: ScoreTable, percentiles: Sequence[float]) -> dict[Place, Floats]:
    """What each pair says of each measure: the measure is the mean of these over pairs.

    They are by their places in the metrics file, such as ("accuracy", "reward"), and of shape
    (pairs,). Those of Q-values are absent where there are none. Variants that scored the same pairs
    can be compared pair by pair.
    """
    chosen, rejected = sides(scores)
    reward = chosen_above(chosen.reward, rejected.reward)
    longer = chosen_above(chosen.num_tokens, rejected.num_tokens)
    found: dict[Place, Floats] = {
        ("accuracy", "reward"): reward,
        ("accuracy", "shorter"): 1 - longer,
        ("accuracy", "longer"): longer,
        # Where longer answers are preferred, being longer is the baseline to beat; else shorter.
        ("accuracy", "reward_minus_shorter"): reward - (1 - longer),
        ("accuracy", "reward_minus_longer"): reward - longer,
        ("margin",): chosen.reward.astype(np.float64) - rejected.reward,
    }
    assert chosen.partial_rewards is not None and rejected.partial_rewards is not None
    for p in percentiles:
        above = _above_at(chosen.partial_rewards, rejected.partial_rewards, p)
        found["partial_accuracy", "reward", f"{p:g}"] = above
    if chosen.q_values is not None and rejected.q_values is not None:
        found["accuracy", "q_value"] = _above_at(chosen.q_values, rejected.q_values, 1.0)
        for p in percentiles:
            above = _above_at(chosen.q_values, rejected.q_values, p)
            found["partial_accuracy", "q_value", f"{p:g}"] = above
    return found


def _above_at(chosen: Ragged, rejected: Ragged, percentile: float) -> Floats:
    """`chosen_above` after a share of each side's tokens."""
    return chosen_above(chosen.at_percentile(percentile), rejected.at_percentile(percentile))


def mean_replicates_over_pairs(values: Floats, bootstrap: Bootstrap) -> Floats:
    """Means over pairs in each resample of prompts.

    Args:
        values: several values of each pair, shape (m, pairs).
        bootstrap: of the prompts of the pairs.

    Returns:
        shape (m, R)
    """
    rows = np.vstack([values, np.ones(values.shape[1])])
    # Prompts are resampled whole: their pairs' values can be added up beforehand.
    by_prompt = np.stack([sum_by(bootstrap.problem, row, bootstrap.problems) for row in rows])
    sums = mean_replicates(by_prompt, bootstrap)
    return np.asarray(sums[:-1] / sums[-1])


def preference_metrics(scores: ScoreTable, settings: StatisticsSettings) -> Json:
    """All metrics of one held-out set.

    Args:
        scores: of both sides of each pair.
        settings: percentiles and the bootstrap; the others concern solutions to problems.
    """
    chosen, rejected = sides(scores)
    bootstrap = Bootstrap.over_problems(chosen.prompt, settings)
    values = pair_values(scores, settings.percentiles)
    replicates = mean_replicates_over_pairs(np.stack(list(values.values())), bootstrap)
    estimates = {
        place: Estimate(float(row.mean()), interval(resampled), len(chosen)).as_json()
        for (place, row), resampled in zip(values.items(), replicates, strict=True)
    }

    def section(*above: str) -> Json:
        depth = len(above)
        return {
            place[depth]: estimate
            for place, estimate in estimates.items()
            if place[:depth] == above and len(place) == depth + 1
        }

    no_partial = {"reason": "no percentiles were asked for"}
    return {
        "settings": {name: getattr(settings, name) for name in PAIR_SETTINGS},
        "pairs": {
            "n": len(chosen),
            "prompts": bootstrap.problems,
            "ties": int((chosen.reward == rejected.reward).sum()),
            "truncated": int((chosen.truncated | rejected.truncated).sum()),
            "left_out": scores.left_out,
        },
        "accuracy": {"q_value": NO_Q_VALUES} | section("accuracy"),
        "margin": estimates["margin",],
        "partial_accuracy": {
            "reward": section("partial_accuracy", "reward") or no_partial,
            "q_value": section("partial_accuracy", "q_value")
            or (NO_Q_VALUES if chosen.q_values is None else no_partial),
        },
    }
