"""Batches of completions, and forward passes behind a prompt that is read once."""

from collections import Counter
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gcrm import RewardModel
from gcrm.modeling.batching import Batch, Sharing, batches, prompt_key
from gcrm.modeling.passes import unique
from gcrm.modeling.tokenization import Encoded

TOKENS = st.lists(st.integers(3, 30), min_size=1, max_size=9)
PROMPTS = st.lists(TOKENS, min_size=1, max_size=4)
SHARING = st.sampled_from(get_args(Sharing))


@st.composite
def completions(draw: st.DrawFn) -> list[Encoded]:
    prompts = draw(PROMPTS)
    rows = draw(st.lists(st.tuples(st.integers(0, 3), TOKENS), min_size=1, max_size=20))
    return [
        Encoded([*prompts[number % len(prompts)], *tokens], len(prompts[number % len(prompts)]))
        for number, tokens in rows
    ]


@given(completions(), st.integers(1, 100), st.sampled_from([0, 3, 1000]), SHARING)
def test_every_completion_is_in_one_pass_within_the_budget(encoded, budget, overhead, shared):
    found = batches(encoded, budget, overhead, shared)
    assert Counter(row for batch in found for row in batch.rows) == Counter(range(len(encoded)))
    longest = [max(len(encoded[row]) for row in batch.rows) for batch in found]
    assert longest == sorted(longest, reverse=True)
    for batch in found:
        for rows in batch.passes:
            lengths = [len(encoded[row]) for row in rows]
            if batch.prompt_tokens:
                lengths = [encoded[row].num_tokens for row in rows]
            assert len(rows) * (batch.prompt_tokens + max(lengths)) <= budget or len(rows) == 1
            assert sum(max(lengths) - length for length in lengths) <= overhead
        starts = {prompt_key(encoded[row]): encoded[row].start for row in batch.rows}
        if batch.prompt_tokens:
            assert batch.prompt_tokens == max(starts.values())
            assert shared != "none"
            assert shared == "any length" or len({*starts.values()}) == 1
            assert sum(batch.prompt_tokens - start for start in starts.values()) <= overhead
            whole = sum(encoded[row].start for row in batch.rows)
            assert whole - len(starts) * batch.prompt_tokens > overhead
            assert len(starts) * batch.prompt_tokens <= budget or len(starts) == 1


def test_many_samples_of_a_prompt_are_several_batches() -> None:
    encoded = [Encoded([1, 2, 3, 4 + number % 5, *range(number % 7)], 3) for number in range(1000)]
    found = batches(encoded, 20, 1, "same length")
    assert {batch.prompt_tokens for batch in found} == {3}
    assert max(len(batch.rows) for batch in found) < 200


@given(completions())
def test_equal_completions_are_scored_once(encoded):
    distinct, which = unique(encoded)
    assert [distinct[number] for number in which] == encoded
    assert len({(one.start, *one.input_ids) for one in distinct}) == len(distinct)


@pytest.fixture(scope="module")
def rm(reward_model) -> RewardModel:
    return RewardModel.from_pretrained(reward_model, bf16=False)


@pytest.mark.gpu
@pytest.mark.parametrize("sharing", ["same length", "any length"])
@pytest.mark.parametrize("overhead", [0, 1e9])
@settings(max_examples=25)  # of each of the four
@given(encoded=completions(), budget=st.integers(1, 100))
def test_scores_are_those_of_a_completion_alone(rm, sharing, overhead, encoded, budget):
    assert rm.passes.reads_behind(8, 8) and rm.passes.reads_behind(8, 5)
    head = rm.model.score.weight[0].detach()
    for batch in batches(encoded, budget, overhead, sharing):
        for rows, hidden, rewards in rm.passes(encoded, batch):
            each = zip(rows, hidden.split([encoded[row].num_tokens for row in rows]), strict=True)
            for row, states in each:
                with torch.no_grad():
                    ids = torch.tensor([encoded[row].input_ids], device=rm.model.device)
                    alone = rm.model.base_model(ids).last_hidden_state[0, encoded[row].start :]
                np.testing.assert_allclose(states.cpu(), alone.cpu(), atol=1e-4)
            np.testing.assert_allclose(rewards.cpu(), (hidden @ head).cpu(), atol=1e-4)


def test_an_architecture_that_cannot_share_prompts_says_so(reward_model, capsys, monkeypatch):
    rm = RewardModel.from_pretrained(reward_model)
    base = rm.model.base_model
    forward = base.forward

    def forgetful(*args, past_key_values=None, **options):
        return forward(*args, **options)

    monkeypatch.setattr(base, "forward", forgetful)
    assert rm.passes.sharing == "none"
    assert "reads a prompt anew for each completion" in capsys.readouterr().err
    encoded = [Encoded([3, 4, 5, 6], 3), Encoded([3, 4, 5, 7], 3)]
    assert rm.passes.batches(encoded) == [Batch([[0, 1]])]
