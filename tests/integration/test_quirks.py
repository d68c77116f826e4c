"""Oddities of real completions, and what right means for each, through `evaluate` and `metrics`.

The rows here are made after real ones. With GCRM_DATA, the folder of the project's data, the real
ones in its `quirks` go through the same stages.
"""

import json
import os
import random
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from gcrm.cli import run_stage
from gcrm.config.evaluate import EvaluateOptions
from gcrm.config.metrics import MetricsOptions
from gcrm.config.report import ReportOptions
from gcrm.data.completions import read_completions
from gcrm.data.scores import ScoreTable, read_scores
from gcrm.evaluate import run as run_evaluate
from gcrm.metrics import run as run_metrics
from gcrm.modeling.loading import new_reward_model
from gcrm.modeling.reward_model import RewardModel
from gcrm.modeling.tokenization import Encoder
from gcrm.report import run as run_report
from gcrm.stats.answers import canonical
from gcrm.stats.estimates import read_estimates
from helpers.models import make_sentencepiece_tokenizer, save_base_model
from helpers.score_rows import columns, pick, write_columns

Rows = list[dict[str, Any]]

ANSI = "First,\x1b[1m 2 + 3\x1b[0m \x1b[31m= 5\x1b[0m.\x1b[2K\x07"
RETURNS = "2 + 3 = 5.\r\nSo\rthe answer\r\n\r\nis 5.\r"
ENDS = "The answer is 5.</s>\n<s>package com.example;</s> [INST] and on </s>"
LONG = "two plus three is five " * 2_000
THREE = "It is five."
FOREIGN = "二加三等于五。 Ответ: пять. الجواب خمسة 5️⃣ पाँच é𝟓"
SENTENCE = "There were 2 apples and 3 more were bought, so there are 5 apples"
CONTEXT = 600


def row(number: int, solution: str, answer: str | None = "5", right: bool = True) -> dict[str, Any]:
    return {
        "question": f"Tom has {number} apples. How many has he now?",
        "expected_answer": "5",
        "generated_solution": solution,
        "predicted_answer": answer,
        "is_correct": right,
    }


QUIRKS = [
    row(0, ANSI),
    row(1, RETURNS),
    row(2, ENDS),
    row(3, LONG),
    row(4, THREE),
    row(5, FOREIGN, "५"),
    row(6, "I do not know.", None, right=False),
    row(7, "17, then 12.", "24 and 34", right=False) | {"expected_answer": ["17", "12"]},
    row(8, SENTENCE, SENTENCE, right=False),
    row(9, "", None, right=False),
    row(10, "  \n 5 \t ", " 5 "),
]


def write(folder: Path, benchmark: str, name: str, rows: Iterable[dict[str, Any]]) -> None:
    path = folder / benchmark / f"output-{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model whose EOS is `</s>`, with its goal state."""
    home = tmp_path_factory.mktemp("quirks")
    tokenizer = make_sentencepiece_tokenizer(pad_token="<unk>")
    save_base_model(home / "base", tokenizer=tokenizer, context=CONTEXT)
    model, tokenizer = new_reward_model(str(home / "base"), "sdpa", seed=0)
    model.save_pretrained(home / "rm")
    tokenizer.save_pretrained(home / "rm")
    np.save(home / "goal_state.npy", np.arange(-16, 16, dtype=np.float32))
    return home


def score(home: Path, completions: Path, benchmark: str, split: str, folder: Path) -> Path:
    output = folder / benchmark / split / "scores.parquet"
    words = ["--reward_model_path", str(home / "rm"), "--output", str(output)]
    words += ["--goal_state_path", str(home / "goal_state.npy")]
    words += ["--completions_data_path", str(completions)]
    assert (
        run_stage(
            EvaluateOptions, run_evaluate, [*words, "--benchmarks", benchmark, "--splits", split]
        )
        == 0
    )
    return output


def measure(greedy: Path, samples: Path | None = None) -> pd.DataFrame:
    output = greedy.parent / "variant" / "seed0" / "benchmark.json"
    words = ["--scores", str(greedy), "--output", str(output), "--bootstrap_resamples", "50"]
    words += [] if samples is None else ["--sample_scores", str(samples)]
    assert run_stage(MetricsOptions, run_metrics, words) == 0
    return read_estimates(output)


@pytest.fixture(scope="module")
def scored(home: Path) -> Path:
    write(home / "completions", "quirks", "greedy", QUIRKS)
    return score(home, home / "completions", "quirks", "greedy", home / "scores")


@pytest.fixture(scope="module")
def table(scored: Path) -> ScoreTable:
    return read_scores(scored)


def encoder(home: Path) -> Encoder:
    return RewardModel.from_pretrained(home / "rm").encoder


def test_texts_come_through_to_the_letter(table: ScoreTable) -> None:
    """ANSI codes, carriage returns, `</s>`, white space, letters of any script."""
    assert table.completion is not None and table.predicted_answer is not None
    assert list(table.completion) == [one["generated_solution"] for one in QUIRKS]
    assert list(table.predicted_answer) == [one["predicted_answer"] for one in QUIRKS]
    assert list(table.label) == [one["is_correct"] for one in QUIRKS]


def letters(tokens: list[str]) -> str:
    """The text of tokens with `▁` for a space, and bytes for letters that are not in the words."""
    parts = []
    for token in tokens:
        byte = re.fullmatch(r"<0x(..)>", token)
        parts.append(bytes.fromhex(byte[1]) if byte else token.replace("▁", " ").encode())
    return b"".join(parts).decode()


@pytest.mark.parametrize("solution", [ANSI, RETURNS, ENDS, THREE, FOREIGN, ""])
def test_every_letter_of_a_solution_is_scored(home: Path, solution: str) -> None:
    """Control codes and what looks like a special token are letters; EOS is the last token only."""
    one = encoder(home).encode("Tom has 1 apple.", solution)
    tokenizer = encoder(home).tokenizer
    completion = one.input_ids[one.start :]
    assert completion.count(tokenizer.eos_token_id) == 1
    assert completion[-1] == tokenizer.eos_token_id
    assert tokenizer.bos_token_id not in completion
    assert letters(tokenizer.convert_ids_to_tokens(completion[:-1])) == solution


def test_no_control_code_of_the_data_reaches_the_terminal(
    home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "ansi", "greedy", [row(0, ANSI)])
    score(home, tmp_path, "ansi", "greedy", tmp_path)
    broken = {ANSI: 1} | dict.fromkeys(("generated_solution", "is_correct"), "x")
    write(tmp_path, "broken", "greedy", [broken])
    words = ["--completions_data_path", str(tmp_path), "--benchmarks", "broken", "--vanilla"]
    words += ["--reward_model_path", str(home / "rm"), "--save_dir", str(tmp_path)]
    assert run_stage(EvaluateOptions, run_evaluate, words) == 1
    said = capfd.readouterr().err
    assert "key 'question' is missing" in said and r"\x1b[31m" in said
    assert not {"\x1b", "\x07"} & set(said)


def test_a_long_solution_loses_its_end_and_keeps_its_eos(home: Path, table: ScoreTable) -> None:
    assert table.truncated.tolist() == [one["generated_solution"] == LONG for one in QUIRKS]
    long = encoder(home).encode(QUIRKS[3]["question"], LONG)
    assert len(long.input_ids) == CONTEXT
    assert long.input_ids[-1] == encoder(home).eos_id
    assert table.num_tokens[3] == CONTEXT - long.start
    rm = RewardModel.from_pretrained(home / "rm")
    assert rm.score(QUIRKS[3]["question"], [LONG]).reward[0] == pytest.approx(
        table.reward[3], abs=1e-4
    )


def test_an_empty_solution_is_its_eos(table: ScoreTable) -> None:
    assert table.num_tokens[9] == 1
    assert table.partial_rewards is not None
    assert table.partial_rewards[9].tolist() == [table.reward[9]]


def test_odd_rows_count_in_the_auroc_like_all_others(scored: Path, table: ScoreTable) -> None:
    found = measure(scored)
    auroc = pick(found, "auroc.reward")
    expected = roc_auc_score(table.label, table.reward)
    assert (auroc.n, auroc.value) == (len(QUIRKS), pytest.approx(expected))


# --- answers ----------------------------------------------------------------------------------


def voted(tmp_path: Path, answers: list[str | None], right: list[bool]) -> pd.DataFrame:
    """The vote metrics of one problem's samples with these answers."""
    n = len(answers)
    made = columns(problems=1, per_problem=n)
    made |= {"predicted_answer": answers, "label": np.array(right)}
    write_columns(tmp_path / "all.parquet", made)
    write_columns(tmp_path / "greedy.parquet", columns(problems=4))
    found = measure(tmp_path / "greedy.parquet", tmp_path / "all.parquet")
    return found[found["split"] == "all"]


def test_null_answers_do_not_vote(tmp_path: Path) -> None:
    found = voted(tmp_path, [None, None, "", "5"], [False, False, False, True])
    assert pick(found, "num_without_answer").value == 3
    assert pick(found, "majority@n").value == 1
    found = voted(tmp_path, [None, None], [False, False])
    assert pick(found, "majority@n").value == 0


def test_a_sentence_is_an_answer_of_its_own(tmp_path: Path) -> None:
    """The numbers in it are not taken for the answer; the same sentence twice is two votes."""
    assert canonical(SENTENCE) != canonical("5") and canonical(SENTENCE) is not None
    answers = [SENTENCE, SENTENCE.upper(), "5"]
    found = voted(tmp_path, answers, [False, False, True])
    assert pick(found, "majority@n").value == 0
    found = voted(tmp_path, [SENTENCE, "5", "5.0"], [False, True, True])
    assert pick(found, "majority@n").value == 1


@pytest.mark.parametrize("gold", ["['17', '12']", ["17", "12"], [17, 12], "17, 12"])
def test_a_list_as_gold_is_a_set_of_answers(tmp_path: Path, gold: Any) -> None:
    write(tmp_path, "b", "greedy", [row(0, "x") | {"expected_answer": gold}])
    expected = read_completions(tmp_path, "b", "greedy")[0]["expected_answer"]
    assert canonical(expected) == canonical("12 and 17")
    assert canonical(expected) not in {canonical("24 and 34"), canonical("17"), canonical("6")}


def test_one_answer_spelt_four_ways_is_one_answer(tmp_path: Path) -> None:
    """By their letters, the two wrong samples would have the majority."""
    answers = ["3", "$3", "3.0", "\\frac{6}{2}", "4", "4"]
    found = voted(tmp_path, answers, [True] * 4 + [False] * 2)
    assert pick(found, "majority@n").value == 1


def test_a_solution_within_the_skipped_tokens_is_kept_and_saves_nothing(tmp_path: Path) -> None:
    made = columns(problems=1, per_problem=2) | {
        "num_tokens": [4, 8],
        "partial_rewards": [[0.5] * 4, [0.5] * 8],
        "q_values": [[-0.9] * 4, [-0.9] * 8],
    }
    write_columns(tmp_path / "all.parquet", made)
    write_columns(tmp_path / "greedy.parquet", columns(problems=4))
    found = measure(tmp_path / "greedy.parquet", tmp_path / "all.parquet")
    assert pick(found, "filtered.samples_dropped", 0).value == 0.5
    assert pick(found, "filtered.tokens_saved", 0).value == pytest.approx(2 / 12)


# --- files ------------------------------------------------------------------------------------


def problems(count: int) -> Rows:
    return [row(i, f"answer {i % 3}", str(i % 3), right=i % 3 == 0) for i in range(count)]


def test_files_in_any_order_with_missing_problems(home: Path, tmp_path: Path) -> None:
    """Each sample votes on its own problem, and a problem has the samples that there are of it."""
    rows = problems(12)
    samples = [rows, rows[2:9], rows[5:]]
    random.seed(0)
    for name in ("straight", "mixed"):
        write(tmp_path, name, "greedy", rows[1:])
        for k, part in enumerate(samples):
            mixed = part if name == "straight" else random.sample(part, len(part))
            write(tmp_path, name, f"rs{k}", mixed)
    found: list[pd.DataFrame] = []
    for name in ("straight", "mixed"):
        paths = [score(home, tmp_path, name, split, tmp_path) for split in ("greedy", "all")]
        found.append(measure(*paths))
    assert pick(found[0], "num_completions", split="greedy").value == 11
    assert pick(found[0], "auroc.reward").n == 11
    counts = {"num_problems": 12, "num_completions": 26}
    counts |= {"samples_per_problem.min": 1, "samples_per_problem.max": 3}
    for name, count in counts.items():
        assert pick(found[0], name, split="all").value == count
    # All samples of a problem are alike, so that it is right where its only answer is.
    assert pick(found[0], "majority@n").value == pytest.approx(4 / 12)
    columns = ["split", "metric", "at", "value", "n"]
    pd.testing.assert_frame_equal(found[0][columns], found[1][columns], rtol=1e-4)


def test_a_duplicate_question_is_one_problem_with_two_rows(home: Path, tmp_path: Path) -> None:
    rows = problems(6)
    again = [one | {"question": one["question"].upper() + " "} for one in rows[:3]]
    write(tmp_path, "twice", "greedy", rows + again)
    found = measure(score(home, tmp_path, "twice", "greedy", tmp_path))
    assert pick(found, "num_completions").value == pick(found, "auroc.reward").n == 9
    assert pick(found, "num_problems").value == 6


def test_of_one_class_there_is_no_auroc_and_the_report_says_why(home: Path, tmp_path: Path) -> None:
    write(tmp_path, "right", "greedy", [one | {"is_correct": True} for one in problems(6)])
    greedy = score(home, tmp_path, "right", "greedy", tmp_path)
    found = measure(greedy)
    assert "all 6 solutions are correct" in pick(found, "auroc.reward").reason
    assert pick(found, "correct").value == 1
    metrics = greedy.parent / "variant" / "seed0" / "benchmark.json"
    words = ["--run", "r", "--metrics", str(metrics), "--save_dir", str(tmp_path / "report")]
    assert run_stage(ReportOptions, run_report, words) == 0
    assert "no AUROC: all 6 solutions are correct" in (tmp_path / "report/report.md").read_text()


# --- the real ones ----------------------------------------------------------------------------

DATA = Path(os.environ.get("GCRM_DATA", "")) / "quirks"
needs_data = pytest.mark.skipif(
    not os.environ.get("GCRM_DATA"), reason="GCRM_DATA does not name the folder of the data"
)


@needs_data
def test_real_odd_rows(home: Path, tmp_path: Path) -> None:
    rows = [
        json.loads(line) for line in (DATA / "rows.jsonl").read_text("utf-8").split("\n") if line
    ]
    write(tmp_path, "rows", "greedy", rows)
    path = score(home, tmp_path, "rows", "greedy", tmp_path)
    table = read_scores(path)
    assert table.completion is not None
    assert list(table.completion) == [one["generated_solution"] for one in rows]
    found = measure(path)
    assert pick(found, "num_completions").value == len(rows)
    assert pick(found, "num_problems").value < len(rows)  # one answer spelt several ways


@needs_data
@pytest.mark.parametrize(
    ("folder", "benchmark", "rows", "questions"),
    [
        ("ragged", "svamp", 200, 200),
        ("single-class", "svamp", 40, 40),
        ("duplicate-questions", "mawps", 38, 19),
    ],
)
def test_real_odd_files(
    home: Path, tmp_path: Path, folder: str, benchmark: str, rows: int, questions: int
) -> None:
    greedy = score(home, DATA / folder, benchmark, "greedy", tmp_path)
    samples = None
    if folder == "ragged":
        samples = score(home, DATA / folder, benchmark, "all", tmp_path)
    found = measure(greedy, samples)
    counts = (
        pick(found, name, split="greedy").value for name in ("num_completions", "num_problems")
    )
    assert tuple(counts) == (rows, questions)
    assert np.isnan(pick(found, "auroc.reward").value) == (folder == "single-class")
    if samples is not None:
        assert pick(found, "num_problems", split="all").value == 150
