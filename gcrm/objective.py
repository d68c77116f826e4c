"""The training objective (section 3 of the paper): Bradley-Terry plus the contrastive term."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Spans:
    """Where the completions lie in a batch of padded sequences; EOS is the last token of each.

    Attributes:
        start: index of each completion's first token, (batch,) int64.
        end: index behind its last token, (batch,) int64.
    """

    start: Tensor
    end: Tensor


def bradley_terry(chosen: Tensor, rejected: Tensor) -> Tensor:
    """-log sigmoid(r_chosen - r_rejected), per pair. All (pairs,)."""
    return -F.logsigmoid(chosen - rejected)


@dataclass(frozen=True)
class Draws:
    """Which tokens of each pair are compared, as positions in the padded sequences, int64.

    Attributes:
        source, goal: in the chosen completion, each source before its goal, (pairs, sim_samples).
        negative_source: in the chosen completion, (pairs, unsim_samples).
        negative_goal: in the rejected completion, (pairs, unsim_samples).
    """

    source: Tensor
    goal: Tensor
    negative_source: Tensor
    negative_goal: Tensor


def draw_states(
    chosen: Spans,
    rejected: Spans,
    rng: np.random.Generator,
    sim_samples: int = 16,
    unsim_samples: int = 16,
    source_percentile: float = 0.0,
    goal_percentile: float = 0.0,
) -> Draws:
    """Draw the states of a batch of pairs.

    Sources and goals are sorted pairs u1 < u2 of uniform numbers, mapped to the first (1 - p) share
    of the completion's tokens; a goal that does not lie behind its source moves to the token after
    it (only a completion of one token, its EOS, is compared with itself).

    Args:
        rng: the only randomness: the same generator gives the same draws.
        source_percentile, goal_percentile: p of sources and of goals, 0 (anywhere) to below 1.
    """
    pairs = len(chosen.start)
    sorted_pairs = np.sort(rng.random((2, pairs, sim_samples)), axis=0)
    source = _position(chosen, sorted_pairs[0], source_percentile)
    goal = _position(chosen, sorted_pairs[1], goal_percentile)
    last = (chosen.end - 1)[:, None]
    # The last token has nothing behind it, so a source may be any token but that.
    source = torch.minimum(source, torch.maximum(last - 1, chosen.start[:, None]))
    goal = torch.minimum(torch.maximum(goal, source + 1), last)
    negative = rng.random((2, pairs, unsim_samples))
    return Draws(
        source=source,
        goal=goal,
        negative_source=_position(chosen, negative[0], source_percentile),
        negative_goal=_position(rejected, negative[1], 0.0),
    )


def _position(spans: Spans, uniform: np.ndarray, percentile: float) -> Tensor:
    """Positions of tokens: a share in [0, 1) of the first (1 - percentile) of each completion."""
    tokens = (spans.end - spans.start)[:, None].double()
    share = torch.from_numpy(uniform).to(tokens.device) * (1 - percentile)
    return spans.start[:, None] + (share * tokens).floor().long()


@dataclass(frozen=True)
class ContrastiveTerm:
    """The contrastive loss of each pair, (pairs,), and the mean cosines behind it, for the log."""

    loss: Tensor
    positive_cosine: Tensor
    negative_cosine: Tensor


def contrastive(chosen: Tensor, rejected: Tensor, draws: Draws) -> ContrastiveTerm:
    """-log mean sigmoid(cos(h_s, h_g+)) - log(1 - mean sigmoid(cos(h_s', h_g-))), per pair.

    The positive mean runs over the paired draws, the negative one over all pairs of the
    unsim_samples chosen and rejected states. Logs are taken per pair, so that the loss depends on
    neither micro-batches nor ranks. Where all cosines are 0, the loss is 2 log 2 = 1.39.

    Args:
        chosen, rejected: last hidden states, (pairs, tokens, hidden_size), fp32.
    """
    source, goal = _unit(chosen, draws.source), _unit(chosen, draws.goal)
    positive = (source * goal).sum(dim=-1)
    negative = _unit(chosen, draws.negative_source) @ _unit(
        rejected, draws.negative_goal
    ).transpose(1, 2)
    attraction = -torch.sigmoid(positive).mean(dim=1).log()
    # 1 - sigmoid(x) is sigmoid(-x), without the cancellation.
    repulsion = -torch.sigmoid(-negative).mean(dim=(1, 2)).log()
    return ContrastiveTerm(
        loss=attraction + repulsion,
        positive_cosine=positive.mean(dim=1).detach(),
        negative_cosine=negative.mean(dim=(1, 2)).detach(),
    )


def _unit(hidden: Tensor, positions: Tensor) -> Tensor:
    """The states at `positions`, at length 1: (pairs, samples, hidden_size)."""
    index = positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
    return F.normalize(hidden.gather(1, index), dim=-1)
