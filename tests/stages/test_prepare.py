"""Stage `prepare`: disjoint synthetic sets, and checks of given data."""

import json
import re
from pathlib import Path

import pytest

from gcrm.cli import run_stage
from gcrm.config.prepare import PrepareOptions
from gcrm.data.questions import question_key
from gcrm.modeling.loading import load_tokenizer
from gcrm.modeling.tokenization import Encoder, PromptTooLong
from gcrm.prepare import run
from gcrm.utils.io import read_jsonl
from helpers.models import make_sentencepiece_tokenizer, save_base_model
from helpers.rows import write_rows

BENCHMARKS = ["gsm8k", "math", "svamp"]
SIZES = ["--pretrain_problems", "700", "--preference_problems", "40"]
SIZES += ["--benchmark_problems", "30", "--dev_problems", "20"]


def prepare(*words: object) -> int:
    return run_stage(PrepareOptions, run, [str(word) for word in words])


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    words = ["--problems_dir", folder, "--report", folder / "report.json"]
    assert prepare(*words, "--benchmarks", *BENCHMARKS, *SIZES) == 0
    return folder


def test_synthetic_sets_have_the_given_sizes(made):
    sizes = {file.stem: len(read_jsonl(file)) for file in made.glob("*.jsonl")}
    assert sizes == {
        **dict.fromkeys(BENCHMARKS, 30),
        **{f"dev-{name}": 20 for name in BENCHMARKS},
        "preference-gsm8k": 40,
        "preference-math": 40,
        "pretrain": 700,
    }
    rows = read_jsonl(made / "gsm8k.jsonl")
    assert all(set(row) == {"question", "expected_answer", "solution"} for row in rows)


def test_synthetic_sets_share_no_question(made):
    keys = [
        question_key(row["question"]) for file in made.glob("*.jsonl") for row in read_jsonl(file)
    ]
    assert len(set(keys)) == len(keys)
    report = json.loads((made / "report.json").read_text())
    assert report["made"] is True
    assert report["training"]["pretrain"] == {"rows": 700}
    assert report["benchmarks"]["svamp"] == {
        "problems": 30,
        "shared_with_training": 0,
        "shared": [],
    }


def test_pretraining_set_has_all_families(made):
    questions = " ".join(row["question"] for row in read_jsonl(made / "pretrain.jsonl"))
    for words in ("how many in all ?", "what is (", "what is x ?", "more than", "now ?"):
        assert words in questions


def test_rare_words_are_rarer_in_pretraining(made):
    rare = {"earns", "wins", "lends", "spends", "plus", "joined", "minus", "without"}

    def share(name: str) -> float:
        words = " ".join(row["question"] for row in read_jsonl(made / f"{name}.jsonl")).split()
        return sum(word in rare for word in words) / len(words)

    assert share("preference-math") > 0
    assert share("dev-gsm8k") > 0
    assert share("pretrain") < 0.1 * min(share("preference-math"), share("dev-gsm8k"))


def test_synthetic_sets_depend_on_the_seed_alone(made, tmp_path):
    words = ["--benchmarks", *BENCHMARKS, *SIZES]
    assert prepare("--problems_dir", tmp_path / "same", *words) == 0
    assert prepare("--problems_dir", tmp_path / "other", *words, "--data_seed", 1) == 0
    for name in ("gsm8k", "pretrain"):
        first = (made / f"{name}.jsonl").read_bytes()
        assert (tmp_path / "same" / f"{name}.jsonl").read_bytes() == first
        assert (tmp_path / "other" / f"{name}.jsonl").read_bytes() != first


def test_size_of_the_pretraining_set_does_not_affect_the_others(made, tmp_path):
    words = ["--benchmarks", *BENCHMARKS, *SIZES, "--pretrain_problems", 900]
    assert prepare("--problems_dir", tmp_path, *words) == 0
    for name in (*BENCHMARKS, "preference-math", "dev-gsm8k"):
        assert (tmp_path / f"{name}.jsonl").read_bytes() == (made / f"{name}.jsonl").read_bytes()


def test_unknown_synthetic_benchmark_is_named(tmp_path, capsys):
    assert prepare("--problems_dir", tmp_path, "--benchmarks", "gsm8k", "aime") == 1
    error = capsys.readouterr().err
    assert "benchmarks: no problems can be made for aime; known are gsm8k, math" in error


@pytest.fixture
def given(tmp_path) -> list[object]:
    """Flags for given data, in which gsm8k shares a question in another spelling."""
    write_rows(
        tmp_path / "pairs.jsonl",
        {"question": "How many  LEGS has a Ｄog?", "correct": "4", "incorrect": "5"},
        {"question": "How many legs has a bee?", "correct": "6", "incorrect": "5"},
    )
    row = {"expected_answer": "4", "generated_solution": "4", "predicted_answer": "4"}
    dog, cat = ({**row, "question": f"How many legs has a {pet}"} for pet in ("dog", "cat"))
    home = tmp_path / "completions"
    write_rows(
        home / "gsm8k" / "output-greedy.jsonl",
        {**dog, "is_correct": True},
        {**cat, "is_correct": False},
    )
    write_rows(home / "gsm8k" / "output-rs0.jsonl", {**cat, "is_correct": True})
    write_rows(home / "svamp" / "output-greedy.jsonl", {**cat, "is_correct": False})
    return [
        *("--dataset", tmp_path / "pairs.jsonl", "--completions_data_path", home),
        *("--benchmarks", "gsm8k", "svamp", "--report", tmp_path / "report.json"),
    ]


def test_report_counts_given_data_and_shared_questions(given, tmp_path, capsys):
    assert prepare(*given) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["made"] is False
    assert report["training"] == {str(tmp_path / "pairs.jsonl"): {"rows": 2, "questions": 2}}
    assert report["benchmarks"]["gsm8k"] == {
        "problems": 2,
        "greedy": {"rows": 2, "correct": 1, "accuracy": 0.5},
        "all": {"files": 1, "rows": 1, "correct": 1, "accuracy": 1.0},
        "shared_with_training": 1,
        "shared": ["How many legs has a dog"],
    }
    assert report["benchmarks"]["svamp"]["shared_with_training"] == 0
    assert "training data and benchmarks share 1 questions (gsm8k 1)" in capsys.readouterr().err


def test_report_counts_prompts_shared_with_heldout_pairs(given, tmp_path, capsys):
    dialogue = "\n\nHuman: How many legs\nhas a BEE\n\nAssistant:"
    rows = [{"chosen": f"{dialogue} Six.", "rejected": f"{dialogue} Five."}]
    write_rows(tmp_path / "heldout.jsonl", *rows)
    assert prepare(*given, "--heldout", tmp_path / "heldout.jsonl") == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["heldout"] == {
        str(tmp_path / "heldout.jsonl"): {
            "rows": 1,
            "questions": 1,
            "shared_with_training": 1,
            "shared": ["How many legs\nhas a BEE"],
        }
    }
    said = capsys.readouterr().err
    assert "WARNING: training data and held-out preferences share 1 questions" in said


def test_heldout_pairs_are_compared_with_synthetic_training_data(made, tmp_path, capsys):
    row = read_jsonl(made / "preference-gsm8k.jsonl")[0]
    pair = {"question": row["question"].upper(), "correct": "1", "incorrect": "2"}
    write_rows(tmp_path / "heldout.jsonl", pair, pair | {"question": "Who?"})
    words = ["--problems_dir", tmp_path / "made", "--heldout", tmp_path / "heldout.jsonl"]
    words += ["--benchmarks", *BENCHMARKS, *SIZES, "--report", tmp_path / "report.json"]
    assert prepare(*words) == 0
    [found] = json.loads((tmp_path / "report.json").read_text())["heldout"].values()
    assert (found["rows"], found["shared_with_training"]) == (2, 1)


def test_invalid_row_and_missing_benchmark_are_named(given, tmp_path, capsys):
    invalid = {"question": "q", "generated_solution": None, "is_correct": True}
    write_rows(tmp_path / "completions" / "svamp" / "output-greedy.jsonl", invalid)
    assert prepare(*given) == 1
    error = capsys.readouterr().err
    assert "svamp/output-greedy.jsonl, row 1: generated_solution must be text" in error
    given[given.index("svamp")] = "mawps"
    assert prepare(*given) == 1
    assert "'mawps' needs it" in capsys.readouterr().err


def test_questions_too_long_for_a_solution_are_reported(given, tmp_path, capsys):
    """Exactly the questions that `evaluate` cannot encode."""
    base = tmp_path / "base"
    save_base_model(base)
    words = [*given, "--base_model", base, "--max_len"]
    tokens = len(Encoder(load_tokenizer(str(base)), 4096).prompt_ids("How many legs has a cat"))
    assert prepare(*words, tokens + 1) == 0
    Encoder(load_tokenizer(str(base)), tokens + 1).encode("How many legs has a cat", "4")
    capsys.readouterr()
    assert prepare(*words, tokens) == 1
    with pytest.raises(PromptTooLong):
        Encoder(load_tokenizer(str(base)), tokens).encode("How many legs has a cat", "4")
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"evaluate.max_len = {tokens} tokens leaves some questions no room" in error
    assert re.search(rf"svamp: 1 of 1, the longest of {tokens}\)", error)
    assert prepare(*words, tokens, "--max_problems", 1) == 1
    (tmp_path / "long.jinja").write_text("tom " * 9 + "{{ messages[0]['content'] }}")
    assert prepare(*words, tokens + 1, "--chat_template", tmp_path / "long.jinja") == 1


@pytest.mark.parametrize("option", ["--dataset", "--heldout"])
def test_dialogues_that_the_base_model_does_not_take_are_named(given, tmp_path, capsys, option):
    base = save_base_model(tmp_path / "base", tokenizer=make_sentencepiece_tokenizer())
    lead = [{"role": "system", "content": "Help."}, {"role": "user", "content": "a"}]
    good, bad = ({"prompt": turns, "chosen": "b", "rejected": "c"} for turns in (lead[1:], lead))
    pairs = write_rows(tmp_path / "dialogues.jsonl", good, bad)
    assert prepare(*given, option, pairs, "--base_model", base) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(r"dialogues.jsonl, (row|line) 2: .*refuses roles system, user: roles", error)


def test_missing_options_are_reported(capsys):
    assert prepare("--benchmarks", "gsm8k") == 1
    assert "--problems_dir" in capsys.readouterr().err
