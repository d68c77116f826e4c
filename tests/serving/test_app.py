"""What the endpoints answer: the scores of the Python API, and those of OpenRLHF and vLLM."""

import json
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from gcrm import RewardModel
from helpers.models import save_base_model, save_reward_model
from helpers.server import in_thread, post, refusal

QUESTION = "Tom has 3 apples. He buys 4 more; how many apples does he have now?"
SOLUTIONS = ["3 + 4 = 7, so Tom has 7 apples.", "The answer is 8", "", "  😀 é\n\n7\t"]
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "How many?"},
    {"role": "assistant", "content": "Of what?"},
    {"role": "user", "content": "apples"},
]
ALL = {"partial_rewards": True, "q_values": True, "tokens": True}


def asked(address: str, *groups: dict[str, Any], **wanted: Any) -> list[list[dict[str, Any]]]:
    answer = post(address, "score", {"groups": groups} | wanted)
    assert answer.status_code == 200, answer.text
    return [group["solutions"] for group in answer.json()["groups"]]


def test_scores_are_those_of_the_python_api(server: str, model: RewardModel) -> None:
    groups = [
        {"question": QUESTION, "solutions": SOLUTIONS},
        {"messages": MESSAGES, "solutions": ["7", "7"]},
    ]
    found = asked(server, *groups, **ALL)
    prompts: list[Any] = [QUESTION, MESSAGES]
    for prompt, group, solutions in zip(prompts, groups, found, strict=True):
        scores = model.score(prompt, group["solutions"])
        assert scores.q_values is not None
        for row, solution in enumerate(solutions):
            assert solution["reward"] == solution["partial_rewards"][-1]
            for name, values in scores.of_tokens.items():
                assert solution[name] == pytest.approx(values[row].tolist(), abs=1e-5)
            assert solution["num_tokens"] == len(solution["tokens"]) == scores.num_tokens[row]
            assert not solution["truncated"]
            assert "".join(solution["tokens"]) == group["solutions"][row]


def test_only_what_is_asked_for_is_answered(server: str) -> None:
    [[plain]] = asked(server, {"question": QUESTION, "solutions": ["7"]})
    assert plain.keys() == {"reward", "num_tokens", "truncated"}
    [[with_tokens]] = asked(server, {"question": QUESTION, "solutions": ["7"]}, tokens=True)
    assert with_tokens.keys() == plain.keys() | {"tokens"}


def test_a_prompt_is_counted_once(server: str, model: RewardModel) -> None:
    groups = [{"question": QUESTION, "solutions": ["7", "8 apples"]}]
    [read] = [post(server, "score", {"groups": groups}).json()["tokens_read"]]
    one, two = (model.encoder.encode(QUESTION, text) for text in ("7", "8 apples"))
    assert read == one.start + one.num_tokens + two.num_tokens


def test_a_solution_that_is_too_long_loses_its_end(server: str, model: RewardModel) -> None:
    solution = "7 " * 600
    [[found]] = asked(server, {"question": QUESTION, "solutions": [solution]}, **ALL)
    assert found["truncated"] and found["reward"] == pytest.approx(
        model.score(QUESTION, [solution]).reward[0], abs=1e-5
    )
    text = "".join(found["tokens"])
    assert len(found["tokens"]) == found["num_tokens"] and solution.startswith(text)
    assert 300 < len(text) < len(solution)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@settings(max_examples=25)
@given(groups=st.lists(st.tuples(texts, st.lists(texts, min_size=1, max_size=4)), max_size=4))
def test_any_text_has_pieces_and_the_scores_of_the_python_api(
    server: str, model: RewardModel, groups: list[tuple[str, list[str]]]
) -> None:
    given_groups = [{"question": one, "solutions": many} for one, many in [*groups, ("a", ["b"])]]
    response = post(server, "score", {"groups": given_groups} | ALL)
    if response.status_code == 422:  # as the Python API refuses a rendered prompt
        return
    for group, found in zip(given_groups, response.json()["groups"], strict=True):
        expected = model.score(group["question"], group["solutions"])
        for row, solution in enumerate(found["solutions"]):
            assert solution["reward"] == pytest.approx(float(expected.reward[row]), abs=1e-5)
            assert "".join(solution["tokens"]) == group["solutions"][row]


def test_requests_at_once_do_not_mix(server: str, model: RewardModel) -> None:
    """Each has its own scores, whatever else is in its batch."""
    draw = np.random.default_rng(0)
    jobs = []
    for _ in range(60):
        question = f"{QUESTION} {draw.integers(4)}"
        jobs.append((question, [f"{n} " * n for n in draw.integers(1, 30, 3)]))
    wrong: list[Any] = []

    def ask(jobs: list[tuple[str, list[str]]]) -> None:
        for question, solutions in jobs:
            [found] = asked(server, {"question": question, "solutions": solutions})
            expected = alone[question, tuple(solutions)]
            if [one["reward"] for one in found] != pytest.approx(expected, abs=1e-5):
                wrong.append((question, solutions))

    alone = {
        (question, tuple(solutions)): [
            float(model.score(question, [one]).reward[0]) for one in solutions
        ]
        for question, solutions in jobs
    }
    threads = [threading.Thread(target=ask, args=(jobs[i::12],)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_q_values_need_a_goal_state(reward_model: Path) -> None:
    with in_thread(RewardModel.from_pretrained(reward_model)) as address:
        body = {"groups": [{"question": QUESTION, "solutions": ["7"]}], "q_values": True}
        told = refusal(post(address, "score", body), 422)
        assert told == "q_values: the server has no goal state; start it with one"
        assert "extra_logs" in post(address, "get_reward", {"query": ["7"]}).json()
        [model] = requests.get(f"{address}/v1/models", timeout=30).json()["data"]
        assert model["q_values"] is False


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("score", {}, "groups: is missing"),
        ("score", {"groups": []}, "groups: List should have at least 1 item"),
        ("score", {"groups": [{"solutions": ["7"]}]}, "groups.0: give either question or messages"),
        ("score", {"groups": [{"question": "a", "solutions": []}]}, "groups.0.solutions: List"),
        ("score", {"groups": [{"question": "a", "solutions": [7]}]}, "groups.0.solutions.0: Input"),
        ("score", {"groups": [{"question": 7, "solutions": ["7"]}]}, "groups.0.question: Input"),
        ("score", {"groups": [], "temperature": 1}, "groups: List should have"),
        (
            "score",
            {"groups": [{"question": "a", "solutions": ["7"]}], "temperature": 1},
            "temperature: unknown field",
        ),
        (
            "score",
            {"groups": [{"question": "a " * 600, "solutions": ["7"]}]},
            "groups.0: a prompt of ",
        ),
        (
            "score",
            {"groups": [{"messages": [{"role": "king", "content": "a"}], "solutions": ["7"]}]},
            "groups.0: the prompt: prompt, message 1: the role 'king' is unknown",
        ),
        ("get_reward", {"query": []}, "query: List should have at least 1 item"),
        ("get_reward", {"query": [""]}, "query.0: has no tokens"),
        ("get_reward", {"query": ["a"], "prompts": []}, "prompts: expected as many as in query"),
        ("classify", {}, "give either input or messages"),
        ("classify", {"input": "a", "messages": MESSAGES}, "give either input or messages"),
        ("classify", {"input": [1, 100_000]}, "input.0: a token is not in 0 … "),
        ("classify", {"input": ["a " * 600]}, "input.0: has "),
        ("classify", {"input": "a", "add_generation_prompt": True}, "are for messages"),
        ("classify", {"input": "a", "dimensions": 3}, "dimensions: unknown field"),
        ("pooling", {"input": "a", "task": "embed"}, "task: Input should be 'classify' or"),
        ("pooling", {"input": "a", "encoding_format": "base64"}, "encoding_format: Input should"),
    ],
)
def test_what_is_wrong_is_named(server: str, path: str, body: Any, told: str) -> None:
    assert told in refusal(post(server, path, body), 422)


@pytest.mark.parametrize("path", ["score", "classify", "pooling"])
def test_another_model_is_refused(server: str, path: str) -> None:
    body: dict[str, Any] = {"input": "a"}
    if path == "score":
        body = {"groups": [{"question": "a", "solutions": ["b"]}]}
    assert post(server, path, body | {"model": "rm"}).status_code == 200
    assert "here is 'rm'" in refusal(post(server, path, body | {"model": "gpt"}), 404)


# --- OpenRLHF and vLLM ---------------------------------------------------------------------------


class Plain:
    """The reward of every token of a text, by transformers alone."""

    def __init__(self, folder: Path):
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForSequenceClassification.from_pretrained(folder)

    @torch.inference_mode()
    def rewards(self, text: str | list[int], special: bool = False) -> list[float]:
        ids = text
        if isinstance(text, str):
            ids = self.tokenizer(text, add_special_tokens=special).input_ids
        hidden = self.model.base_model(torch.tensor([ids])).last_hidden_state
        rewards = self.model.score(hidden)[0, :, 0]
        assert rewards[-1] == pytest.approx(self.model(torch.tensor([ids])).logits.item(), abs=1e-5)
        found: list[float] = rewards.tolist()
        return found


@pytest.fixture(scope="module")
def plain(reward_model: Path) -> Plain:
    return Plain(reward_model)


def rendered(plain: Plain, solution: str) -> str:
    """As a trainer or another client renders it."""
    turns = [{"role": "user", "content": QUESTION}]
    prompt = plain.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return str(prompt) + solution + plain.tokenizer.eos_token


def test_openrlhf_gets_a_reward_for_each_query(
    server: str, plain: Plain, model: RewardModel
) -> None:
    """Request and answer as in OpenRLHF 0.11: `openrlhf/utils/agent.py`, `cli/serve_rm.py`."""
    queries = [rendered(plain, solution) for solution in SOLUTIONS[:2]]
    prompt = queries[0].partition(SOLUTIONS[0])[0]
    payload = {"query": queries, "prompts": [prompt] * 2, "labels": [None, "7"]}
    answer = post(server, "get_reward", payload).json()
    assert answer.keys() == {"rewards", "scores", "extra_logs"}
    expected = [plain.rewards(query)[-1] for query in queries]
    assert answer["rewards"] == answer["scores"] == pytest.approx(expected, abs=1e-5)
    scores = model.score(QUESTION, SOLUTIONS[:2])
    assert answer["rewards"] == pytest.approx(scores.reward.tolist(), abs=1e-5)
    assert scores.q_values is not None
    last = scores.q_values.at_percentile(1.0).tolist()
    assert answer["extra_logs"] == {"q_values": pytest.approx(last, abs=1e-5)}
    alone = post(server, "get_reward", {"query": queries}).json()
    assert alone["rewards"] == pytest.approx(expected, abs=1e-5)


def test_a_query_that_is_too_long_loses_its_end(server: str, plain: Plain) -> None:
    ids = plain.tokenizer("7 " * 600, add_special_tokens=False).input_ids
    expected = plain.rewards(ids[:512])[-1]
    answer = post(server, "get_reward", {"query": ["7 " * 600]}).json()
    assert answer["rewards"] == pytest.approx([expected], abs=1e-5)


def test_vllm_classifies(server: str, plain: Plain, model: RewardModel) -> None:
    """Request and answer as in vLLM 0.32: `entrypoints/pooling/classify/protocol.py`."""
    inputs = [rendered(plain, solution) for solution in SOLUTIONS]
    body = {"model": "rm", "input": inputs, "add_special_tokens": False, "user": "me"}
    answer = post(server, "classify", body | {"request_id": "x1"}).json()
    assert answer["id"] == "classify-x1" and answer["object"] == "list" and answer["model"] == "rm"
    assert isinstance(answer["created"], int)
    rewards = model.score(QUESTION, SOLUTIONS).reward.tolist()
    for index, (item, text, reward) in enumerate(zip(answer["data"], inputs, rewards, strict=True)):
        assert item == {
            "index": index,
            "label": "reward",
            "probs": [pytest.approx(plain.rewards(text)[-1], abs=1e-5)],
            "num_classes": 1,
        }
        assert item["probs"] == pytest.approx([reward], abs=1e-5)
    tokens = sum(len(plain.rewards(text)) for text in inputs)
    assert answer["usage"] == {
        "prompt_tokens": tokens,
        "total_tokens": tokens,
        "completion_tokens": 0,
        "prompt_tokens_details": None,
        "completion_tokens_details": None,
    }


def test_vllm_pools(server: str, plain: Plain) -> None:
    ids = [[1, 2, 3], [4, 5]]
    answer = post(server, "pooling", {"input": ids}).json()
    assert answer["id"].startswith("pooling-")
    expected = [plain.rewards(one) for one in ids]
    for index, (item, rewards) in enumerate(zip(answer["data"], expected, strict=True)):
        data = [pytest.approx(rewards[-1], abs=1e-5)]
        assert item == {"index": index, "object": "pooling", "data": data}
    body = {"input": ids[0], "task": "token_classify"}
    [item] = post(server, "pooling", body).json()["data"]
    assert np.array(item["data"]) == pytest.approx(np.array(expected[0])[:, None], abs=1e-5)


def test_vllm_renders_a_dialogue(server: str, plain: Plain) -> None:
    messages = [*MESSAGES, {"role": "assistant", "content": "7"}]
    for options in ({}, {"add_generation_prompt": True}, {"continue_final_message": True}):
        text = plain.tokenizer.apply_chat_template(messages, tokenize=False, **options)
        [item] = post(server, "classify", {"messages": messages} | options).json()["data"]
        assert item["probs"] == pytest.approx([plain.rewards(text)[-1]], abs=1e-5)


def test_the_activation_is_vllms(tmp_path: Path) -> None:
    """A sigmoid on the one label of a model whose `problem_type` is no regression."""
    folder = save_reward_model(tmp_path / "rm", save_base_model(tmp_path / "base"), scale=10)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"problem_type": None}))
    plain = Plain(folder)
    [reward] = plain.rewards([7])
    assert abs(reward) > 0.01
    with in_thread(RewardModel.from_pretrained(folder)) as address:
        for use, expected in ((None, 1 / (1 + np.exp(-reward))), (False, reward)):
            body = {"input": [7]} | ({} if use is None else {"use_activation": use})
            [item] = post(address, "classify", body).json()["data"]
            assert item["probs"] == pytest.approx([expected], abs=1e-5)
            [item] = post(address, "pooling", body).json()["data"]
            assert item["data"] == pytest.approx([expected], abs=1e-5)


# --- the other pages -----------------------------------------------------------------------------


def test_the_api_page_loads_nothing_from_elsewhere(server: str) -> None:
    docs = requests.get(f"{server}/docs", timeout=30)
    assert docs.status_code == 200 and not re.search(r"(src|href)=\"https?:", docs.text)
    for path in re.findall(r'(?:src|href)="(/[^"]+)"', docs.text):
        assert requests.get(f"{server}{path}", timeout=30).status_code == 200
    described = requests.get(f"{server}/openapi.json", timeout=30).json()
    paths = {"/score", "/get_reward", "/classify", "/pooling", "/v1/models", "/health", "/metrics"}
    assert described["paths"].keys() == paths
    assert {"413", "422", "429", "503"} <= described["paths"]["/score"]["post"]["responses"].keys()


def test_requests_and_tokens_are_counted(model: RewardModel) -> None:
    with in_thread(model) as address:
        [[one]] = asked(address, {"question": QUESTION, "solutions": ["7"]})
        requests.get(f"{address}/a text of a user", timeout=30)
        text = requests.get(f"{address}/metrics", timeout=30).text
    start = model.encoder.encode(QUESTION, "7").start
    assert 'gcrm_requests_total{endpoint="/score",status="200"} 1.0' in text
    assert 'gcrm_requests_total{endpoint="other",status="404"} 1.0' in text
    assert f"gcrm_tokens_total {float(start + one['num_tokens'])}" in text
    assert "gcrm_solutions_total 1.0" in text and "gcrm_queue_tokens 0.0" in text
    assert "gcrm_open_requests 1.0" in text  # this one
    assert "process_resident_memory_bytes" in text and "a text" not in text
