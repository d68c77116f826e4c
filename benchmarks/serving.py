"""The server under load: 64 clients on this machine, each with scores of its own to check.

    python -m benchmarks.serving                                                  # speed
    python -m benchmarks.serving --model micro --solutions 1 --requests 50000 --rounds 1  # memory

Clients ask as fast as they are answered. The offline scorer gets the same texts in one call. Both
take turns, since the load of a machine changes. Model and texts are made: random weights, by
default 4 layers of 128, and words that are tokens.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from benchmarks.setting import SMOLLM2, TINY, Shape, make_model, print_machine
from gcrm import RewardModel
from gcrm.modeling.loading import REWARD_CONFIG

CLIENTS = 64
GROUPS = 512
"""different requests: a prompt with its solutions each"""
SHAPES = {"micro": Shape(16, 32, 1, 1, 1), "tiny": TINY, "smollm2": SMOLLM2}
"""micro: for the server alone, since it computes next to nothing"""
LENGTHS = {"micro": (5, 60, 1, 60), "tiny": (20, 30, 9, 25), "smollm2": (60, 130, 60, 220)}
"""shortest and longest prompt, shortest and longest solution, in tokens"""
HEAD = (
    b"POST /score HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n"
)
TEMPLATE = "{% for message in messages %}{{ message['content'] }} {% endfor %}"


@dataclass
class Group:
    """A request, and the rewards that it should get."""

    question: str
    solutions: list[str]
    rewards: Sequence[float] = ()

    @cached_property
    def body(self) -> bytes:
        """What is sent."""
        group = {"question": self.question, "solutions": self.solutions}
        return json.dumps({"groups": [group]}).encode()


@dataclass
class Seen:
    """What the clients saw."""

    seconds: list[float] = field(default_factory=list)
    wrong: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    largest_error: float = 0.0


@dataclass
class Round:
    """What the server and the offline scorer did in turn, in solutions a second."""

    seen: Seen
    server: float
    offline: float

    @property
    def milliseconds(self) -> tuple[float, float]:
        """p50 and p99 of the requests."""
        p50, p99 = np.percentile(self.seen.seconds, [50, 99]) * 1000
        return float(p50), float(p99)

    def __str__(self) -> str:
        seen = self.seen
        statuses = ", ".join(f"{count} with {status}" for status, count in seen.statuses.items())
        p50, p99 = self.milliseconds
        return (
            f"offline {self.offline:.0f} solutions/s; server {self.server:.0f} solutions/s "
            f"({self.server / self.offline:.0%}), p50 {p50:.0f} ms, p99 {p99:.0f} ms\n"
            f"requests: {statuses}; wrong rewards: {seen.wrong} "
            f"(largest difference {seen.largest_error:.0e})"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=SHAPES, default="tiny")
    parser.add_argument("--solutions", type=int, default=4, help="of each request")
    parser.add_argument("--requests", type=int, default=0, help="0: as many as fit into --seconds")
    parser.add_argument("--seconds", type=float, default=20, help="of the server in each round")
    parser.add_argument(
        "--rounds", type=int, default=3, help="of the offline scorer and the server"
    )
    given = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory() as folder:
        path = save_model(Path(folder) / given.model, SHAPES[given.model])
        groups = make_groups(given.solutions, *LENGTHS[given.model])
        model = RewardModel.from_pretrained(path)
        score_offline(model, groups)  # kernels are made at the first shapes
        server, address = start(path)
        rounds = []
        try:
            for _ in range(given.rounds):
                offline = score_offline(model, groups)
                seen, spent = asyncio.run(load(address, groups, server.pid, given))
                rounds.append(Round(seen, given.solutions * len(seen.seconds) / spent, offline))
                print(rounds[-1])
        finally:
            server.send_signal(signal.SIGTERM)
            status = server.wait(60)
    summarise(rounds)
    print(f"the server ended with status {status}")
    failed = any(one.seen.wrong or set(one.seen.statuses) - {200} for one in rounds)
    raise SystemExit(bool(failed or status))


def save_model(folder: Path, shape: Shape) -> Path:
    """A reward model with random weights, whose tokens are words."""
    words = {"<pad>": 0, "</s>": 1, "<unk>": 2} | {f"w{n}": n for n in range(3, 40_000)}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.chat_template = TEMPLATE
    model = make_model(shape)
    model.config.update(REWARD_CONFIG | {"eos_token_id": 1, "bos_token_id": None})
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_groups(solutions: int, *lengths: int) -> list[Group]:
    """Prompts with their solutions, of random words."""
    draw = np.random.default_rng(0)

    def text(shortest: int, longest: int) -> str:
        words = draw.integers(3, 40_000, draw.integers(shortest, longest + 1))
        return " ".join(f"w{word}" for word in words)

    return [
        Group(text(*lengths[:2]), [text(*lengths[2:]) for _ in range(solutions)])
        for _ in range(GROUPS)
    ]


def score_offline(model: RewardModel, groups: Sequence[Group]) -> float:
    """Score all groups in one call; solutions a second."""
    started = time.perf_counter()
    encoded = model.encoder.encode_many(
        (group.question, text) for group in groups for text in group.solutions
    )
    rewards = iter(model.score_encoded(encoded).reward.tolist())
    seconds = time.perf_counter() - started
    for group in groups:
        group.rewards = [next(rewards) for _ in group.solutions]
    return len(encoded) / seconds


def start(model: Path) -> tuple["subprocess.Popen[str]", str]:
    """The server, and its address once it listens."""
    command = [sys.executable, "-m", "gcrm.serve", "--reward_model_path", str(model), "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ.copy())
    assert server.stderr is not None
    for line in server.stderr:
        if line.startswith("serve: http"):
            return server, line.split()[1]
    raise SystemExit("the server did not start")


async def load(
    address: str, groups: Sequence[Group], process: int, given: argparse.Namespace
) -> tuple[Seen, float]:
    """All clients, until there were enough requests or seconds."""
    seen = Seen()
    started = time.perf_counter()
    memory_every = max(given.requests // 10, 1)
    left = iter(range(given.requests or 10**9))

    async def client(number: int) -> None:
        draw = np.random.default_rng(number)
        connection = await asyncio.open_connection(*address.removeprefix("http://").split(":"))
        for request in left:
            if not given.requests and time.perf_counter() - started > given.seconds:
                break
            await ask(*connection, groups[int(draw.integers(len(groups)))], seen)
            if given.requests and request % memory_every == 0:
                print(f"memory after {request:6} requests: {resident_mib(process):.0f} MiB")
        connection[1].close()

    await asyncio.gather(*map(client, range(CLIENTS)))
    return seen, time.perf_counter() - started


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, group: Group, seen: Seen
) -> None:
    """One request; its rewards must be those of the offline scorer, and no other's.

    By hand, since a library's client would take as much of the CPU as the server.
    """
    began = time.perf_counter()
    writer.write(HEAD % len(group.body) + group.body)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 120)
    length = re.search(rb"content-length: (\d+)", head)
    answer = await reader.readexactly(int(length[1])) if length else b""
    seen.seconds.append(time.perf_counter() - began)
    status = int(head.split()[1])
    seen.statuses[status] = seen.statuses.get(status, 0) + 1
    if status != 200:
        return
    found = [one["reward"] for one in json.loads(answer)["groups"][0]["solutions"]]
    error = float(np.abs(np.subtract(found, group.rewards)).max())
    seen.largest_error = max(seen.largest_error, error)
    seen.wrong += error > 1e-5


def resident_mib(process: int) -> float:
    """Memory that a process has in use, in MiB."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def summarise(rounds: Sequence[Round]) -> None:
    """Print the medians over the rounds."""
    shares = [one.server / one.offline for one in rounds]
    offline, server = (
        median(getattr(one, name) for one in rounds) for name in ("offline", "server")
    )
    p50, p99 = (median(one.milliseconds[k] for one in rounds) for k in range(2))
    print(
        f"medians of {len(rounds)} rounds of {CLIENTS} clients: offline {offline:.0f} solutions/s, "
        f"server {server:.0f}, p50 {p50:.0f} ms, p99 {p99:.0f} ms; "
        f"{median(shares):.0%} of offline ({min(shares):.0%} to {max(shares):.0%})"
    )


if __name__ == "__main__":
    main()
