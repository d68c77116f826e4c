"""The numbers by which variants are compared: each model's, with its replicates.

They are those of the metrics file and have their places there as names: ("auroc", "reward") is
`auroc: {reward: …}`. Replicates of models on the same completions rest on the same resamples, so
that their differences are paired.
"""

from typing import Any

import numpy as np

from gcrm.config.metrics import StatisticsSettings
from gcrm.data.scores import ScoreTable
from gcrm.stats.bootstrap import (
    Bootstrap,
    Floats,
    aurocs_with_intervals,
    mean_replicates,
    ratio_replicates,
    sum_by,
)
from gcrm.stats.filter_curve import cross_fitted, filter_curve
from gcrm.stats.places import LENGTHS, Place, minus
from gcrm.stats.seeds import Measure
from gcrm.stats.vote_metrics import ALL_SKIPPED, NO_Q_VALUES, TOO_FEW_PROBLEMS, labelled_votes
from gcrm.stats.voting import QFilter

Json = dict[str, Any]
Measures = dict[Place, Measure]

REWARD: Place = ("auroc", "reward")
LENGTH: Place = ("auroc", "length")
"""of minus the number of tokens: that of all models on the same completions"""
FILTERED: Place = ("voting", "filtered")
CHOSEN: Place = ("voting", "filter_chosen")
CHANGE = "difference"
"""of a vote from the vote of all samples: the last part of its place"""


def auroc_measures(
    greedy: ScoreTable, bootstrap: Bootstrap, settings: StatisticsSettings
) -> Measures:
    """AUROC of the length, and of rewards and Q-values, whole and partial: also above the length's.

    Partial ones are compared with the length of the whole solution, which is known at its end only.
    """
    scores = {REWARD: greedy.reward, LENGTH: -greedy.num_tokens}
    lacking: list[Place] = []
    for name, ragged in (("reward", greedy.partial_rewards), ("q_value", greedy.q_values)):
        places = [("partial_auroc", name, f"{p:g}") for p in settings.percentiles]
        if ragged is None:
            lacking += [*places, *(minus(place, length) for place in places for length in LENGTHS)]
            continue
        values = [ragged.at_percentile(p) for p in settings.percentiles]
        scores |= zip(places, values, strict=True)
    columns = np.stack(list(scores.values())).astype(np.float64)
    estimates, replicates = aurocs_with_intervals(columns, greedy.label, bootstrap)
    found = {
        place: Measure(estimate.value, row, estimate.n, estimate.reason)
        for place, estimate, row in zip(scores, estimates, replicates, strict=True)
    }
    for place in scores:
        if place != LENGTH:
            found |= _beyond_length(place, found[place], found[LENGTH])
    return found | {place: _without(NO_Q_VALUES, found[REWARD]) for place in lacking}


def _beyond_length(place: Place, score: Measure, shorter: Measure) -> Measures:
    """AUROC of a score above that of the length, be shorter or longer better."""
    places = [minus(place, length) for length in LENGTHS]
    if score.value is None or shorter.value is None:
        return dict.fromkeys(places, score)
    baselines = [
        (shorter.value, shorter.replicates),
        (1 - shorter.value, 1 - shorter.replicates),
    ]
    return {
        place: Measure(score.value - value, score.replicates - replicates, score.n)
        for place, (value, replicates) in zip(places, baselines, strict=True)
    }


def vote_measures(
    samples: ScoreTable, bootstrap: Bootstrap, settings: StatisticsSettings
) -> Measures:
    """The votes that depend on the model: by its rewards, and of the samples its Q-values leave.

    A `difference` is that of the filtered vote from the vote of all samples.
    """
    votes, keys = labelled_votes(samples)

    def mean(values: Floats) -> Measure:
        return Measure(float(values.mean()), mean_replicates(values, bootstrap), len(values))

    def share(saved: Floats) -> Measure:
        value = float(saved.sum() / tokens.sum())
        return Measure(value, ratio_replicates(saved, tokens, bootstrap), len(saved))

    best = mean(votes.best_of_n(samples.reward))
    found: Measures = {
        ("voting", "best_of_n"): best,
        ("voting", "reward_weighted"): mean(votes.reward_weighted(samples.reward)),
    }
    names = ("accuracy", CHANGE, "tokens_saved")
    if samples.q_values is None:
        places = [(*vote, name) for vote in (FILTERED, CHOSEN) for name in names]
        return found | {place: _without(NO_Q_VALUES, best) for place in places}
    q_filter = QFilter(samples.q_values, votes.problem, settings.skip_tokens)
    tokens = sum_by(votes.problem, q_filter.lengths, votes.problems)
    unfiltered = votes.majority()

    def vote(place: Place, accuracy: Floats, saved: Floats) -> Measures:
        values = (mean(accuracy), mean(accuracy - unfiltered), share(saved))
        return {(*place, name): value for name, value in zip(names, values, strict=True)}

    filtered = q_filter.apply(settings.filter_threshold)
    saved = sum_by(votes.problem, filtered.saved, votes.problems)
    found |= vote(FILTERED, votes.majority(filtered.keep), saved)
    curve = filter_curve(votes, q_filter)
    chosen = cross_fitted(curve, unfiltered, keys) if curve else None
    if chosen is None:
        reason = TOO_FEW_PROBLEMS if curve else ALL_SKIPPED
        return found | {(*CHOSEN, name): _without(reason, best) for name in names}
    return found | vote(CHOSEN, chosen.accuracy, chosen.saved)


def _without(reason: dict[str, str], like: Measure) -> Measure:
    """No number, of as many rows as another."""
    return Measure(None, np.full_like(like.replicates, np.nan), like.n, reason["reason"])
