"""`gcrm serve`: how it starts, ends, and is started again."""

import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from gcrm import RewardModel
from gcrm.cli import run_stage
from gcrm.config.serve import ServeOptions
from gcrm.serve import run
from helpers.models import save_base_model, save_reward_model
from helpers.server import in_process, post, refusal

QUESTION = "tom has 3 apples ."
TOKEN = "a-token-of-32-letters-0123456789"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    np.save(folder / "goal_state.npy", np.ones((1, 32), np.float32))
    return save_reward_model(folder / "rm", save_base_model(folder / "base"), scale=10)


def body(*solutions: str) -> dict[str, Any]:
    return {"groups": [{"question": QUESTION, "solutions": solutions}]}


def test_it_scores_and_ends_when_it_is_told_to(model: Path, tmp_path: Path) -> None:
    """SIGTERM: what was accepted is answered, nothing new is taken, the status is 0."""
    log, (many, answers) = tmp_path / "serve.log", (["3 + 4 = 7 . answer 7 " * 4] * 3, [])
    goal = model.parent / "goal_state.npy"
    words = ("--goal_state_path", goal, "--log_file", log, "--max_batch_tokens", 100)
    with in_process(model, *words) as server:
        answer = post(server.address, "score", body("answer 7") | {"q_values": True})
        expected = RewardModel.from_pretrained(model, goal).score(QUESTION, ["answer 7"])
        [found] = answer.json()["groups"][0]["solutions"]
        assert found["reward"] == pytest.approx(expected.reward[0], abs=1e-5)
        assert expected.q_values is not None
        assert found["q_values"] == pytest.approx(expected.q_values[0].tolist(), abs=1e-5)
        long = [f"{text} {n}" for n in range(20) for text in many]
        asking = [
            threading.Thread(
                target=lambda: answers.append(post(server.address, "score", body(*long)))
            )
            for _ in range(8)
        ]
        for thread in asking:
            thread.start()
        while "gcrm_open_requests 9.0" not in metrics(server.address):
            assert all(thread.is_alive() for thread in asking)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        for thread in asking:
            thread.join(20)
        assert [answer.status_code for answer in answers] == [200] * 8
        with pytest.raises(requests.ConnectionError):
            post(server.address, "score", body("answer 7"))
    assert "serve: all requests are answered" in "".join(server.said)
    logged = log.read_text()
    assert "POST /score 200" in logged and "done in" in logged and QUESTION not in logged


def metrics(address: str) -> str:
    return requests.get(f"{address}/metrics", timeout=30).text


def test_killed_and_started_again_nothing_is_lost(model: Path) -> None:
    """Clients that try again get all of their own scores."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    texts = [f"{a} + {b} = {a + b} . answer {a + b}" for a in range(12) for b in range(12)]
    rewards = RewardModel.from_pretrained(model).score(QUESTION, texts).reward.tolist()
    expected = dict(zip(texts, rewards, strict=True))
    found: dict[str, float] = {}
    retries: list[str] = []

    def ask(texts: list[str]) -> None:
        for text in texts:
            while text not in found:
                try:
                    answer = post(f"http://127.0.0.1:{port}", "score", body(text))
                    found[text] = answer.json()["groups"][0]["solutions"][0]["reward"]
                except requests.RequestException:
                    retries.append(text)
                    time.sleep(0.2)

    asking = [threading.Thread(target=ask, args=(texts[i::8],), daemon=True) for i in range(8)]
    with in_process(model, port=port) as server:
        for thread in asking:
            thread.start()
        while len(found) < 20:
            time.sleep(0.01)
        assert server.end(signal.SIGKILL) == -signal.SIGKILL
    assert len(found) < len(texts)
    with in_process(model, port=port):
        for thread in asking:
            thread.join(60)
    assert retries and found == pytest.approx(expected, abs=1e-5)


def test_another_host_needs_a_token_that_no_one_sees(model: Path, tmp_path: Path) -> None:
    with in_process(
        model, "--host", "0.0.0.0", "--log_file", tmp_path / "log", GCRM_SERVE_TOKEN=TOKEN
    ) as server:
        address = server.address.replace("0.0.0.0", "127.0.0.1")
        assert "expected the server's token" in refusal(post(address, "score", body("7")), 401)
        shown = {"Authorization": f"Bearer {TOKEN}"}
        assert post(address, "score", body("7"), **shown).status_code == 200
        command = Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
        assert server.end() == 0
    said = "".join(server.said) + (tmp_path / "log").read_text() + command.decode()
    assert TOKEN not in said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--host 0.0.0.0", "--host 0.0.0.0: others can reach the server, so it needs a token"),
        ("--host example.org", "--host example.org: others can reach the server"),
        ("--token_file short", "short: the token must have 16 or more ASCII letters"),
        ("--token_file none", "none: the token cannot be read: No such file or directory"),
        ("--max_queue_tokens 10", "max_queue_tokens is less than max_request_tokens"),
        ("--port 70000", "--port: Input should be less than or equal to 65535"),
        ("--goal_state_path none.npy", "none.npy: no such file"),
    ],
)
def test_mistakes_end_in_one_line(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GCRM_SERVE_TOKEN", raising=False)
    Path("short").write_text("secret\n")
    command = ["--reward_model_path", str(model), "--port", "0", *words.split()]
    assert run_stage(ServeOptions, run, command) == 1
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("serve: error: ") and told in last and "secret" not in last


def test_a_port_that_is_taken_is_told(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        words = ["--reward_model_path", str(model), "--port", port]
        assert run_stage(ServeOptions, run, words) == 1
    assert "cannot listen there: Address already in use" in capsys.readouterr().err


def test_a_token_may_be_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gcrm.serving.server import read_token

    (tmp_path / "token").write_text(f"{TOKEN}\n")
    monkeypatch.setitem(os.environ, "GCRM_SERVE_TOKEN", "another-token-0123456789")
    file = ServeOptions(reward_model_path="rm", token_file=tmp_path / "token")
    assert read_token(file) == TOKEN
    assert read_token(ServeOptions(reward_model_path="rm")) == "another-token-0123456789"
    monkeypatch.delenv("GCRM_SERVE_TOKEN")
    assert read_token(ServeOptions(reward_model_path="rm")) is None
