"""Interrupted scores and goal states are resumed, and are the same bit for bit."""

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
from gcrm.config.goals import GoalsOptions
from gcrm.config.represent import RepresentOptions
from gcrm.evaluate import run as run_evaluate
from gcrm.goals import run as run_goals
from gcrm.lineage import resume
from gcrm.lineage.resume import Unfinished
from gcrm.modeling.passes import Passes
from gcrm.modeling.reward_model import Scores
from gcrm.modeling.tokenization import Encoded
from gcrm.represent import run as run_represent
from gcrm.scoring.scorer import restore, save
from gcrm.utils.io import read_jsonl
from gcrm.utils.locks import claim
from helpers.completions import write_completions
from helpers.dialogues import write_dialogues
from helpers.models import save_base_model, save_reward_model
from helpers.processes import ROOT, torchrun
from helpers.training import write_pairs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scorer")
    save_base_model(folder / "base")
    for seed in (0, 1):
        save_reward_model(folder / f"rm{seed}", folder / "base", seed)
    write_completions(folder / "completions", "gsm8k", samples=3)
    write_completions(folder / "completions", "svamp", samples=0)
    write_dialogues(folder / "heldout.jsonl", 8)
    write_pairs(folder / "pairs.jsonl", 24)
    np.save(folder / "goal_state.npy", np.arange(32, dtype=np.float32))
    return folder


class Forward:
    """Counts batches; an interrupt comes instead of the one after `limit`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.until(10**9)
        forward = Passes.__call__

        def counted(passes: Passes, encoded: Any, batch: Any) -> Iterator[Any]:
            if self.batches == self.limit:
                raise KeyboardInterrupt
            self.batches += 1
            yield from forward(passes, encoded, batch)

        monkeypatch.setattr(Passes, "__call__", counted)

    def until(self, limit: int) -> None:
        self.batches, self.limit = 0, limit


@pytest.fixture
def forward(monkeypatch: pytest.MonkeyPatch) -> Forward:
    """Unfinished work is written after every batch."""
    monkeypatch.setattr(resume, "SECONDS", 0)
    return Forward(monkeypatch)


def scoring(folder: Path, kind: str, output: Path) -> list[str]:
    words = ["--reward_model_path", folder / "rm0", "--goal_state_path", folder / "goal_state.npy"]
    words += ["--tokens_per_batch", 40, "--output", output]
    if kind == "pairs":
        words += ["--dataset", folder / "heldout.jsonl"]
    else:
        words += ["--completions_data_path", folder / "completions"]
        words += ["--benchmarks", "gsm8k", "--splits", "all"]
    return list(map(str, words))


def evaluate(*words: Any) -> int:
    return run_stage(EvaluateOptions, run_evaluate, list(map(str, words)))


def goal_state(folder: Path, name: str) -> list[str]:
    words = ["--dataset-path", folder / "pairs.jsonl", "--reward-model-path", folder / "rm0"]
    words += ["--tokens-per-batch", "60", "--save-dir", folder / name]
    return list(map(str, words))


def represent(folder: Path, name: str) -> int:
    return run_stage(RepresentOptions, run_represent, goal_state(folder, name))


def measuring(folder: Path, name: str) -> list[str]:
    words = ["--dataset-path", folder / "pairs.jsonl", "--reward-model-path", folder / "rm0"]
    words += ["--completions-data-path", folder / "completions", "--benchmarks", "gsm8k"]
    words += ["--examples", 1, 10, "--tokens-per-batch", 60]
    return list(map(str, [*words, "--output", folder / name / "seed0.jsonl"]))


def goals(folder: Path, name: str) -> int:
    return run_stage(GoalsOptions, run_goals, measuring(folder, name))


def leftovers(folder: Path) -> list[Path]:
    return list(folder.rglob("*.parts"))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.data())
def test_saved_scores_are_restored_to_their_places(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], data: st.DataObject
) -> None:
    encoded = [Encoded([0] * (2 + length), start=2) for length in lengths]
    rows = data.draw(st.permutations(range(len(lengths))))
    first, second = sorted(data.draw(st.tuples(*[st.integers(0, len(rows))] * 2)))
    scores, again = (Scores.zeros(encoded, with_q_values=True) for _ in range(2))
    for number, ragged in enumerate(scores.of_tokens.values()):
        ragged.values[:] = np.arange(sum(lengths)) + 1000 * number + 0.5
    unfinished = Unfinished(tmp_path_factory.mktemp("x") / "scores.parquet", "evaluate", {}, [])
    save(unfinished, scores.of_tokens, rows[:first])
    save(unfinished, scores.of_tokens, rows[first:second])
    done = restore(unfinished, again.of_tokens, len(lengths))
    assert set(np.flatnonzero(done)) == set(rows[:second])
    for name, ragged in scores.of_tokens.items():
        expected = np.where(np.repeat(done, lengths), ragged.values, 0)
        np.testing.assert_array_equal(again.of_tokens[name].values, expected)


@pytest.mark.parametrize("kind", ["completions", "pairs"])
def test_an_interrupted_evaluation_resumes(
    folder: Path, forward: Forward, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    whole, resumed = (folder / f"{kind}-{name}.parquet" for name in ("whole", "resumed"))
    assert evaluate(*scoring(folder, kind, whole)) == 0
    batches = forward.batches
    assert batches > 6
    for already in (0, 3):
        forward.until(3)
        assert evaluate(*scoring(folder, kind, resumed)) == 130
        assert not resumed.exists()
        assert ("resuming" in capsys.readouterr().err) == bool(already)
    forward.until(batches)
    assert evaluate(*scoring(folder, kind, resumed)) == 0
    assert forward.batches == batches - 6
    assert resumed.read_bytes() == whole.read_bytes()
    assert not leftovers(folder)


@pytest.mark.parametrize(
    "change", ["model", "goal state", "completions", "tokens_per_batch", "code"]
)
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
    words = scoring(folder, "completions", tmp_path / "scores.parquet")
    words += ["--completions_data_path", str(tmp_path / "completions")]
    words += ["--goal_state_path", str(tmp_path / "goal_state.npy")]
    forward.until(2)
    assert evaluate(*words) == 130
    assert len(list(tmp_path.glob("scores.parquet.parts/*/*.npz"))) == 2
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
            monkeypatch.setattr(resume, "code_version", lambda module: "edited")
    forward.until(10**9)
    capsys.readouterr()
    assert evaluate(*words) == 0
    assert "resuming" not in capsys.readouterr().err
    assert not leftovers(tmp_path)


def test_finished_tables_of_an_interrupted_command_are_not_scored_again(
    folder: Path, forward: Forward, tmp_path: Path
) -> None:
    words = ["--reward_model_path", folder / "rm0", "--vanilla", "--tokens_per_batch", 40]
    words += ["--completions_data_path", folder / "completions"]
    words += ["--benchmarks", "gsm8k", "svamp", "--splits", "greedy", "--save_dir"]
    assert evaluate(*words, tmp_path / "whole") == 0
    forward.until(forward.batches - 1)
    assert evaluate(*words, tmp_path / "resumed") == 130
    forward.until(10**9)
    assert evaluate(*words, tmp_path / "resumed") == 0
    assert forward.batches == 1
    whole, resumed = (
        {str(file.relative_to(home)): file.read_bytes() for file in home.rglob("*.jsonl")}
        for home in (tmp_path / "whole", tmp_path / "resumed")
    )
    assert whole == resumed and len(whole) == 2
    assert not leftovers(tmp_path)


def test_several_processes_share_the_work_and_resume(folder: Path, forward: Forward) -> None:
    """Scores bit for bit; the goal state to rounding, since its sum is taken in parts (fp64)."""
    alone, two, resumed = (folder / f"{name}.parquet" for name in ("alone", "two", "resumed"))
    assert evaluate(*scoring(folder, "completions", alone)) == 0
    forward.until(4)
    assert evaluate(*scoring(folder, "completions", resumed)) == 130
    forward.until(10**9)
    assert represent(folder, "goal-alone") == 0
    assert goals(folder, "measured-alone") == 0
    done = torchrun(
        *(ROOT / "tests/helpers/stages_together.py", "represent"),
        *(*goal_state(folder, "goal-two"), "--", "goals"),
        *(*measuring(folder, "measured-two"), "--", "evaluate"),
        *(*scoring(folder, "completions", two), "--", "evaluate"),
        *scoring(folder, "completions", resumed),
    )
    assert done.returncode == 0, done.stderr
    for name, count in (("/goal-two", 24), ("/rm0 gsm8k all", 18)):
        assert done.stderr.count(f"{name}: completion {count}/{count}, done") == 1
    assert done.stderr.count(" gsm8k all: resuming: ") == 1
    assert alone.read_bytes() == two.read_bytes() == resumed.read_bytes()
    states = [np.load(folder / name / "goal_state.npy") for name in ("goal-alone", "goal-two")]
    np.testing.assert_allclose(states[0], states[1], rtol=0, atol=1e-7)
    rows = [read_jsonl(folder / f"measured-{name}" / "seed0.jsonl") for name in ("alone", "two")]
    assert rows[0] == [row | {"variant": "measured-alone"} for row in rows[1]]
    written = sorted(path.name for path in folder.glob("two.parquet*"))
    assert written == ["two.parquet", "two.parquet.provenance.json"]
    assert not leftovers(folder)


def test_a_second_evaluation_of_the_same_table_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "scores.parquet"
    with claim(output):
        assert evaluate(*scoring(folder, "completions", output)) == 1
    said = capsys.readouterr().err
    assert f"{output}: is being written by another process ({os.getpid()} on " in said
    assert evaluate(*scoring(folder, "completions", output)) == 0


@pytest.mark.parametrize("damaged", [False, True])
def test_an_interrupted_goal_state_resumes_unless_its_file_is_damaged(
    folder: Path,
    forward: Forward,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    damaged: bool,
) -> None:
    """Interrupts come within the completions that are encoded together, and in the next of them."""
    monkeypatch.setattr("gcrm.scoring.goal_state.COMPLETIONS_AT_ONCE", 10)
    names = [f"goal-{name}-{damaged}" for name in ("whole", "resumed")]
    assert represent(folder, names[0]) == 0
    batches = forward.batches
    for limit in (2, 1, batches - 4):
        forward.until(limit)
        assert represent(folder, names[1]) == 130
    if damaged:
        [file] = folder.glob(f"{names[1]}/*.parts/*/*.npz")
        file.write_bytes(file.read_bytes()[:100])
    forward.until(10**9)
    capsys.readouterr()
    assert represent(folder, names[1]) == 0
    assert ("resuming: " in capsys.readouterr().err) != damaged
    assert forward.batches == (batches if damaged else 1)
    whole, resumed = (folder / name / "goal_state.npy" for name in names)
    assert whole.read_bytes() == resumed.read_bytes()
    for path in (whole, resumed):
        assert json.loads((path.parent / "provenance.json").read_text())["completions"] == 24
        assert {file.name for file in path.parent.iterdir()} == {path.name, "provenance.json"}


def test_interrupted_measurements_of_goal_states_resume(
    folder: Path, forward: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first interrupt comes among the examples, the second among the samples."""
    monkeypatch.setattr("gcrm.scoring.goal_state.COMPLETIONS_AT_ONCE", 20)
    assert goals(folder, "whole") == 0
    batches = forward.batches
    for limit in (2, batches - 4):
        forward.until(limit)
        assert goals(folder, "resumed") == 130
    forward.until(10**9)
    assert goals(folder, "resumed") == 0
    assert forward.batches == 2
    rows = [read_jsonl(folder / name / "seed0.jsonl") for name in ("whole", "resumed")]
    assert rows[0] == [row | {"variant": "whole"} for row in rows[1]]
    assert not leftovers(folder)
