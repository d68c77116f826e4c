"""The contrastive loss against a slow loop, hand-worked literals, and its own invariances."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference.contrastive import slow_contrastive
from scipy.stats import kstest

from gcrm.data.preferences import load_preferences
from gcrm.modeling.tokenization import Encoder
from gcrm.training.contrastive import Draws, Spans, contrastive_loss, draw_states
from gcrm.training.trainer import EncodedPair, collate
from helpers.dialogues import write_dialogues
from helpers.models import make_tokenizer

LN2 = math.log(2)


def spans(*pairs: tuple[int, int]) -> Spans:
    return Spans(torch.tensor([s for s, _ in pairs]), torch.tensor([e for _, e in pairs]))


def test_contrastive_by_hand():
    """Two tokens a side: cosines 1 and 0 for the positives, -1 for every negative."""
    chosen = torch.tensor([[[2.0, 0.0], [5.0, 0.0], [0.0, 3.0]]])
    rejected = torch.tensor([[[-7.0, 0.0], [-1.0, 0.0]]])
    draws = Draws(
        source=torch.tensor([[0, 0]]),
        goal=torch.tensor([[1, 2]]),
        negative_source=torch.tensor([[0, 1]]),
        negative_goal=torch.tensor([[0, 1]]),
    )
    term = contrastive_loss(chosen, rejected, draws)
    sigmoid_1 = 0.7310585786
    expected = -math.log((sigmoid_1 + 0.5) / 2) - math.log(sigmoid_1)
    assert term.loss.item() == pytest.approx(expected, abs=1e-6)
    assert term.positive_cosine.item() == pytest.approx(0.5)
    assert term.negative_cosine.item() == pytest.approx(-1.0)


def test_contrastive_is_trivial_where_states_are_orthogonal():
    chosen, rejected = torch.eye(4)[None, :2], torch.eye(4)[None, 2:]
    draws = Draws(*(torch.tensor([[value]]) for value in (0, 1, 0, 1)))
    assert contrastive_loss(chosen, rejected, draws).loss.item() == pytest.approx(2 * LN2)


@given(
    seed=st.integers(0, 10_000),
    samples=st.integers(1, 5),
    average=st.booleans(),
    cross=st.booleans(),
    single=st.booleans(),
    temperature=st.sampled_from([1.0, 0.1, 7.0]),
)
def test_contrastive_equals_slow_loop(seed, samples, average, cross, single, temperature):
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randn(3, 9, 6, generator=generator, dtype=torch.float64)
    rejected = torch.randn(3, 7, 6, generator=generator, dtype=torch.float64)
    draws = draw_states(
        spans((2, 9), (0, 3), (4, 5)),
        spans((2, 7), (1, 2), (0, 6)),
        np.random.default_rng(seed),
        samples,
        samples + 1,
        single_goal=single and not average,
    )
    options = (average, cross, temperature)
    fast = contrastive_loss(chosen, rejected, draws, *options).loss
    slow = slow_contrastive(chosen, rejected, draws, *options)
    assert fast.tolist() == pytest.approx(slow, abs=1e-9)


def test_averages_by_hand():
    """One source at token 0; goals (1, 0) and (0, 1): their mean is at 45 degrees to it."""
    chosen = torch.tensor([[[3.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
    rejected = torch.tensor([[[0.0, 5.0], [0.0, -5.0], [-1.0, 0.0]]])
    draws = Draws(
        source=torch.tensor([[0, 1]]),
        goal=torch.tensor([[1, 2]]),
        negative_source=torch.tensor([[0, 0]]),
        negative_goal=torch.tensor([[0, 2]]),
    )
    # The second source lies on the first goal, so that only the second goal is behind it.
    future = contrastive_loss(chosen, rejected, draws, average=True)
    assert future.positive_cosine.item() == pytest.approx((math.sqrt(0.5) + 0) / 2)
    cross = contrastive_loss(chosen, rejected, draws, average=True, cross=True)
    assert cross.positive_cosine.item() == pytest.approx(math.sqrt(0.5))
    # The mean of (0, 5) and (-1, 0) is (-0.5, 2.5).
    assert cross.negative_cosine.item() == pytest.approx(-0.5 / math.sqrt(0.5**2 + 2.5**2))


def test_a_low_temperature_does_not_end_in_infinity():
    """sigmoid(-1 / 0.005) is 0 in fp32."""
    chosen = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]], requires_grad=True)
    draws = Draws(*(torch.tensor([[value]]) for value in (0, 1, 0, 0)))
    loss = contrastive_loss(chosen, chosen.detach(), draws, temperature=0.005).loss
    loss.sum().backward()
    assert loss.item() == pytest.approx(400)
    assert torch.isfinite(chosen.grad).all()


def test_contrastive_does_not_depend_on_the_batch():
    """The loss of a pair is the same alone and among others: logs are taken per pair."""
    chosen, rejected = torch.randn(4, 8, 5), torch.randn(4, 8, 5)
    where = spans((1, 8), (2, 6), (0, 8), (3, 5))
    draws = draw_states(where, where, np.random.default_rng(0))
    whole = contrastive_loss(chosen, rejected, draws).loss
    for i in range(4):
        alone = Draws(*(positions[i : i + 1] for positions in vars(draws).values()))
        one = contrastive_loss(chosen[i : i + 1], rejected[i : i + 1], alone).loss
        assert one.item() == pytest.approx(whole[i].item(), abs=1e-6)


def test_gradient_pulls_sources_to_goals_and_pushes_rejected_states_away():
    chosen = torch.randn(1, 6, 4, requires_grad=True)
    rejected = torch.randn(1, 6, 4, requires_grad=True)
    draws = draw_states(spans((0, 6)), spans((0, 6)), np.random.default_rng(0))
    before = contrastive_loss(chosen, rejected, draws)
    before.loss.sum().backward()
    with torch.no_grad():
        after = contrastive_loss(chosen - 0.1 * chosen.grad, rejected - 0.1 * rejected.grad, draws)
    assert after.positive_cosine > before.positive_cosine
    assert after.negative_cosine < before.negative_cosine


@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.integers(1, 30), st.integers(1, 30)),
        min_size=1,
        max_size=4,
    ),
    st.tuples(st.floats(0, 0.95), st.booleans()),
    st.tuples(st.floats(0, 0.95), st.booleans()),
    st.booleans(),
    st.integers(0, 1000),
)
def test_states_lie_in_their_completions_and_goals_behind_sources(pairs, source, goal, one, seed):
    chosen = spans(*((start, start + n) for start, n, _ in pairs))
    rejected = spans(*((start, start + m) for start, _, m in pairs))
    parts = [(p, 1.0) if late else (0.0, 1 - p) for p, late in (source, goal)]
    draws = draw_states(chosen, rejected, np.random.default_rng(seed), 8, 5, *parts, one)
    assert draws.source.shape == (len(pairs), 8)
    assert draws.goal.shape[1] == (1 if one else 8)
    assert draws.negative_goal.shape[1] == (1 if one else 5)
    for i, (start, n, m) in enumerate(pairs):
        for positions in (draws.source[i], draws.goal[i], draws.negative_source[i]):
            assert all(start <= p < start + n for p in positions.tolist())
        assert all(start <= p < start + m for p in draws.negative_goal[i].tolist())
        if n > 1:
            assert (draws.source[i] < draws.goal[i]).all()


def test_no_state_of_a_dialogues_prompt_is_drawn(tmp_path):
    """Whole dialogues, as users bring them: only tokens of the answers are compared."""
    encoder = Encoder(make_tokenizer(), 99)
    pairs = load_preferences([str(write_dialogues(tmp_path / "pairs.jsonl", 12))])
    encoded = [
        EncodedPair(
            *encoder.encode_many([(pair.prompt, pair.chosen), (pair.prompt, pair.rejected)])
        )
        for pair in pairs
    ]
    batch = collate(encoded, pad_id=0)
    chosen = Spans(batch["start"][:12], batch["end"][:12])
    rejected = Spans(batch["start"][12:], batch["end"][12:])
    draws = draw_states(chosen, rejected, np.random.default_rng(0), 200, 200)
    for i, pair in enumerate(pairs):
        for answer, row, positions in (
            (pair.chosen, i, (draws.source, draws.goal, draws.negative_source)),
            (pair.rejected, 12 + i, (draws.negative_goal,)),
        ):
            seen = {int(at) for each in positions for at in each[i]}
            words = batch["input_ids"][row, sorted(seen)]
            assert encoder.tokenizer.decode(words) == f"{answer} </s>"  # all of it, and no more


def test_states_are_drawn_from_all_of_the_completion():
    draws = draw_states(
        spans((3, 8)), spans((3, 8)), np.random.default_rng(0), sim_samples=500, unsim_samples=500
    )
    assert set(draws.source[0].tolist()) == {3, 4, 5, 6}
    assert set(draws.goal[0].tolist()) == {4, 5, 6, 7}
    assert set(draws.negative_source[0].tolist()) == {3, 4, 5, 6, 7}


def test_percentile_keeps_the_first_share():
    """p = 0.6 of ten tokens leaves the first four."""
    first = (0.0, 0.4)
    draws = draw_states(
        spans((0, 10)), spans((0, 10)), np.random.default_rng(0), 500, 500, first, first
    )
    assert set(draws.source[0].tolist()) == {0, 1, 2, 3}
    assert max(draws.goal[0].tolist()) <= 4  # a goal may move one behind its source
    assert set(draws.negative_source[0].tolist()) == {0, 1, 2, 3}
    assert set(draws.negative_goal[0].tolist()) == {0, 1, 2, 3}


def test_late_keeps_the_last_share():
    """The last 40 % of ten tokens are the last four; sources stop before the last one."""
    late = (0.6, 1.0)
    where = spans((5, 15))
    draws = draw_states(where, where, np.random.default_rng(0), 500, 500, late, late)
    assert set(draws.source[0].tolist()) == {11, 12, 13}
    assert set(draws.goal[0].tolist()) == {12, 13, 14}
    assert set(draws.negative_source[0].tolist()) == {11, 12, 13, 14}
    assert set(draws.negative_goal[0].tolist()) == {11, 12, 13, 14}
    goals_only = draw_states(where, where, np.random.default_rng(0), 500, 500, goal_part=late)
    assert set(goals_only.source[0].tolist()) == set(range(5, 14))
    assert set(goals_only.goal[0].tolist()) == {11, 12, 13, 14}
    assert set(goals_only.negative_source[0].tolist()) == set(range(5, 15))
    assert set(goals_only.negative_goal[0].tolist()) == {11, 12, 13, 14}


@pytest.mark.parametrize("single", [False, True])
def test_sources_and_goals_are_the_smaller_and_the_larger_of_two(single):
    """As the authors': a sorted pair of uniform numbers, also where all sources share a goal."""
    tokens, pairs = 100_000, 4000
    where = spans(*[(0, tokens)] * pairs)
    draws = draw_states(where, where, np.random.default_rng(5), 1, 1, single_goal=single)
    smaller, larger = draws.source[:, 0] / tokens, draws.goal[:, 0] / tokens
    assert kstest(smaller.numpy(), lambda x: 1 - (1 - x) ** 2).pvalue > 0.01
    assert kstest(larger.numpy(), lambda x: x**2).pvalue > 0.01
    for negative in (draws.negative_source, draws.negative_goal):
        assert kstest(negative[:, 0].numpy() / tokens, "uniform").pvalue > 0.01


def test_same_generator_same_draws():
    where = spans((0, 30))
    first, again, other = (
        draw_states(where, where, np.random.default_rng([7, step])) for step in (1, 1, 2)
    )
    assert torch.equal(first.source, again.source) and torch.equal(first.goal, again.goal)
    assert not torch.equal(first.source, other.source)
