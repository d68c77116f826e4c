"""Stage `generate`: filtered samples are plain ones, costs are counted, mistakes are told."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gcrm.cli import run_stage
from gcrm.config.generate import GenerateOptions
from gcrm.data.completions import read_completions
from gcrm.data.final_answers import final_answer
from gcrm.data.questions import question_hash, question_key
from gcrm.decoding.live import Generator
from gcrm.generate import run
from gcrm.lineage import resume
from gcrm.stats.estimates import read_estimates
from helpers.models import save_base_model, save_reward_model
from helpers.rows import write_rows

SAMPLES = 4
METHODS = ["plain", "q_threshold", "q_worst", "reward_worst"]
QUESTIONS = [f"tom has {i} apples . tom buys {i % 5} apples . how many ?" for i in range(8)]
QUESTIONS += [f"ann has {i} pears . how many ?" for i in range(4)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generate")
    save_base_model(folder / "base")
    save_reward_model(folder / "rm", folder / "base", seed=5, scale=10)
    rng = np.random.default_rng(0)
    np.save(folder / "goal_state.npy", rng.normal(size=(1, 32)).astype(np.float32))
    rows = [{"question": q, "expected_answer": str(i % 3)} for i, q in enumerate(QUESTIONS)]
    write_rows(folder / "problems.jsonl", *rows)
    return folder


def generate(folder: Path, out: Path, **changed: Any) -> int:
    given = {
        "save_dir": out,
        "model": folder / "base",
        "reward_model_path": folder / "rm",
        "goal_state_path": folder / "goal_state.npy",
        "problems": folder / "problems.jsonl",
        "methods": METHODS,
        "num_samples": SAMPLES,
        "max_new_tokens": 15,
        "check_every": 4,
        "skip_tokens": 2,
        "keep_samples": 2,
        "batch_size": 40,
        "bootstrap_resamples": 50,
    }
    words: list[object] = []
    for name, value in (given | changed).items():
        if value is not None:
            words += [f"--{name}", *(value if isinstance(value, list) else [value])]
    return run_stage(GenerateOptions, run, list(map(str, words)))


@pytest.fixture(scope="module")
def made(folder: Path) -> Path:
    out = folder / "out" / "mine" / "seed3" / "gsm8k"
    assert generate(folder, out) == 0
    return out


@pytest.fixture(scope="module")
def estimates(made: Path) -> pd.DataFrame:
    return read_estimates(made / "estimates.json")


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def value(found: pd.DataFrame, metric: str) -> float:
    [row] = found[found["metric"] == metric].to_dict("records")
    return row["value"]


def test_samples_that_are_kept_are_those_of_plain_sampling(made: Path) -> None:
    plain = {
        (row["sample"], row["question"]): row for row in read_completions(made, "plain", "all")
    }
    assert len(plain) == SAMPLES * len(QUESTIONS)
    for method in METHODS[1:]:
        kept = read_completions(made, method, "all")
        assert 2 * len(QUESTIONS) <= len(kept) < len(plain)
        assert all(plain[row["sample"], row["question"]] == row for row in kept)


def test_votes_count_the_samples_that_are_kept(made: Path, estimates: pd.DataFrame) -> None:
    for method in METHODS:
        samples = read_completions(made, method, "all")
        votes = rows_of(made / method / "votes.jsonl")
        assert [row["question"] for row in votes] == QUESTIONS
        for row in votes:
            mine = [one for one in samples if one["question"] == row["question"]]
            answers = [one["predicted_answer"] for one in mine if one["predicted_answer"]]
            assert (row["samples_begun"], row["samples_kept"]) == (SAMPLES, len(mine))
            assert sum(row["votes"].values()) == len(answers)
            assert row["answer"] is None or row["votes"][row["answer"]] == max(
                map(answers.count, answers)
            )
        for name in ("policy_tokens", "reward_model_tokens", "samples_kept"):
            mean = np.mean([row[name] for row in votes])
            assert value(estimates, f"{method}.{name}") == pytest.approx(mean)


def test_estimates_name_their_model_and_their_numbers_go_together(
    estimates: pd.DataFrame,
) -> None:
    assert {*estimates["variant"]} == {"mine"} and {*estimates["seed"]} == {3}
    assert {*estimates["benchmark"]} == {"gsm8k"}
    sizes = [value(estimates, f"parameters.{name}") for name in ("policy", "reward_model")]
    for method in METHODS[1:]:
        tokens = [
            value(estimates, f"{method}.{name}_tokens") for name in ("policy", "reward_model")
        ]
        flops = 2 * np.dot(sizes, tokens)
        assert value(estimates, f"majority.{method}.cost") == pytest.approx(flops)
        assert value(estimates, f"{method}.unlike_plain") == 0
        plain = estimates[estimates["metric"] == "majority.plain.cost"].set_index("at")["value"]
        share = value(estimates, f"majority.{method}.relative_cost")
        assert share == pytest.approx(flops / plain[SAMPLES])
    curve = estimates[estimates["metric"] == "majority.reward_worst.curve.cost"].set_index("at")
    assert curve["value"][0.5] == pytest.approx(value(estimates, "best.reward_worst.cost"))


def test_a_threshold_is_chosen_on_the_other_half(folder: Path, made: Path, tmp_path: Path) -> None:
    """With other answers in one half, the samples of that half stay the same."""
    second = {q for q in QUESTIONS if int(question_hash(question_key(q))[-1], 16) % 2}
    assert 0 < len(second) < len(QUESTIONS)
    before = {row["question"]: row for row in rows_of(made / "q_threshold" / "votes.jsonl")}
    answers = {row["question"]: row["votes"] for row in rows_of(made / "plain" / "votes.jsonl")}
    rows = [
        row | {"expected_answer": next(iter(answers[row["question"]]), "0")}
        if row["question"] in second
        else row
        for row in rows_of(folder / "problems.jsonl")
    ]
    problems = write_rows(tmp_path / "problems.jsonl", *rows)
    methods = ["plain", "q_threshold"]
    assert generate(folder, tmp_path / "out", problems=problems, methods=methods) == 0
    for row in rows_of(tmp_path / "out" / "q_threshold" / "votes.jsonl"):
        if row["question"] in second:
            assert row["policy_tokens"] == before[row["question"]]["policy_tokens"]


def test_problems_without_answers_get_samples_and_votes(
    folder: Path, made: Path, tmp_path: Path
) -> None:
    problems = write_rows(tmp_path / "p.jsonl", *({"question": q} for q in QUESTIONS[:3] * 2))
    given = {"problems": problems, "methods": "reward_worst", "goal_state_path": None}
    assert generate(folder, tmp_path / "out", **given) == 0
    found = read_estimates(tmp_path / "out" / "estimates.json")
    assert not found["metric"].str.contains("accuracy").any()
    expected = {row["question"]: row for row in rows_of(made / "reward_worst" / "votes.jsonl")}
    for row in rows_of(tmp_path / "out" / "reward_worst" / "votes.jsonl"):
        assert row == {k: v for k, v in expected[row["question"]].items() if k in row}
        assert "expected_answer" not in row
    assert "is_correct" not in rows_of(tmp_path / "out" / "reward_worst" / "output-rs0.jsonl")[0]


def test_an_interrupted_run_goes_on_where_it_stopped(
    folder: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    solve, calls = Generator.solve, []

    def interrupted(self: Generator, questions: list[str], *others: Any) -> Any:
        calls.append(questions)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return solve(self, questions, *others)

    monkeypatch.setattr(resume, "SECONDS", 0)
    monkeypatch.setattr(Generator, "solve", interrupted)
    out = tmp_path / "mine" / "seed3" / "gsm8k"
    assert generate(folder, out) == 130
    assert not (out / "estimates.json").exists()
    assert generate(folder, out) == 0
    batches = 2 * len(METHODS)
    assert len(calls) == batches + 1
    for file in made.rglob("*.json*"):
        if "provenance" not in file.name:
            assert (out / file.relative_to(made)).read_bytes() == file.read_bytes()
    assert [path.name for path in out.parent.iterdir()] == ["gsm8k"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"goal_state_path": None}, "q_threshold needs --goal_state_path"),
        ({"methods": "q_threshold"}, "q_threshold needs a threshold, or plain among the methods"),
        ({"keep_samples": 5}, "keep_samples = 5 is more than num_samples = 4"),
        ({"max_new_tokens": 500}, "is longer than the context"),
        ({"problems": [{"question": " "}]}, "p.jsonl, row 1: question must be text"),
        (
            {"problems": [{"question": "a"}, {"question": "b", "expected_answer": "1"}]},
            "row 2: has an expected_answer, unlike the rows before",
        ),
        ({"problems": [{"question": "a"}]}, "without expected_answer no threshold can be chosen"),
        (
            {"problems": [{"question": "a", "expected_answer": 1}]},
            "too few problems to choose a threshold",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changed: dict[str, Any],
    message: str,
) -> None:
    if rows := changed.get("problems"):
        changed = {"problems": write_rows(tmp_path / "p.jsonl", *rows)}
    assert generate(folder, tmp_path / "out", **changed) == 1
    [line] = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert message in line


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("3 + 4 = 7 . answer 7", "7"),
        ("answer 3 . no , the answer is -1,204.5 !", "-1204.5"),
        ("so \\boxed{3} or \\boxed{\\frac{1}{2}} .", "\\frac{1}{2}"),
        ("#### 12", "12"),
        ("the Answer: 3/4", "3/4"),
        ("answers are 7", None),
        ("\\boxed{never closed", None),
        ("3 + 4 = 7", None),
        ("the answer is here", None),
    ],
)
def test_the_answer_that_a_solution_ends_with(text: str, answer: str | None) -> None:
    assert final_answer(text) == answer
