"""The contrastive losses, one sample at a time: ours, and that of the authors' code."""

import math

import numpy as np

from gcrm.training.contrastive import Draws


def slow_cosine(a, b) -> float:
    a, b = list(map(float, a)), list(map(float, b))
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / (math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b)))


def slow_contrastive(
    chosen, rejected, draws: Draws, average=False, cross=False, temperature=1.0
) -> list[float]:
    """Our loss of each pair, for given draws."""

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
            later = [[g for g in goals if g > s] or [s] for s in sources]
            compared = [
                (c[s], mean([c[g] for g in own])) for s, own in zip(sources, later, strict=True)
            ]
        elif cross or len(goals) == 1:
            compared = [(c[s], c[g]) for s in sources for g in goals]
        else:
            compared = [(c[s], c[g]) for s, g in zip(sources, goals, strict=True)]
        positive = [sigmoid(slow_cosine(source, goal)) for source, goal in compared]
        bad = [r[g] for g in draws.negative_goal[pair]]
        bad = [mean(bad)] if average else bad
        negative = [sigmoid(slow_cosine(c[s], g)) for s in draws.negative_source[pair] for g in bad]
        losses.append(
            -math.log(sum(positive) / len(positive)) - math.log(1 - sum(negative) / len(negative))
        )
    return losses


def slow_position(n: int, width: int, u: float, p: float) -> int:
    """The distance from the end is floor((1 - (1 - p) u) n + 1), clamped to the width less one."""
    distance = math.floor((1 - (1 - p) * u) * n + 1)
    distance = min(max(distance, 0), width - 1)
    return width - distance if distance > 0 else 0


def slow_loss(hidden, tokens, rng, sim, unsim, sp, gp, average) -> float:
    """The authors' loss of a micro-batch, from the same random numbers."""
    pairs, width = len(hidden[0]), len(hidden[0][0])
    both = rng.random((2, pairs, sim), dtype=np.float32).tolist()
    chosen_numbers = rng.random((pairs, unsim), dtype=np.float32).tolist()
    rejected_numbers = rng.random((pairs, unsim), dtype=np.float32).tolist()
    positive, negative = [], []
    for i in range(pairs):
        chosen, rejected = hidden[0][i].tolist(), hidden[1][i].tolist()
        n, m = tokens[0][i], tokens[1][i]
        sources, goals = [], []
        for k in range(sim):
            u1, u2 = sorted((both[0][i][k], both[1][i][k]))
            sources.append(chosen[slow_position(n, width, u1, sp)])
            goals.append(chosen[slow_position(n, width, u2, gp)])
        others = [chosen[slow_position(n, width, u, sp)] for u in chosen_numbers[i]]
        bad = [rejected[slow_position(m, width, u, gp)] for u in rejected_numbers[i]]
        if average:
            goals = [[sum(column) / len(goals) for column in zip(*goals, strict=True)]]
            bad = [[sum(column) / len(bad) for column in zip(*bad, strict=True)]]
        positive += [slow_cosine(s, g) for s in sources for g in goals]
        negative += [slow_cosine(s, g) for s in others for g in bad]

    def mean_sigmoid(values):
        return sum(1 / (1 + math.exp(-value)) for value in values) / len(values)

    return -math.log(mean_sigmoid(positive)) - math.log(1 - mean_sigmoid(negative))
