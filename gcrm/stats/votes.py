"""Metrics of votes over the sampled solutions of each problem, and of filters before the vote.

Everything is a mean over problems of one value a problem; changes are tested problem by problem.
"""

from collections.abc import Iterator

import numpy as np

from gcrm.data.questions import question_key
from gcrm.stats.bootstrap import unpaired_t_test
from gcrm.stats.filters import Filter, LengthFilter, QFilter, cross_fitted, filter_curve
from gcrm.stats.registry import NO_Q_VALUES, Estimate, Scored, metric, predicted
from gcrm.stats.voting import Samples

TOO_FEW_PROBLEMS = "too few problems to choose a threshold on half of them"
ALL_SKIPPED = "all samples are shorter than the tokens that are skipped"
NO_GREEDY = "there are no greedy solutions, which vote too under the official rules"
OF_FILTER = (
    *("majority@n", "change", "correct_before", "correct_after", "correct_change"),
    *("samples_dropped", "tokens_saved"),
)
OF_CHOICE = ("majority@n", "change", "tokens_saved", "threshold")
OF_CURVE = ("majority@n", "samples_dropped", "tokens_saved")


@metric("all", compared=())
def count_samples(scored: Scored) -> Iterator[Estimate]:
    """Size of the table."""
    votes = scored.votes
    yield scored.count("num_completions", len(scored.table))
    yield scored.count("num_problems", votes.problems)
    yield scored.count("num_without_answer", (votes.group < 0).sum())
    for name in ("min", "mean", "max"):
        yield scored.count(f"samples_per_problem.{name}", getattr(votes.sizes, name)())


@metric("all", compared=("rm_majority@n", "rm_best@n"))
def votes(scored: Scored) -> Iterator[Estimate]:
    """Votes of all samples by answers and rewards; pass@1 and pass@n, for comparison."""
    votes, reward = scored.votes, scored.table.reward
    yield scored.mean("pass@1", votes.mean_correct())
    yield scored.mean("majority@n", votes.majority())
    yield scored.mean("majority@n.official_ties", votes.majority(ties="official"))
    yield scored.mean("rm_majority@n", votes.reward_weighted(reward))
    yield scored.mean("rm_best@n", votes.best_of_n(reward))
    yield scored.mean("pass@n", votes.pass_at_n())


@metric("all", compared=("filtered.majority@n", "filtered.tokens_saved"))
def filtered_votes(scored: Scored) -> Iterator[Estimate]:
    """The vote of the samples that the Q-filter leaves at the threshold of the settings."""
    by, votes = scored.q_filter, scored.votes
    if by is None:
        yield from scored.missing("filtered", ("majority@n.official_ties", *OF_FILTER), NO_Q_VALUES)
        return
    threshold = scored.settings.filter_threshold
    keep = by.apply(threshold).keep
    ties = votes.majority(keep, ties="official")
    yield scored.mean("filtered.majority@n.official_ties", ties, at=threshold)
    yield from _filtered("filtered", scored, votes, by)


@metric("all", compared=("chosen_filter.majority@n", "chosen_filter.tokens_saved"))
def chosen_filters(scored: Scored) -> Iterator[Estimate]:
    """Filters at thresholds chosen on other problems: by Q-values; and by length, the control."""
    table = scored.table
    if scored.q_filter is None:
        yield from scored.missing("chosen_filter", OF_CHOICE, NO_Q_VALUES)
        yield from scored.missing("filter_curve", OF_CURVE, NO_Q_VALUES)
    else:
        yield from _chosen("chosen_filter", scored, scored.q_filter, "filter_curve")
    problem, lengths = scored.bootstrap.problem, table.num_tokens.astype(np.int64)
    by_length = LengthFilter(lengths, problem, scored.settings.skip_tokens)
    yield from _chosen("length_filter", scored, by_length)


@metric("all", compared=())
def official_votes(scored: Scored) -> Iterator[Estimate]:
    """The votes as the authors' scripts count them (see `gcrm.stats.voting`)."""
    samples, greedy = scored.table, scored.greedy
    if greedy is None:
        yield from scored.missing("official", ["majority@n"], NO_GREEDY)
        yield from scored.missing("official.filtered", OF_FILTER, NO_GREEDY)
        return
    number_of = {key: number for number, key in enumerate(scored.bootstrap.keys)}
    greedy_problem = np.array([number_of.get(question_key(q), -1) for q in greedy.prompt])
    rows = np.flatnonzero(greedy_problem >= 0)
    answers = [*predicted(samples), *np.array(predicted(greedy), object)[rows]]
    problem = np.concatenate([scored.bootstrap.problem, greedy_problem[rows]])
    correct = np.concatenate([samples.label, greedy.label[rows]])
    votes = Samples(problem, [repr(answer) for answer in answers], correct)
    yield scored.mean("official.majority@n", votes.official_majority())
    if samples.q_values is None or greedy.q_values is None:
        yield from scored.missing("official.filtered", OF_FILTER, NO_Q_VALUES)
        return
    q_values = samples.q_values + greedy.q_values.take(rows)
    by = QFilter(q_values, problem, scored.settings.skip_tokens)
    yield from _filtered("official.filtered", scored, votes, by, official=True)


def _filtered(
    name: str, scored: Scored, votes: Samples, by: Filter, official: bool = False
) -> Iterator[Estimate]:
    """The estimates `OF_FILTER` of a filter at the threshold of the settings."""
    at = scored.settings.filter_threshold
    filtered = by.apply(at, official)
    if official:
        before, after = votes.official_majority(), votes.official_majority(filtered.keep)
    else:
        before, after = votes.majority(), votes.majority(filtered.keep)
    yield scored.mean(f"{name}.majority@n", after, at=at)
    yield scored.change(f"{name}.change", after, before, at=at)
    before, after = votes.mean_correct(), votes.mean_correct(filtered.keep)
    yield scored.mean(f"{name}.correct_before", before, at=at)
    yield scored.mean(f"{name}.correct_after", after, at=at)
    p = {"p": unpaired_t_test(after, before)} if official else {}
    yield scored.change(f"{name}.correct_change", after, before, at=at, **p)
    dropped = votes.sum_by_problem(~filtered.keep)
    saved, tokens = map(votes.sum_by_problem, (filtered.saved, filtered.tokens))
    yield scored.ratio(f"{name}.samples_dropped", dropped, votes.sizes.astype(float), at=at)
    yield scored.ratio(f"{name}.tokens_saved", saved, tokens, at=at)


def _chosen(
    name: str, scored: Scored, by: Filter, curve_name: str | None = None
) -> Iterator[Estimate]:
    """The estimates `OF_CHOICE` of a filter, and `OF_CURVE` if its curve has a name."""
    votes, unfiltered = scored.votes, scored.votes.majority()
    curve = filter_curve(votes, by)
    tokens = votes.sum_by_problem(by.lengths)
    chosen = cross_fitted(curve, unfiltered, scored.bootstrap.keys) if curve else None
    if chosen is None:
        yield from scored.missing(name, OF_CHOICE, TOO_FEW_PROBLEMS if curve else ALL_SKIPPED)
    else:
        yield scored.mean(f"{name}.majority@n", chosen.accuracy)
        yield scored.change(f"{name}.change", chosen.accuracy, unfiltered)
        yield scored.ratio(f"{name}.tokens_saved", chosen.saved, tokens)
        for fold, threshold in enumerate(chosen.thresholds):
            yield Estimate(f"{name}.threshold", threshold, None, votes.problems, at=float(fold))
    if curve_name is None:
        return
    if not curve:
        yield from scored.missing(curve_name, OF_CURVE, ALL_SKIPPED)
    sizes = votes.sizes.astype(float)
    for point in curve:
        at = point.threshold
        yield scored.mean(f"{curve_name}.majority@n", point.accuracy, at=at)
        yield scored.ratio(f"{curve_name}.samples_dropped", point.dropped, sizes, at=at)
        yield scored.ratio(f"{curve_name}.tokens_saved", point.saved, tokens, at=at)
