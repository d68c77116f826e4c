"""Scores of growing samples are those of whole ones, however they grow."""

import copy
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from gcrm import RewardModel
from gcrm.modeling.growing import Cached, Growing, Recomputed
from gcrm.modeling.loading import new_reward_model
from gcrm.modeling.reward_model import Scores
from gcrm.modeling.stream import Stream, TokenScores
from gcrm.modeling.tokenization import Encoded
from gcrm.utils.errors import UserError
from helpers.architectures import save_tiny_model
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


def test_natural_text_is_scored_once() -> None:
    """Words come one by one, and what was told of them stays."""
    rm = model_with("bytes")
    text = "3 + 4 = 7, so Tom has 7 apples.\nThe answer is 7.\n\n 很高兴认识你 Ann has 8 pears!"
    stream = rm.stream("Tom has")
    [handle] = stream.add()
    lengths = [0]
    for letter in text:
        found = stream.push_text({handle: letter})[handle]
        assert found.begin == lengths[-1]
        lengths.append(found.begin + len(found.rewards))
    assert stream.tokens_read < len(rm.encoder.encode("Tom has", text).input_ids)
    assert len(set(lengths)) > 20
    assert_same_text(stream, handle, rm, text)


def assert_same_text(stream: Stream, handle: int, rm: RewardModel, text: str) -> None:
    stream.finish([handle])
    assert_same(stream.scores(handle), rm.score("Tom has", [text]))


@pytest.mark.parametrize("parity", ["none", "official"])
@pytest.mark.parametrize("name", ["bytes", "llama 2"])
def test_what_is_longer_than_max_len_is_cut_as_by_score(name: str, parity: str) -> None:
    rm = model_with(name, parity, max_len=100 if parity == "none" else 250)
    text = "Tom has 3 apples . " * 40
    stream = rm.stream("Tom has")
    [handle] = stream.add()
    for piece in pieces(text, [0.1, 0.5, 0.7]):
        stream.push_text({handle: piece})
    assert stream.truncated(handle)
    assert_same_text(stream, handle, rm, text)
    assert stream.truncated(handle)


@pytest.mark.parametrize("model_type", ["mistral", "gemma2", "gemma3_text", "olmo3", "gpt_neo"])
def test_sliding_windows(model_type: str, tmp_path: Path) -> None:
    """Windows are shorter than the texts, and cut at the same tokens."""
    window = {"window_size": 6} if model_type == "gpt_neo" else {"sliding_window": 6}
    model, tokenizer = new_reward_model(
        str(save_tiny_model(model_type, tmp_path, **window)), "sdpa", seed=0
    )
    rm = RewardModel(model.eval(), tokenizer, None, 128)
    stream = rm.stream("Tom has")
    handles, texts = stream.add(3), ["Tom has 3 apples . " * n for n in (1, 3, 4)]
    for part in zip(*(pieces(text, [0.2, 0.3, 0.8]) for text in texts), strict=True):
        stream.push_text(dict(zip(handles, part, strict=True)))
    stream.finish(handles)
    scores = rm.score("Tom has", texts)
    for row, handle in enumerate(handles):
        assert_same(stream.scores(handle), scores, row)


def test_eos_that_was_pushed_ends_the_sample(rm: RewardModel) -> None:
    stream, eos = rm.stream(QUESTION), rm.encoder.eos_id
    one, other = stream.add(2)
    ended = stream.push({one: [7, 8, eos], other: np.array([7, 8])})
    found = stream.finish([one, other])
    assert len(found[one].rewards) == 0 and len(found[other].rewards) == 1
    assert ended[one].rewards[-1] == pytest.approx(found[other].rewards[-1], abs=1e-5)


def test_tokens_are_read_once(rm: RewardModel) -> None:
    stream = rm.stream(QUESTION)
    prompt = stream.tokens_read
    assert prompt == len(rm.encoder.prompt_ids(QUESTION))
    handles = stream.add(3)
    for _ in range(4):
        stream.push({handle: [7, 8] for handle in handles})
    assert stream.tokens_read == prompt + 24


def test_only_some_of_the_samples(rm: RewardModel) -> None:
    """Without a goal state there are rewards alone; nothing pushed is nothing told."""
    stream = RewardModel(rm.model, rm.tokenizer, None, 48).stream(QUESTION)
    one, other = stream.add(2)
    found = stream.push({other: [9], one: []})
    assert found[other].q_values is None
    assert [len(found[handle].rewards) for handle in (one, other)] == [0, 1]
    assert stream.push({}) == {} and stream.push_text({}) == {} and stream.finish([]) == {}


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda stream, one: stream.push({99: [7]}), "no sample 99"),
        (lambda stream, one: stream.finish([99]), "no sample 99"),
        (lambda stream, one: stream.drop([one, 99]), "no sample 99"),
        (lambda stream, one: stream.fork(99), "no sample 99"),
        (lambda stream, one: stream.push({one: [7, 86]}), "token 86; .* 0 to 85"),
        (lambda stream, one: stream.push({one: [-1]}), "token -1"),
        (lambda stream, one: stream.push({one: "tom"}), "'tom'; expected a list of token ids"),
        (lambda stream, one: stream.push({one: 7}), "expected a list of token ids"),
        (lambda stream, one: stream.push({one: [7.5]}), "expected a list of token ids"),
        (lambda stream, one: stream.push_text({one: [7]}), "got list; expected text"),
        (lambda stream, one: stream.push_text({one: b"\xff"}), "not UTF-8"),
        (lambda stream, one: stream.push_text({one: "\ud83d"}), "half a character"),
        (lambda stream, one: stream.add(1, "tom " * 60), "leaves no room"),
        (lambda stream, one: stream.add(1, 7), "prompt"),
    ],
)
def test_what_cannot_be_read_is_refused_and_changes_nothing(
    rm: RewardModel, act: Callable[[Stream, int], Any], message: str
) -> None:
    stream = rm.stream(QUESTION)
    one, other = stream.add(2)
    with pytest.raises(UserError, match=message) as told:
        act(stream, one)
    assert "\n" not in str(told.value)
    assert stream.handles == [one, other]
    stream.push({one: [7], other: [8, 9]})
    stream.finish([one, other])
    whole = rm.score_encoded(
        [Encoded([*rm.encoder.prompt_ids(QUESTION), 7, rm.encoder.eos_id], 14)]
    )
    assert stream.scores(one).rewards[-1] == pytest.approx(whole.reward[0], abs=1e-5)


def test_what_comes_too_late_or_in_another_form(rm: RewardModel) -> None:
    stream = rm.stream(QUESTION)
    one, other, third = stream.add(3)
    stream.push({one: [7]})
    stream.push_text({other: "😀".encode()[:2]})
    for act, message in [
        (lambda: stream.push_text({one: "tom"}), f"sample {one} gets tokens, and cannot get text"),
        (lambda: stream.push({other: [7]}), f"sample {other} gets text, and cannot get tokens"),
        (lambda: stream.push_text({other: "tom"}), "text within a character"),
        (lambda: stream.finish([other]), "ends within a character"),
    ]:
        with pytest.raises(UserError, match=message):
            act()
    stream.push_text({other: "😀".encode()[2:]})
    stream.finish([one, other, third])
    for again in (stream.push, stream.push_text):
        with pytest.raises(UserError, match="is finished; add another one"):
            again({one: []})
    with pytest.raises(UserError, match="is finished"):
        stream.fork(one)
    assert_same(stream.scores(third), rm.score(QUESTION, [""]))
    stream.drop([one, one])
    assert stream.handles == [other, third]


def test_weights_that_are_no_numbers_give_no_scores(rm: RewardModel) -> None:
    model = copy.deepcopy(rm.model)
    with torch.no_grad():
        model.get_submodule("score").weight[0, 0] = torch.nan
    stream = RewardModel(model, rm.tokenizer, None, 48).stream(QUESTION)
    with pytest.raises(UserError, match="no finite numbers"):
        stream.push({stream.add()[0]: [7]})
