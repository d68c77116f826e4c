"""Search over steps: on a literal toy distribution, against brute force over all its solutions."""

import itertools
import math
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcrm.decoding.search import (
    LEAST,
    Beam,
    Judged,
    NoJudge,
    Plan,
    Score,
    Step,
    by_value,
    guided,
    likelihood,
    search,
)

Table = dict[tuple[int, ...], float]
END, LONGEST = 0, 3
PROBABILITIES = {
    (): (0.0, 0.7, 0.3),
    (1,): (0.2, 0.5, 0.3),
    (2,): (0.1, 0.3, 0.6),
}
"""P(END), P(1) and P(2) after the last token, or at the start"""
COSINES: Table = {(1,): 0.1, (2,): 0.9, (1, 1): 0.8, (1, 2): -0.5, (2, 1): 0.6, (2, 2): 0.5}
"""C of the first two tokens; longer solutions have that of their last two"""


def probability(before: tuple[int, ...], token: int) -> float:
    return PROBABILITIES[before[-1:]][token]


def cosine(tokens: tuple[int, ...], table: Table = COSINES) -> float:
    return table[tuple(token for token in tokens if token != END)[-2:]]


def solutions() -> list[tuple[int, ...]]:
    """All of at most LONGEST tokens, those cut off there included."""
    found = []
    for length in range(1, LONGEST + 1):
        for tokens in itertools.product((END, 1, 2), repeat=length):
            inner = END in tokens[:-1] or tokens == (END,)
            if not inner and (tokens[-1] == END or length == LONGEST):
                found.append(tokens)
    return found


class AllSteps:
    """Instead of drawing: behind each beam, every possible step once, in turn."""

    def __init__(self) -> None:
        self.tokens: list[int] = []

    def __call__(self, beams: Sequence[Beam], most: int) -> list[Step]:
        turns: dict[tuple[int, tuple[int, ...]], itertools.cycle[Step]] = {}
        found = []
        for beam in beams:
            key = (beam.problem, beam.tokens)
            turns.setdefault(key, itertools.cycle(possible(beam.tokens, most)))
            found.append(next(turns[key]))
        self.tokens += [len(step.tokens) for step in found]
        return found


def possible(before: tuple[int, ...], most: int) -> list[Step]:
    steps = []
    for length in range(1, most + 1):
        for tokens in itertools.product((END, 1, 2), repeat=length):
            p = math.prod(
                probability((before + tokens)[: len(before) + i], token)
                for i, token in enumerate(tokens)
                if END not in tokens[:-1]
            )
            ends = tokens[-1] == END
            if END not in tokens[:-1] and (ends or length == most) and p > 0:
                steps.append(Step(tokens, math.log(p), ends))
    return steps


class Cosines:
    """The cosines of the toy, and which handles are held."""

    def __init__(self, table: Table = COSINES) -> None:
        self.table = table
        self.held: dict[int, tuple[int, ...]] = {}
        self.numbers = itertools.count()

    def judge(self, beams: Sequence[Beam], steps: Sequence[Step]) -> list[Judged]:
        found = []
        for beam, step in zip(beams, steps, strict=True):
            if beam.handle is not None:
                assert self.held[beam.handle] == beam.tokens
            handle = next(self.numbers)
            self.held[handle] = beam.tokens + step.tokens
            found.append(Judged(handle, cosine(self.held[handle], self.table)))
        return found

    def drop(self, beams: Iterable[Beam]) -> None:
        for beam in beams:
            assert beam.handle is not None
            assert self.held.pop(beam.handle) == beam.tokens


def product(tokens: tuple[int, ...], step_tokens: int, rho: float, table: Table = COSINES) -> float:
    """The paper's score of a solution, as it is written."""
    score = 1.0
    for begin in range(0, len(tokens), step_tokens):
        step = tokens[begin : begin + step_tokens]
        for i, token in enumerate(step):
            score *= probability(tokens[: begin + i], token)
        score *= rho * max(cosine(tokens[: begin + len(step)], table), LEAST)
    return score


def find(score: Score, plan: Plan, problems: int = 1) -> tuple[int, ...]:
    judge = Cosines()
    found = search(problems, AllSteps(), judge, score, plan)
    assert not judge.held  # nothing is left in the reward model's cache
    assert len({beam.tokens for beam in found.best}) == 1
    return found.best[0].tokens


@pytest.mark.parametrize("step_tokens", [1, 2, 3])
@pytest.mark.parametrize("rho", [0.1, 1.0, 6.0])
def test_a_search_that_keeps_all_beams_finds_the_best_of_all_solutions(step_tokens, rho):
    plan = Plan(15, 15, step_tokens, LONGEST)
    expected = max(solutions(), key=lambda tokens: product(tokens, step_tokens, rho))
    assert find(guided(rho), plan) == expected
    assert find(guided(rho), plan, problems=3) == expected


def test_the_score_is_the_logarithm_of_the_product():
    found = search(1, AllSteps(), Cosines(), guided(3.0), Plan(15, 15, 2, LONGEST))
    (best,) = found.best
    assert math.exp(best.score) == pytest.approx(product(best.tokens, 2, 3.0))


def test_rho_decides_only_between_different_numbers_of_steps():
    """A small one prefers solutions that end early, and it is without effect in steps as long as
    solutions."""
    lengths = [len(find(guided(rho), Plan(15, 15, 1, LONGEST))) for rho in (0.05, 30.0)]
    assert lengths == [2, 3]
    whole = {find(guided(rho), Plan(15, 15, LONGEST, LONGEST)) for rho in (0.05, 1.0, 30.0)}
    assert len(whole) == 1


def test_a_negative_cosine_is_never_made_good_by_another():
    """Two factors of -0.5 would have the product 0.25."""
    twice, once = guided(1.0), guided(1.0)
    step, beam = Step((1,), 0.0, False), Beam(0)
    negative = twice(Beam(0, score=twice(beam, step, -0.5)), step, -0.5)
    positive = once(Beam(0, score=once(beam, step, 0.01)), step, 0.01)
    assert negative == pytest.approx(2 * math.log(LEAST))
    assert negative < positive


def test_the_controls_leave_out_one_factor_each():
    plan = Plan(15, 15, 1, LONGEST)
    most_likely = max(
        solutions(),
        key=lambda tokens: math.prod(probability(tokens[:i], t) for i, t in enumerate(tokens)),
    )
    assert find(likelihood, plan) == most_likely
    assert cosine(find(by_value, plan)) == max(map(cosine, solutions()))


def test_two_beams_by_hand():
    """Steps of one token, two beams, all steps drawn.

    After 1: (2) 0.3 * 0.9 = 0.27, (1) 0.7 * 0.1 = 0.07. After 2: (2 1) 0.27 * 0.3 * 0.6 = 0.0486,
    (2 2) 0.27 * 0.6 * 0.5 = 0.081, (2 END) 0.27 * 0.1 * 0.9 = 0.0243, (1 1) 0.07 * 0.5 * 0.8 =
    0.028: (2 2) and (2 1) stay. After 3, the best is (2 2 2) 0.081 * 0.6 * 0.5 = 0.0243, ahead of
    (2 2 1) 0.081 * 0.3 * 0.6 = 0.0146 and (2 1 1) 0.0486 * 0.5 * 0.8 = 0.0194. Among the solutions,
    (2 END) has 0.0243, too, but it was out.
    """
    found = search(1, AllSteps(), Cosines(), guided(1.0), Plan(2, 3, 1, LONGEST))
    assert found.best[0].tokens == (2, 2, 2)
    assert math.exp(found.best[0].score) == pytest.approx(0.0243)
    assert found.best[0].steps == 3
    assert not found.best[0].ends


def test_the_tokens_drawn_are_counted_for_each_problem():
    generate = AllSteps()
    found = search(2, generate, Cosines(), guided(1.0), Plan(2, 3, 2, LONGEST))
    assert sum(found.drawn) == sum(generate.tokens)
    assert found.drawn[0] == found.drawn[1]


def test_best_of_n_draws_whole_solutions():
    plan = Plan(beams=2, samples=3, step_tokens=1, max_new_tokens=LONGEST).at_once
    seen = []

    def draw(beams: Sequence[Beam], most: int) -> list[Step]:
        seen.append((len(beams), most))
        texts = [(1, END), (2, 2, 1), (2, END), (1, 1, 2), (2, END), (1, END)]
        return [Step(text, -1.0, text[-1] == END) for text in texts]

    judge = Cosines()
    (best,) = search(1, draw, judge, by_value, plan).best
    assert seen == [(6, LONGEST)]
    assert best.tokens == (2, END)  # C 0.9
    assert next(judge.numbers) == 4  # equal samples are judged once


def test_plain_sampling_is_a_search_without_a_judge():
    def draw(beams: Sequence[Beam], most: int) -> list[Step]:
        return [Step((1 + beam.problem, END), -1.0, True) for beam in beams]

    found = search(2, draw, NoJudge(), by_value, Plan(1, 1, 9, 9))
    assert [beam.tokens for beam in found.best] == [(1, END), (2, END)]
    assert found.drawn == [2, 2]


def test_finished_problems_wait_for_the_others():
    """A generator only gets beams that go on, and each its own problem's tokens."""
    asked = []

    def draw(beams: Sequence[Beam], most: int) -> list[Step]:
        asked.append([beam.problem for beam in beams])
        return [Step((1,), -1.0, len(beam.tokens) >= beam.problem) for beam in beams]

    found = search(3, draw, NoJudge(), likelihood, Plan(1, 1, 1, 9))
    assert asked == [[0, 1, 2], [1, 2], [2]]
    assert [beam.steps for beam in found.best] == [1, 2, 3]


tables = st.fixed_dictionaries({tokens: st.floats(-1, 1) for tokens in COSINES})


@settings(max_examples=60, deadline=None)
@given(table=tables, rho=st.floats(0.01, 100), beams=st.integers(1, 4))
def test_no_beam_search_beats_brute_force(table, rho, beams):
    """And a wide one reaches it, whatever the cosines."""
    best = max(product(tokens, 1, rho, table) for tokens in solutions())
    for width, reaches in ((beams, False), (15, True)):
        found = search(1, AllSteps(), Cosines(table), guided(rho), Plan(width, 3, 1, LONGEST))
        value = math.exp(found.best[0].score)
        assert value <= best * (1 + 1e-9)
        assert not reaches or value == pytest.approx(best)
