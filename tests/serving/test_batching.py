"""How requests wait for one another, while the model is held back."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from gcrm import RewardModel
from gcrm.config.serve import Limits
from gcrm.modeling.tokenization import Encoded
from helpers.server import in_thread, post, refusal


class Held:
    """A model that scores a batch only when it may, and the sizes of its batches."""

    def __init__(self, model: RewardModel, monkeypatch: pytest.MonkeyPatch):
        self.may = threading.Semaphore(0)
        self.began = threading.Semaphore(0)
        self.batches: list[int] = []
        score = model.score_encoded

        def score_later(encoded: Any, tokens_per_batch: int | None = None) -> Any:
            self.batches.append(len(encoded))
            self.began.release()
            assert self.may.acquire(timeout=30)
            if any(one.num_tokens == POISON for one in encoded):
                raise RuntimeError("out of memory")
            return score(encoded, tokens_per_batch)

        monkeypatch.setattr(model, "score_encoded", score_later)


POISON = 41
"""tokens of a text on which the model fails"""


@pytest.fixture
def held(model: RewardModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    held = Held(model, monkeypatch)
    yield held
    held.may.release(1000)


class Asking(threading.Thread):
    """A request under way. Texts are given by their numbers of tokens."""

    def __init__(self, address: str, *lengths: int):
        super().__init__(daemon=True)
        self.address, self.lengths = address, lengths
        self.start()

    def run(self) -> None:
        inputs = [[1] * length for length in self.lengths]
        self.response = post(self.address, "classify", {"input": inputs})

    def answer(self) -> requests.Response:
        self.join(30)
        assert not self.is_alive()
        return self.response


def wait_for(address: str, tokens: int) -> None:
    """Until this many tokens wait or are scored."""
    for _ in range(500):
        if f"gcrm_queue_tokens {float(tokens)}" in requests.get(f"{address}/metrics").text:
            return
        time.sleep(0.01)
    raise AssertionError(requests.get(f"{address}/metrics").text)


def test_requests_that_arrive_meanwhile_are_scored_together(model: RewardModel, held: Held) -> None:
    with in_thread(model) as address:
        asking = [Asking(address, 5)]
        assert held.began.acquire(timeout=30)
        asking += [Asking(address, length, 3) for length in range(6, 16)]
        wait_for(address, 5 + sum(range(6, 16)) + 30)
        held.may.release(2)
        assert [one.answer().status_code for one in asking] == [200] * 11
        assert held.batches == [1, 20]
        for one in asking:
            alone = [
                float(RewardModel.score_encoded(model, [Encoded([1] * length, 0)]).reward[0])
                for length in one.lengths
            ]
            found = [item["probs"][0] for item in one.response.json()["data"]]
            assert found == pytest.approx(alone, abs=1e-5)


def test_a_large_request_holds_up_a_small_one_by_a_batch(model: RewardModel, held: Held) -> None:
    with in_thread(model, Limits(max_batch_tokens=100)) as address:
        large = Asking(address, *[50] * 20)
        assert held.began.acquire(timeout=30)
        small = Asking(address, 10)
        wait_for(address, 1010)
        held.may.release(3)
        assert small.answer().status_code == 200 and large.is_alive()
        held.may.release(20)
        assert len(large.answer().json()["data"]) == 20
        assert sum(held.batches) == 21 and max(held.batches) <= 4


def test_a_full_queue_refuses(model: RewardModel, held: Held) -> None:
    with in_thread(model, Limits(max_queue_tokens=100, max_request_tokens=100)) as address:
        first = Asking(address, 60)
        assert held.began.acquire(timeout=30)
        response = post(address, "classify", {"input": [[1] * 50]})
        assert "60 tokens wait" in refusal(response, 429)
        assert 1 <= int(response.headers["Retry-After"]) <= 60
        second = Asking(address, 40)
        wait_for(address, 100)
        held.may.release(2)
        assert first.answer().status_code == second.answer().status_code == 200
        wait_for(address, 0)


def test_too_many_requests_are_refused(model: RewardModel, held: Held) -> None:
    with in_thread(model, Limits(max_requests=2)) as address:
        asking = [Asking(address, 5)]
        assert held.began.acquire(timeout=30)
        asking.append(Asking(address, 6))
        wait_for(address, 11)
        assert "2 requests are open" in refusal(post(address, "classify", {"input": [[1]]}), 429)
        assert requests.get(f"{address}/health", timeout=30).status_code == 200
        held.may.release(2)
        assert [one.answer().status_code for one in asking] == [200, 200]
        held.may.release(1)
        assert post(address, "classify", {"input": [[1]]}).status_code == 200


def test_a_request_that_waits_too_long_ends_and_leaves_the_queue(
    model: RewardModel, held: Held
) -> None:
    with in_thread(model, Limits(timeout=0.5)) as address:
        first, second = Asking(address, 5), Asking(address, 6)
        assert "not scored within 0.5 s" in refusal(first.answer(), 503)
        refusal(second.answer(), 503)
        assert "Retry-After" in second.response.headers
        held.may.release(2)
        assert post(address, "classify", {"input": [[1, 2]]}).status_code == 200
        assert sum(held.batches) in (2, 3)  # the one that waited was not scored


def test_who_goes_away_leaves_the_queue(model: RewardModel, held: Held) -> None:
    with in_thread(model) as address:
        first = Asking(address, 5)
        assert held.began.acquire(timeout=30)
        with pytest.raises(requests.ReadTimeout):
            requests.post(f"{address}/classify", json={"input": [[1] * 6]}, timeout=0.3)
        wait_for(address, 5)
        held.may.release(2)
        assert first.answer().status_code == 200
        assert post(address, "classify", {"input": [[1, 2]]}).status_code == 200
        assert held.batches == [1, 1]


def test_one_that_fails_takes_no_other_with_it(model: RewardModel, held: Held) -> None:
    with in_thread(model) as address:
        asking = [Asking(address, 5)]
        assert held.began.acquire(timeout=30)
        asking += [Asking(address, length) for length in (6, POISON, 7)]
        wait_for(address, 5 + 6 + POISON + 7)
        held.may.release(10)
        statuses = {one.lengths[0]: one.answer().status_code for one in asking}
        assert statuses == {5: 200, 6: 200, POISON: 503, 7: 200}
        told = refusal(asking[2].response, 503)
        assert "the model failed on this request" in told and "memory" not in told
