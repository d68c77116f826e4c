"""The contrastive term of the objective (section 3.2 of the paper): sampling of states, and loss.

A source state of the chosen completion should be similar to a goal state, and dissimilar to a
negative goal state. The strategies differ in these; their names are the paper's where it has them:

- sgs, "single goal state" (section 3.2): a later state of the chosen completion, and a state of the
  rejected completion. The paper draws one of each; its code and the default here draw 16.
- rs (appendix D.1): such states of completions of other prompts.
- avg (appendix D.1): the mean of all drawn goal states of the batch, and of all negative ones.
- completion_avg: their means within one completion, as in the authors' code.
- single_goal: as sgs, with one goal state and one negative goal state for all sources of a pair.

The batch is the pool of a forward pass; see `gcrm.training.pool`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gcrm.training.pool import Others, log_mean, mean_state

Part = tuple[float, float]
"""Begin and end as shares of a completion: (0, 1) is all of it, (0.9, 1) the last tenth."""
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

    def last(self, values: Tensor) -> Tensor:
        """Of values of all tokens, (batch, tokens), those of the last tokens, (batch,)."""
        return values[torch.arange(len(self.end), device=values.device), self.end - 1]


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
    """The contrastive loss and, for the log, the mean cosines of each pair; all (pairs,).

    A pair that has nothing to be compared with (see `Others`) has no loss, 0, and no cosines, NaN.
    """

    loss: Tensor
    positive_cosine: Tensor
    negative_cosine: Tensor


def contrastive_loss(
    chosen: Tensor,
    rejected: Tensor,
    draws: Draws,
    average: Literal["completion", "batch"] | None = None,
    cross: bool = False,
    temperature: float = 1.0,
    batch_mean: bool = False,
    others: Others | None = None,
    counts: Tensor | None = None,
) -> ContrastiveTerm:
    """-log mean sigmoid(cos(h_s, h_g+) / t) - log(1 - mean sigmoid(cos(h_s', h_g-) / t)), per pair.

    Negatives are all combinations of source and goal. With all cosines 0 it is 2 log 2 = 1.39.

    Args:
        chosen, rejected: last hidden states, (pairs, tokens, hidden_size), fp32.
        draws: the states to compare; see `draw_states`.
        average: compare with the mean of all goals, and that of all negative goals: "batch", of the
            pool (avg); "completion", of the pair (completion_avg), and later ones unless `cross`.
        cross: compare all sources with all goals, instead of each source with its own goal.
        temperature: divides the cosines before the sigmoid.
        batch_mean: take the means over the draws of all pairs of the pool, as the paper does, so
            that all have one loss; without, over those of each pair, whose loss then does not
            depend on micro-batches or processes.
        others: take the goals and negative goals of these pairs instead (rs).
        counts: which pairs take part in the pool, (pairs,) bool (default: all).
    """
    counts = torch.ones_like(draws.source[:, 0]).bool() if counts is None else counts
    exist = torch.ones_like(counts) if others is None else others.exist
    source, goal = _states(chosen, draws.source), _states(chosen, draws.goal)
    negative_source = _states(chosen, draws.negative_source)
    negative_goal = _states(rejected, draws.negative_goal)
    if others is not None:
        goal, negative_goal = others.states(goal, negative_goal)
    if average == "batch":
        goal, negative_goal = mean_state(goal, counts), mean_state(negative_goal, counts)
    elif average == "completion":
        goal = goal.mean(dim=1, keepdim=True) if cross else _mean_of_later(goal, draws)
        negative_goal = negative_goal.mean(dim=1, keepdim=True)
    positive = _cosines(source, goal, cross)
    negative = _cosines(negative_source, negative_goal, cross=True)
    batch = counts & exist if batch_mean else None
    # 1 - sigmoid(x) is sigmoid(-x), without the cancellation.
    logs = [_log_mean_sigmoid(x / temperature, batch) for x in (positive, -negative)]
    return ContrastiveTerm(
        loss=(-logs[0] - logs[1]).where(exist, 0),
        positive_cosine=positive.flatten(1).mean(dim=1).detach().where(exist, torch.nan),
        negative_cosine=negative.flatten(1).mean(dim=1).detach().where(exist, torch.nan),
    )


def _cosines(source: Tensor, goal: Tensor, cross: bool) -> Tensor:
    """Of each source with its own goal, or with the only one, (pairs, sources); `cross`: of all
    sources with all goals, (pairs, sources, goals)."""
    source, goal = F.normalize(source, dim=-1), F.normalize(goal, dim=-1)
    return source @ goal.transpose(1, 2) if cross else (source * goal).sum(dim=-1)


def _states(hidden: Tensor, positions: Tensor) -> Tensor:
    """The states at `positions`: (pairs, samples, hidden_size)."""
    return hidden.gather(1, positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))


def _mean_of_later(goal: Tensor, draws: Draws) -> Tensor:
    """For each source, the mean of its own goal and all other goals after it."""
    own = torch.eye(draws.goal.shape[1], dtype=torch.bool, device=goal.device)
    after = (draws.goal[:, None, :] > draws.source[:, :, None]) | own
    return after.to(goal.dtype) @ goal / after.sum(dim=-1, keepdim=True)


def _log_mean_sigmoid(values: Tensor, batch: Tensor | None) -> Tensor:
    """log of the mean of sigmoid(values); never -inf.

    The mean is over all but the first dimension, (pairs,), or also over the pairs of the pool for
    which `batch` is true, a scalar.
    """
    flat = F.logsigmoid(values).flatten(1)
    of_pairs = flat.logsumexp(dim=1) - float(np.log(flat.shape[1]))
    return of_pairs if batch is None else log_mean(of_pairs, batch)
