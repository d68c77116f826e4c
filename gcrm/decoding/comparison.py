"""The rules of methods, with thresholds chosen on other problems, and what each method is worth.

A method is really run once. What it would have done with other settings is replayed from the plain
samples: see `gcrm.decoding.replay`.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from gcrm.config.generate import GenerateOptions, Method
from gcrm.data.final_answers import final_answer
from gcrm.data.questions import question_hash, question_key
from gcrm.decoding.live import Solved
from gcrm.decoding.replay import replay, thresholds
from gcrm.decoding.rules import By, Rule
from gcrm.stats.answers import canonical
from gcrm.stats.bootstrap import Bootstrap, Floats
from gcrm.stats.filters import Filtered, choose
from gcrm.stats.generation import VOTES, Compared, Drawn, Sizes, Vote, mean_row, number
from gcrm.stats.samples import Samples
from gcrm.utils.errors import UserError
from gcrm.utils.io import Row

THRESHOLDS = 15
"""thresholds that are replayed"""
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""shares to drop that are replayed"""
CHOSEN_BY: Vote = "majority"
"""the vote that a chosen threshold must not make worse"""

equal_answers = cache(canonical)
"""canonical answers; the samples of a problem repeat a few"""


def label(problem: Row, solved: Solved) -> list[Row]:
    """The samples as rows of completion files; an unfinished one has no answer.

    `is_correct` is there where the right answer is known.
    """
    expected = problem["expected_answer"]
    rows = []
    for sample in solved.samples:
        answer = final_answer(sample.text) if sample.finished else None
        row = {**problem, "generated_solution": sample.text, "predicted_answer": answer}
        if expected is not None:
            right = answer is not None and equal_answers(answer) == equal_answers(expected)
            row["is_correct"] = right
        rows.append(row)
    return rows


class Comparison:
    """What is known of all methods on the same problems.

    Args:
        sizes: parameters of both models that multiply each token.
    """

    def __init__(self, options: GenerateOptions, problems: Sequence[Row], sizes: Sizes):
        self._options, self._problems, self._sizes = options, problems, sizes
        self._keys = [question_key(problem["question"]) for problem in problems]
        self._bootstrap = Bootstrap(
            np.arange(len(problems)), options.bootstrap_resamples, options.bootstrap_seed
        )
        self._has_answers = problems[0]["expected_answer"] is not None
        self._replayed: dict[Method, list[tuple[float, Drawn]]] = {}
        self._thresholds: list[float] = []  # of the first and of the second half

    # --- Rules.

    def rules(self, method: Method, plain: Sequence[Solved] | None) -> list[Rule | None]:
        """The rule of a method for each problem.

        Args:
            plain: the plain samples of all problems, where there are any.

        Raises:
            UserError: a threshold is to be chosen, and cannot be.
        """
        if method == "plain":
            return [None] * len(self._problems)
        if method != "q_threshold":
            return [self._rule(method, self._options.drop_share)] * len(self._problems)
        if self._options.threshold is not None:
            return [self._rule(method, self._options.threshold)] * len(self._problems)
        assert plain is not None  # the options model ensures it
        return [self._rule(method, threshold) for threshold in self._choose(plain)]

    def _rule(self, method: Method, setting: float) -> Rule:
        by: By = "reward" if method == "reward_worst" else "q_value"
        if method == "q_threshold":
            return Rule(by, self._options.keep_samples, threshold=setting)
        return Rule(by, self._options.keep_samples, share=setting)

    def _choose(self, plain: Sequence[Solved]) -> list[float]:
        """The threshold for each problem, chosen on the half that it is not in.

        The one that costs least while the vote is as accurate as that of all samples; see
        `gcrm.stats.filters.choose`.
        """
        file = self._options.problems
        if not self._has_answers:
            raise UserError(f"{file}: without expected_answer no threshold can be chosen; give one")
        second = np.array([int(question_hash(key)[-1], 16) % 2 == 1 for key in self._keys])
        if second.all() or not second.any():
            raise UserError(f"{file}: too few problems to choose a threshold on half of them")
        unfiltered = self._drawn(plain).spent(CHOSEN_BY)
        # Where the size of the language model is unknown, its tokens alone are the cost.
        sizes = Sizes(1, 0) if np.isnan(self._sizes.policy) else self._sizes
        spent = sizes.flops(unfiltered)
        curve = []
        for threshold, drawn in self._replays("q_threshold", plain):
            found = drawn.spent(CHOSEN_BY)
            dropped = drawn.votes.sum_by_problem(~drawn.kept)
            saved = spent - sizes.flops(found)
            curve.append(Filtered(threshold, drawn.kept, found.accuracy, dropped, saved))
        if not curve:
            raise UserError(
                f"{file}: all samples are shorter than skip_tokens = {self._options.skip_tokens}; "
                "lower it"
            )
        self._thresholds = [
            choose(curve, unfiltered.accuracy, half).threshold for half in (second, ~second)
        ]
        return [self._thresholds[int(later)] for later in second]

    # --- Estimates.

    def rows(self, found: Mapping[Method, Sequence[Solved]]) -> Iterator[dict[str, Any]]:
        """The estimates of all methods, as rows of a table without the model's name."""
        yield self._count("parameters.policy", self._sizes.policy)
        yield self._count("parameters.reward_model", self._sizes.reward_model)
        for half, threshold in enumerate(self._thresholds):
            yield self._count("q_threshold.threshold", threshold) | {"at": float(half)}
        drawn = {method: self._drawn(solved) for method, solved in found.items()}
        for method, one in drawn.items():
            yield from self._costs(method, one)
        plain = found.get("plain")
        for method, solved in found.items():
            if plain is not None and method != "plain":
                yield self._count(f"{method}.unlike_plain", unlike(solved, plain))
        if not self._has_answers:
            return
        if plain is None:
            for method, one in drawn.items():
                for vote in VOTES:
                    yield self._mean(f"{vote}.{method}.accuracy", one.accuracy(vote))
            return
        others = [method for method in found if method != "plain"]
        for vote in VOTES if others else VOTES[:1]:  # unread samples have no rewards
            yield from self._compared(vote, drawn, plain)

    def _costs(self, method: Method, drawn: Drawn) -> Iterator[dict[str, Any]]:
        spent = drawn.spent("majority")
        yield self._mean(f"{method}.samples_kept", drawn.votes.sum_by_problem(drawn.kept))
        yield self._mean(f"{method}.policy_tokens", spent.policy)
        yield self._mean(f"{method}.reward_model_tokens", spent.reward_model)

    def _compared(
        self, vote: Vote, drawn: Mapping[Method, Drawn], plain: Sequence[Solved]
    ) -> Iterator[dict[str, Any]]:
        """Every method beside plain sampling, by one vote."""
        curve = drawn["plain"].plain(vote, self._options.bootstrap_seed)
        for k, one in enumerate(curve, start=1):
            yield self._mean(f"{vote}.plain.accuracy", one.accuracy, k)
            yield self._mean(f"{vote}.plain.cost", self._sizes.flops(one), k)
        for method in drawn:
            if method == "plain":
                continue
            compared = Compared(drawn[method].spent(vote), curve, self._sizes, self._bootstrap)
            for row in compared.rows(self._options.bootstrap_seed):
                yield row | {"metric": f"{vote}.{method}.{row['metric']}"}
            for setting, other in self._replays(method, plain):
                replayed = other.spent(vote)
                yield self._mean(f"{vote}.{method}.curve.accuracy", replayed.accuracy, setting)
                costs = self._sizes.flops(replayed)
                yield self._mean(f"{vote}.{method}.curve.cost", costs, setting)

    def _replays(self, method: Method, plain: Sequence[Solved]) -> list[tuple[float, Drawn]]:
        """What a method would have done with many settings, the mildest first."""
        if method not in self._replayed:
            settings = thresholds(plain, THRESHOLDS) if method == "q_threshold" else SHARES
            self._replayed[method] = [
                (setting, self._drawn([replay(one, self._rule(method, setting)) for one in plain]))
                for setting in settings
            ]
        return self._replayed[method]

    def _drawn(self, found: Sequence[Solved]) -> Drawn:
        labelled = [
            row for given in zip(self._problems, found, strict=True) for row in label(*given)
        ]
        samples = [sample for solved in found for sample in solved.samples]
        answers = [
            None if sample.dropped else equal_answers(row["predicted_answer"])
            for row, sample in zip(labelled, samples, strict=True)
        ]
        correct = np.array([row.get("is_correct", False) for row in labelled])
        problem = np.repeat(np.arange(len(found)), [len(solved.samples) for solved in found])
        return Drawn(
            Samples(problem, answers, correct),
            np.concatenate([solved.rewards for solved in found]),
            np.array([not sample.dropped for sample in samples]),
            np.concatenate([solved.policy_tokens for solved in found]),
            np.concatenate([solved.reward_model_tokens for solved in found]),
            np.array([solved.prompt_tokens for solved in found]),
        )

    def _mean(self, metric: str, values: Floats, at: float | None = None) -> dict[str, Any]:
        return mean_row(metric, values, self._bootstrap, at)

    def _count(self, metric: str, value: float) -> dict[str, Any]:
        return {"metric": metric, "n": len(self._problems)} | number(float(value))


def unlike(found: Sequence[Solved], plain: Sequence[Solved]) -> int:
    """Samples that were not dropped, and have another text than the plain ones.

    The same random numbers give the same tokens but where a number falls between two tokens whose
    shares rounding changes.
    """
    return sum(
        not ours.dropped and ours.text != theirs.text
        for one, other in zip(found, plain, strict=True)
        for ours, theirs in zip(one.samples, other.samples, strict=True)
    )
