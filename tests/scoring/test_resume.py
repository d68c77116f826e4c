"""Scoring and goal states in several goes: bit for bit what one go makes."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcrm.cli import run_stage
from gcrm.config.evaluate import EvaluateOptions
from gcrm.config.represent import RepresentOptions
from gcrm.evaluate import run as run_evaluate
from gcrm.lineage import resume as resumption
from gcrm.modeling.reward_model import RewardModel, TokenValues
from gcrm.represent import run as run_represent
from gcrm.scoring import resume
from gcrm.scoring.resume import PartialScores, Unfinished
from gcrm.utils.locks import claim
from helpers.completions import write_completions
from helpers.dialogues import write_dialogues
from helpers.models import save_base_model, save_reward_model
from helpers.processes import ROOT, torchrun
from helpers.training import write_pairs

# --- the files -----------------------------------------------------------------------------------


def files(home: Path) -> Unfinished:
    return Unfinished(home / "parts", home / "scores.parquet")


def values_of(tokens: list[int], fill: bool = False) -> TokenValues:
    values = TokenValues(np.array(tokens, np.int32), with_q_values=True)
    for number, array in enumerate(values.arrays.values()):
        array += fill * (np.arange(sum(tokens), dtype=np.float32) + 1000 * number + 0.5)
    return values


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=12).flatmap(
        lambda tokens: st.tuples(
            st.just(tokens),
            st.permutations(range(len(tokens))),
            st.lists(st.integers(1, 4), min_size=1, max_size=12),
        )
    )
)
def test_what_is_saved_comes_back_in_its_place(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: tuple[list[int], list[int], list[int]],
) -> None:
    tokens, order, sizes = drawn
    home = tmp_path_factory.mktemp("parts")
    values = values_of(tokens, fill=True)
    first = PartialScores(files(home), values)
    assert not first.restore().any()
    saved: list[int] = []
    for size in sizes:
        rows = order[len(saved) : len(saved) + size]
        first.add(rows)
        first.save()
        saved += rows
    again = values_of(tokens)
    done = PartialScores(files(home), again).restore()
    assert set(np.flatnonzero(done)) == set(saved)
    for name, array in values.arrays.items():
        scored = np.where(np.repeat(done, tokens), array, 0)
        np.testing.assert_array_equal(again.arrays[name], scored)


def test_a_part_is_written_when_its_time_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(resume.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(resume, "SECONDS", 20.0)
    some = PartialScores(files(tmp_path), values_of([1] * 9))
    for row in range(8):
        now[0] += 5.0
        some.add([row])
    written = sorted(file.name for file in tmp_path.rglob("*.npz"))
    assert written == ["0.npz", "4.npz"]
    assert PartialScores(files(tmp_path), values_of([1] * 9)).restore().sum() == 8


ONE = np.array([1])


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"PK\x03\x04 cut", b"no zip at all"),
        {"rows": np.array([7]), "partial_rewards": np.ones(1), "q_values": np.ones(1)},  # no row 7
        {"rows": ONE, "partial_rewards": np.ones(9), "q_values": np.ones(1)},  # not nine tokens
        {"rows": ONE, "partial_rewards": np.ones(1)},
        {"partial_rewards": np.ones(1), "q_values": np.ones(1)},
    ],
)
def test_what_is_no_part_is_left_out(tmp_path: Path, content: bytes | dict[str, Any]) -> None:
    unfinished = files(tmp_path)
    if isinstance(content, bytes):
        unfinished.folder.mkdir(parents=True)
        (unfinished.folder / "0.npz").write_bytes(content)
    else:
        unfinished.write("0", content)
    values = values_of([1, 1, 1])
    assert not PartialScores(unfinished, values).restore().any()
    assert not any(array.any() for array in values.arrays.values())


# --- the stages ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("goes")
    save_base_model(folder / "base")
    for seed in (0, 1):
        save_reward_model(folder / f"rm{seed}", folder / "base", seed)
    write_completions(folder / "completions", "gsm8k", samples=3)
    write_completions(folder / "completions", "svamp", samples=0)
    write_dialogues(folder / "heldout.jsonl", 8)
    write_pairs(folder / "pairs.jsonl", 24)
    np.save(folder / "goal_state.npy", np.arange(32, dtype=np.float32))
    return folder


@pytest.fixture(autouse=True)
def parts_of_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "SECONDS", 0)


class Forward:
    """Counts the batches that are computed, and is interrupted behind some."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches, self.limit = 0, 10**9
        forward = RewardModel.forward

        def counted(model: RewardModel, encoded: Any, batches: Any) -> Iterator[Any]:
            for result in forward(model, encoded, batches):
                if self.batches == self.limit:
                    raise KeyboardInterrupt
                self.batches += 1
                yield result

        monkeypatch.setattr(RewardModel, "forward", counted)

    def until(self, limit: int) -> None:
        self.batches, self.limit = 0, limit


@pytest.fixture
def forward(monkeypatch: pytest.MonkeyPatch) -> Forward:
    return Forward(monkeypatch)


def options(folder: Path, kind: str, output: Path, model: str = "rm0") -> list[str]:
    words = ["--reward_model_path", folder / model, "--goal_state_path", folder / "goal_state.npy"]
    words += ["--tokens_per_batch", 40, "--output", output]
    if kind == "pairs":
        words += ["--dataset", folder / "heldout.jsonl"]
    else:
        words += ["--completions_data_path", folder / "completions"]
        words += ["--benchmarks", "gsm8k", "--splits", "all"]
    return list(map(str, words))


def evaluate(*words: Any) -> int:
    return run_stage(EvaluateOptions, run_evaluate, list(map(str, words)))


@pytest.mark.parametrize("kind", ["completions", "pairs"])
def test_an_interrupted_evaluation_goes_on(
    folder: Path, forward: Forward, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    whole = folder / f"{kind}-whole.parquet"
    assert evaluate(*options(folder, kind, whole)) == 0
    batches = forward.batches
    assert batches > 6
    goes = folder / f"{kind}-goes.parquet"
    for already in (0, 3):
        forward.until(3)
        assert evaluate(*options(folder, kind, goes)) == 130
        assert not goes.exists()
        resumed = "resuming" in capsys.readouterr().err
        assert resumed == bool(already)
    forward.until(batches)
    assert evaluate(*options(folder, kind, goes)) == 0
    assert forward.batches == batches - 6
    assert goes.read_bytes() == whole.read_bytes()
    assert not resumption.parts_of(goes).exists()
    assert not resumption.parts_of(whole).exists()


CHANGES = ["model", "goal state", "completions", "tokens_per_batch", "code"]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_evaluation_starts_afresh(
    folder: Path,
    forward: Forward,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    change: str,
) -> None:
    write_completions(tmp_path / "completions", "gsm8k", samples=2)
    np.save(tmp_path / "goal_state.npy", np.arange(32, dtype=np.float32))
    output = tmp_path / "scores.parquet"
    words = options(folder, "completions", output)
    words += ["--completions_data_path", str(tmp_path / "completions")]
    words += ["--goal_state_path", str(tmp_path / "goal_state.npy")]
    forward.until(2)
    assert evaluate(*words) == 130
    assert len(list(resumption.parts_of(output).glob("*/*.npz"))) == 2
    match change:
        case "model":
            words += ["--reward_model_path", str(folder / "rm1")]
        case "goal state":
            np.save(tmp_path / "goal_state.npy", np.ones(32, np.float32))
        case "completions":
            file = tmp_path / "completions" / "gsm8k" / "output-rs1.jsonl"
            file.write_text(file.read_text().replace("answer 4", "answer 60"))
        case "tokens_per_batch":
            words += ["--tokens_per_batch", "60"]
        case "code":
            monkeypatch.setattr(resumption, "code_version", lambda module: "edited")
    forward.until(10**9)
    capsys.readouterr()
    assert evaluate(*words) == 0
    assert "resuming" not in capsys.readouterr().err
    assert not resumption.parts_of(output).exists()
    fresh = tmp_path / "fresh.parquet"
    assert evaluate(*words, "--output", fresh) == 0
    assert fresh.read_bytes() == output.read_bytes()


def test_tables_that_are_done_are_not_scored_again(folder: Path, forward: Forward) -> None:
    """Of several benchmarks in one command, the first is done when the second is interrupted."""
    words = ["--reward_model_path", folder / "rm0", "--vanilla", "--tokens_per_batch", 40]
    words += ["--completions_data_path", folder / "completions"]
    words += ["--benchmarks", "gsm8k", "svamp", "--splits", "greedy"]
    assert evaluate(*words, "--save_dir", folder / "eval-whole") == 0
    batches = forward.batches
    forward.until(batches - 1)
    assert evaluate(*words, "--save_dir", folder / "eval-goes") == 130
    forward.until(10**9)
    assert evaluate(*words, "--save_dir", folder / "eval-goes") == 0
    assert forward.batches == 1
    tables = [
        {str(f.relative_to(home)): f.read_bytes() for f in home.rglob("*.jsonl")}
        for home in (folder / "eval-whole", folder / "eval-goes")
    ]
    assert tables[0] == tables[1] and len(tables[0]) == 2
    assert not list(folder.glob("eval-goes/**/*.parts"))


def test_several_processes_share_the_work_and_resume(folder: Path, forward: Forward) -> None:
    """Scores bit for bit; the goal state to rounding, since its sum is taken in parts (fp64)."""
    whole, shared, resumed = (folder / f"{name}.parquet" for name in ("alone", "two", "resumed"))
    assert evaluate(*options(folder, "completions", whole)) == 0
    forward.until(4)
    assert evaluate(*options(folder, "completions", resumed)) == 130
    forward.until(10**9)
    assert represent(folder, "goal-alone") == 0
    done = torchrun(
        *(ROOT / "tests/helpers/stages_together.py", "represent"),
        *(*goal_state_options(folder, "goal-two"), "--", "evaluate"),
        *(*options(folder, "completions", shared), "--", "evaluate"),
        *options(folder, "completions", resumed),
    )
    assert done.returncode == 0, done.stderr
    for name, count in (("/goal-two", 24), ("/rm0 gsm8k all", 18)):
        assert done.stderr.count(f"{name}: completion {count}/{count}, done") == 1
    assert done.stderr.count("evaluate gsm8k all: resuming: ") == 1
    assert whole.read_bytes() == shared.read_bytes() == resumed.read_bytes()
    states = [np.load(folder / name / "goal_state.npy") for name in ("goal-alone", "goal-two")]
    np.testing.assert_allclose(states[0], states[1], rtol=0, atol=1e-7)
    written = sorted(path.name for path in folder.glob("two.parquet*"))
    assert written == ["two.parquet", "two.parquet.provenance.json"]
    assert not list(folder.glob("**/*.parts"))


def test_a_second_evaluation_of_the_same_table_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = folder / "claimed.parquet"
    with claim(output):
        assert evaluate(*options(folder, "completions", output)) == 1
    said = capsys.readouterr().err
    assert f"{output}: is being written by another process ({os.getpid()} on " in said
    assert evaluate(*options(folder, "completions", output)) == 0


def goal_state_options(folder: Path, name: str) -> list[str]:
    words = ["--dataset-path", folder / "pairs.jsonl", "--reward-model-path", folder / "rm0"]
    words += ["--tokens-per-batch", "60", "--save-dir", folder / name]
    return list(map(str, words))


def represent(folder: Path, name: str) -> int:
    return run_stage(RepresentOptions, run_represent, goal_state_options(folder, name))


def test_a_goal_state_whose_part_is_damaged_starts_afresh(
    folder: Path, forward: Forward, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a machine may leave it that lost its power."""
    assert represent(folder, "goal-unhurt") == 0
    forward.until(2)
    assert represent(folder, "goal-hurt") == 130
    [part] = folder.glob("goal-hurt/*.parts/*/*.npz")
    part.write_bytes(part.read_bytes()[:100])
    forward.until(10**9)
    capsys.readouterr()
    assert represent(folder, "goal-hurt") == 0
    assert "resuming" not in capsys.readouterr().err
    states = [folder / name / "goal_state.npy" for name in ("goal-unhurt", "goal-hurt")]
    assert states[0].read_bytes() == states[1].read_bytes()


def test_an_interrupted_goal_state_goes_on(
    folder: Path,
    forward: Forward,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In the middle of what is encoded together, and in the next of it."""
    monkeypatch.setattr("gcrm.scoring.goal_state.COMPLETIONS_AT_ONCE", 10)
    assert represent(folder, "goal-whole") == 0
    batches = forward.batches
    for limit in (2, 1, batches - 4):
        forward.until(limit)
        assert represent(folder, "goal-goes") == 130
    forward.until(10**9)
    capsys.readouterr()
    assert represent(folder, "goal-goes") == 0
    assert "resuming: " in capsys.readouterr().err
    assert forward.batches == 1
    whole, goes = (folder / name / "goal_state.npy" for name in ("goal-whole", "goal-goes"))
    assert whole.read_bytes() == goes.read_bytes()
    facts = [json.loads((f.parent / "provenance.json").read_text()) for f in (whole, goes)]
    assert facts[0]["completions"] == facts[1]["completions"] == 24
    assert sorted(f.name for f in goes.parent.iterdir()) == ["goal_state.npy", "provenance.json"]
