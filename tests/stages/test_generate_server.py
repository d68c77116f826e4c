"""Stage `generate` with a real server that generates: samples, costs, resume, and mistakes."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gcrm.cli import run_stage
from gcrm.config.generate import GenerateOptions
from gcrm.data.completions import read_completions
from gcrm.decoding.completions import CompletionServer
from gcrm.decoding.live import parameters_per_token
from gcrm.generate import run
from gcrm.modeling.loading import load_language_model
from gcrm.stats.estimates import read_estimates
from gcrm.stats.generation import UNKNOWN
from helpers.completion_server import Served, completion_server
from helpers.models import make_byte_tokenizer, save_base_model, save_reward_model
from helpers.rows import write_rows

QUESTIONS = [f"tom has {i} apples . how many ?" for i in range(6)]
METHODS = ["plain", "q_threshold", "reward_worst"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generate")
    save_base_model(folder / "base")
    other = save_base_model(folder / "other", tokenizer=make_byte_tokenizer())
    save_reward_model(folder / "rm", other, seed=5, scale=10)
    np.save(folder / "goal_state.npy", np.random.default_rng(0).normal(size=(1, 32)))
    rows = [{"question": q, "expected_answer": str(i % 3)} for i, q in enumerate(QUESTIONS)]
    write_rows(folder / "problems.jsonl", *rows)
    return folder


@pytest.fixture
def served(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    waits = CompletionServer.__init__.__kwdefaults__
    monkeypatch.setitem(waits, "first_wait", 0.01)
    monkeypatch.setitem(waits, "tries", 2)
    with completion_server(folder / "base") as served:
        yield served


def generate(folder: Path, url: str, out: Path, **changed: Any) -> int:
    given = {
        "save_dir": out,
        "model": folder / "base",
        "server_url": url,
        "server_model": "words",
        "reward_model_path": folder / "rm",
        "goal_state_path": folder / "goal_state.npy",
        "problems": folder / "problems.jsonl",
        "methods": METHODS,
        "num_samples": 4,
        "max_new_tokens": 12,
        "check_every": 4,
        "skip_tokens": 2,
        "keep_samples": 2,
        "batch_size": 8,
        "bootstrap_resamples": 20,
    }
    words: list[object] = []
    for name, value in (given | changed).items():
        if value is not None:
            words += [f"--{name}", *(value if isinstance(value, list) else [value])]
    return run_stage(GenerateOptions, run, list(map(str, words)))


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    told = capsys.readouterr().err
    assert "Traceback" not in told
    [line] = [line for line in told.splitlines() if "error" in line]
    return line


def values(found: pd.DataFrame) -> dict[str, float]:
    return dict(zip(found["metric"], found["value"], strict=True))


def test_a_server_generates_and_its_tokens_are_counted(
    folder: Path, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert generate(folder, served.url, tmp_path / "out") == 0
    assert {*served.keys} == {"Bearer sk-secret"}
    assert not any(b"sk-secret" in p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    plain = {
        (row["sample"], row["question"]): row
        for row in read_completions(tmp_path / "out", "plain", "all")
    }
    assert len(plain) == 4 * len(QUESTIONS)
    for method in METHODS[1:]:
        kept = read_completions(tmp_path / "out", method, "all")
        assert 2 * len(QUESTIONS) <= len(kept) < len(plain)
        assert all(plain[row["sample"], row["question"]] == row for row in kept)
    found = values(read_estimates(tmp_path / "out" / "estimates.json"))
    size = parameters_per_token(load_language_model(str(folder / "base")))
    assert found["parameters.policy"] == size
    assert found["reward_worst.policy_tokens"] < found["plain.policy_tokens"]
    cost = 2 * size * found["reward_worst.policy_tokens"]
    cost += 2 * found["parameters.reward_model"] * found["reward_worst.reward_model_tokens"]
    assert found["majority.reward_worst.cost"] == pytest.approx(cost)
    # All but the one token that shows that the server generates.
    generated = sum(
        json.loads(line)["generated_tokens"]
        for method in METHODS
        for line in (tmp_path / "out" / method / "votes.jsonl").read_text().splitlines()
    )
    assert served.generated == generated + 1


def test_flops_of_an_unknown_model_are_not_made_up(
    folder: Path, served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its tokenizer alone. Tokens are known, and at which sizes a filter pays."""
    shutil.copytree(folder / "base", tmp_path / "tokenizer")
    for file in ("config.json", "model.safetensors", "generation_config.json"):
        (tmp_path / "tokenizer" / file).unlink(missing_ok=True)
    assert generate(folder, served.url, tmp_path / "out", model=tmp_path / "tokenizer") == 0
    assert "so the FLOPs of the server's model are unknown" in capsys.readouterr().err
    table = read_estimates(tmp_path / "out" / "estimates.json")
    costs = table[table["metric"].str.contains(r"cost$|parameters\.policy")]
    assert costs["value"].isna().all() and {*costs["reason"]} == {UNKNOWN}
    known = table[
        table["metric"].str.contains(r"(?:tokens|accuracy|samples|samples_kept|\.threshold)$")
    ]
    assert known["value"].notna().all()
    pays = table[table["metric"].str.endswith("break_even")]
    assert len(pays) and UNKNOWN not in {*pays["reason"]}


def test_what_a_server_gave_before_it_failed_is_not_asked_again(
    folder: Path, served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(folder, served.url, tmp_path / "whole") == 0
    whole, served.asked[:] = list(served.asked), []
    served.limit = 40
    assert generate(folder, served.url, tmp_path / "out") == 1
    assert f"{served.url}/v1/completions: status 503: at its limit" in error_of(capsys)
    assert not (tmp_path / "out" / "estimates.json").exists()
    served.limit, served.asked[:] = None, []
    assert generate(folder, served.url, tmp_path / "out", server_parallel=2) == 0
    assert len(served.asked) < len(whole) - 20
    for file in (tmp_path / "whole").rglob("*.jsonl"):
        same = tmp_path / "out" / file.relative_to(tmp_path / "whole")
        assert same.read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"server_model": None}, "status 404: .*no such model.*name by which it knows the model"),
        ({"server_url": "127.0.0.1:8000"}, "server_url: expected an address such as http://"),
        ({"server_url": "http://me:sk-secret@127.0.0.1"}, "server_url: .*OPENAI_API_KEY"),
        ({"server_url": None}, "server_model needs server_url"),
        ({"server_parallel": 0}, "server_parallel"),
        ({"model": "nowhere"}, "nowhere"),
    ],
)
def test_mistakes_are_told_in_one_line(
    folder: Path,
    served: Served,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changed: dict[str, Any],
    message: str,
) -> None:
    assert generate(folder, served.url, tmp_path / "out", **changed) in (1, 2)
    line = error_of(capsys)
    assert re.search(message, line), line
    assert "sk-secret" not in line


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ((401, {}, "who are you"), "status 401: who are you .*variable OPENAI_API_KEY"),
        ((400, {}, "too long"), "status 400: too long"),
    ],
)
def test_what_a_server_refuses_is_told_in_one_line(
    folder: Path,
    served: Served,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    failure: tuple[int, dict[str, str], str],
    message: str,
) -> None:
    served.failures = [failure]
    assert generate(folder, served.url, tmp_path / "out") == 1
    assert re.search(message, error_of(capsys))
    assert len(served.asked) == 1


def test_a_server_that_is_not_there(
    folder: Path, served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(folder, "http://127.0.0.1:9", tmp_path / "out") == 1
    assert "http://127.0.0.1:9/v1/completions: cannot be reached" in error_of(capsys)
