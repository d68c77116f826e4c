"""The metrics of the votes: accuracy with and without the samples that Q-values rule out.

Everything is a mean over problems of one value a problem, with a bootstrap interval, and compared
with a paired test over the same problems.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcrm.config.metrics import MetricsSettings, StatisticsSettings
from gcrm.data.questions import question_key
from gcrm.data.scores import ScoreTable
from gcrm.stats.answers import canonical
from gcrm.stats.bootstrap import (
    Bootstrap,
    codes,
    mean_with_interval,
    ratio_with_interval,
    sign_flip_p,
    sum_by,
)
from gcrm.stats.filter_curve import CurvePoint, cross_fitted, filter_curve
from gcrm.stats.voting import Filter, Filtered, LengthFilter, QFilter, Samples
from gcrm.utils.errors import UserError

Floats = NDArray[np.float64]
Json = dict[str, Any]

NO_Q_VALUES = {"reason": "scored without a goal state: there are no Q-values"}
TOO_FEW_PROBLEMS = {"reason": "too few problems to choose a threshold on half of them"}
ALL_SKIPPED = {"reason": "all samples are shorter than the tokens that are skipped"}


def vote_metrics(greedy: ScoreTable, samples: ScoreTable, settings: MetricsSettings) -> Json:
    """The section `voting`.

    Args:
        greedy: scores of one solution a problem; the official rules let it vote, too.
        samples: scores of several solutions a problem; their numbers may differ.
    """
    votes, keys = labelled_votes(samples)
    tests = _Tests(votes.problems, settings)
    unfiltered = votes.majority()
    result: Json = {
        "problems": votes.problems,
        "samples": len(samples),
        "samples_per_problem": {
            "least": int(votes.sizes.min()),
            "mean": float(votes.sizes.mean()),
            "most": int(votes.sizes.max()),
        },
        "samples_without_answer": int((votes.group < 0).sum()),
        "mean_correct": tests.mean(votes.mean_correct()),
        "majority": {
            "accuracy": tests.mean(unfiltered),
            "accuracy_official_ties": tests.mean(votes.majority(ties="official")),
        },
        "reward_weighted": tests.mean(votes.reward_weighted(samples.reward)),
        "best_of_n": tests.mean(votes.best_of_n(samples.reward)),
        "pass_at_n": tests.mean(votes.pass_at_n()),
    }
    if samples.q_values is None:
        result |= {"filtered": NO_Q_VALUES, "filter_curve": [], "filter_chosen": NO_Q_VALUES}
    else:
        q_filter = QFilter(samples.q_values, votes.problem, settings.skip_tokens)
        result["filtered"] = _filtered(votes, q_filter, settings.filter_threshold, tests)
        curve = filter_curve(votes, q_filter)
        result["filter_curve"] = _points(votes, q_filter, curve, tests)
        result["filter_chosen"] = _chosen(votes, q_filter, curve, keys, tests)
    lengths = samples.num_tokens.astype(np.int64)
    by_length = LengthFilter(lengths, votes.problem, settings.skip_tokens)
    curve = filter_curve(votes, by_length)
    result["length_filter_chosen"] = _chosen(votes, by_length, curve, keys, tests)
    return result | {"official": _official(greedy, samples, votes.problem, keys, settings)}


def labelled_votes(samples: ScoreTable) -> tuple[Samples, list[str]]:
    """The samples as votes for their canonical answers, and the question key of each problem."""
    problem, keys = codes([question_key(text) for text in samples.prompt])
    answers = [canonical(answer) for answer in _predicted(samples)]
    return Samples(problem, answers, samples.label), keys


def _predicted(table: ScoreTable) -> list[str | None]:
    if table.predicted_answer is None:
        raise UserError("scores: there is no column predicted_answer to vote by")
    return list(table.predicted_answer)


class _Tests:
    """Means of per-problem values with intervals, and paired tests over the same problems."""

    def __init__(self, problems: int, settings: StatisticsSettings):
        self.seed = settings.bootstrap_seed
        self.bootstrap = Bootstrap(np.arange(problems), settings.bootstrap_resamples, self.seed)

    def mean(self, values: Floats) -> Json:
        return mean_with_interval(values, self.bootstrap).as_json()

    def difference(self, after: Floats, before: Floats) -> Json:
        """Mean of after - before, with the p of a sign-flip test over problems."""
        change = after - before
        return self.mean(change) | {"p": sign_flip_p(change, self.seed)}

    def share(self, above: Floats, below: Floats) -> Json:
        """Sum over sum, such as tokens saved over tokens."""
        return ratio_with_interval(above, below, self.bootstrap, n=len(below)).as_json()


def _filtered(
    votes: Samples, q_filter: QFilter, threshold: float, tests: _Tests, official: bool = False
) -> Json:
    filtered = q_filter.apply(threshold, official)
    if official:
        before, after = votes.official_majority(), votes.official_majority(filtered.keep)
    else:
        before, after = votes.majority(), votes.majority(filtered.keep)
    correct_before, correct_after = votes.mean_correct(), votes.mean_correct(filtered.keep)
    result: Json = {
        "threshold": threshold,
        "accuracy": tests.mean(after),
        "difference": tests.difference(after, before),
        "correct_share_before": tests.mean(correct_before),
        "correct_share_after": tests.mean(correct_after),
        **_spared(votes, filtered, tests),
    }
    if official:
        result["correct_share_p"] = unpaired_t_test(correct_after, correct_before)
    else:
        ties = votes.majority(filtered.keep, ties="official")
        result["accuracy_official_ties"] = tests.mean(ties)
        result["correct_share_difference"] = tests.difference(correct_after, correct_before)
    return result


def _spared(votes: Samples, filtered: Filtered, tests: _Tests) -> Json:
    def per_problem(values: NDArray[Any]) -> Floats:
        return sum_by(votes.problem, values, votes.problems)

    dropped = per_problem(~filtered.keep)
    return {
        "samples_dropped": tests.share(dropped, votes.sizes.astype(float)),
        "tokens_saved": tests.share(per_problem(filtered.saved), per_problem(filtered.tokens)),
    }


def _points(votes: Samples, by: Filter, curve: Sequence[CurvePoint], tests: _Tests) -> list[Json]:
    """Accuracy against tokens saved over the thresholds."""
    sizes = votes.sizes.astype(float)
    tokens = sum_by(votes.problem, by.lengths, votes.problems)
    return [
        {
            "threshold": point.threshold,
            "accuracy": tests.mean(point.accuracy),
            "samples_dropped": tests.share(point.dropped, sizes),
            "tokens_saved": tests.share(point.saved, tokens),
        }
        for point in curve
    ]


def _chosen(
    votes: Samples, by: Filter, curve: Sequence[CurvePoint], keys: list[str], tests: _Tests
) -> Json:
    """The filter at thresholds that were chosen on other problems."""
    unfiltered = votes.majority()
    chosen = cross_fitted(curve, unfiltered, keys) if curve else None
    if chosen is None:
        return TOO_FEW_PROBLEMS if curve else ALL_SKIPPED
    return {
        "thresholds": list(chosen.thresholds),
        "accuracy": tests.mean(chosen.accuracy),
        "difference": tests.difference(chosen.accuracy, unfiltered),
        "tokens_saved": tests.share(
            chosen.saved, sum_by(votes.problem, by.lengths, votes.problems)
        ),
    }


def _official(
    greedy: ScoreTable,
    samples: ScoreTable,
    problem: NDArray[np.int64],
    keys: list[str],
    settings: MetricsSettings,
) -> Json:
    """The votes as the authors' scripts count them (see `voting`), greedy solutions included."""
    number_of = {key: number for number, key in enumerate(keys)}
    greedy_problem = np.array([number_of.get(question_key(q), -1) for q in greedy.prompt])
    rows = np.flatnonzero(greedy_problem >= 0)
    written = [
        repr(answer)
        for answer in [*_predicted(samples), *np.array(_predicted(greedy), object)[rows]]
    ]
    problem = np.concatenate([problem, greedy_problem[rows]])
    votes = Samples(problem, written, np.concatenate([samples.label, greedy.label[rows]]))
    tests = _Tests(votes.problems, settings)
    result: Json = {"majority": {"accuracy": tests.mean(votes.official_majority())}}
    if samples.q_values is None or greedy.q_values is None:
        return result | {"filtered": NO_Q_VALUES}
    q_filter = QFilter(samples.q_values + greedy.q_values.take(rows), problem, settings.skip_tokens)
    threshold = settings.filter_threshold
    return result | {"filtered": _filtered(votes, q_filter, threshold, tests, official=True)}


def unpaired_t_test(first: Floats, second: Floats) -> float | None:
    """Two-sided p of Student's t-test as the authors use it, although their values are paired."""
    from scipy.special import stdtr  # scipy.stats would take a second to import

    freedom = len(first) + len(second) - 2
    if freedom < 2:
        return None
    squares = ((first - first.mean()) ** 2).sum() + ((second - second.mean()) ** 2).sum()
    if squares == 0:
        return None
    error = np.sqrt(squares / freedom * (1 / len(first) + 1 / len(second)))
    return float(2 * stdtr(freedom, -abs(first.mean() - second.mean()) / error))
