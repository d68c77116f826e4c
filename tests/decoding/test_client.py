"""Samples from a real server on 127.0.0.1, scored here and ended on the way."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gcrm import RewardModel
from gcrm.decoding.client import ServedGenerator, sample_from_server
from gcrm.decoding.completions import Completion, CompletionServer
from gcrm.decoding.live import Plan
from gcrm.decoding.rules import Rule
from gcrm.utils.errors import UserError
from helpers.completion_server import Served, completion_server
from helpers.models import make_byte_tokenizer, save_base_model, save_reward_model

QUESTIONS = ["tom has 3 apples", "how many pears does ann have ?"]
PLAN = Plan(samples=4, max_new_tokens=12, check_every=4, temperature=2.0, skip=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("models")
    save_base_model(folder / "base")
    save_reward_model(
        folder / "rm", save_base_model(folder / "other", tokenizer=make_byte_tokenizer())
    )
    return folder


@pytest.fixture(scope="module")
def rm(folder: Path) -> RewardModel:
    """A reward model of bytes, for a generator of words."""
    return RewardModel.from_pretrained(folder / "rm", np.random.default_rng(1).normal(size=32))


@pytest.fixture
def served(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with completion_server(folder / "base") as served:
        yield served


def client(served: Served, **options: Any) -> CompletionServer:
    return CompletionServer(
        served.url, "words", **{"parallel": 3, "first_wait": 0.01, "timeout": 60} | options
    )


def test_all_samples_are_continued_to_their_end_and_scored(rm: RewardModel, served: Served) -> None:
    render = ServedGenerator(client(served), served.tokenizer, PLAN).prompt
    assert render(QUESTIONS[0]) == "tom has 3 apples <sep> "
    found = sample_from_server(client(served), rm, QUESTIONS, served.tokenizer, plan=PLAN)
    for question, samples in zip(QUESTIONS, found, strict=True):
        assert len({sample.text for sample in samples}) > 1
        scores = rm.score(question, [sample.text for sample in samples])
        for row, sample in enumerate(samples):
            assert sample.finished or sample.generated == 12
            np.testing.assert_allclose(
                sample.scores.rewards, scores.partial_rewards[row], atol=1e-5
            )
    # Each request continues the text of one before.
    prompts = [body["prompt"] for body in served.asked]
    assert {body["max_tokens"] for body in served.asked} == {4}
    assert prompts.count("tom has 3 apples <sep> ") == 4
    for prompt in prompts:
        if prompt not in map(render, QUESTIONS):
            assert any(prompt.startswith(other) and prompt != other for other in prompts)
    again = sample_from_server(client(served), rm, QUESTIONS, served.tokenizer, plan=PLAN)
    assert [[s.text for s in each] for each in again] == [[s.text for s in each] for each in found]


def test_the_worst_are_dropped_and_cost_no_more(rm: RewardModel, served: Served) -> None:
    plain = sample_from_server(client(served), rm, QUESTIONS, served.tokenizer, plan=PLAN)
    before = len(served.asked)
    rule = Rule("reward", keep=1, share=0.5)
    found = sample_from_server(client(served), rm, QUESTIONS, served.tokenizer, rule, PLAN)
    assert len(served.asked) - before < before
    for all_of_it, samples in zip(plain, found, strict=True):
        dropped = [sample for sample in samples if sample.dropped]
        assert 0 < len(dropped) < 4
        assert all(sample.generated in (4, 8, 12) for sample in dropped)
        for whole, sample in zip(all_of_it, samples, strict=True):
            assert whole.text.startswith(sample.text)
            assert sample.dropped or whole.text == sample.text


def test_a_threshold_for_q_values(rm: RewardModel, served: Served) -> None:
    """Dropped are those whose Q-values fell below it; at least one sample of a question stays."""
    plain = sample_from_server(client(served), rm, QUESTIONS, served.tokenizer, plan=PLAN)
    lowest = [sample.scores.q_values[2:].min() for each in plain for sample in each]
    threshold = float(np.median(lowest))
    rule = Rule("q_value", keep=1, threshold=threshold)
    found = sample_from_server(client(served), rm, QUESTIONS, served.tokenizer, rule, PLAN)
    for each in found:
        assert any(not sample.dropped for sample in each)
        for sample in each:
            assert not sample.dropped or sample.scores.q_values[2:].min() < threshold


def test_a_busy_server_is_asked_again(served: Served) -> None:
    served.failures = [(503, {"Retry-After": "0.02"}, ""), (429, {}, "slow down"), (500, {}, "oh")]
    assert client(served).complete("tom has <sep>", 3, 0, 1).tokens == 3
    assert len(served.asked) == 4


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ((400, {}, '{"error": "too\nlong"}'), 'status 400: {"error": "too long"}'),
        ((401, {}, "who are you"), "status 401: who are you .*variable OPENAI_API_KEY"),
        ((302, {"Location": "http://127.0.0.1:1/"}, ""), "status 302"),
        ((200, {}, "<html>"), "something else than completions: '<html>'"),
        ((200, {}, '{"choices": []}'), "something else than completions"),
        ((200, {}, '{"choices": [{"text": 7, "finish_reason": "stop"}]}'), "something else"),
        ((200, {}, '{"choices": [{"text": "", "finish_reason": "abort"}]}'), "reason 'abort'"),
    ],
)
def test_what_cannot_work_is_told_at_once(
    served: Served, failure: tuple[int, dict[str, str], str], message: str
) -> None:
    served.failures = [failure]
    with pytest.raises(UserError, match=message) as told:
        client(served).complete("tom", 3, 0, 1)
    assert str(told.value).startswith(f"{served.url}/v1/completions: ")
    assert "\n" not in str(told.value) and len(served.asked) == 1


def test_a_key_is_sent_and_never_told(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    client(served).complete("tom", 3, 0, 1)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    client(served).complete("tom", 3, 0, 1)
    assert served.keys == [None, "Bearer sk-secret"]
    served.failures = [(403, {}, "the key sk-secret is unknown")]
    with pytest.raises(UserError) as told:
        client(served).complete("tom", 3, 0, 1)
    assert "sk-secret" not in str(told.value)


def test_servers_that_are_not_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        gone = CompletionServer(url, "words", tries=2, first_wait=0.01)
        with pytest.raises(UserError, match="cannot be reached; start the server"):
            gone.complete("tom", 3, 0, 1)
        taken.listen()  # and never answers
        silent = CompletionServer(url, "words", tries=2, first_wait=0.01, timeout=0.1)
        with pytest.raises(UserError, match="no answer in time"):
            silent.complete("tom", 3, 0, 1)
    with pytest.raises(UserError, match="server_url: expected an address"):
        CompletionServer("127.0.0.1:8000", "words")


def test_an_error_within_the_run_ends_it(rm: RewardModel, served: Served) -> None:
    served.failures = [(200, {}, "{}")] * 3
    with pytest.raises(UserError, match="something else than completions"):
        sample_from_server(client(served), rm, QUESTIONS, served.tokenizer, plan=PLAN)


@pytest.mark.parametrize(
    ("usage", "reason", "tokens"),
    [
        ({"completion_tokens": 2}, "stop", 2),
        (None, "length", 3),
        (None, "stop", None),
    ],
)
def test_tokens_are_those_that_the_server_counts(
    served: Served, usage: dict[str, int] | None, reason: str, tokens: int | None
) -> None:
    answer = {"choices": [{"text": "a b", "finish_reason": reason}], "usage": usage}
    served.failures = [(200, {}, json.dumps(answer))]
    found = client(served).complete("tom", 3, 0, 1)
    assert found == Completion("a b", reason == "stop", tokens)


def test_tokens_that_no_server_counts_are_those_of_the_tokenizer(
    rm: RewardModel, served: Served
) -> None:
    answer = {"choices": [{"text": " tom has 3", "finish_reason": "stop"}]}
    served.failures = [(200, {}, json.dumps(answer))]
    [[sample]] = sample_from_server(
        client(served), rm, QUESTIONS[:1], served.tokenizer, plan=Plan(samples=1)
    )
    assert sample.generated == 3 + 1


def test_half_letters_are_asked_for_again(rm: RewardModel) -> None:
    """A chunk that ends within a letter is continued before it."""

    class Halves(CompletionServer):
        def complete(self, text: str, tokens: int, temperature: float, seed: int) -> Completion:
            asked.append(text)
            if len(asked) == 1:
                return Completion(" an \ufffd", False, tokens)
            return Completion("é", True, 1)

    asked: list[str] = []
    plan = Plan(samples=1, check_every=4, max_new_tokens=20)
    server = Halves("http://127.0.0.1:1", "")
    [[sample]] = sample_from_server(server, rm, ["tom"], make_byte_tokenizer(), plan=plan)
    assert asked[1] == asked[0] + " an "
    assert sample.text == " an é" and sample.generated == 5
    whole = rm.score("tom", [" an é"])
    np.testing.assert_allclose(sample.scores.rewards, whole.partial_rewards[0], atol=1e-5)
