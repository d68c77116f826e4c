"""The contrastive term of the objective (section 3.2 of the paper): sampling of states, and loss.

A source state of the chosen completion should be similar to later states of that completion (the
goal states), and dissimilar to states of the rejected completion (the negative goal states). The
paper calls this SGS; it draws one source and one goal state of each pair, its code and the default
here draw 16. AVG averages goal states: over the batch in the paper, within one completion here. RS,
goal states from completions of other prompts, is not implemented.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Part = tuple[float, float]
"""Begin and end as shares of a completion: (0, 1) is all of it, (0.75, 1) the last quarter."""
WHOLE: Part = (0.0, 1.0)


@dataclass(frozen=True)
class Spans:
    """Positions of the completions in a batch of padded sequences.

    Attributes:
        start: position of each completion's first token, (batch,) int64.
        end: position after its last token, (batch,) int64.
    """

    start: Tensor
    end: Tensor


@dataclass(frozen=True)
class Draws:
    """The drawn tokens of each pair, as positions in the padded sequences, int64.

    Attributes:
        source: in the chosen completion, (pairs, sim_samples).
        goal: in the chosen completion, each after its source, (pairs, sim_samples), or one after
            all sources, (pairs, 1).
        negative_source: in the chosen completion, (pairs, unsim_samples).
        negative_goal: in the rejected completion, (pairs, unsim_samples) or (pairs, 1).
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
    source_part: Part = WHOLE,
    goal_part: Part = WHOLE,
    single_goal: bool = False,
) -> Draws:
    """Draw the states of a batch of pairs.

    Sources and goals are sorted pairs u1 < u2 of uniform numbers, mapped to their parts of the
    completion. A goal that is not after its source moves to the next token. In a completion of one
    token, the EOS, source and goal are the same token.

    Args:
        rng: the only source of randomness.
        source_part, goal_part: the parts that sources and (also negative) goals are drawn from.
        single_goal: draw one goal for all sources of a pair, and one negative goal. Each source
            and the goal are still distributed as u1 and u2.
    """
    pairs, goals = len(chosen.start), 1 if single_goal else unsim_samples
    if single_goal:
        later = np.sqrt(rng.random((pairs, 1)))  # distributed as the larger of two
        earlier = later * rng.random((pairs, sim_samples))
    else:
        earlier, later = np.sort(rng.random((2, pairs, sim_samples)), axis=0)
    source = _positions(chosen, earlier, source_part)
    goal = _positions(chosen, later, goal_part)
    last = (chosen.end - 1)[:, None]
    # No token follows the last one, so it cannot be a source.
    source = torch.minimum(source, torch.maximum(last - 1, chosen.start[:, None]))
    latest = source.amax(dim=1, keepdim=True) if single_goal else source
    goal = torch.minimum(torch.maximum(goal, latest + 1), last)
    return Draws(
        source=source,
        goal=goal,
        negative_source=_positions(chosen, rng.random((pairs, unsim_samples)), source_part),
        negative_goal=_positions(rejected, rng.random((pairs, goals)), goal_part),
    )


def _positions(spans: Spans, uniform: np.ndarray, part: Part) -> Tensor:
    """Map uniform numbers in [0, 1) to token positions within a part of each completion."""
    tokens = (spans.end - spans.start)[:, None]
    low, high = part
    share = torch.from_numpy(low + uniform * (high - low)).to(tokens.device)
    # A number just below 1 can round to a share of 1.
    return spans.start[:, None] + torch.minimum((share * tokens).floor().long(), tokens - 1)


@dataclass(frozen=True)
class ContrastiveTerm:
    """The contrastive loss and, for the log, the mean cosines of each pair; all (pairs,)."""

    loss: Tensor
    positive_cosine: Tensor
    negative_cosine: Tensor


def contrastive_loss(
    chosen: Tensor,
    rejected: Tensor,
    draws: Draws,
    average: bool = False,
    cross: bool = False,
    temperature: float = 1.0,
) -> ContrastiveTerm:
    """-log mean sigmoid(cos(h_s, h_g+) / t) - log(1 - mean sigmoid(cos(h_s', h_g-) / t)), per pair.

    The negative mean is over all combinations of a source and a negative goal. The log is taken per
    pair, so the loss does not depend on micro-batches or ranks; the paper averages over the batch
    first. If all cosines are 0, the loss is 2 log 2 = 1.39.

    Args:
        chosen, rejected: last hidden states, (pairs, tokens, hidden_size), fp32.
        draws: the states to compare; see `draw_states`.
        average: compare with the mean goal state and the mean negative goal state of a completion
            (AVG). Without `cross`, the mean is over the goals after each source.
        cross: compare all sources with all goals, instead of each source with its own goal.
        temperature: divides the cosines before the sigmoid.
    """
    source = F.normalize(_states(chosen, draws.source), dim=-1)
    goal = _states(chosen, draws.goal)
    negative_goal = _states(rejected, draws.negative_goal)
    if average:
        goal = goal.mean(dim=1, keepdim=True) if cross else _mean_of_later(goal, draws)
        negative_goal = negative_goal.mean(dim=1, keepdim=True)
    goal = F.normalize(goal, dim=-1)
    positive = source @ goal.transpose(1, 2) if cross else (source * goal).sum(dim=-1)
    negative_source = F.normalize(_states(chosen, draws.negative_source), dim=-1)
    negative = negative_source @ F.normalize(negative_goal, dim=-1).transpose(1, 2)
    # 1 - sigmoid(x) is sigmoid(-x), without the cancellation.
    attraction = -_log_mean_sigmoid(positive / temperature)
    repulsion = -_log_mean_sigmoid(-negative / temperature)
    return ContrastiveTerm(
        loss=attraction + repulsion,
        positive_cosine=positive.flatten(1).mean(dim=1).detach(),
        negative_cosine=negative.flatten(1).mean(dim=1).detach(),
    )


def _states(hidden: Tensor, positions: Tensor) -> Tensor:
    """The states at `positions`: (pairs, samples, hidden_size)."""
    return hidden.gather(1, positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))


def _mean_of_later(goal: Tensor, draws: Draws) -> Tensor:
    """For each source, the mean of its own goal and all other goals after it."""
    own = torch.eye(draws.goal.shape[1], dtype=torch.bool, device=goal.device)
    after = (draws.goal[:, None, :] > draws.source[:, :, None]) | own
    return after.to(goal.dtype) @ goal / after.sum(dim=-1, keepdim=True)


def _log_mean_sigmoid(values: Tensor) -> Tensor:
    """log of the mean of sigmoid(values) over all but the first dimension; never -inf."""
    flat = F.logsigmoid(values).flatten(1)
    return flat.logsumexp(dim=1) - float(np.log(flat.shape[1]))
