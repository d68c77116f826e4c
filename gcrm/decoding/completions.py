"""A client of servers with OpenAI's `/v1/completions`: vLLM, SGLang, `transformers serve`.

A request asks for the next tokens of a text. Connections that fail and servers that are busy are
tried again; what cannot work ends in one line. A key comes from the environment alone, and stands
in no message.
"""

import os
import time
from dataclasses import dataclass
from typing import Any

import requests

from gcrm.config.types import server_address
from gcrm.utils.errors import UserError

KEY = "OPENAI_API_KEY"
"""the environment variable with the server's key, where it wants one"""
BUSY = (408, 429, 500, 502, 503, 504)
"""statuses after which a request is tried again"""
LONGEST_WAIT = 60.0
"""seconds between two tries at most, whatever the server asks for"""


@dataclass(frozen=True)
class Completion:
    """More text of a sample.

    Attributes:
        finished: the model ended the sample here.
        tokens: of this text, with the one that ended it; None where the server does not say it.
    """

    text: str
    finished: bool
    tokens: int | None


class CompletionServer:
    """A server of a language model.

    Args:
        url: of the server, such as `http://127.0.0.1:8000`, with or without `/v1`.
        model: name by which the server knows the model.
        parallel: requests at once, for those who ask for several samples.
        timeout: seconds to wait for a connection, and for an answer.
        tries: how often a request is sent at most.
        first_wait: seconds before the second try; each later wait is twice as long.

    Raises:
        UserError: the address is not that of a web server.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        parallel: int = 32,
        timeout: float = 120,
        tries: int = 6,
        first_wait: float = 0.5,
    ):
        try:
            server_address(url)
        except ValueError as error:
            raise UserError(f"server_url: {error}") from None
        self.url = url.rstrip("/").removesuffix("/v1") + "/v1/completions"
        self.model, self.parallel = model, parallel
        self._timeout, self._tries, self._first_wait = timeout, tries, first_wait

    def complete(self, text: str, tokens: int, temperature: float, seed: int) -> Completion:
        """At most `most` more tokens of a text; safe to call from several threads.

        Args:
            temperature: of the softmax, without top-k or top-p; 0 is greedy.

        Raises:
            UserError: the server cannot be reached, refuses the request, or answers something else.
        """
        body = {
            "model": self.model,
            "prompt": text,
            "max_tokens": tokens,
            "temperature": temperature,
            "seed": seed,
        }
        return self._read(self._send(body), tokens)

    def _send(self, body: dict[str, Any]) -> requests.Response:
        wait, problem = self._first_wait, ""
        for left in reversed(range(self._tries)):
            try:
                # No redirects: another address might get the key.
                response = requests.post(
                    self.url,
                    json=body,
                    timeout=self._timeout,
                    auth=_authorise,
                    allow_redirects=False,
                )
            except requests.RequestException as error:
                problem = _reason(error)
            else:
                if response.status_code == 200:
                    return response
                problem = f"status {response.status_code}: {_told(response)}"
                if response.status_code not in BUSY:
                    break
                wait = max(wait, _asked_wait(response))
            if left:
                time.sleep(min(wait, LONGEST_WAIT))
                wait *= 2
        raise UserError(f"{self.url}: {problem}{_advice(problem)}")

    def _read(self, response: requests.Response, asked: int) -> Completion:
        try:
            answer = response.json()
            choice = answer["choices"][0]
            text, reason = choice["text"], choice["finish_reason"]
            tokens = (answer.get("usage") or {}).get("completion_tokens")
            if not isinstance(text, str) or not isinstance(tokens, int | None):
                raise TypeError
        except (ValueError, LookupError, TypeError, AttributeError):
            raise UserError(
                f"{self.url}: answers something else than completions: {response.text[:100]!r}"
            ) from None
        if reason not in ("stop", "length"):
            raise UserError(f"{self.url}: a sample ended for the reason {reason!r}")
        if tokens is None and reason == "length":
            tokens = asked
        return Completion(text, reason == "stop", tokens)


def _authorise(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Put the key into a request; requests would look for one in ~/.netrc."""
    if key := os.environ.get(KEY):
        request.headers["Authorization"] = f"Bearer {key}"
    return request


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "cannot be reached"
    return type(error).__name__  # its text might show the request


def _told(response: requests.Response) -> str:
    """What a server says of an error, in one line."""
    words = " ".join(response.text.split())[:200]
    key = os.environ.get(KEY)
    return words.replace(key, "…") if key else words


def _asked_wait(response: requests.Response) -> float:
    """Seconds that a busy server asks to wait."""
    try:
        return float(response.headers.get("Retry-After", 0))
    except ValueError:  # a date
        return 0.0


def _advice(problem: str) -> str:
    if problem.startswith(("status 401", "status 403")):
        return f" (the key is read from the environment variable {KEY})"
    if problem.startswith("status 404"):
        return " (is that the server's address, and the name by which it knows the model?)"
    return "; start the server, or correct the address" if "reached" in problem else ""
