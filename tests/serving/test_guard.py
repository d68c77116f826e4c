"""Who may ask, how much, and for how long; and that nothing leaks."""

import logging
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from gcrm import RewardModel
from gcrm.config.serve import Limits
from gcrm.serving import server as server_module
from gcrm.serving.reading import Reader
from helpers.server import in_thread, post, refusal

BODY = {"groups": [{"question": "How many?", "solutions": ["7"]}]}
TOKEN = "0123456789abcdef-TOKEN"
JSON = {"Content-Type": "application/json"}


def raw(address: str, *parts: bytes, pause: float = 0, wait: float = 20) -> bytes:
    """What the server answers to these bytes until it closes the connection."""
    server = urlsplit(address)
    with socket.create_connection((server.hostname, server.port), timeout=wait) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        found = b""
        while chunk := connection.recv(65536):
            found += chunk
        return found


# --- who -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def locked(model: RewardModel) -> Iterator[str]:
    with in_thread(model, token=TOKEN) as address:
        yield address


@pytest.mark.parametrize(
    "shown",
    [None, "", TOKEN, "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer é"],
)
@pytest.mark.parametrize("path", ["score", "metrics", "v1/models", "nothing", "docs/x", "health/x"])
def test_without_the_token_nothing_is_told(locked: str, path: str, shown: str | None) -> None:
    headers = {} if shown is None else {"Authorization": shown.encode()}
    ask = requests.post if path == "score" else requests.get
    response = ask(f"{locked}/{path}", headers=JSON | headers, data=b"{}", timeout=30)
    assert "Authorization: Bearer" in refusal(response, 401)
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_with_the_token_everything_is(locked: str) -> None:
    shown = {"Authorization": f"Bearer {TOKEN}"}
    assert post(locked, "score", BODY, **shown).status_code == 200
    assert requests.get(f"{locked}/metrics", headers=shown, timeout=30).status_code == 200
    elsewhere = shown | {"Host": "scorer.example"}
    assert post(locked, "score", BODY, **elsewhere).status_code == 200


@pytest.mark.parametrize("path", ["", "health", "docs", "openapi.json"])
def test_pages_without_data_are_open(locked: str, path: str) -> None:
    assert requests.get(f"{locked}/{path}", timeout=30).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost:8000", 200),
        ("[::1]:8000", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example:8000", 403),
        ("localhost.evil", 403),
    ],
)
def test_a_server_without_a_token_is_for_this_machine(server: str, host: str, status: int) -> None:
    """A page elsewhere whose name points here would send its own name."""
    assert post(server, "score", BODY, Host=host).status_code == status


def test_a_page_elsewhere_may_not_read_the_answer(server: str) -> None:
    response = post(server, "score", BODY, Origin="https://evil.example")
    assert "access-control-allow-origin" not in response.headers
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    assert requests.options(f"{server}/score", headers=asked, timeout=30).status_code == 405


# --- how much, how long --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def narrow(model: RewardModel) -> Iterator[str]:
    limits = Limits(max_body_bytes=1000, max_request_tokens=300, timeout=1.0)
    with in_thread(model, limits) as address:
        yield address


def test_a_large_body_is_refused(narrow: str) -> None:
    body = b" " * 990 + b"{}"
    response = requests.post(f"{narrow}/score", data=body, headers=JSON, timeout=30)
    assert refusal(response, 422) == "groups: is missing"
    response = requests.post(f"{narrow}/score", data=body + b" " * 9, headers=JSON, timeout=30)
    assert refusal(response, 413) == "the body is larger than 1000 bytes (max_body_bytes)"
    ten_megabytes = (b" " * 10_000 for _ in range(1000))  # in chunks, without a length
    response = requests.post(f"{narrow}/score", data=ten_megabytes, headers=JSON, timeout=30)
    refusal(response, 413)
    announced = b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    announced += b"Content-Length: 99999999999999999999\r\nConnection: close\r\n\r\n"
    assert b" 413 " in raw(narrow, announced) or b" 400 " in raw(narrow, announced)


def test_too_many_tokens_are_refused(narrow: str) -> None:
    body = {"groups": [{"question": "a", "solutions": ["7 " * 100] * 4}]}
    assert "has more than 300 tokens (max_request_tokens)" in refusal(
        post(narrow, "score", body), 413
    )


def test_a_body_that_does_not_come_is_not_waited_for(narrow: str) -> None:
    head = b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += b"Connection: close\r\nContent-Length: 100\r\n\r\n"
    started = time.monotonic()
    answer = raw(narrow, head, b'{"a', pause=0.3)
    assert b" 408 " in answer and b"did not arrive within 1 s (timeout)" in answer
    assert time.monotonic() - started < 10


def test_a_header_that_does_not_come_is_not_waited_for(
    narrow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "HEADER_SECONDS", 0.5)
    started = time.monotonic()
    assert raw(narrow) == b""
    assert raw(narrow, b"POST /sc", b"ore", pause=0.2) == b""
    first = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = raw(narrow, first, b"GET /hea", pause=0.2)
    assert answer.count(b"HTTP/1.1") == 1
    assert time.monotonic() - started < 10


def test_what_is_no_http_is_refused_in_json(narrow: str) -> None:
    answer = raw(narrow, b"\x16\x03\x01 hello\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ") and b'{"error":{"message":"Invalid HTTP' in answer


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "x"])
def test_another_content_type_is_refused(server: str, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    response = requests.post(f"{server}/score", data=b"{}", headers=headers, timeout=30)
    assert "must be application/json" in refusal(response, 415)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"nothing", b"\xff\xfe", b"[" * 100_000, b'{"groups": 1' + b"0" * 5000 + b"}"],
)
def test_a_body_that_is_no_json_is_refused(server: str, body: bytes) -> None:
    response = requests.post(f"{server}/score", data=body, headers=JSON, timeout=30)
    assert response.status_code in (400, 422)
    refusal(response, response.status_code)


def test_unknown_pages_and_methods_are_refused(server: str) -> None:
    refusal(requests.get(f"{server}/nothing", timeout=30), 404)
    refusal(requests.get(f"{server}/score", timeout=30), 405)
    refusal(requests.delete(f"{server}/health", timeout=30), 405)


# --- what leaks ----------------------------------------------------------------------------------

SECRET = "a text that is nobody else's business"


def test_a_defect_reaches_neither_client_nor_log_with_the_text(
    model: RewardModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: Reader, request: Any) -> None:
        raise ZeroDivisionError(f"no {request}")

    monkeypatch.setattr(Reader, "solutions", fail)
    caplog.set_level(logging.INFO)
    body = {"groups": [{"question": SECRET, "solutions": [SECRET]}]}
    with in_thread(model) as address:
        assert "has a defect here" in refusal(post(address, "score", body), 500)
        assert requests.get(f"{address}/health", timeout=30).status_code == 200
    assert "ZeroDivisionError" in caplog.text and "in fail" in caplog.text
    assert SECRET not in caplog.text


def test_no_text_of_a_user_is_in_the_log(
    model: RewardModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("urllib3").setLevel(logging.WARNING)  # the client's own
    with in_thread(model, token=TOKEN) as address:
        shown = {"Authorization": f"Bearer {TOKEN}"}
        for text in (SECRET, f"{SECRET} " * 300, SECRET + "\ud800"):
            body = {"groups": [{"question": text, "solutions": [text]}], SECRET: SECRET}
            post(address, "score", body, **shown)
            del body[SECRET]
            post(address, "score", body, **shown)
            post(address, "classify", {"input": [text]}, **shown)
        requests.get(f"{address}/{SECRET}?{SECRET}", headers=shown, timeout=30)
    assert "POST /score 200" in caplog.text and "GET other 404" in caplog.text
    assert SECRET not in caplog.text and "nobody" not in caplog.text
    assert TOKEN not in caplog.text
