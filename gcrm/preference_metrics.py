"""What a reward model is worth on held-out preferences: how often the chosen side is above.

Each measure is a share of pairs, equal scores at a half, or a mean over pairs, with the 95 %
interval of a bootstrap over prompts, since pairs of one prompt are not independent. All measures
share their resamples, so that differences between them are paired.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gcrm.pair_scores import PairScores
from gcrm.questions import question_key
from gcrm.score_files import Ragged
from gcrm.settings.metrics import PAIR_SETTINGS, MetricsSettings
from gcrm.statistics import Bootstrap, Estimate, interval, mean_replicates, sum_by
from gcrm.vote_metrics import NO_Q_VALUES
from gcrm.voting import codes

Floats = NDArray[np.float64]
Json = dict[str, Any]


def chosen_above(chosen: ArrayLike, rejected: ArrayLike) -> Floats:
    """For each pair 1 where the chosen side has the higher score, 0.5 where they are equal, else 0.

    Args:
        chosen, rejected: finite scores, shape (pairs,).
    """
    higher, lower = np.asarray(chosen), np.asarray(rejected)
    return np.asarray((higher > lower) + 0.5 * (higher == lower), np.float64)


def preference_metrics(scores: PairScores, settings: MetricsSettings) -> Json:
    """All metrics of one held-out set.

    Args:
        scores: of both sides of each pair.
        settings: percentiles and the bootstrap; the others concern solutions to problems.
    """
    chosen, rejected = scores.chosen, scores.rejected
    prompt, _ = codes([question_key(text) for text in scores.question])
    bootstrap = Bootstrap(prompt, settings.bootstrap_resamples, settings.bootstrap_seed)
    return {
        "settings": {name: getattr(settings, name) for name in PAIR_SETTINGS},
        "pairs": {
            "n": len(scores),
            "prompts": bootstrap.problems,
            "ties": int((chosen.reward == rejected.reward).sum()),
            "truncated": int((chosen.truncated | rejected.truncated).sum()),
            "left_out": scores.left_out,
        },
        "accuracy": _accuracy(scores, bootstrap),
        "margin": _margin(scores, bootstrap),
        "partial_accuracy": {
            "reward": _partial(
                chosen.partial_rewards, rejected.partial_rewards, settings, bootstrap
            ),
            "q_value": _partial(chosen.q_values, rejected.q_values, settings, bootstrap),
        },
    }


def _accuracy(scores: PairScores, bootstrap: Bootstrap) -> Json:
    """Of the final reward and the last Q-value, beside what the length alone says."""
    chosen, rejected = scores.chosen, scores.rejected
    reward = chosen_above(chosen.reward, rejected.reward)
    longer = chosen_above(chosen.num_tokens, rejected.num_tokens)
    shares = {
        "reward": reward,
        "shorter": 1 - longer,
        "longer": longer,
        # Where longer answers are preferred, being longer is the baseline to beat; else shorter.
        "reward_minus_shorter": reward - (1 - longer),
        "reward_minus_longer": reward - longer,
    }
    if chosen.q_values is not None and rejected.q_values is not None:
        last = (chosen.q_values.at_percentile(1.0), rejected.q_values.at_percentile(1.0))
        shares["q_value"] = chosen_above(*last)
    found = _means(np.stack(list(shares.values())), bootstrap)
    estimates: Json = {name: one.as_json() for name, one in zip(shares, found, strict=True)}
    return {"reward": estimates["reward"], "q_value": NO_Q_VALUES} | estimates


def _margin(scores: PairScores, bootstrap: Bootstrap) -> Json:
    """Mean of the reward of the chosen side minus that of the rejected one."""
    margins = scores.chosen.reward.astype(np.float64) - scores.rejected.reward
    return _means(margins[None], bootstrap)[0].as_json()


def _partial(
    chosen: Ragged | None, rejected: Ragged | None, settings: MetricsSettings, bootstrap: Bootstrap
) -> Json:
    """Accuracy of the scores after a share of each side's tokens."""
    if chosen is None or rejected is None:
        return NO_Q_VALUES
    if not settings.percentiles:
        return {"reason": "no percentiles were asked for"}
    above = [
        chosen_above(chosen.at_percentile(p), rejected.at_percentile(p))
        for p in settings.percentiles
    ]
    found = _means(np.stack(above), bootstrap)
    return {
        f"{percentile:g}": estimate.as_json()
        for percentile, estimate in zip(settings.percentiles, found, strict=True)
    }


def _means(values: Floats, bootstrap: Bootstrap) -> list[Estimate]:
    """Means over pairs, resampled by prompt, of several values of each pair, shape (m, pairs)."""
    pairs = values.shape[1]
    rows = np.vstack([values, np.ones(pairs)])
    # Prompts are resampled whole: their pairs' values can be added up beforehand.
    by_prompt = np.stack([sum_by(bootstrap.problem, row, bootstrap.problems) for row in rows])
    *sums, count = mean_replicates(by_prompt, bootstrap)
    return [
        Estimate(float(row.mean()), interval(replicates / count), pairs)
        for row, replicates in zip(values, sums, strict=True)
    ]
