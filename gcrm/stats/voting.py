"""Metrics of votes over the sampled solutions of each problem, and of filters before the vote.

Everything is a mean over problems of one value a problem; changes are tested problem by problem.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from gcrm.data.questions import question_key
from gcrm.stats.bootstrap import unpaired_t_test
from gcrm.stats.filters import Filter, Filtered, cross_fitted, length_filter, q_filter
from gcrm.stats.registry import NO_Q_VALUES, Estimate, Scored, metric, predicted
from gcrm.stats.samples import Samples

TOO_FEW_PROBLEMS = "too few problems to choose a threshold on half of them"
ALL_SKIPPED = "all samples are shorter than the tokens that are skipped"
NO_GREEDY = "there are no greedy solutions, which vote too under the official rules"


def _of(kind: str, names: str) -> list[str]:
    return [f"{kind}.{name}" for name in names.split()]


FILTERED = (
    "majority@n change correct_before correct_after correct_change samples_dropped tokens_saved"
)
CHOSEN = "majority@n change tokens_saved threshold"
CURVE = "majority@n samples_dropped tokens_saved"


@metric("all")
def count_samples(scored: Scored) -> Iterator[Estimate]:
    """Size of the table."""
    votes = scored.votes
    yield scored.count("num_completions", len(scored.table))
    yield scored.count("num_problems", votes.problems)
    yield scored.count("num_without_answer", (votes.group < 0).sum())
    for name in ("min", "mean", "max"):
        yield scored.count(f"samples_per_problem.{name}", getattr(votes.sizes, name)())


@metric("all", compared=["rm_majority@n", "rm_best@n"])
def votes(scored: Scored) -> Iterator[Estimate]:
    """Votes of all samples by answers and rewards; pass@1 and pass@n, for comparison."""
    votes, reward = scored.votes, scored.table.reward.astype(np.float64)
    for name, accuracy in (
        ("pass@1", votes.mean_correct()),
        ("majority@n", votes.majority()),
        ("majority@n.official_ties", votes.majority(ties="official")),
        ("rm_majority@n", votes.reward_weighted(reward)),
        ("rm_best@n", votes.best_of_n(reward)),
        ("pass@n", votes.pass_at_n()),
    ):
        yield scored.mean(name, accuracy)


@metric("all", compared=_of("top_k", "majority correct"))
def top_by_reward(scored: Scored) -> Iterator[Estimate]:
    """The K samples of each problem with the highest rewards: their vote, and how many are right.

    As in the paper's Table 11 (appendix E). A problem with fewer samples has all of them in it.
    """
    votes, reward = scored.votes, scored.table.reward.astype(np.float64)
    ranks = votes.ranks(reward, scored.table.sample.astype(np.int64))
    for k in scored.settings.top_k:
        if k > votes.sizes.max():
            reason = f"no problem has {k} samples"
            for name in _of("top_k", "majority correct"):
                yield Estimate(name, None, None, votes.problems, k, reason=reason)
            continue
        yield scored.mean("top_k.majority", votes.majority(ranks < k), k)
        yield scored.mean("top_k.correct", votes.mean_correct(ranks < k), k)


@metric("all", compared=_of("filtered", "majority@n tokens_saved"))
def filtered_votes(scored: Scored) -> Iterator[Estimate]:
    """The vote of the samples that the Q-filter leaves at the threshold of the settings."""
    if scored.q_filter is None:
        names = _of("filtered", f"{FILTERED} majority@n.official_ties")
        yield from scored.missing(NO_Q_VALUES, *names)
        return
    filtered = scored.q_filter.apply(scored.settings.filter_threshold)
    ties = scored.votes.majority(filtered.keep, ties="official")
    yield scored.mean("filtered.majority@n.official_ties", ties, filtered.threshold)
    yield from _filtered("filtered", scored, scored.q_filter)


@metric("all", compared=_of("chosen_filter", "majority@n tokens_saved"))
def chosen_filter(scored: Scored) -> Iterator[Estimate]:
    """The Q-filter at thresholds chosen on other problems, and at many."""
    if scored.q_filter is None:
        names = _of("chosen_filter", CHOSEN) + _of("filter_curve", CURVE)
        yield from scored.missing(NO_Q_VALUES, *names)
        return
    curve = scored.q_filter.curve()
    yield from _chosen("chosen_filter", scored, scored.q_filter, curve)
    if not curve:
        yield from scored.missing(ALL_SKIPPED, *_of("filter_curve", CURVE))
    for point in curve:
        yield scored.mean("filter_curve.majority@n", point.accuracy, point.threshold)
        yield from _savings("filter_curve", scored, scored.q_filter, point)


@metric("all")
def chosen_length_filter(scored: Scored) -> Iterator[Estimate]:
    """The control, which drops the longest samples, at chosen thresholds."""
    lengths = scored.table.num_tokens.astype(np.int64)
    by = length_filter(scored.votes, lengths, scored.settings.skip_tokens)
    yield from _chosen("length_filter", scored, by, by.curve())


@metric("all")
def official_votes(scored: Scored) -> Iterator[Estimate]:
    """The votes as the authors' scripts count them (see `gcrm.stats.samples`)."""
    samples, greedy = scored.table, scored.greedy
    names = _of("official.filtered", FILTERED)
    if greedy is None:
        yield from scored.missing(NO_GREEDY, "official.majority@n", *names)
        return
    number_of = {key: number for number, key in enumerate(scored.bootstrap.keys)}
    greedy_problem = np.array([number_of.get(question_key(q), -1) for q in greedy.prompt])
    greedy = greedy.take(np.flatnonzero(greedy_problem >= 0))
    answers = [repr(answer) for answer in predicted(samples) + predicted(greedy)]
    problem = np.concatenate([scored.bootstrap.problem, greedy_problem[greedy_problem >= 0]])
    votes = Samples(problem, answers, np.concatenate([samples.label, greedy.label]))
    yield scored.mean("official.majority@n", votes.official_majority())
    if samples.q_values is None or greedy.q_values is None:
        yield from scored.missing(NO_Q_VALUES, *names)
        return
    q_values, skip = samples.q_values + greedy.q_values, scored.settings.skip_tokens
    by = q_filter(votes, q_values, skip, official=True)
    yield from _filtered("official.filtered", scored, by)


def _filtered(name: str, scored: Scored, by: Filter) -> Iterator[Estimate]:
    """The estimates `FILTERED` of a filter at the threshold of the settings."""
    filtered = by.apply(scored.settings.filter_threshold)
    at = filtered.threshold
    yield scored.mean(f"{name}.majority@n", filtered.accuracy, at)
    yield scored.change(f"{name}.change", filtered.accuracy, by.majority(), at)
    before, after = by.votes.mean_correct(), by.votes.mean_correct(filtered.keep)
    yield scored.mean(f"{name}.correct_before", before, at)
    yield scored.mean(f"{name}.correct_after", after, at)
    change = scored.change(f"{name}.correct_change", after, before, at)
    yield replace(change, p=unpaired_t_test(after, before)) if by.official else change
    yield from _savings(name, scored, by, filtered)


def _savings(name: str, scored: Scored, by: Filter, filtered: Filtered) -> Iterator[Estimate]:
    """Shares of the samples and tokens that a threshold saves."""
    sizes, at = by.votes.sizes.astype(float), filtered.threshold
    yield scored.ratio(f"{name}.samples_dropped", filtered.dropped, sizes, at)
    yield scored.ratio(f"{name}.tokens_saved", filtered.saved, by.tokens(), at)


def _chosen(name: str, scored: Scored, by: Filter, curve: Sequence[Filtered]) -> Iterator[Estimate]:
    """The estimates `CHOSEN` of a filter."""
    unfiltered = by.majority()
    chosen = cross_fitted(curve, unfiltered, scored.bootstrap.keys) if curve else None
    if chosen is None:
        yield from scored.missing(TOO_FEW_PROBLEMS if curve else ALL_SKIPPED, *_of(name, CHOSEN))
        return
    thresholds, accuracy, saved = chosen
    yield scored.mean(f"{name}.majority@n", accuracy)
    yield scored.change(f"{name}.change", accuracy, unfiltered)
    yield scored.ratio(f"{name}.tokens_saved", saved, by.tokens())
    for fold, threshold in enumerate(thresholds):
        yield Estimate(f"{name}.threshold", threshold, None, len(unfiltered), float(fold))
