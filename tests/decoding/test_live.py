"""Samples that a reward model reads while they grow: scores, costs, and what a rule leaves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gcrm.decoding.live import Generator, Plan, Solved, parameters_per_token
from gcrm.decoding.replay import replay, thresholds
from gcrm.decoding.rules import Rule
from gcrm.modeling.loading import load_language_model, load_tokenizer
from gcrm.modeling.reward_model import RewardModel
from helpers.models import make_byte_tokenizer, save_base_model, save_reward_model

QUESTIONS = [f"tom has {i} apples . how many ?" for i in range(3)]
PLAN = Plan(
    samples=5, temperature=1.0, max_new_tokens=20, check_every=3, skip=2, seed=1, batch_size=100
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("live")
    save_reward_model(folder / "rm", save_base_model(folder / "base"), seed=5, scale=10)
    save_base_model(folder / "bytes", tokenizer=make_byte_tokenizer(), seed=3)
    return folder


@pytest.fixture(scope="module")
def reward_model(folder: Path) -> RewardModel:
    goal = np.random.default_rng(0).normal(size=(1, 32)).astype(np.float32)
    return RewardModel.from_pretrained(folder / "rm", goal)


def generator(folder: Path, name: str = "base") -> Generator:
    """A generator of texts alone: a trained model draws no special token but the last one."""
    model, tokenizer = (load(str(folder / name)) for load in (load_language_model, load_tokenizer))
    head = model.get_output_embeddings()
    head.bias = torch.nn.Parameter(torch.zeros(head.out_features))
    for token in {*tokenizer.all_special_ids} - {tokenizer.eos_token_id}:
        head.bias.data[token] = -1e4
    return Generator(model, tokenizer, PLAN)


@pytest.fixture(scope="module")
def plain(folder: Path, reward_model: RewardModel) -> list[Solved]:
    return generator(folder).solve(QUESTIONS, reward_model)


def test_the_last_check_is_the_score_of_the_whole_sample(
    plain: list[Solved], reward_model: RewardModel
) -> None:
    for question, solved in zip(QUESTIONS, plain, strict=True):
        scores = reward_model.score(question, [sample.text for sample in solved.samples])
        assert scores.q_values is not None
        for row, sample in enumerate(solved.samples):
            assert sample.checks[-1].reward == pytest.approx(scores.reward[row], abs=1e-4)
            assert sample.checks[-1].generated == sample.generated
            later = scores.q_values[row][PLAN.skip :]
            lowest = later.min() if len(later) else None
            assert sample.checks[-1].q_value == pytest.approx(lowest, abs=1e-5)
    assert {sample.finished for solved in plain for sample in solved.samples} == {True, False}


def test_both_models_compute_each_token_once(
    plain: list[Solved], folder: Path, reward_model: RewardModel
) -> None:
    """Counted as texts; the end of a sample is read by the reward model alone."""
    tokenizer = load_tokenizer(str(folder / "base"))
    for question, solved in zip(QUESTIONS, plain, strict=True):
        prompt = len(reward_model.encoder.prompt_ids(question))
        assert solved.prompt_tokens == (prompt, prompt)
        for sample, policy, judged in zip(
            solved.samples, solved.policy_tokens, solved.reward_model_tokens, strict=True
        ):
            words = len(tokenizer(sample.text, add_special_tokens=False).input_ids)
            assert sample.generated == words + sample.finished
            assert (policy, judged) == (max(words - (not sample.finished), 0), words + 1)


def test_policy_tokens_are_those_of_its_forward_passes(
    folder: Path, reward_model: RewardModel
) -> None:
    seen = []
    ours = generator(folder)
    ours.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    rules = [Rule("reward", keep=1, share=0.5)] * 3
    found = ours.solve(QUESTIONS, reward_model, rules)
    assert sum(seen) == sum(one.prompt_tokens[0] + one.policy_tokens.sum() for one in found)


@pytest.mark.parametrize("keep", [1, 3])
@pytest.mark.parametrize("kind", ["threshold", "mild threshold", "q_value", "reward"])
def test_what_is_really_run_is_what_the_replay_says(
    folder: Path, reward_model: RewardModel, plain: list[Solved], kind: str, keep: int
) -> None:
    between = thresholds(plain, 9)
    rule = {
        "threshold": Rule("q_value", keep, between[6]),
        "mild threshold": Rule("q_value", keep, between[2]),
        "q_value": Rule("q_value", keep, share=0.5),
        "reward": Rule("reward", keep, share=0.3),
    }[kind]
    live = generator(folder).solve(QUESTIONS, reward_model, [rule] * len(QUESTIONS))
    replayed = [replay(one, rule) for one in plain]
    for ours, theirs, before in zip(live, replayed, plain, strict=True):
        assert ours.prompt_tokens == theirs.prompt_tokens
        for one, other, whole in zip(ours.samples, theirs.samples, before.samples, strict=True):
            assert (one.dropped, one.finished) == (other.dropped, other.finished)
            assert [(check.generated, check.read) for check in one.checks] == [
                (check.generated, check.read) for check in other.checks
            ]
            if one.dropped:
                assert whole.text.startswith(one.text)
            else:
                assert replace(one, checks=[]) == replace(whole, checks=[])
        assert sum(not sample.dropped for sample in ours.samples) >= keep
    assert any(sample.dropped for one in live for sample in one.samples)


def test_a_rule_holds_for_its_question_alone(
    folder: Path, reward_model: RewardModel, plain: list[Solved]
) -> None:
    rules = [None, Rule("q_value", 1, 1.0), None]
    found = generator(folder).solve(QUESTIONS, reward_model, rules)
    dropped = [sum(sample.dropped for sample in one.samples) for one in found]
    assert dropped[0] == dropped[2] == 0 < dropped[1]
    for place in (0, 2):
        assert [one.text for one in found[place].samples] == [
            one.text for one in plain[place].samples
        ]


def test_samples_of_another_tokenizer_are_read_as_text(
    folder: Path, reward_model: RewardModel
) -> None:
    found = [
        solved
        for question in QUESTIONS  # their prompts differ in length
        for solved in generator(folder, "bytes").solve([question], reward_model)
    ]
    for question, solved in zip(QUESTIONS, found, strict=True):
        scores = reward_model.score(question, [sample.text for sample in solved.samples])
        last = [sample.checks[-1].reward for sample in solved.samples]
        np.testing.assert_allclose(last, scores.reward, atol=1e-4)
        assert (solved.reward_model_tokens >= scores.num_tokens).all()


def test_samples_without_a_reward_model_are_the_same(folder: Path, plain: list[Solved]) -> None:
    found = generator(folder).solve(QUESTIONS)
    for ours, theirs in zip(found, plain, strict=True):
        assert [one.text for one in ours.samples] == [one.text for one in theirs.samples]
        assert ours.prompt_tokens[1] == ours.reward_model_tokens.sum() == 0
        assert np.isneginf(ours.rewards).all()


def test_thresholds_go_from_none_to_most(plain: list[Solved]) -> None:
    between = thresholds(plain, 5)
    lows = [
        min(check.q_value for check in sample.checks if check.q_value is not None)
        for one in plain
        for sample in one.samples
        if sample.checks[-1].q_value is not None
    ]
    assert len(between) == 5 and between == sorted(between)
    assert sum(low < between[0] for low in lows) == 0
    assert sum(low < between[-1] for low in lows) == len(lows) - 1
    assert thresholds([replace(one, samples=[]) for one in plain], 5) == []


def test_parameters_that_multiply_a_token_leave_out_the_table_of_embeddings(
    folder: Path, reward_model: RewardModel
) -> None:
    model = load_language_model(str(folder / "base"))
    total = sum(one.numel() for one in model.parameters())
    table = model.get_input_embeddings().weight
    assert parameters_per_token(model) == total - table.numel()
    head = table.shape[1]
    assert parameters_per_token(reward_model.model) == parameters_per_token(model) - (
        table.numel() - head
    )
    model.get_output_embeddings().weight = table  # tied: looked up, and multiplied
    assert parameters_per_token(model) == total - table.numel()
