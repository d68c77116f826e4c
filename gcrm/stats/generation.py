"""What samples cost and how good they are, with a filter and without: what `generate` measures.

Costs are tokens that a model computes. In FLOPs they are 2 N for each token, with N the parameters
that multiply it, as in `gcrm.estimate`. So one run tells the cost for models of any sizes.

Plain sampling is measured at every number of samples k up to n: the accuracy expected of k of the n
samples, over random orders. What a filter does is compared with it in three ways, all paired over
the same problems: with all n samples, with the number of plain samples that is as accurate, and by
the ratio of the models' sizes from which on the filter is cheaper than those.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gcrm.stats.bootstrap import (
    Bools,
    Bootstrap,
    Floats,
    Ints,
    interval,
    mean_replicates,
    sign_flip_p,
)
from gcrm.stats.samples import Samples

Vote = Literal["majority", "best"]
"""the vote of the answers, or the sample with the highest reward"""
VOTES: tuple[Vote, ...] = ("majority", "best")
ORDERS = 20
"""random orders of the samples over which k of them are averaged"""
NEVER = "it would not pay at any ratio of the sizes"
UNKNOWN = "the number of parameters of the language model is unknown"
ALWAYS = 0.0


@dataclass(frozen=True)
class Spent:
    """What some way of sampling gives and costs for each problem, all (P,).

    Attributes:
        accuracy: of the vote. policy, reward_model: tokens that each model has computed.
    """

    accuracy: Floats
    policy: Floats
    reward_model: Floats


@dataclass(frozen=True)
class Sizes:
    """Parameters of both models that multiply each token.

    Attributes:
        policy: of the language model; NaN where that is unknown, and so are all FLOPs.
    """

    policy: float
    reward_model: float

    def flops(self, spent: Spent) -> Floats:
        """FLOPs of each problem: 2 N for each token."""
        policy, reward_model = (2 * size for size in (self.policy, self.reward_model))
        return policy * spent.policy + reward_model * spent.reward_model


@dataclass(frozen=True)
class Drawn:
    """All samples of all problems as some way of sampling has left them; n rows.

    Attributes:
        votes: answers and labels; none of those that were dropped counts. reward: of each, (n,).
        kept: which were not dropped, (n,).
        policy, reward_model: tokens of each that the model has computed, (n,).
        prompts: tokens of each problem's prompt for both models, (P, 2).
    """

    votes: Samples
    reward: Floats
    kept: Bools
    policy: Ints
    reward_model: Ints
    prompts: Ints

    def accuracy(self, vote: Vote, kept: Bools | None = None) -> Floats:
        """Accuracy of the vote of the samples that were kept, (P,)."""
        kept = self.kept if kept is None else kept
        if vote == "majority":
            return self.votes.majority(kept)
        return self.votes.best_of_n(np.where(kept, self.reward, -np.inf))

    def spent(self, vote: Vote) -> Spent:
        """What was spent, and what the vote is worth."""
        return Spent(self.accuracy(vote), *self._tokens())

    def _tokens(self, share: float = 1) -> tuple[Floats, Floats]:
        """Tokens of each problem for both models, with all prompts and a share of the samples."""
        policy, reward_model = (
            prompt + share * self.votes.sum_by_problem(tokens)
            for prompt, tokens in zip(self.prompts.T, (self.policy, self.reward_model), strict=True)
        )
        return policy, reward_model

    def plain(self, vote: Vote, seed: int) -> list[Spent]:
        """What 1, 2, ... of the samples cost and are worth without a filter.

        A majority needs no reward model; for the best of several, one reads them all.
        """
        generators = [np.random.default_rng([seed, order]) for order in range(ORDERS)]
        orders = [_random_order(self.votes.sizes, generator) for generator in generators]
        most = int(self.votes.sizes.max())
        found = []
        for k in range(1, most + 1):
            accuracy = np.mean([self.accuracy(vote, order < k) for order in orders], axis=0)
            policy, reward_model = self._tokens(k / most)
            is_read = vote == "best" and k > 1
            found.append(Spent(accuracy, policy, reward_model * is_read))
        return found


def _random_order(sizes: Ints, generator: np.random.Generator) -> Ints:
    """The place of each sample in a random order of those of its problem."""
    return np.concatenate([generator.permutation(int(size)) for size in sizes])


def mean_row(
    metric: str, values: Floats, bootstrap: Bootstrap, at: float | None = None
) -> dict[str, Any]:
    """A mean over problems with its interval, as a row of a table of estimates."""
    low, high = interval(mean_replicates(values, bootstrap))
    row = {"metric": metric, "at": at, "low": low, "high": high, "n": len(values)}
    return row | number(float(values.mean()))


def number(value: float) -> dict[str, Any]:
    """The value of a row, and the reason where there is none."""
    if np.isnan(value):
        return {"value": None, "reason": UNKNOWN}
    if np.isinf(value):
        return {"value": None, "reason": NEVER}
    return {"value": value, "reason": None}


@dataclass(frozen=True)
class Compared:
    """A way of sampling beside plain sampling, on the same problems.

    Attributes:
        plain: of 1, 2, ... samples.
    """

    ours: Spent
    plain: Sequence[Spent]
    sizes: Sizes
    bootstrap: Bootstrap

    def rows(self, seed: int) -> Iterator[dict[str, Any]]:
        """The estimates, as rows without their prefix.

        - accuracy, and `change` from all plain samples, with p;
        - relative_cost: FLOPs over those of all plain samples;
        - equal_samples: plain samples that are as accurate, at most all of them;
        - equal_cost: FLOPs over those of these;
        - break_even: parameters of the policy over those of the reward model, above which it costs
          less than these.
        """
        ours, all_plain = self.ours, self.plain[-1]
        yield self._row("accuracy", lambda means: means(ours.accuracy))
        change = self._row("change", lambda means: means(ours.accuracy) - means(all_plain.accuracy))
        yield change | {"p": sign_flip_p(ours.accuracy - all_plain.accuracy, seed)}
        flops = self.sizes.flops
        yield self._row("cost", lambda means: means(flops(ours)))
        yield self._row("relative_cost", lambda means: means(flops(ours)) / means(flops(all_plain)))
        yield self._row("equal_samples", self._equal_samples)
        yield self._row("equal_cost", self._equal_cost)
        yield self._row("break_even", self._break_even)

    def _row(self, name: str, of: Callable[[Callable[[Floats], Floats]], Floats]) -> dict[str, Any]:
        """An estimate: its value on all problems, and its interval over resamples of them."""
        value = float(of(lambda values: values.mean(axis=-1, keepdims=True))[..., 0])
        replicates = of(lambda values: mean_replicates(values, self.bootstrap))
        low, high = interval_with_infinity(replicates)
        row = {"metric": name, "low": low, "high": high, "n": self.bootstrap.problems}
        return row | number(value)

    def _equal_samples(self, means: Callable[[Floats], Floats]) -> Floats:
        curve = np.maximum.accumulate(means(np.stack([one.accuracy for one in self.plain])), axis=0)
        return reached(curve, means(self.ours.accuracy))

    def _equal_cost(self, means: Callable[[Floats], Floats]) -> Floats:
        k = self._equal_samples(means)
        costs = means(np.stack([self.sizes.flops(one) for one in self.plain]))
        return means(self.sizes.flops(self.ours)) / at_samples(costs, k)

    def _break_even(self, means: Callable[[Floats], Floats]) -> Floats:
        k = self._equal_samples(means)
        policy, reward_model = (
            at_samples(means(np.stack([getattr(one, name) for one in self.plain])), k)
            - means(getattr(self.ours, name))
            for name in ("policy", "reward_model")
        )
        return break_even(policy, -reward_model)


def break_even(saved: Floats, extra: Floats) -> Floats:
    """Ratio of the policy's to the reward model's parameters above which saving tokens pays.

    Args:
        saved: tokens that the policy computes less. extra: that the reward model computes more.

    Returns:
        0 where it pays with any models; inf where with none.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.asarray(extra / saved)
    return np.where(saved > 0, np.maximum(ratio, ALWAYS), np.inf)


def reached(curve: Floats, level: Floats) -> Floats:
    """The number of samples, from 1 on, at which a rising curve reaches a level; between two of
    them by a straight line. The largest number where it does not.

    Args:
        curve: (k, R), of 1 to k samples. level: (R,).

    Returns:
        (R,).
    """
    below = (curve < level - 1e-12).sum(axis=0)
    most = len(curve)
    place = np.clip(below, 1, most - 1) if most > 1 else np.zeros_like(below)
    if most == 1:
        return np.ones(curve.shape[1])
    column = np.arange(curve.shape[1])
    low, high = curve[place - 1, column], curve[place, column]
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.where(high > low, (level - low) / (high - low), 0.0)
    found = place + np.clip(part, 0, 1)
    return np.where(below == 0, 1.0, np.where(below >= most, float(most), found))


def at_samples(costs: Floats, k: Floats) -> Floats:
    """The costs of k samples, between whole numbers by a straight line; (K, R), (R,) to (R,)."""
    floor = np.clip(k.astype(int), 1, max(len(costs) - 1, 1))
    column = np.arange(costs.shape[1])
    low, high = costs[floor - 1, column], costs[np.minimum(floor, len(costs) - 1), column]
    return np.asarray(low + (k - floor) * (high - low))


def interval_with_infinity(replicates: Floats) -> tuple[float | None, float | None]:
    """The 95 % interval; None for an end that is infinite."""
    if np.isfinite(replicates).all():
        return interval(replicates)
    ends = np.quantile(replicates, [0.025, 0.975], method="inverted_cdf")
    low, high = (float(one) if np.isfinite(one) else None for one in ends)
    return low, high
