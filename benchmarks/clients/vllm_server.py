"""vLLM serves a checkpoint as a classifier: are its rewards those of gcrm?

    python -m venv .clients/vllm
    .clients/vllm/bin/pip install -r benchmarks/clients/vllm.txt
    .clients/vllm/bin/pip uninstall -y torchvision torchaudio torchcodec
    python -m benchmarks.clients.vllm_server

The server is asked for token ids, for the text of the chat template, and for messages.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from benchmarks.clients.setting import arguments, checkpoint, compare, make_pairs
from gcrm import RewardModel

ENVIRONMENT = {
    "VLLM_TARGET_DEVICE": "cpu",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}
START = 900
"""seconds until the server must answer"""


def main() -> int:
    """Serve, ask and compare; the exit status."""
    given = arguments(__doc__, python=".clients/vllm/bin/python")
    model = given.reward_model_path or checkpoint(given.work_dir)
    reward_model = RewardModel.from_pretrained(model, bf16=False)
    tokenizer = reward_model.tokenizer
    pairs = [
        (row["prompt"], row[side]) for row in make_pairs(16) for side in ("chosen", "rejected")
    ]
    ours = [float(reward_model.score(prompt, [text]).reward[0]) for prompt, text in pairs]
    dialogues = [
        [{"role": "user", "content": prompt}, {"role": "assistant", "content": text}]
        for prompt, text in pairs
    ]
    texts = [tokenizer.apply_chat_template(dialogue, tokenize=False) for dialogue in dialogues]
    tokens = [list(reward_model.encoder.encode(*pair).input_ids) for pair in pairs]
    requests_by_form: dict[str, list[dict[str, Any]]] = {
        "vLLM, token ids": [{"input": tokens}],
        "vLLM, text": [{"input": texts, "add_special_tokens": False}],
        "vLLM, messages": [{"messages": dialogue} for dialogue in dialogues],
    }
    with serving(given.python, model, given.work_dir / "vllm.log") as address:
        found = {
            form: [reward for body in bodies for reward in ask(address, body)]
            for form, bodies in requests_by_form.items()
        }
    return max(compare(form, ours, theirs) for form, theirs in found.items())


@contextmanager
def serving(python: str, model: Path, log: Path) -> Iterator[str]:
    """A vLLM server of the model in fp32 on this machine alone; yields its address.

    The module is called, since the command `vllm` of the package vllm-cpu asks for the version of a
    package vllm, and fails.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    words += ["--runner", "pooling", "--dtype", "float32", "--enforce-eager"]
    words += ["--host", "127.0.0.1", "--port", str(port)]
    print("$", " ".join(words), flush=True)
    address = f"http://127.0.0.1:{port}"
    with log.open("w") as output:
        server = subprocess.Popen(
            words,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | ENVIRONMENT,
        )
    try:
        wait_for(f"{address}/health", server, log)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=60)


def wait_for(address: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until the server answers; end with its log if it does not."""
    for _ in range(START):
        if server.poll() is not None:
            break
        try:
            if requests.get(address, timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(1)
    sys.exit(f"{log.read_text()[-4000:]}\nvLLM does not answer; its log is {log}")


def ask(address: str, body: dict[str, Any]) -> list[float]:
    """The rewards of a request to /classify."""
    answer = requests.post(f"{address}/classify", json=body, timeout=60)
    if not answer.ok:
        sys.exit(f"/classify: {answer.status_code}: {answer.text}")
    return [one["probs"][0] for one in sorted(answer.json()["data"], key=lambda one: one["index"])]


if __name__ == "__main__":
    raise SystemExit(main())
