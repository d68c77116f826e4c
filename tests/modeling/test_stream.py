"""Scores of growing samples are those of whole ones, however they grow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcrm import RewardModel
from gcrm.modeling.growing import Cached, Growing, Recomputed
from gcrm.modeling.reward_model import Scores
from gcrm.modeling.stream import Stream, TokenScores
from gcrm.modeling.tokenization import Encoded

QUESTION = "tom has 3 apples . tom buys 4 apples . how many ?"
GOAL = np.random.default_rng(0).normal(size=32)


@pytest.fixture(scope="module")
def rm(reward_model: Path) -> RewardModel:
    return RewardModel.from_pretrained(reward_model, GOAL, max_len=48)


def assert_same(found: TokenScores, scores: Scores, row: int = 0) -> None:
    """The scores of a whole sample are those of `RewardModel.score`."""
    assert found.begin == 0
    np.testing.assert_allclose(found.rewards, scores.partial_rewards[row], atol=1e-5, rtol=0)
    assert (found.q_values is None) == (scores.q_values is None)
    if scores.q_values is not None:
        np.testing.assert_allclose(found.q_values, scores.q_values[row], atol=1e-5, rtol=0)


GROWING: dict[str, Callable[[RewardModel], Growing]] = {
    "rows of any lengths": lambda rm: Cached(rm.passes, mixed=True),
    "rows of one length": lambda rm: Cached(rm.passes, mixed=False),
    "read anew": lambda rm: Recomputed(rm.passes),
}
moves = st.lists(
    st.tuples(
        st.sampled_from(["push"] * 4 + ["step", "add", "fork", "drop"]),
        st.integers(0, 99),
        st.lists(st.lists(st.integers(5, 80), max_size=7), min_size=6, max_size=6),
    ),
    max_size=12,
)


@pytest.mark.parametrize("way", GROWING)
@settings(max_examples=40)
@given(moves=moves)
def test_tokens_in_any_pieces(rm: RewardModel, way: str, moves: list[Any]) -> None:
    """Tokens, pushed in any pieces to samples that come, fork and go."""
    prompt = rm.encoder.prompt_ids(QUESTION)
    stream = Stream(rm.encoder, GROWING[way](rm), rm.goal_state, QUESTION)
    tokens: dict[int, list[int]] = {handle: [] for handle in stream.add(2)}
    for kind, number, pieces in moves:
        some = list(tokens)[number % len(tokens)] if tokens else -1
        if kind == "add" and len(tokens) < 6:
            tokens |= {handle: [] for handle in stream.add(1 + number % 2)}
        elif kind == "fork" and 0 < len(tokens) < 6:
            tokens[stream.fork(some)] = list(tokens[some])
        elif kind == "drop" and tokens:
            stream.drop([some])
            del tokens[some]
        else:
            width = number % 4 if kind == "step" else 7
            given = {one: piece[:width] for one, piece in zip(tokens, pieces, strict=False)}
            found = stream.push(given)
            for one, piece in given.items():
                room = max(47 - len(prompt) - len(tokens[one]), 0)
                assert found[one].begin == min(len(tokens[one]), 47 - len(prompt))
                assert len(found[one].rewards) == min(len(piece), room)
                tokens[one] += piece
    finished = stream.finish(tokens)
    assert stream.handles == list(tokens)
    for one, given_to in tokens.items():
        kept = [*prompt, *given_to][:47]
        whole = rm.score_encoded([Encoded([*kept, rm.encoder.eos_id], len(prompt))])
        assert_same(stream.scores(one), whole)
        assert finished[one].rewards[-1] == pytest.approx(whole.reward[0], abs=1e-5)
        assert stream.truncated(one) == (len(prompt) + len(given_to) > 47)
