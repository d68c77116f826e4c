"""The authors' arithmetic, against a slow transcription and by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference.contrastive import slow_loss
from scipy.stats import chisquare

from gcrm.config.train import TrainSettings
from gcrm.training.contrastive import Spans
from gcrm.training.objective import Objective
from gcrm.training.official import official_contrastive, official_positions
from gcrm.training.pool import Pairs


@given(
    seed=st.integers(0, 10_000),
    tokens=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=3),
    width=st.integers(2, 14),
    samples=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    percentiles=st.tuples(st.sampled_from([0.0, 0.25, 0.8]), st.sampled_from([0.0, 0.5])),
    average=st.booleans(),
)
def test_loss_equals_a_slow_loop(seed, tokens, width, samples, percentiles, average):
    """Also for completions longer than the padded batch."""
    hidden = np.random.default_rng(seed).normal(size=(2, len(tokens), width, 5))
    lengths = [list(side) for side in zip(*tokens, strict=True)]
    options = (*samples, *percentiles, average)
    term = official_contrastive(
        tuple(torch.tensor(hidden)),
        tuple(torch.tensor(side) for side in lengths),
        np.random.default_rng(seed),
        *options,
    )
    slow = slow_loss(hidden, lengths, np.random.default_rng(seed), *options)
    assert term.loss.tolist() == pytest.approx([slow] * len(tokens), abs=1e-6)


@pytest.mark.parametrize(
    ("n", "width", "u", "p", "position"),
    [
        (4, 10, 0.0, 0.0, 5),  # floor(4 + 1) = 5 from the end
        (4, 10, 0.5, 0.0, 7),  # floor(2 + 1) = 3
        (4, 10, 0.75, 0.0, 8),  # floor(1 + 1) = 2
        (4, 10, 0.99, 0.0, 9),  # floor(0.04 + 1) = 1: the last token
        (10, 20, 0.99, 0.6, 13),  # floor(10 * 0.604 + 1) = 7: the end of the first 40 %
        (10, 20, 0.0, 0.6, 9),  # the same begin for any percentile
        (100, 10, 0.0, 0.0, 1),  # clamped to 9 from the end: the first position is never reached
        (100, 10, 0.95, 0.0, 4),  # floor(5 + 1) = 6
        (0, 10, 0.3, 0.0, 9),
        (5, 1, 0.3, 0.0, 0),  # clamped to 0: index -0 is the first
    ],
)
def test_positions_by_hand(n, width, u, p, position):
    given_ = official_positions(torch.tensor([n]), width, torch.tensor([[u]]), p)
    assert given_.tolist() == [[position]]


def test_truncated_completion_reaches_the_left_padding():
    """Six of ten tokens are left, after two tokens of padding."""
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


def test_mean_over_the_micro_batch_comes_before_the_log():
    """Rejected states are orthogonal; in the second pair below, the last token is opposite."""
    ahead = [[1.0, 0.0]] * 4
    rejected = torch.tensor([[[0.0, 1.0]] * 4] * 2)
    options = (200, 1, 0.0, 0.0, False)
    term = official_contrastive(
        (torch.tensor([ahead, ahead]), rejected),
        (torch.tensor([1, 1]), torch.tensor([1, 1])),
        np.random.default_rng(0),
        *options,
    )
    assert term.positive_cosine.tolist() == [1, 1] and term.negative_cosine.tolist() == [0, 0]
    sigmoid = 0.7310585786
    assert term.loss.tolist() == pytest.approx([-math.log(sigmoid) + math.log(2)] * 2, abs=1e-6)
    # For unequal pairs, the log of the mean differs from the mean of the logs.
    turned = [[-1.0, 0.0]] * 3 + [[1.0, 0.0]]
    term = official_contrastive(
        (torch.tensor([ahead, turned]), rejected),
        (torch.tensor([1, 2]), torch.tensor([1, 2])),
        np.random.default_rng(0),
        *options,
    )
    shares = [(1 + cosine) / 2 for cosine in term.positive_cosine.tolist()]
    assert shares[0] == 1 and 0.2 < shares[1] < 0.8
    means = [share * sigmoid + (1 - share) * (1 - sigmoid) for share in shares]
    loss = term.loss[0].item()
    assert loss == pytest.approx(-math.log(sum(means) / 2) + math.log(2), abs=1e-6)
    per_pair = -sum(math.log(mean) for mean in means) / 2 + math.log(2)
    assert abs(loss - per_pair) > 1e-3


def test_every_pair_has_the_loss_of_its_micro_batch():
    """So the trainer's mean over pairs is the mean over micro-batches."""
    settings = TrainSettings(reward_model_strategy="contrastive", parity="official")
    hidden = torch.randn(2, 3, 8, 4, generator=torch.Generator().manual_seed(0))
    spans = Spans(torch.tensor([1, 4, -3]), torch.tensor([8, 8, 8]))
    terms = Objective(settings)(
        rewards=(torch.zeros(3, 8), torch.zeros(3, 8)),
        hidden=(hidden[0], hidden[1]),
        spans=(spans, spans),
        pairs=Pairs(torch.zeros(3), torch.arange(3), torch.ones(3).bool()),
        rng=np.random.default_rng(9),
    )
    tokens = [7, 4, 11]
    slow = slow_loss(
        hidden.numpy(), [tokens, tokens], np.random.default_rng(9), 16, 16, 0.0, 0.0, False
    )
    assert terms.logged["contrastive_loss"].tolist() == pytest.approx([slow] * 3, abs=1e-6)
    assert terms.loss.tolist() == pytest.approx([math.log(2) + 0.5 * slow] * 3, abs=1e-6)
