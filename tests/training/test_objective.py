"""The preference loss, by hand and at its limits, and the sum of the terms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gcrm.config.train import TrainSettings
from gcrm.training.contrastive import Spans
from gcrm.training.objective import Objective, preference_loss
from gcrm.training.pool import Pairs

LN2 = math.log(2)


def spans(*pairs: tuple[int, int]) -> Spans:
    return Spans(torch.tensor([s for s, _ in pairs]), torch.tensor([e for _, e in pairs]))


KINDS = pytest.mark.parametrize("kind", ["log_sigmoid", "log_exp"])


@KINDS
def test_bradley_terry_by_hand(kind):
    # -log(1/2); -log(1/(1+e^-2)); the same plus 2
    loss = preference_loss(torch.tensor([0.0, 2.0, -2.0]), kind)
    assert loss.tolist() == pytest.approx([0.693147, 0.126928, 2.126928], abs=1e-6)


@KINDS
@pytest.mark.parametrize("difference", [-2e4, -90.0, 0.0, 90.0, 2e4])
def test_preference_loss_neither_overflows_nor_loses_its_gradient(kind, difference):
    """In fp32, exp(89) is infinite."""
    x = torch.tensor([difference], requires_grad=True)
    loss = preference_loss(x, kind)
    loss.backward()
    assert loss.item() == pytest.approx(max(-difference, 0) or (0 if difference else LN2), abs=1e-6)
    assert x.grad.item() == pytest.approx(0 if difference > 0 else -1 if difference else -0.5)


@KINDS
@given(difference=st.floats(-50, 50))
def test_preference_loss_is_exact(kind, difference):
    x = torch.tensor([difference], dtype=torch.float64)
    exact = math.log1p(math.exp(-difference))
    assert preference_loss(x, kind).item() == pytest.approx(exact, rel=1e-12, abs=1e-15)


REWARDS = torch.full((2, 2, 9), torch.nan)  # the tokens outside the completions play no part
REWARDS[0, 0, 2:9] = torch.tensor([0.0, 0, 0, 0, 0, 0, 1.0])
REWARDS[0, 1, 0:3] = torch.tensor([2.0, 0, -2.0])
REWARDS[1, 0, 2:7] = torch.tensor([0.0, 0, 0, 0, 0.5])
REWARDS[1, 1, 1:2] = 1.0


def objective_of(**settings):
    """The terms of two random pairs with these settings."""
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(2, 2, 9, 6, generator=generator)
    return Objective(TrainSettings(**settings))(
        rewards=(REWARDS[0], REWARDS[1]),
        hidden=(hidden[0], hidden[1]),
        spans=(spans((2, 9), (0, 3)), spans((2, 7), (1, 2))),
        pairs=Pairs(torch.tensor([0.25, 1.0]), torch.tensor([7, 8]), torch.tensor([True, True])),
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


def test_vanilla_has_only_the_preference_term():
    terms = objective_of()
    assert torch.equal(terms.loss, terms.logged["preference_loss"])
    assert set(terms.logged) == {"preference_loss", "accuracy", "margin"}


def test_the_value_loss_by_hand():
    """log 2 where the head gives 0, else softplus(-x); means over tokens and sides."""

    def softplus(x: float) -> float:
        return math.log1p(math.exp(x))

    terms = objective_of(reward_model_strategy="value")
    chosen = [(6 * LN2 + softplus(-1)) / 7, (softplus(-2) + LN2 + softplus(2)) / 3]
    rejected = [(4 * LN2 + softplus(0.5)) / 5, softplus(1)]
    expected = [(a + b) / 2 for a, b in zip(chosen, rejected, strict=True)]
    assert terms.loss.tolist() == pytest.approx(expected)
    assert terms.logged["accuracy"].tolist() == [1, 0]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"contrastive_strategy": "single_goal"},
        {"contrastive_strategy": "completion_avg"},
        {"contrastive_strategy": "rs"},
        {"contrastive_strategy": "avg"},
        {"contrastive_mean": "batch"},
        {"positives": "cross"},
        {"source_late_share": 0.5},
        {"goal_late_share": 0.5},
        {"source_state_percentile": 0.5},
        {"goal_state_percentile": 0.5},
        {"temperature": 0.5},
        {"sim_samples": 3},
        {"unsim_samples": 3},
        {"parity": "official"},
        {"parity": "official", "contrastive_strategy": "completion_avg"},
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
