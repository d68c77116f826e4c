"""`parity: official`: the arithmetic of the authors' code, where it differs from the default.

It is not the default for three reasons. Positions are counted from the end of a left-padded
sequence with the length of the completion tokenised alone, so a truncated completion reaches into
the padding. All sources are compared with all goals, including earlier ones. The mean over the
whole micro-batch is taken before the log, so the loss depends on the size of the micro-batch.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gcrm.training.contrastive import ContrastiveTerm


def official_positions(tokens: Tensor, width: int, uniform: Tensor, percentile: float) -> Tensor:
    """Positions of sampled states in left-padded sequences, (pairs, samples) int64.

    The distance from the end is floor((1 - (1 - p) * u) * n + 1), clamped to [0, width - 1].

    Args:
        tokens: n, tokens of each completion tokenised alone, without EOS, (pairs,).
        width: length of the padded sequences.
        uniform: u in [0, 1), (pairs, samples) float32.
        percentile: p; positions are drawn from the first (1 - p) share of the completion.
    """
    share = (percentile - 1) * uniform + 1
    distance = torch.floor(share * tokens[:, None].float() + 1).long().clamp(0, width - 1)
    return -distance % width


def official_contrastive(
    hidden: tuple[Tensor, Tensor],
    tokens: tuple[Tensor, Tensor],
    rng: np.random.Generator,
    sim_samples: int,
    unsim_samples: int,
    source_percentile: float,
    goal_percentile: float,
    average: bool,
) -> ContrastiveTerm:
    """-log mean sigmoid(cos(h_s, h_g)) - log(1 - mean sigmoid(cos(h_s', h_r))).

    Both means are over all pairs of the micro-batch; every pair gets this one loss.

    Args:
        hidden: last hidden states of the chosen and the rejected sides, left-padded,
            (pairs, tokens, hidden_size).
        tokens: n of the chosen and the rejected completions; see `official_positions`.
        average: average the goal states, and the negative ones, of each pair first
            (completion_avg, their flag cosine_avg).
    """
    pairs = len(hidden[0])

    def uniform(*shape: int) -> Tensor:
        return torch.from_numpy(rng.random(shape, dtype=np.float32)).to(hidden[0].device)

    def states(side: int, numbers: Tensor, percentile: float) -> Tensor:
        at = official_positions(tokens[side], hidden[side].shape[1], numbers, percentile)
        return hidden[side][torch.arange(len(at), device=at.device)[:, None], at]

    earlier, later = uniform(2, pairs, sim_samples).sort(dim=0).values
    source = states(0, earlier, source_percentile)
    goal = states(0, later, goal_percentile)
    negative_source = states(0, uniform(pairs, unsim_samples), source_percentile)
    negative_goal = states(1, uniform(pairs, unsim_samples), goal_percentile)
    if average:
        goal = goal.mean(dim=1, keepdim=True)
        negative_goal = negative_goal.mean(dim=1, keepdim=True)
    positive, negative = _cosines(source, goal), _cosines(negative_source, negative_goal)
    loss = -positive.sigmoid().mean().log() - (1 - negative.sigmoid().mean()).log()
    return ContrastiveTerm(
        loss=loss.expand(pairs),
        positive_cosine=positive.mean(dim=(1, 2)).detach(),
        negative_cosine=negative.mean(dim=(1, 2)).detach(),
    )


def _cosines(left: Tensor, right: Tensor) -> Tensor:
    """Cosines of all of `left` with all of `right`: (pairs, left samples, right samples)."""
    return F.normalize(left, dim=-1) @ F.normalize(right, dim=-1).transpose(1, 2)
