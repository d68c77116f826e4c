"""The contrastive loss against a slow loop, literals worked by hand, and its invariances."""

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


def test_loss_by_hand():
    """The positive cosines are 1 and 0, all negative cosines -1."""
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


def test_orthogonal_states_give_2_log_2():
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
def test_loss_equals_a_slow_loop(seed, samples, average, cross, single, temperature):
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
    # The second source is the first goal, so only the second goal is after it.
    future = contrastive_loss(chosen, rejected, draws, average=True)
    assert future.positive_cosine.item() == pytest.approx((math.sqrt(0.5) + 0) / 2)
    cross = contrastive_loss(chosen, rejected, draws, average=True, cross=True)
    assert cross.positive_cosine.item() == pytest.approx(math.sqrt(0.5))
    # The mean of (0, 5) and (-1, 0) is (-0.5, 2.5).
    assert cross.negative_cosine.item() == pytest.approx(-0.5 / math.sqrt(0.5**2 + 2.5**2))


def test_low_temperature_gives_a_finite_gradient():
    """sigmoid(-1 / 0.005) is 0 in fp32."""
    chosen = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]], requires_grad=True)
    draws = Draws(*(torch.tensor([[value]]) for value in (0, 1, 0, 0)))
    loss = contrastive_loss(chosen, chosen.detach(), draws, temperature=0.005).loss
    loss.sum().backward()
    assert loss.item() == pytest.approx(400)
    assert torch.isfinite(chosen.grad).all()


def test_loss_of_a_pair_does_not_depend_on_its_batch():
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
def test_states_are_in_their_completions_and_goals_after_sources(pairs, source, goal, one, seed):
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


def test_no_state_is_drawn_from_the_prompt_of_a_dialogue(tmp_path):
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


WHOLE, FIRST, LAST = (0.0, 1.0), (0.0, 0.4), (0.6, 1.0)


@pytest.mark.parametrize(
    ("parts", "source", "goal", "negative_source", "negative_goal"),
    [
        ((WHOLE, WHOLE), range(5, 14), range(6, 15), range(5, 15), range(5, 15)),
        # A goal may move to the token after its source.
        ((FIRST, FIRST), range(5, 9), range(6, 10), range(5, 9), range(5, 9)),
        ((LAST, LAST), range(11, 14), range(12, 15), range(11, 15), range(11, 15)),
        ((WHOLE, LAST), range(5, 14), range(11, 15), range(5, 15), range(11, 15)),
    ],
)
def test_states_come_from_all_of_their_part(parts, source, goal, negative_source, negative_goal):
    """Of a completion of ten tokens, from 5 to 14; the last one is never a source."""
    where = spans((5, 15))
    draws = draw_states(where, where, np.random.default_rng(0), 500, 500, *parts)
    found = (set(positions[0].tolist()) for positions in vars(draws).values())
    assert [*found] == [*map(set, (source, goal, negative_source, negative_goal))]


@pytest.mark.parametrize("single", [False, True])
def test_sources_and_goals_are_distributed_as_a_sorted_pair(single):
    """As in the authors' code; also if all sources share one goal."""
    tokens, pairs = 100_000, 4000
    where = spans(*[(0, tokens)] * pairs)
    draws = draw_states(where, where, np.random.default_rng(5), 1, 1, single_goal=single)
    smaller, larger = draws.source[:, 0] / tokens, draws.goal[:, 0] / tokens
    assert kstest(smaller.numpy(), lambda x: 1 - (1 - x) ** 2).pvalue > 0.01
    assert kstest(larger.numpy(), lambda x: x**2).pvalue > 0.01
    for negative in (draws.negative_source, draws.negative_goal):
        assert kstest(negative[:, 0].numpy() / tokens, "uniform").pvalue > 0.01


def test_equal_generators_give_equal_draws():
    where = spans((0, 30))
    first, again, other = (
        draw_states(where, where, np.random.default_rng([7, step])) for step in (1, 1, 2)
    )
    assert torch.equal(first.source, again.source) and torch.equal(first.goal, again.goal)
    assert not torch.equal(first.source, other.source)
