"""Scoring held-out pairs through the command, against the Python API."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from gcrm import RewardModel
from gcrm.cli import run_stage
from gcrm.config.evaluate import EvaluateOptions
from gcrm.config.metrics import MetricsOptions
from gcrm.data.preferences import cap_pairs, load_preferences
from gcrm.data.scores import read_scores
from gcrm.evaluate import run
from gcrm.metrics import run as run_metrics
from gcrm.modeling.loading import new_reward_model
from helpers.dialogues import dialogue_rows, write_dialogues
from helpers.models import save_base_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    model, tokenizer = new_reward_model(str(save_base_model(folder / "base")), "sdpa", seed=0)
    model.save_pretrained(folder / "rm")
    tokenizer.save_pretrained(folder / "rm")
    write_dialogues(folder / "heldout.jsonl", 8)
    np.save(folder / "goal_state.npy", np.arange(32, dtype=np.float32))
    return folder


def evaluate(folder: Path, *flags: object) -> int:
    words = ["--reward_model_path", folder / "rm", *flags]
    if "--vanilla" not in flags:
        words += ["--goal_state_path", folder / "goal_state.npy"]
    if "--dataset" not in flags:
        words += ["--dataset", folder / "heldout.jsonl"]
    return run_stage(EvaluateOptions, run, list(map(str, words)))


def test_both_sides_have_the_scores_of_the_python_api(folder: Path) -> None:
    assert evaluate(folder, "--output", folder / "scores.parquet") == 0
    rows = pq.read_table(folder / "scores.parquet").to_pylist()
    rm = RewardModel.from_pretrained(folder / "rm", goal_state=folder / "goal_state.npy")
    pairs = load_preferences([str(folder / "heldout.jsonl")])
    assert len(rows) == 2 * len(pairs) == 16
    for number, pair in enumerate(pairs):
        assert isinstance(pair.prompt, list)  # a dialogue, scored as one
        expected = rm.score(pair.prompt, [pair.chosen, pair.rejected])
        for i, row in enumerate(rows[2 * number : 2 * number + 2]):
            assert (row["group"], row["label"], row["sample"]) == (number, i == 0, 0)
            assert (row["prompt"], row["truncated"]) == (pair.question, False)
            assert row["completion"] == (pair.chosen, pair.rejected)[i]
            assert row["reward"] == pytest.approx(expected.reward[i], abs=1e-4)
            assert row["partial_rewards"] == pytest.approx(expected.partial_rewards[i], abs=1e-4)
            assert expected.q_values is not None
            assert row["q_values"] == pytest.approx(expected.q_values[i], abs=1e-4)
            assert row["num_tokens"] == len(row["q_values"]) == expected.num_tokens[i]
    provenance = json.loads((folder / "scores.parquet.provenance.json").read_text())
    assert (provenance["pairs"], provenance["pairs_left_out"]) == (8, 0)


def test_scores_are_the_same_bytes_every_time(folder: Path) -> None:
    texts = []
    for name in ("first", "second"):
        assert evaluate(folder, "--output", folder / f"{name}.parquet") == 0
        texts.append((folder / f"{name}.parquet").read_bytes())
    assert texts[0] == texts[1]


def test_a_cap_takes_pairs_by_hash(folder: Path) -> None:
    path = folder / "capped.parquet"
    assert evaluate(folder, "--output", path, "--vanilla", "--max_pairs", 3) == 0
    table = read_scores(path)
    expected = cap_pairs(load_preferences([str(folder / "heldout.jsonl")]), 3)
    assert table.prompt[::2].tolist() == [pair.question for pair in expected]
    assert table.q_values is None


def test_long_prompts_are_left_out_and_long_answers_cut(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Dialogues of three turns have 22 tokens before the answer, those of one turn 11."""
    path = folder / "short.parquet"
    assert evaluate(folder, "--output", path, "--vanilla", "--max_len", 15) == 0
    table = read_scores(path)
    kept = [row for row in dialogue_rows(8) if row["chosen"].count("Human") == 1]
    assert (len(table), table.left_out) == (2 * len(kept), 8 - len(kept))
    assert table.truncated[::2].all()
    said = capsys.readouterr().err
    assert f"{8 - len(kept)} of 8 pairs left out" in said
    assert "lost their end" in said


def test_standalone_commands_name_sets_by_their_files(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dialogues(folder / "other" / "more.v2.jsonl", 5, first=100)
    sets = [folder / "heldout.jsonl", folder / "other" / "more.v2.jsonl"]
    assert evaluate(folder, "--save_dir", folder / "eval", "--dataset", *sets) == 0
    words = ["--model_name", "rm", "--eval_results_dir", folder / "eval"]
    words += ["--benchmarks", "heldout", "more.v2", "--bootstrap_resamples", 20]
    capsys.readouterr()
    assert run_stage(MetricsOptions, run_metrics, list(map(str, words))) == 0
    printed = capsys.readouterr().out
    table = read_scores(folder / "eval" / "rm" / "heldout" / "pairs" / "scores.parquet")
    right = 100 * np.mean(table.reward[::2] > table.reward[1::2])
    line = next(line for line in printed.splitlines() if line.startswith("heldout "))
    assert line.split()[1:3] == ["8", f"{right:.1f}"]
    assert "more.v2" in printed and "AUROC" not in printed
    assert max(map(len, printed.splitlines())) <= 110


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset", "none.jsonl"], "none.jsonl: no such file"),
        (["--max_len", "5"], "no prompt leaves room for an answer in max_len = 5"),
        (["--benchmarks", "gsm8k"], "--benchmarks does nothing with --dataset"),
        (["--dataset", "a.jsonl", "b/a.jsonl"], "two of --dataset are named 'a'"),
        (["--dataset", "a.jsonl", "b.jsonl", "--output", "x"], "--output takes one dataset"),
    ],
)
def test_mistakes_end_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    way_out = [] if "--output" in flags else ["--save_dir", str(folder / "refused")]
    assert evaluate(folder, "--vanilla", *way_out, *flags) == 1
    said = capsys.readouterr().err.strip()
    assert message in said.splitlines()[-1] and "Traceback" not in said
    assert not (folder / "refused").exists()


def test_pair_options_do_nothing_for_benchmarks(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--reward_model_path", "rm", "--vanilla", "--save_dir", "eval"]
    assert run_stage(EvaluateOptions, run, words) == 1
    assert "give --completions_data_path and --benchmarks, or --dataset" in capsys.readouterr().err
    words += ["--completions_data_path", "c", "--benchmarks", "gsm8k", "--max_pairs", "3"]
    assert run_stage(EvaluateOptions, run, words) == 1
    assert "--max_pairs does nothing without --dataset" in capsys.readouterr().err
