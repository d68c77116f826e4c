"""Samples that grow together are those that grow alone, and their random numbers are their own."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gcrm.decoding.sampler import Sampler, draw, random_numbers
from gcrm.modeling.loading import load_language_model
from helpers.models import save_base_model

EOS = 2
PROMPTS = [[1, 9, 10, 11], [1, 12, 13, 20]]
LONGEST = 12


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory):
    return load_language_model(str(save_base_model(tmp_path_factory.mktemp("base"))))


def alone(model, prompt: list[int], numbers: np.ndarray, temperature: float) -> list[int]:
    """One sample without a cache: at each step, the first token whose cumulative share is above."""
    ids = list(prompt)
    for number in numbers:
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1].double()
        shares = np.exp((logits - logits.max()).numpy() / temperature)
        cumulative = np.cumsum(shares) / shares.sum()
        token = int(np.searchsorted(cumulative, number, side="right"))
        if token == EOS:
            break
        ids.append(token)
    return ids[len(prompt) :]


def drawn(samples: int) -> np.ndarray:
    return np.concatenate([random_numbers(str(prompt), samples, LONGEST, 3) for prompt in PROMPTS])


def test_samples_are_those_of_a_loop_without_batch_or_cache(model) -> None:
    numbers = drawn(4)
    sampler = Sampler(model, PROMPTS, numbers, [EOS], 0.8)
    sampler.grow(LONGEST)
    for row, tokens in enumerate(sampler.tokens):
        assert tokens == alone(model, PROMPTS[row // 4], numbers[row], 0.8)
        assert sampler.finished[row] == (len(tokens) < LONGEST)
    assert not sampler.running.size


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=6),
    st.lists(st.sets(st.integers(0, 7), max_size=3), min_size=6, max_size=6),
)
def test_what_is_dropped_changes_no_other_sample(model, steps, dropped) -> None:
    """And what was computed is: prompts, and all tokens but the last of each sample."""
    plain = Sampler(model, PROMPTS, drawn(4), [EOS], 1.0)
    plain.grow(LONGEST)
    sampler, gone = Sampler(model, PROMPTS, drawn(4), [EOS], 1.0), {}
    for most, rows in zip(steps, dropped, strict=False):
        sampler.grow(most)
        gone |= {row: sampler.tokens[row][:] for row in rows if row in sampler.running}
        sampler.drop(rows)
    sampler.grow(LONGEST)
    for row, tokens in enumerate(sampler.tokens):
        if row in gone:
            assert tokens == gone[row] == plain.tokens[row][: len(tokens)]
        else:
            assert (tokens, sampler.finished[row]) == (plain.tokens[row], plain.finished[row])
    lengths = [len(t) + end for t, end in zip(sampler.tokens, sampler.finished, strict=True)]
    assert sampler.tokens_read == 8 + sum(max(length - 1, 0) for length in lengths)


def test_random_numbers_are_nested_and_differ_between_questions_samples_and_seeds() -> None:
    few, many = random_numbers("2 + 3 ?", 2, 5, 0), random_numbers("2 + 3 ?", 4, 9, 0)
    np.testing.assert_array_equal(few, many[:2, :5])
    others = [random_numbers("2 + 4 ?", 2, 5, 0), random_numbers("2 + 3 ?", 2, 5, 1)]
    assert len({round(float(x), 12) for each in [few, *others] for x in each.flat}) == 30


def test_tokens_are_drawn_as_often_as_their_shares_say() -> None:
    shares = torch.tensor([0.1, 0.0, 0.6, 0.3])
    numbers = (torch.arange(1000) + 0.5) / 1000
    found = draw(shares.log().expand(1000, 4), numbers, 1.0)
    assert torch.bincount(found, minlength=4).tolist() == [100, 0, 600, 300]
    hot = draw(shares.log().expand(1000, 4), numbers, 0.01)
    assert set(hot.tolist()) == {2}
