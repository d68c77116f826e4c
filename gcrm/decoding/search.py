"""Search while generating: beams grow by sampled steps, and the best ones stay.

Self-evaluation guided beam search (Xie et al., NeurIPS 2023) as section 4.2.2 and appendix B.2 of
the paper use it: a beam is scored by the product over its steps of `P_LM(step) * rho * C(step)`.
One loop serves all methods, which differ in their plan and in how a beam is scored: best-of-n is a
search of one long step, plain sampling one with a single sample.

Nothing here knows models: a generator draws steps, and a judge values them.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

LEAST = 1e-6
"""what a cosine of 0 or less counts as: a product of two negative ones would be positive"""


@dataclass(frozen=True)
class Step:
    """What a language model wrote next.

    Attributes:
        tokens: at least one, the one that ends a solution included.
        log_prob: log P_LM of these tokens after those before, at temperature 1, in nats.
        ends: whether the last token ends the solution.
    """

    tokens: tuple[int, ...]
    log_prob: float
    ends: bool


@dataclass(frozen=True)
class Beam:
    """A solution so far.

    Attributes:
        problem: number of its problem.
        tokens: of all its steps.
        steps: number of its steps.
        score: logarithm of a product, or a reward; the largest one is best.
        ends: whether it is a whole solution.
        handle: by which the judge knows it; None before the first step.
    """

    problem: int
    tokens: tuple[int, ...] = ()
    steps: int = 0
    score: float = 0.0
    ends: bool = False
    handle: int | None = None


@dataclass(frozen=True)
class Judged:
    """A beam after a further step: the judge's handle, and a cosine or a reward."""

    handle: int
    value: float


class Generator(Protocol):
    """Draws steps from a language model."""

    def __call__(self, beams: Sequence[Beam], most: int) -> list[Step]:
        """One step of at most `most` tokens after each beam, all drawn independently."""


class Judge(Protocol):
    """Values steps. It may keep what it has read of a beam under a handle."""

    def judge(self, beams: Sequence[Beam], steps: Sequence[Step]) -> list[Judged]:
        """Each beam after its step; a beam may be there several times, with other steps."""

    def drop(self, beams: Iterable[Beam]) -> None:
        """Forget beams that are out of the search."""


class NoJudge:
    """For searches without a reward model: every step has the value 0."""

    def judge(self, beams: Sequence[Beam], steps: Sequence[Step]) -> list[Judged]:
        """Value 0 for each."""
        return [Judged(0, 0.0) for _ in beams]

    def drop(self, beams: Iterable[Beam]) -> None:
        """Nothing is kept."""


Score = Callable[[Beam, Step, float], float]
"""The score of a beam after a step, of the beam before, the step, and the judge's value."""


def guided(rho: float) -> Score:
    """The paper's score in logarithms: the sum over steps of log P_LM + log rho + log C.

    rho is the same in every step, so it only matters between beams with different numbers of steps:
    those that ended, and those that go on.
    """

    def score(beam: Beam, step: Step, cosine: float) -> float:
        return beam.score + step.log_prob + math.log(rho) + math.log(max(cosine, LEAST))

    return score


def likelihood(beam: Beam, step: Step, value: float) -> float:
    """Log P_LM of the whole solution so far: the paper's score without its cosine."""
    return beam.score + step.log_prob


def by_value(beam: Beam, step: Step, value: float) -> float:
    """The judge's value of the solution so far, whatever it was before."""
    return value


@dataclass(frozen=True)
class Plan:
    """The shape of a search.

    Attributes:
        beams: solutions that are kept after each step.
        samples: steps that are drawn after each of them; after the prompt, beams * samples.
        step_tokens: most tokens of a step.
        max_new_tokens: most tokens of a solution.
    """

    beams: int
    samples: int
    step_tokens: int
    max_new_tokens: int

    @property
    def at_once(self) -> "Plan":
        """As many solutions in a single step: best-of-n, which draws as many tokens."""
        return Plan(1, self.beams * self.samples, self.max_new_tokens, self.max_new_tokens)


@dataclass
class Found:
    """The best beam of each problem, and the tokens that were drawn to find it."""

    best: list[Beam]
    drawn: list[int] = field(default_factory=list)


def search(problems: int, generate: Generator, judge: Judge, score: Score, plan: Plan) -> Found:
    """The solution with the highest score of each problem.

    All problems advance together, so that a generator can work on large batches. In every round,
    each unfinished beam is continued by `samples` steps. Equal solutions count once. Finished beams
    keep their score and compete with the others. A problem ends when all its beams are finished, or
    have max_new_tokens. Of equal scores the earlier wins: beams before new steps, better beams
    before others, steps in the order of their draws.

    Returns:
        The best beams, one a problem, and the numbers of tokens drawn for each.
    """
    kept = [[Beam(number)] for number in range(problems)]
    drawn = [0] * problems
    for begin in range(0, plan.max_new_tokens, plan.step_tokens):
        growing = [beam for beams in kept for beam in beams if not beam.ends]
        if not growing:
            break
        parents = [
            beam
            for beam in growing
            for _ in range(plan.samples if beam.steps else plan.beams * plan.samples)
        ]
        steps = generate(parents, min(plan.step_tokens, plan.max_new_tokens - begin))
        for parent, step in zip(parents, steps, strict=True):
            drawn[parent.problem] += len(step.tokens)
        grown = _grow(parents, steps, judge, score)
        kept = [_keep(beams, grown, plan.beams, judge) for beams in kept]
        judge.drop(beam for beam in growing if beam.handle is not None)
    judge.drop(beam for beams in kept for beam in beams if beam.handle is not None)
    return Found([beams[0] for beams in kept], drawn)


def _grow(
    parents: Sequence[Beam], steps: Sequence[Step], judge: Judge, score: Score
) -> dict[int, list[Beam]]:
    """The different beams after their steps, by problem."""
    distinct: dict[tuple[int, tuple[int, ...]], tuple[Beam, Step]] = {}
    for parent, step in zip(parents, steps, strict=True):
        distinct.setdefault((parent.problem, parent.tokens + step.tokens), (parent, step))
    pairs = list(distinct.values())
    judged = judge.judge([parent for parent, _ in pairs], [step for _, step in pairs])
    grown: dict[int, list[Beam]] = {}
    for (parent, step), found in zip(pairs, judged, strict=True):
        beam = Beam(
            parent.problem,
            parent.tokens + step.tokens,
            parent.steps + 1,
            score(parent, step, found.value),
            step.ends,
            found.handle,
        )
        grown.setdefault(parent.problem, []).append(beam)
    return grown


def _keep(
    beams: Sequence[Beam], grown: dict[int, list[Beam]], most: int, judge: Judge
) -> list[Beam]:
    """The best finished and new beams of a problem; the judge drops the others."""
    rivals = [beam for beam in beams if beam.ends] + grown.get(beams[0].problem, [])
    rivals.sort(key=lambda beam: -beam.score)  # stable: the earlier first among equals
    judge.drop(beam for beam in rivals[most:])
    return rivals[:most]
