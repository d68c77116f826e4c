"""Reward functions give what `RewardModel.score` gives, in the forms of the trainers."""

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gcrm.modeling.reward_model import RewardModel
from gcrm.rl.rewards import compute_score, openrlhf_reward, reward_function
from gcrm.utils.errors import UserError
from helpers.models import make_tokenizer, save_base_model, save_reward_model

QUESTIONS = ["tom has 3 apples . how many ?", "ann buys 4 pears . tom has 2 ?", "how many now ?"]
SOLUTIONS = ["3 + 4 = 7 . answer 7", "answer 2", "now"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rewards")
    save_reward_model(folder / "rm", save_base_model(folder / "base"), scale=20)
    np.save(folder / "goal.npy", np.random.default_rng(0).normal(size=(1, 32)).astype("float32"))
    return folder


@pytest.fixture(scope="module")
def scorer(folder: Path) -> RewardModel:
    return RewardModel.from_pretrained(folder / "rm", folder / "goal.npy")


@pytest.fixture(scope="module")
def expected(scorer: RewardModel) -> list[float]:
    scored = (scorer.score(q, [s]) for q, s in zip(QUESTIONS, SOLUTIONS, strict=True))
    rewards = [float(each.reward[0]) for each in scored]
    assert min(abs(a - b) for a, b in pairwise(rewards)) > 0.01
    return rewards


def messages(role: str, texts: list[str]) -> list[Any]:
    return [[{"role": role, "content": text}] for text in texts]


def test_texts_and_messages_have_the_rewards_of_score(folder: Path, expected: list[float]) -> None:
    function = reward_function(folder / "rm")
    plain = function(prompts=QUESTIONS, completions=SOLUTIONS, answer=["7", "2", "0"])
    turns = function(
        prompts=messages("user", QUESTIONS), completions=messages("assistant", SOLUTIONS)
    )
    assert plain == pytest.approx(expected, abs=1e-5)
    assert turns == pytest.approx(expected, abs=1e-5)


def test_a_completion_without_eos_is_scored_as_if_it_ended_less_the_penalty(
    folder: Path, expected: list[float]
) -> None:
    tokenizer = make_tokenizer()
    ids = [tokenizer(text, add_special_tokens=False).input_ids for text in SOLUTIONS]
    ids[1].append(tokenizer.eos_token_id)
    given = {"prompts": QUESTIONS, "completions": SOLUTIONS, "completion_ids": [*ids[:2], []]}
    assert reward_function(folder / "rm")(**given) == pytest.approx(expected, abs=1e-5)
    strict = reward_function(folder / "rm", missing_eos_penalty=2)(**given)
    assert strict == pytest.approx(np.array(expected) - [2, 0, 2], abs=1e-5)
    ends = reward_function(folder / "rm", missing_eos_penalty=2, eos_token_ids=[ids[0][-1]])
    assert ends(**given) == pytest.approx(np.array(expected) - [0, 2, 2], abs=1e-5)


def test_standardised_rewards_have_mean_0_and_variance_1_on_given_texts(
    folder: Path, expected: list[float]
) -> None:
    function = reward_function(folder / "rm", missing_eos_penalty=2)
    function.standardise([*zip(QUESTIONS[:2], SOLUTIONS[:2], strict=True)])
    found = function(QUESTIONS, SOLUTIONS)
    assert (np.mean(found[:2]), np.std(found[:2])) == pytest.approx((0, 1), abs=1e-4)
    mean, std = np.mean(expected[:2]), np.std(expected[:2])
    assert found[2] == pytest.approx((expected[2] - mean) / std, abs=1e-3)
    assert function(QUESTIONS, SOLUTIONS, completion_ids=[[]] * 3) == pytest.approx(
        np.array(found) - 2, abs=1e-4
    )
    with pytest.raises(UserError, match=r"all 2 completions have the reward"):
        function.standardise([(QUESTIONS[0], SOLUTIONS[0])] * 2)


def test_with_a_goal_state_the_mean_q_value_is_logged(folder: Path, scorer: RewardModel) -> None:
    logged: dict[str, float] = {}
    reward_function(folder / "rm", folder / "goal.npy")(
        QUESTIONS, SOLUTIONS, log_metric=logged.__setitem__
    )
    q_values = []
    for question, solution in zip(QUESTIONS, SOLUTIONS, strict=True):
        scores = scorer.score(question, [solution])
        assert scores.q_values is not None
        q_values.append(scores.q_values.at_percentile(1.0)[0])
    assert logged == {"q_value": pytest.approx(np.mean(q_values), abs=1e-5)}


@pytest.mark.parametrize(
    ("prompts", "completions", "message"),
    [
        ([3], ["now"], "prompt: prompt must be text"),
        (["how many ?"], [["now"]], "expected an object with role and content"),
        (["how many ?"], [7], "a completion must be text"),
        (["how many ?"], [[{"role": "tool", "content": "7"}]], "expected one message of the"),
        (["now " * 200], ["now"], "leaves no room for a completion"),
    ],
)
def test_mistakes_are_told(folder: Path, prompts: Any, completions: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        reward_function(folder / "rm")(prompts, completions)


def test_openrlhf_calls_a_file_from_several_threads(folder: Path, expected: list[float]) -> None:
    """As its SingleTurnAgentExecutor does: one query a call, decoded with its special tokens."""
    file = folder / "reward_func.py"
    file.write_text(
        "from gcrm.rl.rewards import openrlhf_reward\n"
        f"reward_func = openrlhf_reward({str(folder / 'rm')!r}, missing_eos_penalty=1)\n"
    )
    spec = importlib.util.spec_from_file_location("reward_func", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    endings = [" </s>", "", " </s>"]
    queries = [f"{q} {s}{end}" for q, s, end in zip(QUESTIONS, SOLUTIONS, endings, strict=True)]

    def reward(number: int) -> float:
        found = module.reward_func([queries[number]], [QUESTIONS[number]], [None])
        assert found["extra_logs"] == {} and found["scores"] is found["rewards"]
        [value] = found["rewards"].tolist()
        return float(value)

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(reward, [0, 1, 2] * 8))
    assert found == pytest.approx((np.array(expected) - [0, 1, 0]).tolist() * 8, abs=1e-5)


def test_openrlhfs_rendered_prompts_are_scored_as_they_stand(
    folder: Path, scorer: RewardModel, expected: list[float]
) -> None:
    prompt = scorer.encoder.render(QUESTIONS[0])
    tokens = scorer.tokenizer(f"{prompt}{SOLUTIONS[0]}</s>", add_special_tokens=False).input_ids
    query = scorer.tokenizer.decode(tokens)  # white space is not as in the prompt
    assert not str(query).startswith(prompt)
    function = openrlhf_reward(folder / "rm", folder / "goal.npy", rendered=True)
    found = function([str(query)], [prompt], ["7"])
    assert found["rewards"].tolist() == pytest.approx(expected[:1], abs=1e-5)
    assert -1 <= found["extra_logs"]["q_value"] <= 1
    with pytest.raises(UserError, match="does not begin with its prompt"):
        function(["other words"], [prompt], ["7"])


def test_verls_custom_reward_function(folder: Path, expected: list[float]) -> None:
    """Called as its naive reward manager does, with reward_kwargs merged in."""
    kwargs = {"reward_model_path": str(folder / "rm"), "goal_state_path": str(folder / "goal.npy")}
    found = [
        compute_score(
            data_source="made",
            solution_str=solution,
            ground_truth="7",
            extra_info={"question": question, "num_turns": 2},
            **kwargs,
        )
        for question, solution in zip(QUESTIONS, SOLUTIONS, strict=True)
    ]
    assert [each["score"] for each in found] == pytest.approx(expected, abs=1e-5)
    assert all(-1 <= each["q_value"] <= 1 for each in found)
    with pytest.raises(UserError, match=r"extra_info has no 'problem' \(it has: question\)"):
        compute_score(
            "made", "now", "7", {"question": "how many ?"}, prompt_key="problem", **kwargs
        )
