"""The client with a server that others wrote: `transformers serve`, where it is installed."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
import torch

from gcrm import RewardModel
from gcrm.decoding.client import ServedGenerator, sample_from_server
from gcrm.decoding.completions import CompletionServer
from gcrm.decoding.live import Plan
from gcrm.modeling.loading import load_language_model, load_tokenizer
from helpers.models import make_byte_tokenizer, save_base_model, save_reward_model

for package in ("openai", "fastapi", "uvicorn"):  # pip install transformers[serving]
    pytest.importorskip(package)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_base_model(tmp_path / "base", tokenizer=make_byte_tokenizer())


@pytest.fixture
def url(base: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = str(Path(sys.executable).with_name("transformers"))
    command = [program, "serve", str(base), "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen([*command, "--device", "cpu", "--dtype", "float32"])
    try:
        for _ in range(600):
            assert server.poll() is None
            try:
                requests.get(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except requests.ConnectionError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(60)


def test_greedy_samples_are_those_of_the_model(base: Path, url: str, tmp_path: Path) -> None:
    save_reward_model(tmp_path / "rm", base)
    rm, tokenizer = RewardModel.from_pretrained(tmp_path / "rm"), load_tokenizer(str(base))
    server, question = CompletionServer(url, str(base)), "Tom has 3 apples"
    for chunk in (9, 3):
        plan = Plan(samples=2, max_new_tokens=9, check_every=chunk, temperature=0)
        [[one, other]] = sample_from_server(server, rm, [question], tokenizer, plan=plan)
        assert one.text == other.text and one.generated == 9
        scores = rm.score(question, [one.text])
        np.testing.assert_allclose(one.scores.rewards, scores.partial_rewards[0], atol=1e-5)
        if chunk == 9:
            whole = one.text
    prompt = ServedGenerator(server, tokenizer, plan).prompt(question)
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    generated = load_language_model(str(base)).generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=9, do_sample=False
    )
    text = str(tokenizer.decode(generated[0, ids.shape[1] :], skip_special_tokens=True))
    assert whole == text.rstrip("\ufffd") and len(whole) > 3
