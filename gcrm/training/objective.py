"""The training objective (section 3 of the paper): Bradley-Terry plus the contrastive term."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gcrm.config.train import TrainSettings
from gcrm.training.contrastive import ContrastiveTerm, Part, Spans, contrastive_loss, draw_states
from gcrm.training.official import official_contrastive
from gcrm.training.pool import Pairs, draw_others

AVERAGES: dict[str, Literal["completion", "batch"]] = {
    "avg": "batch",
    "completion_avg": "completion",
}
"""strategies that average goal states, and over what"""


def preference_loss(
    difference: Tensor, kind: Literal["log_sigmoid", "log_exp"] = "log_sigmoid"
) -> Tensor:
    """-log sigmoid(d) = log(1 + exp(-d)) of d = r_chosen - r_rejected - margin, (pairs,).

    The two kinds differ only in rounding; neither overflows.
    """
    if kind == "log_exp":
        return torch.logaddexp(torch.zeros_like(difference), -difference)
    return -F.logsigmoid(difference)


def value_loss(rewards: Tensor, spans: Spans, chosen: bool) -> Tensor:
    """Mean over a completion's tokens of -log p, the head giving the logit of being chosen.

    Args:
        rewards: of all tokens, (pairs, tokens).
        spans: positions of the completions.
        chosen: what the completions are.

    Returns:
        (pairs,).
    """
    place = torch.arange(rewards.shape[1], device=rewards.device)
    inside = (place >= spans.start[:, None]) & (place < spans.end[:, None])
    losses = -F.logsigmoid(rewards if chosen else -rewards)
    return losses.where(inside, 0).sum(dim=1) / (spans.end - spans.start)


@dataclass(frozen=True)
class Terms:
    """The objective of a batch of pairs.

    Attributes:
        loss: (pairs,); training minimises the mean over all pairs of an optimiser step.
        logged: values for the log, (pairs,) each; NaN where a pair has none.
    """

    loss: Tensor
    logged: dict[str, Tensor]


class Objective:
    """The weighted sum of the terms that the settings select."""

    def __init__(self, settings: TrainSettings):
        self.settings = settings

    def preference(self, difference: Tensor) -> Tensor:
        """The preference loss of r_chosen - r_rejected - margin, (pairs,)."""
        return preference_loss(difference, self.settings.preference_loss)

    def __call__(
        self,
        rewards: tuple[Tensor, Tensor],
        hidden: tuple[Tensor, Tensor],
        spans: tuple[Spans, Spans],
        pairs: Pairs,
        rng: np.random.Generator,
    ) -> Terms:
        """The terms of a batch; each tuple is (chosen side, rejected side).

        Args:
            rewards: of all tokens, (pairs, tokens).
            hidden: last hidden states, (pairs, tokens, hidden_size), fp32.
            spans: positions of the completions.
            pairs: their margins, prompts, and which are fillers.
            rng: for drawing states.
        """
        final = [side.last(values) for side, values in zip(spans, rewards, strict=True)]
        difference = final[0] - final[1]
        loss = self.preference(difference - pairs.margin)
        logged = {
            "preference_loss": loss,
            "accuracy": (difference > 0).float(),
            "margin": difference,
        }
        if self.settings.reward_model_strategy == "value":
            sides = zip(rewards, spans, (True, False), strict=True)
            loss = torch.stack([value_loss(*side) for side in sides]).mean(dim=0)
            logged["value_loss"] = loss
        if self.settings.center_rewards:
            # Eisenstein et al. 2023, arXiv 2312.09244. Rewards are defined only up to a constant.
            logged["center_loss"] = (final[0] + final[1]) ** 2
            loss = loss + self.settings.center_rewards * logged["center_loss"]
        if self.settings.reward_model_strategy == "contrastive":
            term = self._contrastive(hidden, spans, pairs, rng)
            logged |= {
                "contrastive_loss": term.loss,
                "positive_cosine": term.positive_cosine,
                "negative_cosine": term.negative_cosine,
            }
            if self.settings.contrastive_strategy == "rs":
                logged["no_other_prompt"] = term.positive_cosine.isnan().float()
            loss = loss + self.settings.contrastive_loss_beta * term.loss
        return Terms(loss, logged)

    def _contrastive(
        self,
        hidden: tuple[Tensor, Tensor],
        spans: tuple[Spans, Spans],
        pairs: Pairs,
        rng: np.random.Generator,
    ) -> ContrastiveTerm:
        settings = self.settings
        strategy = settings.contrastive_strategy
        if settings.parity == "official":
            return official_contrastive(
                hidden,
                (spans[0].end - spans[0].start, spans[1].end - spans[1].start),
                rng,
                settings.sim_samples,
                settings.unsim_samples,
                settings.source_state_percentile,
                settings.goal_state_percentile,
                average=strategy == "completion_avg",
            )
        draws = draw_states(
            *spans,
            rng,
            settings.sim_samples,
            settings.unsim_samples,
            _part(settings.source_state_percentile, settings.source_late_share),
            _part(settings.goal_state_percentile, settings.goal_late_share),
            single_goal=strategy == "single_goal",
        )
        others = None
        if strategy == "rs":
            others = draw_others(pairs, settings.sim_samples + settings.unsim_samples, rng)
        return contrastive_loss(
            *hidden,
            draws,
            AVERAGES.get(strategy),
            cross=settings.positives == "cross",
            temperature=settings.temperature,
            batch_mean=settings.contrastive_mean == "batch",
            others=others,
            counts=pairs.counts,
        )


def _part(percentile: float, late_share: float) -> Part:
    """The first (1 - percentile) share, or the last `late_share`; at most one of them is set."""
    return (1 - late_share, 1.0) if late_share < 1 else (0.0, 1 - percentile)
