"""A server of a reward model: in a thread of this process, or in a process of its own."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import uvicorn

from gcrm import RewardModel
from gcrm.config.serve import Limits
from gcrm.serving.app import Service
from gcrm.serving.server import config_of
from helpers.processes import ROOT


@contextmanager
def in_thread(
    model: RewardModel, limits: Limits | None = None, token: str | None = None
) -> Iterator[str]:
    """The address of a server that uses this very model."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(config_of(Service(model, "rm", limits or Limits()), token))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@dataclass
class Started:
    """`gcrm serve` in a process of its own."""

    process: subprocess.Popen[str]
    address: str
    said: list[str]

    def end(self, how: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end: the exit status."""
        self.process.send_signal(how)
        return self.process.wait(60)


@contextmanager
def in_process(model: Path, *words: Any, port: int = 0, **variables: str) -> Iterator[Started]:
    """Start it, and wait until it listens."""
    command = [sys.executable, "-m", "gcrm.serve", "--reward_model_path", model, "--port", port]
    process = subprocess.Popen(
        list(map(str, [*command, *words])),
        cwd=ROOT,
        env=os.environ | variables,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said: list[str] = []
    for line in process.stderr:
        said.append(line)
        if found := re.match(r"serve: (http://\S+) serves ", line):
            break
    else:
        raise AssertionError("".join(said))
    rest = threading.Thread(target=lambda: said.extend(process.stderr or []), daemon=True)
    rest.start()
    try:
        yield Started(process, found[1], said)
    finally:
        process.kill()
        process.wait(20)
        rest.join(20)


def post(address: str, path: str, body: Any, **headers: str) -> requests.Response:
    """Post JSON; no answer within 30 s is an error."""
    return requests.post(f"{address}/{path}", json=body, headers=headers, timeout=30)


def refusal(response: requests.Response, status: int) -> str:
    """The reason of an error, after a check of its shape."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"} and error["code"] == status
    assert "Traceback" not in response.text
    return str(error["message"])
