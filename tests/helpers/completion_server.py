"""A real small server of `/v1/completions` on 127.0.0.1, with a model of transformers behind it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import torch

from gcrm.modeling.loading import load_language_model, load_tokenizer


@dataclass
class Served:
    """What a server does, and what it was asked.

    Attributes:
        failures: answers (status, headers, body) that come first, one for each request.
        limit: requests after which none is answered any more.
        asked: the bodies of requests. keys: their headers `Authorization`.
        generated: tokens so far.
    """

    model: Any
    tokenizer: Any
    url: str = ""
    failures: list[tuple[int, dict[str, str], str]] = field(default_factory=list)
    limit: int | None = None
    generated: int = 0
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """As OpenAI's server answers; drawn with the seed of the request."""
        ids = self.tokenizer(body["prompt"], return_tensors="pt").input_ids
        greedy = body["temperature"] == 0
        sampling = {} if greedy else {"temperature": body["temperature"], "top_k": 0, "top_p": 1.0}
        with self.lock:
            torch.manual_seed(body["seed"])
            output = self.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=body["max_tokens"],
                do_sample=not greedy,
                pad_token_id=0,
                **sampling,
            )
            new = output[0, ids.shape[1] :].tolist()
            self.generated += len(new)
        ended = new[-1] == self.tokenizer.eos_token_id
        text = self.tokenizer.decode(new, skip_special_tokens=True)
        # A server tells only what follows its prompt, here with the space between two words.
        choice = {"index": 0, "text": " " + text if text else "", "logprobs": None}
        choice["finish_reason"] = "stop" if ended else "length"
        usage = {"completion_tokens": len(new)}
        return {"object": "text_completion", "choices": [choice], "usage": usage}


@contextmanager
def completion_server(model: Path) -> Iterator[Served]:
    """A server of a base model of words; see `Served`."""
    served = Served(load_language_model(str(model)), load_tokenizer(str(model)))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with served.lock:
                served.asked.append(body)
                served.keys.append(self.headers["Authorization"])
                failure = served.failures.pop(0) if served.failures else None
                if served.limit is not None and len(served.asked) > served.limit:
                    failure = 503, {}, "at its limit"
            if failure is None:
                if self.path != "/v1/completions" or body["model"] != "words":
                    failure = 404, {}, json.dumps({"error": {"message": "no such model"}})
                else:
                    failure = 200, {}, json.dumps(served.answer(body))
            status, headers, text = failure
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *words: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
