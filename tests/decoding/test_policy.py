"""Steps of a language model: their tokens, their likelihood, and what was read for them."""

import math

import pytest
import torch

from gcrm.decoding.policy import Policy
from gcrm.decoding.search import Beam
from gcrm.modeling.loading import load_language_model, load_tokenizer
from gcrm.modeling.tokenization import Encoder
from helpers.models import save_base_model

QUESTIONS = ["tom has 3 apples . how many ?", "ann buys 12 pears"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory):
    base = save_base_model(tmp_path_factory.mktemp("base"))
    model, tokenizer = load_language_model(str(base)), load_tokenizer(str(base))
    with torch.no_grad():
        model.lm_head.weight.mul_(20)  # random weights alone are close to uniform
    return model, tokenizer


def log_prob(models, question: str, before: tuple[int, ...], step: tuple[int, ...]) -> float:
    """By one forward pass over the whole text, without padding or cache."""
    model, tokenizer = models
    prompt = Encoder(tokenizer, 64).prompt_ids(question)
    ids = torch.tensor([[*prompt, *before, *step]])
    with torch.no_grad():
        found = model(ids).logits[0, :-1].log_softmax(dim=-1)
    chosen = found.gather(1, ids[0, 1:, None])[:, 0]
    return float(chosen[len(prompt) + len(before) - 1 :].sum())


def test_steps_have_the_likelihood_at_temperature_1(models):
    """Of prompts of different lengths, behind beams, whatever the temperature of the draws."""
    torch.manual_seed(3)
    policy = Policy(*models, QUESTIONS, temperature=0.4, max_new_tokens=16)
    first = policy([Beam(0), Beam(1), Beam(1)], 5)
    beams = [Beam(number, step.tokens) for number, step in zip((0, 1, 1), first, strict=True)]
    growing = [beam for beam, step in zip(beams, first, strict=True) if not step.ends]
    second = policy(growing, 3)
    for beam, step in zip(beams, first, strict=True):
        expected = log_prob(models, QUESTIONS[beam.problem], (), step.tokens)
        assert step.log_prob == pytest.approx(expected, abs=1e-4)
    for beam, step in zip(growing, second, strict=True):
        expected = log_prob(models, QUESTIONS[beam.problem], beam.tokens, step.tokens)
        assert step.log_prob == pytest.approx(expected, abs=1e-4)
        assert 1 <= len(step.tokens) <= 3


def test_a_step_ends_with_the_token_that_ends_the_solution(models):
    model, tokenizer = models
    torch.manual_seed(0)
    policy = Policy(model, tokenizer, QUESTIONS, temperature=3.0, max_new_tokens=40)
    steps = policy([Beam(0)] * 200, 40)
    assert {step.ends for step in steps} == {True, False}
    for step in steps:
        assert step.ends == (step.tokens[-1] == tokenizer.eos_token_id)
        assert tokenizer.eos_token_id not in step.tokens[:-1]
        assert len(step.tokens) == 40 or step.ends


def test_draws_follow_the_temperature(models):
    """First tokens of 4,000 steps against the model's probabilities."""
    model, tokenizer = models
    torch.manual_seed(1)
    policy = Policy(model, tokenizer, QUESTIONS, temperature=0.7, max_new_tokens=1)
    steps = policy([Beam(0)] * 4_000, 1)
    with torch.no_grad():
        prompt = torch.tensor([Encoder(tokenizer, 64).prompt_ids(QUESTIONS[0])])
        shares = torch.softmax(model(prompt).logits[0, -1] / 0.7, dim=-1)
    likely = int(shares.argmax())
    found = sum(step.tokens == (likely,) for step in steps) / len(steps)
    assert shares[likely] < 0.95
    assert found == pytest.approx(shares[likely].item(), abs=0.03)


def test_the_tokens_read_are_prompts_solutions_so_far_and_steps(models):
    model, tokenizer = models
    policy = Policy(model, tokenizer, QUESTIONS, temperature=1.0, max_new_tokens=8)
    prompts = [len(Encoder(tokenizer, 64).prompt_ids(question)) for question in QUESTIONS]
    first = policy([Beam(0), Beam(0), Beam(1)], 4)
    drawn = [len(step.tokens) for step in first]
    assert policy.tokens_read == [2 * prompts[0] + drawn[0] + drawn[1], prompts[1] + drawn[2]]
    (second,) = policy([Beam(1, (7, 8))], 4)
    assert policy.tokens_read[1] == 2 * prompts[1] + drawn[2] + 2 + len(second.tokens)
    assert all(math.isfinite(step.log_prob) for step in first)
