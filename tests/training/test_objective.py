"""The loss against a slow loop, hand-worked literals, and its own invariances."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from gcrm.config.train import TrainSettings
from gcrm.data.preferences import load_preferences
from gcrm.modeling.tokenization import Encoder
from gcrm.training.contrastive import Draws, Spans, contrastive, draw_states
from gcrm.training.objective import Objective, preference_loss
from gcrm.training.trainer import EncodedPair, collate
from helpers.dialogues import write_dialogues
from helpers.models import make_tokenizer

LN2 = math.log(2)


def spans(*pairs: tuple[int, int]) -> Spans:
    return Spans(torch.tensor([s for s, _ in pairs]), torch.tensor([e for _, e in pairs]))


def slow_contrastive(
    chosen, rejected, draws: Draws, average=False, cross=False, temperature=1.0
) -> list[float]:
    """The formula of the design, one pair and one sample at a time."""

    def cosine(a, b) -> float:
        a, b = a.tolist(), b.tolist()
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return dot / (math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b)))

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x / temperature))

    def mean(states):
        return sum(states[1:], states[0]) / len(states)

    losses = []
    for pair in range(len(chosen)):
        c, r = chosen[pair], rejected[pair]
        sources, goals = draws.source[pair].tolist(), draws.goal[pair].tolist()
        if average and cross:
            compared = [(c[s], mean([c[g] for g in goals])) for s in sources]
        elif average:
            behind = [[g for g in goals if g > s] or [s] for s in sources]
            compared = [
                (c[s], mean([c[g] for g in own])) for s, own in zip(sources, behind, strict=True)
            ]
        elif cross or len(goals) == 1:
            compared = [(c[s], c[g]) for s in sources for g in goals]
        else:
            compared = [(c[s], c[g]) for s, g in zip(sources, goals, strict=True)]
        positive = [sigmoid(cosine(source, goal)) for source, goal in compared]
        bad = [r[g] for g in draws.negative_goal[pair]]
        bad = [mean(bad)] if average else bad
        negative = [sigmoid(cosine(c[s], g)) for s in draws.negative_source[pair] for g in bad]
        losses.append(
            -math.log(sum(positive) / len(positive)) - math.log(1 - sum(negative) / len(negative))
        )
    return losses


def test_bradley_terry_by_hand():
    # -log(1/2); -log(1/(1+e^-2)); the same plus 2
    expected = [0.693147, 0.126928, 2.126928]
    for kind in ("log_sigmoid", "log_exp"):
        loss = preference_loss(torch.tensor([0.0, 2.0, -2.0]), kind)
        assert loss.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", ["log_sigmoid", "log_exp"])
@pytest.mark.parametrize("difference", [-2e4, -90.0, 0.0, 90.0, 2e4])
def test_the_preference_loss_neither_overflows_nor_loses_its_gradient(kind, difference):
    """In fp32, exp(89) is infinite; the loss is then the difference itself, or nothing."""
    x = torch.tensor([difference], requires_grad=True)
    loss = preference_loss(x, kind)
    loss.backward()
    assert loss.item() == pytest.approx(max(-difference, 0) or (0 if difference else LN2), abs=1e-6)
    assert x.grad.item() == pytest.approx(0 if difference > 0 else -1 if difference else -0.5)


@given(st.floats(-50, 50))
def test_both_preference_losses_are_one_function(difference):
    x = torch.tensor([difference], dtype=torch.float64)
    exact = math.log1p(math.exp(-difference))
    for kind in ("log_sigmoid", "log_exp"):
        assert preference_loss(x, kind).item() == pytest.approx(exact, rel=1e-12, abs=1e-15)


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
    fast = contrastive(chosen, rejected, draws, *options).loss
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
    future = contrastive(chosen, rejected, draws, average=True)
    assert future.positive_cosine.item() == pytest.approx((math.sqrt(0.5) + 0) / 2)
    cross = contrastive(chosen, rejected, draws, average=True, cross=True)
    assert cross.positive_cosine.item() == pytest.approx(math.sqrt(0.5))
    # The mean of (0, 5) and (-1, 0) is (-0.5, 2.5).
    assert cross.negative_cosine.item() == pytest.approx(-0.5 / math.sqrt(0.5**2 + 2.5**2))


def test_a_low_temperature_does_not_end_in_infinity():
    """sigmoid(-1 / 0.005) is 0 in fp32."""
    chosen = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]], requires_grad=True)
    draws = Draws(*(torch.tensor([[value]]) for value in (0, 1, 0, 0)))
    loss = contrastive(chosen, chosen.detach(), draws, temperature=0.005).loss
    loss.sum().backward()
    assert loss.item() == pytest.approx(400)
    assert torch.isfinite(chosen.grad).all()


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


# The terms together.


def objective_of(**settings):
    """The terms of two random pairs, under these settings."""
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(2, 2, 9, 6, generator=generator)
    return Objective(TrainSettings(**settings))(
        rewards=(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 1.0])),
        hidden=(hidden[0], hidden[1]),
        spans=(spans((2, 9), (0, 3)), spans((2, 7), (1, 2))),
        margin=torch.tensor([0.25, 1.0]),
        rng=np.random.default_rng(3),
    )


def test_terms_by_hand():
    """Differences 0.5 and -3 less margins 0.25 and 1; sums 1.5 and -1."""
    terms = objective_of(center_rewards=0.1)
    preference = [math.log1p(math.exp(-0.25)), math.log1p(math.exp(4))]
    assert terms.logged["preference_loss"].tolist() == pytest.approx(preference)
    assert terms.logged["accuracy"].tolist() == [1, 0]
    assert terms.logged["margin"].tolist() == [0.5, -3]
    assert terms.logged["center_loss"].tolist() == pytest.approx([2.25, 1.0])
    expected = [preference[0] + 0.225, preference[1] + 0.1]
    assert terms.loss.tolist() == pytest.approx(expected)


def test_vanilla_has_no_further_terms():
    terms = objective_of()
    assert torch.equal(terms.loss, terms.logged["preference_loss"])
    assert set(terms.logged) == {"preference_loss", "accuracy", "margin"}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"contrastive_strategy": "cosine_single"},
        {"contrastive_strategy": "cosine_avg"},
        {"positives": "cross"},
        {"source_late_share": 0.5},
        {"goal_late_share": 0.5},
        {"source_state_percentile": 0.5},
        {"goal_state_percentile": 0.5},
        {"temperature": 0.5},
        {"sim_samples": 3},
        {"unsim_samples": 3},
        {"parity": "official"},
        {"parity": "official", "contrastive_strategy": "cosine_avg"},
    ],
)
def test_each_setting_changes_the_contrastive_term(settings):
    usual = objective_of(reward_model_strategy="contrastive")
    terms = objective_of(reward_model_strategy="contrastive", **settings)
    if settings:
        assert not torch.allclose(
            terms.logged["contrastive_loss"], usual.logged["contrastive_loss"]
        )
    expected = terms.logged["preference_loss"] + 0.5 * terms.logged["contrastive_loss"]
    torch.testing.assert_close(terms.loss, expected)
    assert set(terms.logged) > {"positive_cosine", "negative_cosine"}
    assert all(values.shape == (2,) for values in terms.logged.values())
    again = objective_of(reward_model_strategy="contrastive", **settings)
    assert torch.equal(terms.loss, again.loss)
