"""The authors' arithmetic against a slow transcription of its description, and by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from gcrm.config.train import TrainSettings
from gcrm.training.contrastive import Spans
from gcrm.training.objective import Objective
from gcrm.training.official import official_contrastive, official_positions


def slow_position(n: int, width: int, u: float, p: float) -> int:
    """The distance from the end is floor((1 - (1 - p) u) n + 1), clamped to the width less one."""
    distance = math.floor((1 - (1 - p) * u) * n + 1)
    distance = min(max(distance, 0), width - 1)
    return width - distance if distance > 0 else 0


def slow_cosine(a, b) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / (math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b)))


def slow_loss(hidden, tokens, rng, sim, unsim, sp, gp, average) -> float:
    """Section 6 of the design, one number at a time, from the same random numbers."""
    pairs, width = len(hidden[0]), len(hidden[0][0])
    both = rng.random((2, pairs, sim), dtype=np.float32).tolist()
    chosen_numbers = rng.random((pairs, unsim), dtype=np.float32).tolist()
    rejected_numbers = rng.random((pairs, unsim), dtype=np.float32).tolist()
    positive, negative = [], []
    for i in range(pairs):
        chosen, rejected = hidden[0][i].tolist(), hidden[1][i].tolist()
        n, m = tokens[0][i], tokens[1][i]
        sources, goals = [], []
        for k in range(sim):
            u1, u2 = sorted((both[0][i][k], both[1][i][k]))
            sources.append(chosen[slow_position(n, width, u1, sp)])
            goals.append(chosen[slow_position(n, width, u2, gp)])
        others = [chosen[slow_position(n, width, u, sp)] for u in chosen_numbers[i]]
        bad = [rejected[slow_position(m, width, u, gp)] for u in rejected_numbers[i]]
        if average:
            goals = [[sum(column) / len(goals) for column in zip(*goals, strict=True)]]
            bad = [[sum(column) / len(bad) for column in zip(*bad, strict=True)]]
        positive += [slow_cosine(s, g) for s in sources for g in goals]
        negative += [slow_cosine(s, g) for s in others for g in bad]

    def mean_sigmoid(values):
        return sum(1 / (1 + math.exp(-value)) for value in values) / len(values)

    return -math.log(mean_sigmoid(positive)) - math.log(1 - mean_sigmoid(negative))


@given(
    seed=st.integers(0, 10_000),
    tokens=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=3),
    width=st.integers(2, 14),
    samples=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    percentiles=st.tuples(st.sampled_from([0.0, 0.25, 0.8]), st.sampled_from([0.0, 0.5])),
    average=st.booleans(),
)
def test_the_loss_is_the_slow_one(seed, tokens, width, samples, percentiles, average):
    """Completions longer than the padded batch are clamped to it."""
    hidden = np.random.default_rng(seed).normal(size=(2, len(tokens), width, 5))
    lengths = [list(side) for side in zip(*tokens, strict=True)]
    options = (*samples, *percentiles, average)
    loss, positive, negative = official_contrastive(
        tuple(torch.tensor(hidden)),
        tuple(torch.tensor(side) for side in lengths),
        np.random.default_rng(seed),
        *options,
    )
    slow = slow_loss(hidden, lengths, np.random.default_rng(seed), *options)
    assert loss.item() == pytest.approx(slow, abs=1e-6)
    assert positive.shape == (len(tokens), samples[0], 1 if average else samples[0])
    assert negative.shape == (len(tokens), samples[1], 1 if average else samples[1])


@pytest.mark.parametrize(
    ("n", "width", "u", "p", "position"),
    [
        (4, 10, 0.0, 0.0, 5),  # floor(4 + 1) = 5 from the end
        (4, 10, 0.5, 0.0, 7),  # floor(2 + 1) = 3
        (4, 10, 0.75, 0.0, 8),  # floor(1 + 1) = 2
        (4, 10, 0.99, 0.0, 9),  # floor(0.04 + 1) = 1: the last token
        (10, 20, 0.99, 0.6, 13),  # floor(10 * 0.604 + 1) = 7: the end of the first 40 %
        (10, 20, 0.0, 0.6, 9),  # the same beginning, whatever the percentile
        (100, 10, 0.0, 0.0, 1),  # clamped to 9 from the end: the first position is never reached
        (100, 10, 0.95, 0.0, 4),  # floor(5 + 1) = 6
        (0, 10, 0.3, 0.0, 9),
        (5, 1, 0.3, 0.0, 0),  # clamped to 0: index -0 is the first
    ],
)
def test_positions_by_hand(n, width, u, p, position):
    given_ = official_positions(torch.tensor([n]), width, torch.tensor([[u]]), p)
    assert given_.tolist() == [[position]]


def test_left_padding_is_reached_by_a_truncated_completion():
    """Six tokens are left of ten; two pads come before them."""
    at = official_positions(torch.tensor([10]), 8, torch.rand(1, 1000), 0.0)
    assert set(at[0].tolist()) == set(range(1, 8))


@pytest.mark.parametrize("percentile", [0.0, 0.5])
def test_positions_are_distributed_as_described(percentile):
    """u1 < u2 are a sorted pair: P(u1 < x) = 1 - (1 - x)^2 and P(u2 < x) = x^2."""
    n, width, draws = 8, 12, 20_000
    numbers = np.sort(np.random.default_rng(0).random((2, draws), dtype=np.float32), axis=0)
    for row, below in ((0, lambda x: 1 - (1 - x) ** 2), (1, lambda x: x**2)):
        at = official_positions(
            torch.tensor([n]), width, torch.from_numpy(numbers[row])[None], percentile
        )
        expected = np.zeros(width)
        for distance in range(1, n + 1):
            # distance <= (1 - (1 - p) u) n + 1 < distance + 1
            low = (1 - distance / n) / (1 - percentile)
            high = (1 - (distance - 1) / n) / (1 - percentile)
            low, high = np.clip([low, high], 0, 1)
            expected[width - distance] = below(high) - below(low)
        seen = np.bincount(at[0].numpy(), minlength=width)
        assert seen[expected == 0].sum() == 0
        kept = expected > 0
        assert chisquare(seen[kept], draws * expected[kept]).pvalue > 0.01


def test_goals_may_precede_their_sources():
    """By the cross product: where halves of a completion are opposite, cosines of -1 count."""
    hidden = torch.ones(1, 40, 2)
    hidden[:, :20] = -1
    _, positive, _ = official_contrastive(
        (hidden, hidden),
        (torch.tensor([40]), torch.tensor([40])),
        np.random.default_rng(0),
        *(16, 16, 0.0, 0.0, False),
    )
    assert positive.shape == (1, 16, 16)
    assert sorted(set(positive.round().flatten().tolist())) == [-1, 1]


def test_the_mean_over_the_micro_batch_comes_before_the_log_by_hand():
    """In the second pair the last token is opposite to the one before; rejected are orthogonal."""
    ahead = [[1.0, 0.0]] * 4
    rejected = torch.tensor([[[0.0, 1.0]] * 4] * 2)
    options = (200, 1, 0.0, 0.0, False)
    loss, positive, negative = official_contrastive(
        (torch.tensor([ahead, ahead]), rejected),
        (torch.tensor([1, 1]), torch.tensor([1, 1])),
        np.random.default_rng(0),
        *options,
    )
    assert positive.unique().tolist() == [1.0] and negative.abs().max() == 0
    sigmoid = 0.7310585786
    assert loss.item() == pytest.approx(-math.log(sigmoid) + math.log(2), abs=1e-6)
    # Pairs of different worth: the log of the mean of their sigmoids, not the mean of the logs.
    turned = [[-1.0, 0.0]] * 3 + [[1.0, 0.0]]
    loss, positive, _ = official_contrastive(
        (torch.tensor([ahead, turned]), rejected),
        (torch.tensor([1, 2]), torch.tensor([1, 2])),
        np.random.default_rng(0),
        *options,
    )
    shares = [(pair > 0).double().mean().item() for pair in positive]
    assert shares[0] == 1 and 0.2 < shares[1] < 0.8
    means = [share * sigmoid + (1 - share) * (1 - sigmoid) for share in shares]
    assert loss.item() == pytest.approx(-math.log(sum(means) / 2) + math.log(2), abs=1e-6)
    per_pair = -sum(math.log(mean) for mean in means) / 2 + math.log(2)
    assert abs(loss.item() - per_pair) > 1e-3


def test_every_pair_carries_the_loss_of_its_micro_batch():
    """So that the mean over pairs, which the trainer takes, is the mean over micro-batches."""
    settings = TrainSettings(reward_model_strategy="contrastive", parity="official")
    hidden = torch.randn(2, 3, 8, 4, generator=torch.Generator().manual_seed(0))
    spans = Spans(torch.tensor([1, 4, -3]), torch.tensor([8, 8, 8]))
    terms = Objective(settings)(
        rewards=(torch.zeros(3), torch.zeros(3)),
        hidden=(hidden[0], hidden[1]),
        spans=(spans, spans),
        margin=torch.zeros(3),
        rng=np.random.default_rng(9),
    )
    tokens = [7, 4, 11]
    slow = slow_loss(
        hidden.numpy(), [tokens, tokens], np.random.default_rng(9), 16, 16, 0.0, 0.0, False
    )
    assert terms.logged["contrastive_loss"].tolist() == pytest.approx([slow] * 3, abs=1e-6)
    assert terms.loss.tolist() == pytest.approx([math.log(2) + 0.5 * slow] * 3, abs=1e-6)
