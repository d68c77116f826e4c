"""Scoring through the command, in both its forms, against the Python API."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from gcrm import RewardModel
from gcrm.cli import run_stage
from gcrm.config.evaluate import EvaluateOptions
from gcrm.config.represent import RepresentOptions
from gcrm.data.scores import read_scores
from gcrm.evaluate import run
from gcrm.lineage.provenance import write_provenance
from gcrm.modeling.loading import new_reward_model
from helpers.models import save_base_model


def write_completions(folder: Path, benchmark: str, samples: int = 2, problems: int = 6) -> None:
    (folder / benchmark).mkdir(parents=True, exist_ok=True)
    for name in ("greedy", *(f"rs{k}" for k in range(samples))):
        rows = []
        for i in range(problems):
            answer = i + 4 if name == "greedy" else i + 3
            rows.append(
                {
                    "question": f"tom has {i} apples . tom buys 4 apples . how many ?",
                    "expected_answer": str(i + 4),
                    "generated_solution": f"{i} + 4 = {answer} . answer {answer}",
                    "predicted_answer": str(answer),
                    "is_correct": answer == i + 4,
                }
            )
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / benchmark / f"output-{name}.jsonl").write_text(text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    model, tokenizer = new_reward_model(str(save_base_model(folder / "base")), "sdpa", seed=0)
    model.save_pretrained(folder / "rm")
    tokenizer.save_pretrained(folder / "rm")
    write_completions(folder / "completions", "gsm8k")
    write_completions(folder / "completions", "svamp", samples=0)
    np.save(folder / "goal_state.npy", np.arange(32, dtype=np.float32))
    return folder


def evaluate(folder, *flags):
    options = ["--reward_model_path", str(folder / "rm")]
    options += ["--completions_data_path", str(folder / "completions"), *flags]
    return run_stage(EvaluateOptions, run, options)


def goal(folder):
    return ["--goal_state_path", str(folder / "goal_state.npy")]


def test_original_command_writes_the_authors_files(folder, capsys):
    status = evaluate(
        folder,
        *goal(folder),
        *("--save_dir", str(folder / "eval"), "--filter_threshold", "0.0"),
        *("--benchmarks", "gsm8k", "svamp"),
    )
    assert status == 0
    written = {str(p.relative_to(folder / "eval")) for p in (folder / "eval").rglob("*.jsonl")}
    assert written == {
        "rm/gsm8k/greedy/output.jsonl",
        "rm/gsm8k/all/output.jsonl",
        "rm/svamp/greedy/output.jsonl",
    }
    rm = RewardModel.from_pretrained(folder / "rm", goal_state=folder / "goal_state.npy")
    lines = (folder / "eval/rm/gsm8k/all/output.jsonl").read_text().splitlines()
    assert len(lines) == 12
    for row in map(json.loads, lines):
        assert set(row) == {
            *("question", "generated_solution", "predicted_answer", "expected_answer"),
            *("is_correct", "reward", "partial_rewards", "cosine_sim", "num_actions"),
        }
        expected = rm.score(row["question"], [row["generated_solution"]])
        assert row["reward"] == pytest.approx(expected.reward[0], abs=1e-4)
        assert row["partial_rewards"] == pytest.approx(expected.partial_rewards[0], abs=1e-4)
        assert row["cosine_sim"] == pytest.approx(expected.q_values[0], abs=1e-4)
        assert row["num_actions"] == len(row["cosine_sim"])
    dropped = capsys.readouterr().err
    assert "have a Q-value below 0" in dropped


def test_scores_of_another_model_are_not_replaced(folder, tmp_path, capsys):
    """Folders of models often have one name: <variant>/seed0."""
    shutil.copytree(folder / "rm", tmp_path / "other" / "rm")
    words = ["--vanilla", "--benchmarks", "svamp", "--save_dir", str(tmp_path / "scores")]
    assert evaluate(folder, *words) == 0
    written = (tmp_path / "scores/rm/svamp/greedy/output.jsonl").read_bytes()
    other = ["--reward_model_path", str(tmp_path / "other" / "rm")]
    assert evaluate(folder, *words, *other) == 1
    assert f"holds the scores of {folder / 'rm'}; give another" in capsys.readouterr().err
    assert (tmp_path / "scores/rm/svamp/greedy/output.jsonl").read_bytes() == written
    assert evaluate(folder, *words) == 0


def test_scores_are_called_as_the_model_is_named(folder, tmp_path):
    """Not as what a link of that name points to: `metrics --model_name` is given the same."""
    (tmp_path / "good").symlink_to(folder / "rm")
    words = ["--vanilla", "--benchmarks", "svamp", "--save_dir", str(tmp_path / "scores")]
    assert evaluate(folder, *words, "--reward_model_path", str(tmp_path / "good")) == 0
    assert (tmp_path / "scores/good/svamp/greedy/output.jsonl").is_file()


def test_the_goal_state_of_another_model_is_refused(folder, tmp_path, capsys):
    """By its provenance; of a copy of the model it is taken."""
    other, tokenizer = new_reward_model(str(folder / "base"), "sdpa", seed=1)
    other.save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    shutil.copytree(folder / "rm", tmp_path / "copy")
    shutil.copy(folder / "goal_state.npy", tmp_path / "goal_state.npy")
    made = RepresentOptions(
        dataset_path=["d"], reward_model_path=str(folder / "rm"), save_dir=tmp_path
    )
    write_provenance(tmp_path / "provenance.json", made, [folder / "rm"])
    words = ["--benchmarks", "svamp", "--splits", "greedy", "--goal_state_path", str(tmp_path)]
    for model, status in (("other", 1), ("copy", 0)):
        output = ["--output", str(tmp_path / f"{model}.parquet")]
        given = ["--reward_model_path", str(tmp_path / model)]
        assert evaluate(folder, *words, *given, *output) == status
    told = capsys.readouterr().err
    assert f"is the goal state of another model, {folder / 'rm'}; make that of" in told


def test_provenance_of_two_files_of_one_stem(folder, tmp_path):
    words = ["--vanilla", "--benchmarks", "svamp", "--splits", "greedy"]
    for name in ("svamp.parquet", "svamp.again"):
        assert evaluate(folder, *words, "--output", str(tmp_path / name)) == 0
    for name in ("svamp.parquet", "svamp.again"):
        facts = json.loads((tmp_path / f"{name}.provenance.json").read_text())
        assert list(facts["outputs"]) == [name]


def test_one_benchmark_and_split_as_parquet(folder):
    output = folder / "scores.parquet"
    flags = ["--benchmarks", "gsm8k", "--splits", "all", "--output", str(output), *goal(folder)]
    assert evaluate(folder, *flags) == 0
    table = read_scores(output)
    assert table.sample.tolist() == [0] * 6 + [1] * 6
    assert not table.label.any() and not table.truncated.any()
    first = output.read_bytes()
    assert evaluate(folder, *flags) == 0
    assert output.read_bytes() == first
    assert json.loads((folder / "scores.parquet.provenance.json").read_text())["completions"] == 12


def test_vanilla_needs_no_goal_state_and_gives_no_q_values(folder):
    output = folder / "vanilla.parquet"
    flags = ["--benchmarks", "svamp", "--splits", "greedy", "--output", str(output), "--vanilla"]
    assert evaluate(folder, *flags) == 0
    assert read_scores(output).q_values is None


def test_cap_takes_the_same_problems_of_both_splits(folder):
    questions = []
    for split in ("greedy", "all"):
        output = folder / f"capped-{split}.parquet"
        flags = ["--benchmarks", "gsm8k", "--splits", split, "--output", str(output)]
        assert evaluate(folder, *flags, "--vanilla", "--max_problems", "2") == 0
        questions.append(set(read_scores(output).prompt))
    assert questions[0] == questions[1] and len(questions[0]) == 2


def test_long_completion_is_marked_and_said(folder, capsys):
    output = folder / "long.parquet"
    flags = ["--benchmarks", "svamp", "--splits", "greedy", "--output", str(output), "--vanilla"]
    assert evaluate(folder, *flags, "--max_len", "20") == 0
    assert "6 of 6 completions are longer than 20 tokens" in capsys.readouterr().err
    assert read_scores(output).truncated.all()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--benchmarks", "mawps"], "benchmark 'mawps' needs it"),
        (["--benchmarks", "gsm8k", "--max_len", "6"], "so are 6 of 6 problems: raise max_len"),
        (["--benchmarks", "../completions/gsm8k"], "--benchmarks.0: String should match"),
        (["--benchmarks", ".."], "--benchmarks.0: String should match"),
        (["--benchmarks", "gsm8k", "--save_dir", "/sys/gcrm"], "greedy: cannot be written: "),
        (["--benchmarks", "gsm8k", "--reward_model_path", "./none"], "./none: no such folder"),
    ],
)
def test_mistakes_end_in_one_line(folder, capsys, flags, message):
    status = evaluate(folder, "--save_dir", str(folder / "refused"), "--vanilla", *flags)
    said = capsys.readouterr().err
    assert status == 1 and message in said and "Traceback" not in said
    assert not (folder / "refused").exists()


def test_goal_state_of_another_model_is_refused(folder, capsys):
    np.save(folder / "narrow.npy", np.ones(31, np.float32))
    flags = ["--goal_state_path", str(folder / "narrow.npy"), "--save_dir", str(folder / "refused")]
    assert evaluate(folder, "--benchmarks", "gsm8k", *flags) == 1
    assert "width 32" in capsys.readouterr().err
