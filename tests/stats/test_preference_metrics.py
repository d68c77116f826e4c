"""Preference accuracy against slow versions, by hand, and by simulation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcrm.config.metrics import MetricsSettings
from gcrm.data.scores import ScoreTable
from gcrm.stats.bootstrap import Bootstrap
from gcrm.stats.preference_metrics import (
    chosen_above,
    mean_replicates_over_pairs,
    pair_values,
    preference_metrics,
)
from helpers.score_rows import pair_table

FAST = MetricsSettings(bootstrap_resamples=200)


Side = tuple[list[list[float]], list[list[float]] | None]
"""partial rewards and Q-values of one side of all pairs"""


def side(partial: list[list[float]], q_values: list[list[float]] | None = None) -> Side:
    return partial, q_values


def pairs_of(prompts: Sequence[str], chosen: Side, rejected: Side, left_out: int = 0) -> ScoreTable:
    partial, q_values = (
        None if a is None or b is None else [row for rows in zip(a, b, strict=True) for row in rows]
        for a, b in zip(chosen, rejected, strict=True)
    )
    assert partial is not None
    scores = {
        "reward": [row[-1] for row in partial],
        "partial_rewards": partial,
        "q_values": q_values,
        "num_tokens": [len(row) for row in partial],
        "truncated": [False] * len(partial),
    }
    return pair_table([(prompt, "text", "text") for prompt in prompts], scores, left_out)


def values(found: dict[str, Any]) -> dict[str, float | None]:
    return {name: estimate.get("value") for name, estimate in found.items()}


def test_by_hand() -> None:
    """Three pairs: right and shorter, wrong and longer, and equal in both."""
    chosen = side([[9.0, 2.0], [0.0, 0.0, 0.0, 1.0], [5.0]], [[0.9, 0.1], [0.0] * 4, [0.5]])
    rejected = side([[0.0, 0.0, 1.0], [0.0, 3.0], [5.0]], [[0.0, 0.0, 0.2], [0.0] * 2, [0.4]])
    found = preference_metrics(pairs_of(["a", "b", "c"], chosen, rejected, 4), FAST)
    assert found["pairs"] == {"n": 3, "prompts": 3, "ties": 1, "truncated": 0, "left_out": 4}
    assert values(found["accuracy"]) == pytest.approx(
        {
            "reward": 1.5 / 3,
            "q_value": 1.5 / 3,  # wrong, equal, right
            "shorter": 1.5 / 3,
            "longer": 1.5 / 3,
            "reward_minus_shorter": 0,
            "reward_minus_longer": 0,
        }
    )
    assert found["margin"]["value"] == pytest.approx((1 - 2 + 0) / 3)
    first = found["partial_accuracy"]["reward"]["0"]["value"]
    assert first == pytest.approx((1 + 0.5 + 0.5) / 3)  # 9 above 0, 0 and 0, 5 and 5
    half = found["partial_accuracy"]["q_value"]["0.5"]["value"]
    assert half == pytest.approx((1 + 0.5 + 1) / 3)  # token 0 of 2 and 0 of 3; 1 and 0; 0 and 0
    assert found["partial_accuracy"]["reward"]["1"] == found["accuracy"]["reward"]


numbers = st.integers(-2, 2).map(float)
token_lists = st.lists(numbers, min_size=1, max_size=5)


@given(
    st.lists(
        st.tuples(st.sampled_from(["q 1?", "Q 1", "q 2", "q 3"]), token_lists, token_lists),
        min_size=1,
        max_size=12,
    )
)
def test_every_share_is_counted_pair_by_pair(
    pairs: list[tuple[str, list[float], list[float]]],
) -> None:
    questions, chosen, rejected = zip(*pairs, strict=True)
    scores = pairs_of(
        questions,
        side(list(chosen), list(rejected)),
        side(list(rejected), list(chosen)),
        0,
    )
    found = preference_metrics(scores, MetricsSettings(bootstrap_resamples=20))

    def share(better: Any) -> float:
        return sum(1.0 if b > 0 else 0.5 if b == 0 else 0.0 for b in better) / len(pairs)

    accuracy = values(found["accuracy"])
    assert accuracy["reward"] == pytest.approx(share(c[-1] - r[-1] for _, c, r in pairs))
    assert accuracy["q_value"] == pytest.approx(share(r[-1] - c[-1] for _, c, r in pairs))
    assert accuracy["longer"] == pytest.approx(share(len(c) - len(r) for _, c, r in pairs))
    assert accuracy["shorter"] == pytest.approx(share(len(r) - len(c) for _, c, r in pairs))
    for p, estimate in found["partial_accuracy"]["reward"].items():
        at = [[row[max(int(len(row) * float(p)) - 1, 0)] for row in pair[1:]] for pair in pairs]
        assert estimate["value"] == pytest.approx(share(c - r for c, r in at))
    margin = sum(c[-1] - r[-1] for _, c, r in pairs) / len(pairs)
    assert found["margin"]["value"] == pytest.approx(margin)
    same = {"q 1?": "q 1", "Q 1": "q 1"}
    assert found["pairs"]["prompts"] == len({same.get(q, q) for q in questions})
    assert found["pairs"]["ties"] == sum(c[-1] == r[-1] for _, c, r in pairs)


def simulated(prompts: int, per_prompt: int, seed: int) -> ScoreTable:
    """Pairs whose margins share a part within each prompt."""
    generator = np.random.default_rng(seed)
    margins = generator.normal(0.4, 1, prompts)[:, None] + generator.normal(
        0, 0.5, (prompts, per_prompt)
    )
    rewards = margins.ravel()
    questions = np.repeat([f"prompt {i}" for i in range(prompts)], per_prompt)
    none = [[0.0]] * len(rewards)
    return pairs_of(questions, side([[r] for r in rewards]), side(none), 0)


def test_intervals_resample_prompts_whole() -> None:
    """As a slow bootstrap does that draws prompts and takes all of their pairs."""
    scores = simulated(30, 4, 0)
    found = preference_metrics(scores, MetricsSettings(bootstrap_resamples=4000))["accuracy"]
    right = (scores.reward[::2] > 0).reshape(30, 4)
    generator = np.random.default_rng(1)
    means = [right[generator.integers(0, 30, 30)].mean() for _ in range(4000)]
    expected = np.quantile(means, [0.025, 0.975])
    assert found["reward"]["interval"] == pytest.approx(expected, abs=0.02)
    alone = np.sqrt(right.mean() * (1 - right.mean()) / right.size)
    low, high = found["reward"]["interval"]
    assert high - low > 1.5 * 2 * 1.96 * alone  # pairs of a prompt go together


def test_intervals_have_their_coverage() -> None:
    """True accuracy: P(normal(0.4, sqrt(1.25)) > 0) = 0.6397."""
    settings = MetricsSettings(bootstrap_resamples=300, percentiles=[])
    covered = 0
    for seed in range(300):
        low, high = preference_metrics(simulated(80, 3, seed), settings)["accuracy"]["reward"][
            "interval"
        ]
        covered += low <= 0.6397 <= high
    assert 0.91 <= covered / 300 <= 0.98


def test_a_difference_is_paired() -> None:
    """A reward that is the length differs from it by nothing, in every resample."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 9, (2, 50))
    chosen, rejected = (side([[float(n)] * n for n in row]) for row in lengths)
    found = preference_metrics(pairs_of([f"q {i}" for i in range(50)], chosen, rejected, 0), FAST)[
        "accuracy"
    ]
    assert found["reward_minus_longer"]["interval"] == [0, 0]
    low, high = found["reward_minus_shorter"]["interval"]
    assert low < high
    assert found["reward"]["interval"] == found["longer"]["interval"]


def test_without_q_values_the_reason_is_given() -> None:
    one = side([[1.0, 2.0]])
    found = preference_metrics(pairs_of(["q"], one, one, 0), FAST)
    assert list(found["accuracy"]["q_value"]) == ["reason"]
    assert list(found["partial_accuracy"]["q_value"]) == ["reason"]
    assert found["accuracy"]["reward"]["value"] == 0.5


def test_chosen_above_is_a_half_for_equal_scores() -> None:
    assert chosen_above([1, 2, 3], [0, 2, 4]).tolist() == [1, 0.5, 0]
    tie = np.float32([0.1]), np.float32([0.1])
    assert chosen_above(*tie).tolist() == [0.5]


def test_two_variants_are_compared_pair_by_pair() -> None:
    """What `pair_values` gives of each pair is what the measures are means of."""
    scores = simulated(20, 2, 3)
    values = pair_values(scores, [0.5])
    found = preference_metrics(scores, MetricsSettings(bootstrap_resamples=20, percentiles=[0.5]))
    right = [1.0 if reward > 0 else 0.0 for reward in scores.reward[::2]]
    assert values["accuracy", "reward"].tolist() == right
    for place in (("accuracy", "reward_minus_longer"), ("partial_accuracy", "reward", "0.5")):
        part: Any = found
        for key in place:
            part = part[key]
        assert part["value"] == pytest.approx(values[place].mean())
    assert found["margin"]["value"] == pytest.approx(values["margin",].mean())
    bootstrap = Bootstrap.over_problems(scores.prompt[::2], MetricsSettings(bootstrap_resamples=20))
    gap = values["accuracy", "reward"] - values["accuracy", "shorter"]
    replicates = mean_replicates_over_pairs(np.stack([gap]), bootstrap)
    counts = np.concatenate(list(bootstrap.counts()), axis=1)
    for resample, mean in zip(counts.T, replicates[0], strict=True):
        drawn = np.repeat(gap, resample[bootstrap.problem].astype(int))
        assert mean == pytest.approx(drawn.mean())
