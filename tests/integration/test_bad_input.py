"""Broken files, rows, models, options, configs: each ends in one clear line, and nothing is lost.

All of them are tables here, and mutations of valid files; stages run in this process, in a folder
in which each has run before (`helpers.stage_world`).
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.breakages import (
    CONFIGS,
    ESTIMATES,
    GOAL_STATES,
    MODELS,
    SCORES,
    SETTINGS,
    TEXTS,
    VALUES,
    Breakage,
    with_row,
)
from helpers.stage_world import COMMANDS, contents, make_world, options_of, run
from helpers.workflow_runs import ROOT, SMALL


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    before = os.getcwd()
    yield make_world(tmp_path_factory.mktemp("world"))
    os.chdir(before)


@contextmanager
def broken(path: Path, breakage: Breakage) -> Iterator[None]:
    """The file or folder is broken within the block; times are as before afterwards."""
    kept = path.with_name(f"{path.name}.kept")
    path.rename(kept)
    subprocess.run(["cp", "-a", kept, path], check=True)
    try:
        if isinstance(breakage, bytes):
            path.write_bytes(breakage)
        else:
            breakage(path)
        yield
    finally:
        subprocess.run(["rm", "-rf", path], check=True)
        kept.rename(path)


def check(stage: str, words: str | list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    """It ends with status 1 and one line that has `said`, and all files are as they were."""
    before = contents(Path())
    capfd.readouterr()
    assert run(stage, words) == 1
    error = capfd.readouterr().err
    assert error.splitlines()[-1].startswith(f"{stage}: error: "), error
    assert error.count("error: ") == 1, error
    assert said in error.splitlines()[-1], error
    assert len(error.splitlines()[-1]) < 1000, error
    assert contents(Path()) == before


# --- rows ---------------------------------------------------------------------------------------

READERS = [
    *(("prepare", name) for name in ("pairs.jsonl", "heldout.jsonl")),
    *((stage, "pairs.jsonl") for stage in ("train", "represent", "goals", "policy")),
    *((stage, "completions/b/output-greedy.jsonl") for stage in ("prepare", "pair", "evaluate")),
    *((stage, "problems.jsonl") for stage in ("pretrain", "sample", "generate", "steer", "policy")),
    ("convert", "log.jsonl"),
]


EACH = 1
"""readers of each broken text, in turn"""


@pytest.mark.parametrize(
    ("stage", "path", "kind"),
    [
        (*READERS[(EACH * number + k) % len(READERS)], kind)
        for number, kind in enumerate(TEXTS)
        for k in range(EACH)
    ],
)
def test_files_of_rows(
    world: Path, capfd: pytest.CaptureFixture[str], stage: str, path: str, kind: str
) -> None:
    with broken(Path(path), TEXTS[kind]):
        check(stage, COMMANDS[stage], Path(path).stem.partition("-")[0], capfd)


CHEAP = {
    "pairs.jsonl": ["prepare", "represent"],
    "problems.jsonl": ["pretrain", "steer", "generate"],
    "completions/b/output-greedy.jsonl": ["pair", "prepare", "evaluate"],
    "log.jsonl": ["convert"],
}


@pytest.mark.parametrize(
    ("path", "key", "value", "stage"),
    [
        (path, key, value, CHEAP[path][number % len(CHEAP[path])])
        for path, keys in VALUES.items()
        for number, (key, value) in enumerate(
            (key, value) for key, values in keys.items() for value in values
        )
    ],
)
def test_rows(
    world: Path, capfd: pytest.CaptureFixture[str], path: str, key: str, value: Any, stage: str
) -> None:
    file = Path(path)
    with broken(file, with_row(file, 1, {key: value})):
        check(stage, COMMANDS[stage], f"{file.name}, ", capfd)


# --- models ---------------------------------------------------------------------------------------


LOADERS = [
    *(("rm", stage) for stage in ("represent", "evaluate", "serve", "goals", "generate", "steer")),
    *(("base", stage) for stage in ("sample", "train", "policy")),
]


@pytest.mark.parametrize(
    ("folder", "stage", "kind"),
    [
        (*LOADERS[(2 * number + k) % len(LOADERS)], kind)
        for number, kind in enumerate(MODELS)
        for k in range(2)
    ],
)
def test_models(
    world: Path, capfd: pytest.CaptureFixture[str], folder: str, stage: str, kind: str
) -> None:
    with broken(Path(folder), MODELS[kind]):
        check(stage, COMMANDS[stage], folder, capfd)


@pytest.mark.parametrize("kind", GOAL_STATES)
@pytest.mark.parametrize("stage", ["evaluate", "serve"])
def test_goal_states(world: Path, capfd: pytest.CaptureFixture[str], stage: str, kind: str) -> None:
    with broken(Path("goal/goal_state.npy"), GOAL_STATES[kind]):
        check(stage, COMMANDS[stage], "goal_state.npy", capfd)


# --- results that other stages read -----------------------------------------------------------


@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.parametrize("stage", ["metrics", "compare", "export"])
def test_scores(world: Path, capfd: pytest.CaptureFixture[str], stage: str, kind: str) -> None:
    with broken(Path("scores/a/seed0/b/greedy/scores.parquet"), SCORES[kind]):
        check(stage, COMMANDS[stage], "scores.parquet", capfd)


@pytest.mark.parametrize("kind", ESTIMATES)
@pytest.mark.parametrize("stage", ["report", "track"])
def test_metrics(world: Path, capfd: pytest.CaptureFixture[str], stage: str, kind: str) -> None:
    with broken(Path("metrics/a/seed0/b.json"), ESTIMATES[kind]):
        check(stage, COMMANDS[stage], "b.json", capfd)


# --- options --------------------------------------------------------------------------------------

WRONG = ["--nonsense 1", "stray", "--log-file /dev/null/x", "-x"]
SAID = {"": "is missing", "--log-file /dev/null/x": "/dev/null/x"}
"""in the message, where it is not the first word"""


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        (stage, words)
        for number, stage in enumerate(stage for stage in COMMANDS if stage != "trace")
        for words in ("", WRONG[number % len(WRONG)])
        if words or any(one.is_required() for one in options_of(stage).model_fields.values())
    ],
)
def test_options(world: Path, capfd: pytest.CaptureFixture[str], stage: str, words: str) -> None:
    given = f"{COMMANDS[stage]} {words}" if words else ""
    said = SAID.get(words, words.split(" ")[0])
    check(stage, given, said, capfd)


# --- configs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CONFIGS)
def test_configs(world: Path, capfd: pytest.CaptureFixture[str], kind: str) -> None:
    with broken(Path("config.yaml"), CONFIGS[kind]):
        for stage in ("cost", "verify"):
            check(stage, COMMANDS[stage], "config.yaml: ", capfd)


@pytest.mark.parametrize(("key", "value"), SETTINGS)
def test_settings(world: Path, capfd: pytest.CaptureFixture[str], key: str, value: Any) -> None:
    text = yaml.safe_dump(SMALL | {key: value}, sort_keys=False)
    with broken(Path("config.yaml"), text.encode()):
        check("cost", COMMANDS["cost"], "config.yaml: ", capfd)


# --- mutations ------------------------------------------------------------------------------------

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
MUTATED = settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])


def ends_well(stage: str, said: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Status 0, or 1 with one clear line."""
    capfd.readouterr()
    if run(stage, COMMANDS[stage]) != 0:
        last = capfd.readouterr().err.splitlines()[-1]
        assert last.startswith(f"{stage}: error: ") and said in last


@MUTATED
@given(key=st.sampled_from(list(SMALL)) | st.text(max_size=8), value=ANY)
def test_mutated_configs(
    world: Path, capfd: pytest.CaptureFixture[str], key: str, value: Any
) -> None:
    text = yaml.safe_dump(SMALL | {key: value}, allow_unicode=True)
    with broken(Path("config.yaml"), text.encode("utf-8", "surrogatepass")):
        ends_well("cost", "config.yaml: ", capfd)


@MUTATED
@given(data=st.data(), key=st.sampled_from(["question", "correct", "incorrect", "x"]), value=ANY)
def test_mutated_pairs(
    world: Path, capfd: pytest.CaptureFixture[str], data: st.DataObject, key: str, value: Any
) -> None:
    file = Path("pairs.jsonl")
    number = data.draw(st.integers(0, 11))
    with broken(file, with_row(file, number, {key: value})):
        ends_well("prepare", "pairs.jsonl, ", capfd)


KEYS = ["question", "expected_answer", "generated_solution", "predicted_answer", "is_correct"]


@MUTATED
@given(number=st.integers(0, 5), key=st.sampled_from(KEYS), value=ANY)
def test_mutated_completions(
    world: Path, capfd: pytest.CaptureFixture[str], number: int, key: str, value: Any
) -> None:
    file = Path("completions/b/output-rs0.jsonl")
    with broken(file, with_row(file, number, {key: value})):
        ends_well("pair", "output-rs0.jsonl, ", capfd)


def damaged(path: Path, where: float, noise: bytes) -> bytes:
    """Some bytes of a file are others."""
    content = bytearray(path.read_bytes())
    start = int(where * len(content))
    content[start : start + len(noise)] = noise
    return bytes(content)


@MUTATED
@given(where=st.floats(0, 1), noise=st.binary(min_size=1, max_size=30))
@pytest.mark.parametrize(
    ("path", "stage"),
    [
        ("pairs.jsonl", "prepare"),
        ("scores/a/seed0/b/greedy/scores.parquet", "metrics"),
        ("metrics/a/seed0/b.json", "track"),
        ("digests.json", "verify"),
        ("config.yaml", "cost"),
    ],
)
def test_damaged_files(
    world: Path,
    capfd: pytest.CaptureFixture[str],
    path: str,
    stage: str,
    where: float,
    noise: bytes,
) -> None:
    file = Path(path)
    with broken(file, damaged(file, where, noise)):
        capfd.readouterr()
        if run(stage, COMMANDS[stage]) != 0:
            assert capfd.readouterr().err.splitlines()[-1].startswith(f"{stage}: error: ")


# --- processes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "path", "breakage"),
    [
        ("evaluate", "rm", MODELS["weights cut off"]),
        ("metrics", "scores/a/seed0/b/greedy/scores.parquet", SCORES["text"]),
        ("cost", "config.yaml", CONFIGS["a broken date"]),
        ("pair", "completions/b/output-greedy.jsonl", TEXTS["cut off"]),
    ],
)
def test_as_a_process(world: Path, stage: str, path: str, breakage: Breakage) -> None:
    """As users call it: nothing comes after the line, at exit, either."""
    with broken(Path(path), breakage):
        command = [sys.executable, "-m", "gcrm", stage, *COMMANDS[stage].split()]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"{stage}: error: "), done.stderr
    assert Path(path).name in done.stderr.splitlines()[-1]
