"""Scores of growing samples are those of whole ones, however they grow."""

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from gcrm import RewardModel
from gcrm.modeling.growing import Cached, Growing, Recomputed
from gcrm.modeling.reward_model import Scores
from gcrm.modeling.stream import Stream, TokenScores
from gcrm.modeling.tokenization import Encoded
from helpers.chat_templates import TEMPLATES
from helpers.models import (
    make_byte_tokenizer,
    make_sentencepiece_tokenizer,
    make_tokenizer,
    save_base_model,
    save_reward_model,
)

QUESTION = "tom has 3 apples . tom buys 4 apples . how many ?"
OTHER = "ann has 9 pears ."
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
    """Tokens of two questions, pushed in any pieces to samples that come, fork and go."""
    stream = Stream(rm.encoder, GROWING[way](rm), rm.goal_state, QUESTION)
    tokens: dict[int, list[int]] = {handle: [] for handle in stream.add(2)}
    prompts = {handle: rm.encoder.prompt_ids(QUESTION) for handle in tokens}
    for kind, number, pieces in moves:
        some = list(tokens)[number % len(tokens)] if tokens else -1
        if kind == "add" and len(tokens) < 6:
            question = OTHER if number % 3 == 0 else None
            added = stream.add(1 + number % 2, question)
            tokens |= {handle: [] for handle in added}
            prompts |= {handle: rm.encoder.prompt_ids(question or QUESTION) for handle in added}
        elif kind == "fork" and 0 < len(tokens) < 6:
            copy = stream.fork(some)
            tokens[copy], prompts[copy] = list(tokens[some]), prompts[some]
        elif kind == "drop" and tokens:
            stream.drop([some])
            del tokens[some]
        else:
            width = number % 4 if kind == "step" else 7
            given = {one: piece[:width] for one, piece in zip(tokens, pieces, strict=False)}
            found = stream.push(given)
            for one, piece in given.items():
                room = 47 - len(prompts[one])
                assert found[one].begin == min(len(tokens[one]), room)
                assert len(found[one].rewards) == min(len(piece), max(room - len(tokens[one]), 0))
                tokens[one] += piece
    finished = stream.finish(tokens)
    assert stream.handles == list(tokens)
    for one, given_to in tokens.items():
        kept, start = [*prompts[one], *given_to][:47], len(prompts[one])
        whole = rm.score_encoded([Encoded([*kept, rm.encoder.eos_id], start)])
        assert_same(stream.scores(one), whole)
        assert finished[one].rewards[-1] == pytest.approx(whole.reward[0], abs=1e-5)
        assert stream.truncated(one) == (start + len(given_to) > 47)


# --- text of another tokenizer ---

TOKENIZERS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "words": make_tokenizer,
    "bytes": make_byte_tokenizer,
    "bytes that swallow": lambda: make_byte_tokenizer(swallow=True),
    "llama 2": make_sentencepiece_tokenizer,
    "llama 2 modern": lambda: make_sentencepiece_tokenizer(modern=True),
    "a word with the prompt": lambda: make_sentencepiece_tokenizer(
        chat_template="{{ messages[0].content }} The ans"
    ),
    "thinks": lambda: make_byte_tokenizer(
        chat_template=TEMPLATES["reasoning stripped, block opened"]
    ),
}
PIECES = (
    "Tom apples <s> </s> <unk> <sep> <|endoftext|> <|user|> </think> 😀 👩‍👩‍👧 3 + 4 = wer".split()
)
PIECES += [" has", " ", "\n", ".\n\n", "e\u0301", "\u2003", "\x00", " 12", "0" * 9, "很高兴认识你"]
user_texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=9).map("".join)


@cache
def model_with(name: str, parity: str = "none", max_len: int = 512) -> RewardModel:
    with TemporaryDirectory() as folder:
        base = save_base_model(Path(folder) / "base", tokenizer=TOKENIZERS[name](), context=2048)
        loaded = RewardModel.from_pretrained(save_reward_model(Path(folder) / "rm", base), GOAL)
    return RewardModel(loaded.model, loaded.tokenizer, loaded.goal_state, max_len, parity)


def pieces(text: str | bytes, cuts: list[float]) -> list[Any]:
    ends = [0, *sorted(int(cut * len(text)) for cut in cuts), len(text)]
    return [text[begin:end] for begin, end in pairwise(ends)]


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("parity", ["none", "official"])
@settings(max_examples=15)
@given(
    texts=st.lists(user_texts, min_size=1, max_size=3),
    cuts=st.lists(st.floats(0, 1), min_size=3, max_size=9),
    as_bytes=st.booleans(),
)
def test_text_in_any_pieces(
    name: str, parity: str, texts: list[str], cuts: list[float], as_bytes: bool
) -> None:
    """Text in any pieces, also of a character's bytes; special tokens in it are text."""
    rm = model_with(name, parity)
    stream = rm.stream("Tom has")
    handles = stream.add(len(texts))
    told: dict[int, list[float]] = {handle: [] for handle in handles}

    def tell(found: dict[int, TokenScores]) -> None:
        for handle, scores in found.items():
            told[handle][scores.begin :] = scores.rewards.tolist()

    each = [pieces(text.encode() if as_bytes else text, cuts) for text in texts]
    for now in zip(*each, strict=True):
        tell(stream.push_text(dict(zip(handles, now, strict=True))))
        for handle in handles:
            assert told[handle] == stream.scores(handle).rewards.tolist()
    tell(stream.finish(handles))
    scores = rm.score("Tom has", texts)
    for row, handle in enumerate(handles):
        assert_same(stream.scores(handle), scores, row)
        assert told[handle] == stream.scores(handle).rewards.tolist()
