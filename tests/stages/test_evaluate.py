"""Scoring solutions and held-out pairs through the command, against the Python API."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from gcrm import RewardModel
from gcrm.cli import run_stage
from gcrm.config.evaluate import EvaluateOptions
from gcrm.config.metrics import MetricsOptions
from gcrm.config.represent import RepresentOptions
from gcrm.data.authors_format import read_authors_jsonl
from gcrm.data.completions import read_completions
from gcrm.data.messages import Prompt
from gcrm.data.preferences import cap_pairs, load_preferences
from gcrm.data.scores import read_scores
from gcrm.evaluate import run
from gcrm.lineage.provenance import write_provenance
from gcrm.metrics import run as run_metrics
from helpers.completions import write_completions
from helpers.dialogues import dialogue_rows, write_dialogues
from helpers.models import save_base_model, save_reward_model
from helpers.rows import write_rows

SPLITS = ("greedy", "all", "pairs")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    save_reward_model(folder / "rm", save_base_model(folder / "base"))
    write_completions(folder / "completions", "gsm8k")
    write_completions(folder / "completions", "svamp", samples=0)
    write_dialogues(folder / "heldout.jsonl", 8)
    np.save(folder / "goal_state.npy", np.arange(32, dtype=np.float32))
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> RewardModel:
    return RewardModel.from_pretrained(folder / "rm", goal_state=folder / "goal_state.npy")


def evaluate(folder: Path, *flags: object) -> int:
    """With the model of `folder`, its goal state and its data, where the flags name no others."""
    words = ["--reward_model_path", folder / "rm"]
    if "--vanilla" not in flags:
        words += ["--goal_state_path", folder / "goal_state.npy"]
    if "--benchmarks" in flags and "--dataset" not in flags:
        words += ["--completions_data_path", folder / "completions"]
    return run_stage(EvaluateOptions, run, list(map(str, [*words, *flags])))


def data_flags(folder: Path, split: str) -> list[object]:
    if split == "pairs":
        return ["--dataset", folder / "heldout.jsonl"]
    return ["--benchmarks", "gsm8k", "--splits", split]


def pairs_of(folder: Path) -> list[Any]:
    return load_preferences([str(folder / "heldout.jsonl")])


@pytest.mark.parametrize("split", SPLITS)
def test_a_table_has_the_scores_of_the_python_api(
    folder: Path, model: RewardModel, tmp_path: Path, split: str
) -> None:
    output = tmp_path / "scores.parquet"
    assert evaluate(folder, *data_flags(folder, split), "--output", output) == 0
    rows = pq.read_table(output).to_pylist()
    texts: list[tuple[Prompt, str, bool, int]]
    if split == "pairs":
        texts = [
            (pair.prompt, text, text is pair.chosen, 0)
            for pair in pairs_of(folder)
            for text in (pair.chosen, pair.rejected)
        ]
        assert [row["group"] for row in rows] == [i // 2 for i in range(16)]
        assert all(isinstance(prompt, list) for prompt, *_ in texts)  # dialogues, scored as such
        assert [row["prompt"] for row in rows[::2]] == [pair.question for pair in pairs_of(folder)]
    else:
        solutions = read_completions(folder / "completions", "gsm8k", split)
        keys = ("question", "generated_solution", "is_correct", "sample")
        texts = [tuple(row[key] for key in keys) for row in solutions]
        assert [row["group"] for row in rows] == [i % 6 for i in range(len(rows))]
        assert [row["prompt"] for row in rows] == [row["question"] for row in solutions]
        for name in ("expected_answer", "predicted_answer"):
            assert [row[name] for row in rows] == [row[name] for row in solutions]
    assert len(rows) == len(texts) == {"greedy": 6, "all": 12, "pairs": 16}[split]
    for row, (prompt, completion, label, sample) in zip(rows, texts, strict=True):
        assert (row["completion"], row["label"]) == (completion, label)
        assert (row["sample"], row["truncated"]) == (sample, False)
        expected = model.score(prompt, [completion])
        assert expected.q_values is not None
        assert row["reward"] == pytest.approx(expected.reward[0], abs=1e-4)
        assert row["partial_rewards"] == pytest.approx(expected.partial_rewards[0], abs=1e-4)
        assert row["q_values"] == pytest.approx(expected.q_values[0], abs=1e-4)
        assert row["num_tokens"] == len(row["q_values"]) == expected.num_tokens[0]
    provenance = json.loads((tmp_path / "scores.parquet.provenance.json").read_text())
    counts = {"pairs": 8, "pairs_left_out": 0} if split == "pairs" else {"completions": len(rows)}
    assert {name: provenance.get(name) for name in counts} == counts
    again = tmp_path / "scores.again"  # of the same stem; each has its own provenance
    assert evaluate(folder, *data_flags(folder, split), "--output", again) == 0
    assert again.read_bytes() == output.read_bytes()
    facts = json.loads((tmp_path / "scores.again.provenance.json").read_text())
    assert list(facts["outputs"]) == ["scores.again"]


def test_original_command_writes_the_authors_files(
    folder: Path, model: RewardModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under the name of the model that is given, not of the target of a link of that name."""
    (tmp_path / "good").symlink_to(folder / "rm")
    flags = ["--filter_threshold", "0.0", "--benchmarks", "gsm8k", "svamp"]
    flags += ["--reward_model_path", str(tmp_path / "good")]
    assert evaluate(folder, *flags, "--save_dir", tmp_path / "eval") == 0
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.jsonl")} == {
        "eval/good/gsm8k/greedy/output.jsonl",
        "eval/good/gsm8k/all/output.jsonl",
        "eval/good/svamp/greedy/output.jsonl",
    }
    table = read_authors_jsonl([tmp_path / "eval/good/gsm8k/all/output.jsonl"], "all")
    assert len(table) == 12
    assert table.completion is not None and table.q_values is not None
    for row, (prompt, solution) in enumerate(zip(table.prompt, table.completion, strict=True)):
        expected = model.score(prompt, [solution])
        assert expected.q_values is not None
        assert table.reward[row] == pytest.approx(expected.reward[0], abs=1e-4)
        assert table.q_values[row] == pytest.approx(expected.q_values[0], abs=1e-4)
    assert "have a Q-value below 0" in capsys.readouterr().err


def test_standalone_commands_name_sets_by_their_files(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = write_dialogues(tmp_path / "other" / "more.v2.jsonl", 5, first=100)
    sets = [folder / "heldout.jsonl", more]
    assert evaluate(folder, "--save_dir", tmp_path / "eval", "--dataset", *sets) == 0
    words = ["--model_name", "rm", "--eval_results_dir", tmp_path / "eval"]
    words += ["--benchmarks", "heldout", "more.v2", "--bootstrap_resamples", 20]
    capsys.readouterr()
    assert run_stage(MetricsOptions, run_metrics, list(map(str, words))) == 0
    printed = capsys.readouterr().out
    table = read_scores(tmp_path / "eval" / "rm" / "heldout" / "pairs" / "scores.parquet")
    right = 100 * np.mean(table.reward[::2] > table.reward[1::2])
    line = next(line for line in printed.splitlines() if line.startswith("heldout "))
    assert line.split()[1:3] == ["8", f"{right:.1f}"]
    assert "more.v2" in printed and "AUROC" not in printed
    assert max(map(len, printed.splitlines())) <= 110


def test_scores_of_another_model_are_not_replaced(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Folders of models often have one name: <variant>/seed0."""
    shutil.copytree(folder / "rm", tmp_path / "other" / "rm")
    words = ["--vanilla", "--benchmarks", "svamp", "--save_dir", tmp_path / "scores"]
    assert evaluate(folder, *words) == 0
    written = (tmp_path / "scores/rm/svamp/greedy/output.jsonl").read_bytes()
    assert evaluate(folder, *words, "--reward_model_path", tmp_path / "other" / "rm") == 1
    assert f"holds the scores of {folder / 'rm'}; give another" in capsys.readouterr().err
    assert (tmp_path / "scores/rm/svamp/greedy/output.jsonl").read_bytes() == written
    assert evaluate(folder, *words) == 0


def test_the_goal_state_of_another_model_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its provenance, and by its width; with a copy of the model it is accepted."""
    save_reward_model(tmp_path / "other", folder / "base", seed=1)
    shutil.copytree(folder / "rm", tmp_path / "copy")
    shutil.copy(folder / "goal_state.npy", tmp_path / "goal_state.npy")
    made = RepresentOptions(
        dataset_path=["d"], reward_model_path=str(folder / "rm"), save_dir=tmp_path
    )
    write_provenance(tmp_path / "provenance.json", made, [folder / "rm"])
    words = ["--benchmarks", "svamp", "--splits", "greedy", "--goal_state_path", tmp_path]
    for model, status in (("other", 1), ("copy", 0)):
        output = ["--output", tmp_path / f"{model}.parquet"]
        given = ["--reward_model_path", tmp_path / model]
        assert evaluate(folder, *words, *given, *output) == status
    told = capsys.readouterr().err
    assert f"is the goal state of another reward model, {folder / 'rm'}; make one of" in told
    np.save(tmp_path / "narrow.npy", np.ones(31, np.float32))
    flags = ["--goal_state_path", tmp_path / "narrow.npy", "--save_dir", tmp_path / "refused"]
    assert evaluate(folder, "--benchmarks", "gsm8k", *flags) == 1
    assert "width 32" in capsys.readouterr().err


def test_a_cap_takes_problems_of_both_splits_and_pairs_by_hash(
    folder: Path, tmp_path: Path
) -> None:
    tables = {}
    for split in SPLITS:
        cap = ["--max_pairs", 3] if split == "pairs" else ["--max_problems", 2]
        words = [*data_flags(folder, split), *cap, "--vanilla", "--output", tmp_path / split]
        assert evaluate(folder, *words) == 0
        tables[split] = read_scores(tmp_path / split)
        assert tables[split].split == split and tables[split].q_values is None
    questions = set(tables["greedy"].prompt)
    assert set(tables["all"].prompt) == questions and len(questions) == 2
    expected = [pair.question for pair in cap_pairs(pairs_of(folder), 3)]
    assert tables["pairs"].prompt[::2].tolist() == expected


def test_long_completions_are_marked_and_long_prompts_of_pairs_left_out(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Dialogues of three turns have 22 tokens before the answer, those of one turn 11."""
    words = ["--vanilla", "--output", tmp_path / "long.parquet", "--max_len"]
    assert evaluate(folder, *data_flags(folder, "greedy"), *words, 20) == 0
    assert "6 of 6 completions are longer than 20 tokens" in capsys.readouterr().err
    assert read_scores(tmp_path / "long.parquet").truncated.all()
    assert evaluate(folder, *data_flags(folder, "pairs"), *words, 15) == 0
    table = read_scores(tmp_path / "long.parquet")
    kept = [row for row in dialogue_rows(8) if row["chosen"].count("Human") == 1]
    assert (len(table), table.left_out) == (2 * len(kept), 8 - len(kept))
    assert table.group.tolist() == [i // 2 for i in range(2 * len(kept))]
    answers = [row["chosen"].rpartition("Assistant: ")[2] for row in kept]
    assert table.completion is not None and table.completion[::2].tolist() == answers
    assert table.truncated[::2].all()
    said = capsys.readouterr().err
    assert f"{8 - len(kept)} of 8 pairs left out" in said and "lost their end" in said


OF_BENCHMARKS = ["--completions_data_path", "c", "--benchmarks", "gsm8k"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--benchmarks", "mawps"], "benchmark 'mawps' needs it"),
        (["--benchmarks", "gsm8k", "--max_len", "6"], "so are 6 of 6 problems: raise max_len"),
        (["--benchmarks", "../completions/gsm8k"], "--benchmarks.0: String should match"),
        (["--benchmarks", ".."], "--benchmarks.0: String should match"),
        (["--benchmarks", "gsm8k", "--save_dir", "/sys/gcrm"], "greedy: cannot be written: "),
        (["--benchmarks", "gsm8k", "--reward_model_path", "./none"], "./none: no such folder"),
        (["--dataset", "none.jsonl"], "none.jsonl: no such file"),
        (["--dataset", "{}", "--max_len", "5"], "no prompt leaves room for an answer in max_len ="),
        (["--dataset", "{}", "--benchmarks", "a"], "--benchmarks does nothing with --dataset"),
        (["--dataset", "a.jsonl", "b/a.jsonl"], "two of --dataset are named 'a'"),
        (["--dataset", "a.jsonl", "b.jsonl", "--output", "x"], "--output takes one dataset"),
        ([], "give --completions_data_path and --benchmarks, or --dataset"),
        ([*OF_BENCHMARKS, "--max_pairs", "3"], "--max_pairs does nothing without --dataset"),
    ],
)
def test_mistakes_end_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    flags = [flag.format(folder / "heldout.jsonl") for flag in flags]
    way_out = [] if "--output" in flags else ["--save_dir", str(folder / "refused")]
    assert evaluate(folder, "--vanilla", *way_out, *flags) == 1
    said = capsys.readouterr().err.strip()
    assert message in said.splitlines()[-1] and "Traceback" not in said
    assert not (folder / "refused").exists()


def test_values_of_steps_are_at_their_last_tokens(folder: Path, tmp_path: Path) -> None:
    """The number of tokens of a text up to there, by a tokenizer of words; a cut end has none."""
    texts = ["one step. two steps.", "3 + 4 = 7 .", "no steps"]
    ends = [[9, 20], [11], []]
    rows = [
        {"question": "how many", "generated_solution": text, "is_correct": True}
        | ({"step_ends": its, "step_values": [0.5, 0.0][: len(its)]} if its else {})
        for text, its in zip(texts, ends, strict=True)
    ]
    write_rows(tmp_path / "c" / "gsm8k" / "output-greedy.jsonl", *rows)
    encoder = RewardModel.from_pretrained(folder / "rm").encoder
    for max_len in (1024, len(encoder.prompt_ids("how many")) + 4):
        words = ["--reward_model_path", folder / "rm", "--completions_data_path", tmp_path / "c"]
        words += ["--benchmarks", "gsm8k", "--splits", "greedy", "--max_len", max_len]
        words += ["--output", tmp_path / f"{max_len}.parquet", "--vanilla"]
        assert run_stage(EvaluateOptions, run, list(map(str, words))) == 0
        table = read_scores(tmp_path / f"{max_len}.parquet")
        assert table.true_values is not None and table.completion is not None
        for row, text in enumerate(texts):
            found = np.flatnonzero(~np.isnan(table.true_values[row]))
            prefixes = [encoder.encode("how many", text[:end]).num_tokens - 2 for end in ends[row]]
            assert list(found) == [token for token in prefixes if token < table.num_tokens[row] - 1]
    assert table.truncated[0] and not np.isnan(table.true_values[0]).all()
