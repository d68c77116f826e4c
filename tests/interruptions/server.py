"""The server, interrupted while it answers; what failed is asked again."""

import os
import random
import signal
import socket
import time
from functools import partial
from multiprocessing.context import ForkProcess
from pathlib import Path

import requests
from interruptions.record import Record
from interruptions.stages import fork

from gcrm.utils.io import read_jsonl
from helpers.slurm.cluster import free_ports
from helpers.stage_world import COMMANDS, run

KINDS = {"kill -9": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "Ctrl-C": signal.SIGINT}
LONGEST = 1.0
"""seconds from its first answer to the interruption, at the most"""


class Server:
    """The reward model of the world behind HTTP, always at the same address."""

    def __init__(self, world: Path, screen: Path) -> None:
        self._port, self._screen = free_ports(1)[0], screen
        self._words = COMMANDS["serve"].replace("--port 0", f"--port {self._port}").split()
        self._bodies = [
            {"groups": [{"question": row["question"], "solutions": [row["generated_solution"]]}]}
            | {"partial_rewards": True, "q_values": True}
            for row in read_jsonl(world / "completions/b/output-rs0.jsonl")
        ]
        os.chdir(world)

    def start(self) -> ForkProcess:
        """Start it, and wait until it listens."""
        process = fork(lambda: run("serve", self._words), self._screen)
        while process.is_alive():
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", self._port)) == 0:
                    return process
            time.sleep(0.05)
        raise AssertionError(f"the server ended with status {process.exitcode}")

    def ask(self) -> list[object]:
        """The answers to all requests, or to those before one that failed."""
        answers: list[object] = []
        with requests.Session() as session:
            for body in self._bodies:
                try:
                    address = f"http://127.0.0.1:{self._port}/score"
                    answer = session.post(address, json=body, timeout=60)
                except requests.RequestException:
                    break
                if answer.status_code != 200:
                    break
                answers.append(answer.json())
        return answers


def interrupt_server(
    world: Path, screen: Path, number: int, draw: random.Random, record: Record
) -> None:
    """Interrupt it so many times, and compare all answers with those of an undisturbed one."""
    server = Server(world, screen)
    process = server.start()
    expected = server.ask()
    _strike(process, signal.SIGTERM, 0)
    given = []
    for _ in range(number):
        process = server.start()
        given.append(server.ask())
        kind, delay = draw.choice([*KINDS]), draw.uniform(0, LONGEST)
        striker = fork(partial(_strike, process, KINDS[kind], delay), screen)
        while process.is_alive():
            given.append(server.ask())
        striker.join()
        seen = f"ended with status {process.exitcode}, {sum(map(len, given))} answers so far"
        record.add("server", kind, "serve", delay, seen)
    process = server.start()
    given.append(server.ask())
    _strike(process, signal.SIGTERM, 0)
    differing = [
        f"answer-{number}"
        for answers in given
        for number, answer in enumerate(answers)
        if answer != expected[number]
    ]
    completed = len(given[-1]) == len(expected) > 0
    record.end(completed, sum(map(len, given)), differing)


def _strike(process: ForkProcess, how: signal.Signals, delay: float) -> int:
    time.sleep(delay)
    os.kill(process.pid or 0, how)
    return 0
