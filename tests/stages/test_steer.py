"""Stage `steer`: solutions of all methods, what a program says of them, and what they took."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gcrm.cli import run_stage
from gcrm.config.represent import RepresentOptions
from gcrm.config.steer import METHODS, SteerOptions
from gcrm.data.completions import read_file
from gcrm.decoding.policy import Policy
from gcrm.decoding.steering import Steering, methods_of
from gcrm.modeling.loading import load_tokenizer
from gcrm.modeling.tokenization import Encoded
from gcrm.represent import run as run_represent
from gcrm.steer import run
from gcrm.trace import trace
from helpers.models import make_byte_tokenizer, save_base_model, save_reward_model
from helpers.rows import write_rows

QUESTIONS = ["tom has 3 apples . how many ?", "ann buys 12 pears", "4 + 5 = ?"]
ATTRIBUTES = ("helpfulness", "length")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("steer")
    save_reward_model(folder / "rm", save_base_model(folder / "base"), scale=50)
    save_reward_model(folder / "other", folder / "base", seed=1)
    problems = [{"question": text, "expected_answer": "7"} for text in QUESTIONS]
    write_rows(folder / "problems.jsonl", *problems)
    examples = [
        {"prompt": f"{n} + 1 = ?", "response": f"answer {n}", "helpfulness": n, "length": -n}
        for n in range(6)
    ]
    write_rows(folder / "examples.jsonl", *examples)
    words = ["--dataset_path", folder / "examples.jsonl", "--reward_model_path", folder / "rm"]
    words += ["--attributes", *ATTRIBUTES, "--save_dir", folder / "goals"]
    assert run_stage(RepresentOptions, run_represent, list(map(str, words))) == 0
    return folder


def steer(folder: Path, save_dir: Path, **changed: Any) -> int:
    given = {
        "model": folder / "base",
        "reward_model_path": folder / "rm",
        "goal_state_path": folder / "goals",
        "attribute": list(ATTRIBUTES),
        "problems": folder / "problems.jsonl",
        "save_dir": save_dir,
        "step_tokens": 3,
        "max_new_tokens": 8,
        "temperature": 1.0,
        "measures": ["correctness", "words", "count:tom"],
        "bootstrap_resamples": 200,
    } | changed
    words: list[object] = []
    for name, value in given.items():
        if value is not None:
            words += [f"--{name}", *(value if isinstance(value, list) else [value])]
    return run_stage(SteerOptions, run, list(map(str, words)))


@pytest.fixture(scope="module")
def done(folder: Path) -> Path:
    assert steer(folder, folder / "out") == 0
    return folder / "out"


def names() -> list[str]:
    """All methods; those with a goal once for each attribute."""
    goals = ("goal-best", "goal-beam", "guided")
    found = ["sampling"]
    for method in METHODS:
        with_goals = [f"{method}-{name}" for name in ATTRIBUTES]
        found += with_goals if method in goals else [method]
    return found


def test_each_method_has_a_file_of_completions(done):
    assert {file.name for file in done.iterdir()} == {
        *(f"completions-{name}.jsonl" for name in names()),
        *("results.csv", "costs.csv", "provenance.json"),
    }
    for name in names():
        rows = read_file(done / f"completions-{name}.jsonl")
        assert [row["question"] for row in rows] == QUESTIONS


def test_the_table_compares_the_files(done):
    table = pd.read_csv(done / "results.csv")
    assert list(table.method.drop_duplicates()) == names()
    plain, guided = (
        read_file(done / f"completions-{name}.jsonl") for name in ("sampling", "guided-length")
    )
    words = [[len(row["generated_solution"].split()) for row in rows] for rows in (guided, plain)]
    row = table[(table.method == "guided-length") & (table.measure == "words")].iloc[0]
    assert row.attribute == "length"
    assert row.problems == 3
    assert row.value == pytest.approx(np.mean(words[0]))
    assert row.difference == pytest.approx(np.mean(words[0]) - np.mean(words[1]))
    both = zip(*words, strict=True)
    won = [1 if mine > other else 0.5 if mine == other else 0 for mine, other in both]
    assert row.win_rate == pytest.approx(np.mean(won))
    assert row.wins + row.ties + row.losses == pytest.approx(1)
    counted = table[(table.method == "sampling") & (table.measure == "count:tom")].iloc[0]
    texts = [row["generated_solution"].split() for row in plain]
    assert counted.value == pytest.approx(np.mean([text.count("tom") for text in texts]))
    assert np.isnan(counted.win_rate)  # a method is not compared with itself


def test_costs_are_the_tokens_of_both_models(folder, done):
    costs = pd.read_csv(done / "costs.csv").set_index("method")
    tokenizer = load_tokenizer(str(folder / "base"))
    rows = read_file(done / "completions-sampling.jsonl")
    texts = [tokenizer(row["generated_solution"])["input_ids"] for row in rows]
    drawn = costs.generated_tokens
    assert drawn["sampling"] >= np.mean([len(text) for text in texts])
    assert costs.reward_tokens["sampling"] == costs.reward_tokens["likelihood-beam"] == 0
    # As many samples in each round: four times those of one sample, but for what ends early.
    assert 2 * drawn["sampling"] < drawn["reward-best"] <= 4 * 8
    assert all(drawn <= 4 * 8)
    # The language model reads prompts anew in each round, the reward model reads nothing twice.
    assert costs.policy_tokens["guided-length"] > costs.policy_tokens["goal-best-length"]
    assert costs.reward_tokens["guided-length"] <= drawn["guided-length"] + 4 + 20


def test_best_of_n_takes_the_sample_with_the_highest_score(folder, monkeypatch):
    """By scoring all samples that were drawn."""
    given = {"model": str(folder / "base"), "reward_model_path": str(folder / "rm")}
    options = SteerOptions(
        **given,
        goal_state_path=folder / "goals",
        problems=folder / "problems.jsonl",
        save_dir=folder / "unused",
        methods=["reward-best", "goal-best"],
        max_new_tokens=8,
        temperature=1.0,
    )
    steering = Steering(options)
    drawn: list[Any] = []
    original = Policy.__call__

    def watched(self: Any, beams: Any, most: int) -> Any:
        steps = original(self, beams, most)
        drawn.append([(beam.problem, step) for beam, step in zip(beams, steps, strict=True)])
        return steps

    monkeypatch.setattr(Policy, "__call__", watched)
    for method in methods_of(options)[1:]:
        drawn.clear()
        outcome = steering.answer(method, QUESTIONS, seed=5)
        (round_,) = drawn
        steering.reward_model.goal_state = steering.goals[""]
        for number, question in enumerate(QUESTIONS):
            steps = [step for problem, step in round_ if problem == number]
            assert len(steps) == 4
            prompt = steering.reward_model.encoder.prompt_ids(question)
            encoded = [Encoded([*prompt, *step.tokens], len(prompt)) for step in steps]
            scores = steering.reward_model.score_encoded(encoded)
            of_tokens = scores.partial_rewards if method.judged == "reward" else scores.q_values
            values = [of_tokens[row][-1] for row in range(4)]
            best = steps[int(np.argmax(values))]
            solution = list(best.tokens[: -1 if best.ends else None])
            text = steering.tokenizer.decode(solution, skip_special_tokens=True)
            assert outcome.texts[number] == text
            assert outcome.scores[number] == pytest.approx(max(values), abs=1e-4)


def test_draws_depend_on_the_seed_and_not_on_other_methods(folder, done, tmp_path):
    few = {"methods": ["guided"], "attribute": ["length"]}
    assert steer(folder, tmp_path / "few", **few) == 0
    assert steer(folder, tmp_path / "other", **few, seed=1) == 0
    for name in ("sampling", "guided-length"):
        same = (done / f"completions-{name}.jsonl").read_bytes()
        assert (tmp_path / "few" / f"completions-{name}.jsonl").read_bytes() == same
        assert (tmp_path / "other" / f"completions-{name}.jsonl").read_bytes() != same


def test_an_interrupted_run_goes_on_with_the_next_method(
    folder, done, tmp_path, monkeypatch, capsys
):
    original = Steering.answer
    asked = []

    def answer(self: Steering, method: Any, *rest: Any) -> Any:
        asked.append(method.name)
        if method.name == "reward-beam" and asked.count("reward-beam") == 1:
            raise KeyboardInterrupt
        return original(self, method, *rest)

    monkeypatch.setattr(Steering, "answer", answer)
    assert steer(folder, tmp_path / "out") == 130
    assert not (tmp_path / "out").exists()
    assert steer(folder, tmp_path / "out") == 0
    assert "resuming: likelihood-beam is done" in capsys.readouterr().err
    assert [asked.count(name) for name in ("sampling", "reward-best", "guided-length")] == [1, 1, 1]
    for name in names():
        file = f"completions-{name}.jsonl"
        assert (tmp_path / "out" / file).read_bytes() == (done / file).read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_files_of_methods_of_an_earlier_run_are_removed(folder, tmp_path):
    for methods in (["likelihood-beam", "reward-best"], ["reward-best"]):
        assert steer(folder, tmp_path / "out", methods=methods, attribute=None) == 0
    assert {file.name for file in (tmp_path / "out").glob("*.jsonl")} == {
        "completions-sampling.jsonl",
        "completions-reward-best.jsonl",
    }


def test_without_attributes_the_goal_state_of_all_guides(folder, tmp_path):
    changed = {"attribute": None, "methods": ["guided"], "max_new_tokens": 4}
    assert steer(folder, tmp_path / "folder", **changed) == 0
    file = folder / "goals" / "goal_state.npy"
    assert steer(folder, tmp_path / "file", **changed, goal_state_path=file) == 0
    one, other = (
        (tmp_path / name / "completions-guided.jsonl").read_bytes() for name in ("folder", "file")
    )
    assert one == other


def test_a_language_model_with_another_tokenizer_is_steered_by_its_text(folder, tmp_path):
    save_base_model(tmp_path / "bytes", tokenizer=make_byte_tokenizer())
    changed = {"model": tmp_path / "bytes", "methods": ["guided", "reward-best"]}
    assert steer(folder, tmp_path / "out", **changed) == 0
    assert len(read_file(tmp_path / "out" / "completions-guided-length.jsonl")) == 3


def test_problems_without_answers_can_be_measured_otherwise(folder, tmp_path, capsys):
    write_rows(tmp_path / "problems.jsonl", {"question": "tom ?"}, {"question": "ann ?"})
    changed = {"problems": tmp_path / "problems.jsonl", "methods": ["likelihood-beam"]}
    assert steer(folder, tmp_path / "out", **changed) == 1
    error = capsys.readouterr().err
    assert "problems.jsonl, row 1: expected_answer must be text, which the measure" in error
    assert steer(folder, tmp_path / "out", **changed, measures=["words"]) == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"attribute": ["helpfulnes"]},
            "goal_state-helpfulnes.npy: no such file, so there is no goal state of helpfulnes; "
            "known are helpfulness, length",
        ),
        ({"reward_model_path": "other"}, "is the goal state of another reward model"),
        ({"goal_state_path": "goals/goal_state.npy"}, "attribute chooses files in a folder"),
        ({"measures": ["humour"]}, "measures"),
        ({"max_new_tokens": 400}, "is longer than the context"),
        ({"model": "./nowhere"}, "./nowhere: no such folder"),
    ],
)
def test_mistakes_end_in_one_line(folder, tmp_path, capsys, changed, message):
    placed = {
        name: folder / value if name.endswith("path") else value for name, value in changed.items()
    }
    assert steer(folder, tmp_path / "out", **placed) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_provenance_names_both_models_and_the_goal_states(folder, done):
    facts = json.loads((done / "provenance.json").read_text())
    assert facts["command"] == "steer"
    assert {str(folder / name) for name in ("base", "rm", "problems.jsonl")} <= facts[
        "inputs"
    ].keys()
    for name in ATTRIBUTES:
        assert str(folder / "goals" / f"goal_state-{name}.npy") in facts["inputs"]
    assert set(facts["outputs"]) == {file.name for file in done.iterdir()} - {"provenance.json"}


def test_trace_leads_from_the_table_back_to_the_examples(folder, done):
    found = trace(done / "results.csv")
    assert [step["stage"] for step in found["steps"]] == ["represent", "steer"]
    inputs = {one["name"] for step in found["steps"] for one in step["inputs"]}
    assert {str(folder / name) for name in ("examples.jsonl", "base", "rm")} <= inputs
    assert not any(step["differs"] for step in found["steps"])
