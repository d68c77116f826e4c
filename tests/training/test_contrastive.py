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
from gcrm.training.collation import EncodedPair, collate
from gcrm.training.contrastive import Draws, Spans, contrastive_loss, draw_states
from gcrm.training.pool import Others, Pairs, draw_others
from helpers.dialogues import write_dialogues
from helpers.models import make_tokenizer

LN2 = math.log(2)


def pairs_of(prompts, counts=None):
    counts = [True] * len(prompts) if counts is None else counts
    return Pairs(torch.zeros(len(prompts)), torch.tensor(prompts), torch.tensor(counts))


def partners_of(others):
    """For each pair the places of the drawn ones; None where there are none."""
    rows = zip(others.index.tolist(), others.exist.tolist(), strict=True)
    return [row if exist else None for row, exist in rows]


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
    average=st.sampled_from([None, "completion", "batch"]),
    single=st.booleans(),
    rs=st.booleans(),
    prompts=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    counts=st.lists(st.booleans(), min_size=4, max_size=4).filter(any),
    options=st.tuples(st.booleans(), st.sampled_from([1.0, 0.1, 7.0]), st.booleans()),
)
def test_loss_equals_a_slow_loop(seed, samples, average, single, rs, prompts, counts, options):
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randn(4, 9, 6, generator=generator, dtype=torch.float64)
    rejected = torch.randn(4, 7, 6, generator=generator, dtype=torch.float64)
    rng = np.random.default_rng(seed)
    draws = draw_states(
        spans((2, 9), (0, 3), (4, 5), (1, 8)),
        spans((2, 7), (1, 2), (0, 6), (0, 3)),
        *(rng, samples, samples + 1),
        single_goal=single and not average and not rs,
    )
    pairs = pairs_of(prompts, counts)
    others = draw_others(pairs, 2 * samples + 1, rng) if rs and not average else None
    fast = contrastive_loss(chosen, rejected, draws, average, *options, others, pairs.counts).loss
    slow = slow_contrastive(
        chosen, rejected, draws, average, *options, others and partners_of(others), counts
    )
    # A filler's own loss is not asked for.
    assert fast[counts].tolist() == pytest.approx(np.array(slow)[counts], abs=1e-9)


@given(
    prompts=st.lists(st.integers(0, 3), min_size=1, max_size=6),
    counts=st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_other_pairs_have_another_prompt_and_are_no_fillers(prompts, counts):
    counts = counts[: len(prompts)]
    drawn = draw_others(pairs_of(prompts, counts), 300, np.random.default_rng(0))
    for prompt, partners in zip(prompts, partners_of(drawn), strict=True):
        allowed = {i for i, p in enumerate(prompts) if p != prompt and counts[i]}
        assert set(partners or ()) == allowed


def test_fillers_and_their_states_do_not_matter():
    """For any strategy: without the filler, or with another one, the others' losses are equal."""
    generator = torch.Generator().manual_seed(0)
    chosen, rejected = torch.randn(2, 3, 8, 5, generator=generator)
    where, pairs = spans(*[(0, 8)] * 3), pairs_of([1, 2, 3], [True, True, False])
    draws = draw_states(where, where, np.random.default_rng(0), 4, 4)
    others = draw_others(pairs, 8, np.random.default_rng(0))
    for options in ({"average": "batch"}, {"others": others}, {}):
        for batch_mean in (False, True):
            losses = [
                contrastive_loss(
                    torch.cat([chosen[:2], scale * chosen[2:].flip(1)])[:number],
                    rejected[:number],
                    Draws(*(positions[:number] for positions in vars(draws).values())),
                    batch_mean=batch_mean,
                    counts=pairs.counts[:number],
                    **{key: first(value, number) for key, value in options.items()},
                ).loss[:2]
                for scale, number in ((1, 3), (-7, 3), (1, 2))
            ]
            torch.testing.assert_close(losses[0], losses[1])
            torch.testing.assert_close(losses[0], losses[2])


def first(value, number):
    """Of `Others` the first rows."""
    return Others(value.index[:number], value.exist[:number]) if value != "batch" else value


def test_rs_avg_and_the_batch_mean_by_hand():
    """Two pairs in the plane, whose goals are at right angles and whose rejected states oppose."""
    chosen = torch.tensor([[[1.0, 0.0], [2.0, 0.0]], [[0.0, 1.0], [0.0, 4.0]]])
    rejected = torch.tensor([[[-1.0, 0.0]], [[0.0, -3.0]]])
    zero, one = torch.tensor([[0], [0]]), torch.tensor([[1], [1]])
    draws = Draws(source=zero, goal=one, negative_source=zero, negative_goal=zero)
    # rs: the other pair's goal and negative goal are at right angles to each source.
    others = draw_others(pairs_of([5, 6]), 2, np.random.default_rng(0))
    term = contrastive_loss(chosen, rejected, draws, others=others)
    assert term.positive_cosine.tolist() == term.negative_cosine.tolist() == [0, 0]
    assert term.loss.tolist() == pytest.approx([2 * LN2] * 2)
    # avg: the means are (1, 2) and (-0.5, -1.5).
    term = contrastive_loss(chosen, rejected, draws, average="batch")
    assert term.positive_cosine.tolist() == pytest.approx([1 / 5**0.5, 2 / 5**0.5])
    assert term.negative_cosine.tolist() == pytest.approx([-0.5 / 2.5**0.5, -1.5 / 2.5**0.5])
    # The batch mean: the positive cosines are 1 and 0, the negative ones -1 and 0.
    draws = Draws(zero, torch.tensor([[1], [1]]), zero, zero)
    chosen[1, 1], rejected[1, 0] = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0])
    term = contrastive_loss(chosen, rejected, draws, batch_mean=True)
    mean = (0.7310585786 + 0.5) / 2
    assert term.loss.tolist() == pytest.approx([-2 * math.log(mean)] * 2, abs=1e-6)


@pytest.mark.parametrize("batch_mean", [False, True])
def test_pairs_without_another_prompt_have_no_term(batch_mean):
    """And the mean over the batch is that of the others; the gradient stays finite."""
    chosen = torch.randn(3, 6, 4, requires_grad=True)
    where = spans(*[(0, 6)] * 3)
    draws = draw_states(where, where, np.random.default_rng(0), 2, 2)
    for prompts, counts, exist in (
        ([1, 1, 1], [True] * 3, [False] * 3),
        ([1, 1, 2], [True, True, False], [False, False, True]),
    ):
        pairs = pairs_of(prompts, counts)
        others = draw_others(pairs, 4, np.random.default_rng(0))
        term = contrastive_loss(
            *(chosen, chosen.detach(), draws),
            batch_mean=batch_mean,
            others=others,
            counts=pairs.counts,
        )
        assert (term.loss != 0).tolist() == exist
        assert (~term.positive_cosine.isnan()).tolist() == exist
        [gradient] = torch.autograd.grad(term.loss.where(pairs.counts, 0).sum(), chosen)
        assert (gradient == 0).all()


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
    future = contrastive_loss(chosen, rejected, draws, average="completion")
    assert future.positive_cosine.item() == pytest.approx((math.sqrt(0.5) + 0) / 2)
    cross = contrastive_loss(chosen, rejected, draws, average="completion", cross=True)
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
