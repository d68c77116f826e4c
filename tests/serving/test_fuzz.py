"""Whatever is sent, the answer is JSON: what was asked for, or the reason why not."""

import json
import math
import random
from typing import Any

import pytest
import requests
from hypothesis import example, given, settings
from hypothesis import strategies as st

ENDPOINTS = ["score", "get_reward", "classify", "pooling"]
ALLOWED = {200, *range(400, 500), 503}
JSON = {"Content-Type": "application/json"}

any_text = st.text(max_size=20) | st.sampled_from(
    ["\ud800", "<|endoftext|>", "\0", "Human: a\n\nAssistant: b", "{{ x }}", "a" * 3000, "\u202e"]
)
numbers = st.integers() | st.floats() | st.sampled_from([10**400, -1, 2**63, math.nan, math.inf])
leaves = st.none() | st.booleans() | numbers | any_text
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3)
)
FIELDS = """groups partial_rewards q_values tokens model query prompts labels input messages
add_special_tokens add_generation_prompt continue_final_message use_activation request_id user
priority task encoding_format""".split()
messages = st.lists(
    st.dictionaries(
        st.sampled_from(["role", "content", "tool_calls", "name", "from", "value"]),
        st.sampled_from(["user", "assistant", "system", "tool"]) | values,
        max_size=4,
    ),
    max_size=3,
)
texts = st.lists(any_text, max_size=3)
group = st.fixed_dictionaries(
    {"solutions": texts | values},
    optional={"question": any_text | values, "messages": messages, "x": values},
)
ids = st.lists(st.integers(-2, 500), max_size=5)
near = st.fixed_dictionaries(
    {},
    optional={
        "groups": st.lists(group, max_size=3) | values,
        "tokens": st.booleans(),
        "query": texts,
        "prompts": texts,
        "input": any_text | texts | ids | st.lists(ids, max_size=3),
        "messages": messages,
        "add_generation_prompt": st.booleans(),
        "continue_final_message": st.booleans(),
        "task": st.sampled_from(["classify", "token_classify"]) | values,
    },
)
bodies = near | st.dictionaries(st.sampled_from(FIELDS) | any_text, values, max_size=5) | values


@pytest.fixture(scope="module")
def session() -> requests.Session:
    return requests.Session()


def check(response: requests.Response) -> None:
    assert response.status_code in ALLOWED, response.text
    assert response.headers["content-type"] == "application/json"
    answer = json.loads(response.content, parse_constant=refuse)
    if response.status_code != 200:
        assert answer["error"]["message"] and answer["error"]["code"] == response.status_code
        assert "Traceback" not in response.text


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@settings(max_examples=80)
@given(body=bodies)
@example(body={"groups": [{"question": "a", "solutions": ["b"]}]})
@example(body={"groups": [{"messages": [{"role": "user", "content": "\ud800"}], "solutions": []}]})
@example(body={"messages": [{"role": "user", "content": {"a": [{}]}}]})
def test_any_json_is_answered(
    server: str, session: requests.Session, endpoint: str, body: Any
) -> None:
    sent = json.dumps(body, default=str).encode()  # surrogates are escaped, NaN is NaN
    check(session.post(f"{server}/{endpoint}", data=sent, headers=JSON, timeout=20))


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@settings(max_examples=40)
@given(body=st.binary(max_size=200), kind=st.sampled_from([*JSON.values(), "text/plain", "a/b"]))
def test_any_bytes_are_answered(
    server: str, session: requests.Session, endpoint: str, body: bytes, kind: str
) -> None:
    headers = {"Content-Type": kind}
    check(session.post(f"{server}/{endpoint}", data=body, headers=headers, timeout=20))


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 5_000_000,
        b'{"a":' * 900 + b"1" + b"}" * 900,
        b'{"messages":[{"role":"user","content":"a","tool_calls":'
        + b"[" * 900
        + b"]" * 900
        + b"}]}",
        b'{"groups":[{"solutions":["b"],"messages":[{"role":"user","content":"a","tool_calls":'
        + b"[" * 300
        + b"]" * 300
        + b"}]}]}",
        b'{"input":"' + b"a" * 10_000_000 + b'"}',
        b'{"input":"' + b"a " * 2_000_000 + b'"}',
        b'{"query":["' + "é😀".encode() * 600_000 + b'"]}',
        b'{"groups":[' + b'{"question":"a","solutions":["b"]},' * 50_000 + b"0]}",
    ],
    ids=range(8),
)
def test_large_and_deep_bodies_are_answered(server: str, endpoint: str, body: bytes) -> None:
    check(requests.post(f"{server}/{endpoint}", data=body, headers=JSON, timeout=60))


def test_the_server_is_as_it_was(server: str, session: requests.Session) -> None:
    """After all of the above, and connections that were left in the middle."""
    draw = random.Random(0)
    for _ in range(20):
        cut = draw.randrange(1, 60)
        sent = (b'{"groups": [{"question": "a", "solutions": ["b"]}]}' * 2)[:cut]
        headers = JSON | {"Content-Length": "1000"}
        try:
            session.post(f"{server}/score", data=sent, headers=headers, timeout=0.05)
        except requests.RequestException:
            session.close()
    body = {"groups": [{"question": "a", "solutions": ["b"]}]}
    check(session.post(f"{server}/score", json=body, timeout=20))
    text = session.get(f"{server}/metrics", timeout=20).text
    assert "gcrm_queue_tokens 0.0" in text and 'status="500"' not in text
