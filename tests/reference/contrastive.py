"""The contrastive losses, one sample at a time: ours, and that of the authors' code."""

import math

import numpy as np

from gcrm.training.contrastive import Draws


def slow_cosine(a, b) -> float:
    a, b = list(map(float, a)), list(map(float, b))
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / (math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b)))


def slow_contrastive(
    chosen,
    rejected,
    draws: Draws,
    average=None,
    cross=False,
    temperature=1.0,
    batch_mean=False,
    others=None,
    counts=None,
) -> list[float]:
    """Our loss of each pair, for given draws; for `others`, rows of partners, None without any."""

    def mean(values):
        return sum(values[1:], values[0]) / len(values)

    def mean_sigmoid(compared):
        cosines = [slow_cosine(source, goal) for source, goal in compared]
        return mean([1 / (1 + math.exp(-cosine / temperature)) for cosine in cosines])

    pairs = range(len(chosen))
    in_batch = [pair for pair in pairs if counts is None or counts[pair]]
    good = [[chosen[pair][g] for g in draws.goal[pair]] for pair in pairs]
    bad = [[rejected[pair][g] for g in draws.negative_goal[pair]] for pair in pairs]
    positive, negative = {}, {}
    for pair in pairs:
        c, sources = chosen[pair], draws.source[pair].tolist()
        goals, wrong = good[pair], bad[pair]
        if others is not None:
            if others[pair] is None:
                continue
            first, second = others[pair][: len(goals)], others[pair][len(goals) :]
            goals = [good[other][k] for k, other in enumerate(first)]
            wrong = [bad[other][k] for k, other in enumerate(second)]
        if average == "batch":
            goals = [mean([state for one in in_batch for state in good[one]])]
            wrong = [mean([state for one in in_batch for state in bad[one]])]
        elif average == "completion":
            wrong = [mean(wrong)]
        if average == "completion" and not cross:
            at = draws.goal[pair].tolist()
            compared = []
            for s in sources:
                later = [state for state, g in zip(goals, at, strict=True) if g > s]
                compared.append((c[s], mean(later or [c[s]])))
        elif cross or len(goals) == 1:
            goals = [mean(goals)] if average else goals
            compared = [(c[s], goal) for s in sources for goal in goals]
        else:
            compared = [(c[s], goal) for s, goal in zip(sources, goals, strict=True)]
        positive[pair] = mean_sigmoid(compared)
        negative[pair] = mean_sigmoid(
            [(c[s], g) for s in draws.negative_source[pair] for g in wrong]
        )
    if batch_mean and (together := [pair for pair in in_batch if pair in positive]):
        positive = dict.fromkeys(positive, mean([positive[pair] for pair in together]))
        negative = dict.fromkeys(negative, mean([negative[pair] for pair in together]))
    return [
        -math.log(positive[pair]) - math.log(1 - negative[pair]) if pair in positive else 0.0
        for pair in pairs
    ]


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
