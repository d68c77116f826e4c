"""The loss against a slow loop, hand-worked literals, and its own invariances."""

import math

import numpy as np
import pytest
import torch
from dialogues import write_dialogues
from hypothesis import given
from hypothesis import strategies as st
from models import make_tokenizer

from gcrm.encoding import Encoder
from gcrm.objective import Draws, Spans, bradley_terry, contrastive, draw_states
from gcrm.preferences import read_preferences
from gcrm.trainer import EncodedPair, collate

LN2 = math.log(2)


def spans(*pairs: tuple[int, int]) -> Spans:
    return Spans(torch.tensor([s for s, _ in pairs]), torch.tensor([e for _, e in pairs]))


def slow_contrastive(chosen, rejected, draws: Draws) -> list[float]:
    """The formula of the design, one pair and one sample at a time."""

    def cosine(a, b) -> float:
        a, b = a.tolist(), b.tolist()
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return dot / (math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b)))

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    losses = []
    for pair in range(len(chosen)):
        c, r = chosen[pair], rejected[pair]
        positive = [
            sigmoid(cosine(c[s], c[g]))
            for s, g in zip(draws.source[pair], draws.goal[pair], strict=True)
        ]
        negative = [
            sigmoid(cosine(c[s], r[g]))
            for s in draws.negative_source[pair]
            for g in draws.negative_goal[pair]
        ]
        losses.append(
            -math.log(sum(positive) / len(positive)) - math.log(1 - sum(negative) / len(negative))
        )
    return losses


def test_bradley_terry_by_hand():
    loss = bradley_terry(torch.tensor([0.0, 2.0, -2.0]), torch.tensor([0.0, 0.0, 0.0]))
    # -log(1/2); -log(1/(1+e^-2)); the same plus 2
    assert loss.tolist() == pytest.approx([0.693147, 0.126928, 2.126928], abs=1e-6)


def test_bradley_terry_does_not_overflow():
    assert bradley_terry(torch.tensor([-1e4]), torch.tensor([1e4])).item() == 2e4


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
    term = contrastive(chosen, rejected, draws)
    sigmoid_1 = 0.7310585786
    expected = -math.log((sigmoid_1 + 0.5) / 2) - math.log(sigmoid_1)
    assert term.loss.item() == pytest.approx(expected, abs=1e-6)
    assert term.positive_cosine.item() == pytest.approx(0.5)
    assert term.negative_cosine.item() == pytest.approx(-1.0)


def test_contrastive_is_trivial_where_states_are_orthogonal():
    chosen, rejected = torch.eye(4)[None, :2], torch.eye(4)[None, 2:]
    draws = Draws(*(torch.tensor([[value]]) for value in (0, 1, 0, 1)))
    assert contrastive(chosen, rejected, draws).loss.item() == pytest.approx(2 * LN2)


@given(seed=st.integers(0, 10_000), samples=st.integers(1, 5))
def test_contrastive_equals_slow_loop(seed: int, samples: int):
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randn(3, 9, 6, generator=generator, dtype=torch.float64)
    rejected = torch.randn(3, 7, 6, generator=generator, dtype=torch.float64)
    draws = draw_states(
        spans((2, 9), (0, 3), (4, 5)),
        spans((2, 7), (1, 2), (0, 6)),
        np.random.default_rng(seed),
        samples,
        samples + 1,
    )
    fast = contrastive(chosen, rejected, draws).loss
    assert fast.tolist() == pytest.approx(slow_contrastive(chosen, rejected, draws), abs=1e-9)


def test_contrastive_does_not_depend_on_the_batch():
    """The loss of a pair is the same alone and among others: logs are taken per pair."""
    chosen, rejected = torch.randn(4, 8, 5), torch.randn(4, 8, 5)
    where = spans((1, 8), (2, 6), (0, 8), (3, 5))
    draws = draw_states(where, where, np.random.default_rng(0))
    whole = contrastive(chosen, rejected, draws).loss
    for i in range(4):
        alone = Draws(*(positions[i : i + 1] for positions in vars(draws).values()))
        one = contrastive(chosen[i : i + 1], rejected[i : i + 1], alone).loss
        assert one.item() == pytest.approx(whole[i].item(), abs=1e-6)


def test_gradient_pulls_sources_to_goals_and_pushes_rejected_states_away():
    chosen = torch.randn(1, 6, 4, requires_grad=True)
    rejected = torch.randn(1, 6, 4, requires_grad=True)
    draws = draw_states(spans((0, 6)), spans((0, 6)), np.random.default_rng(0))
    before = contrastive(chosen, rejected, draws)
    before.loss.sum().backward()
    with torch.no_grad():
        after = contrastive(chosen - 0.1 * chosen.grad, rejected - 0.1 * rejected.grad, draws)
    assert after.positive_cosine > before.positive_cosine
    assert after.negative_cosine < before.negative_cosine


@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.integers(1, 30), st.integers(1, 30)),
        min_size=1,
        max_size=4,
    ),
    st.floats(0, 0.95),
    st.floats(0, 0.95),
    st.integers(0, 1000),
)
def test_states_lie_in_their_completions_and_goals_behind_sources(pairs, sp, gp, seed):
    chosen = spans(*((start, start + n) for start, n, _ in pairs))
    rejected = spans(*((start, start + m) for start, _, m in pairs))
    draws = draw_states(chosen, rejected, np.random.default_rng(seed), 8, 5, sp, gp)
    for i, (start, n, m) in enumerate(pairs):
        for positions in (draws.source[i], draws.goal[i], draws.negative_source[i]):
            assert all(start <= p < start + n for p in positions.tolist())
        assert all(start <= p < start + m for p in draws.negative_goal[i].tolist())
        if n > 1:
            assert (draws.source[i] < draws.goal[i]).all()


def test_no_state_of_a_dialogues_prompt_is_drawn(tmp_path):
    """Whole dialogues, as users bring them: only tokens of the answers are compared."""
    encoder = Encoder(make_tokenizer(), 99)
    pairs = read_preferences([str(write_dialogues(tmp_path / "pairs.jsonl", 12))])
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
    draws = draw_states(
        spans((0, 10)), spans((0, 10)), np.random.default_rng(0), 500, 500, 0.6, 0.6
    )
    assert set(draws.source[0].tolist()) == {0, 1, 2, 3}
    assert max(draws.goal[0].tolist()) <= 4  # a goal may move one behind its source
    assert set(draws.negative_goal[0].tolist()) == set(range(10))


def test_same_generator_same_draws():
    where = spans((0, 30))
    first, again, other = (
        draw_states(where, where, np.random.default_rng([7, step])) for step in (1, 1, 2)
    )
    assert torch.equal(first.source, again.source) and torch.equal(first.goal, again.goal)
    assert not torch.equal(first.source, other.source)
