"""Stage `sample`: solutions do not depend on their batch; labels and errors."""

import json
import random
import shutil
from pathlib import Path

import pytest
import torch

from gcrm.cli import run_stage
from gcrm.config.sample import SampleOptions
from gcrm.data.completions import read_completions
from gcrm.decoding.sampling import Generated, generate
from gcrm.modeling.loading import load_language_model, load_tokenizer, use_chat_template
from gcrm.modeling.tokenization import Encoder
from gcrm.sample import label, run
from gcrm.synthetic.problems import make_problems
from gcrm.utils.io import read_jsonl
from helpers.models import make_byte_tokenizer, save_base_model
from helpers.rows import write_rows

QUESTIONS = ["tom has 3 apples . how many ?", "ann buys 12 pears", "4 + 5 = ?", "how many now ?"]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return save_base_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def problems(tmp_path_factory) -> Path:
    rows = [{"question": question, "expected_answer": "7"} for question in QUESTIONS]
    return write_rows(tmp_path_factory.mktemp("problems") / "gsm8k.jsonl", *rows)


def sample(*words: object) -> int:
    return run_stage(SampleOptions, run, [str(word) for word in words])


def test_greedy_solutions_equal_a_loop_without_batch_or_cache(base):
    model, tokenizer = load_language_model(str(base)), load_tokenizer(str(base))
    found = generate(model, tokenizer, QUESTIONS, temperature=None, max_new_tokens=12, batch_size=3)
    for question, solution in zip(QUESTIONS, found, strict=True):
        prompt = Encoder(tokenizer, 64).prompt_ids(question)
        ids = list(prompt)
        while len(ids) < len(prompt) + 12:
            with torch.no_grad():
                ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] == tokenizer.eos_token_id:
                break
        assert solution.finished == (ids[-1] == tokenizer.eos_token_id)
        expected = tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True)
        assert solution.text == expected


def test_a_given_chat_template_makes_the_prompt(base, problems, tmp_path):
    (tmp_path / "mine.jinja").write_text("apples {{ messages[0]['content'] }} <sep> ")
    words = ["--model", base, "--problems", problems, "--max_new_tokens", 4]
    words += ["--chat_template", tmp_path / "mine.jinja", "--save_dir", tmp_path / "out"]
    assert sample(*words) == 0
    model, tokenizer = load_language_model(str(base)), load_tokenizer(str(base))
    use_chat_template(tokenizer, tmp_path / "mine.jinja")
    found = generate(model, tokenizer, QUESTIONS, temperature=None, max_new_tokens=4, batch_size=3)
    rows = read_jsonl(tmp_path / "out" / "output-greedy.jsonl")
    assert [row["generated_solution"] for row in rows] == [solution.text for solution in found]


def test_samples_follow_the_softmax_at_the_temperature(base):
    """First tokens of 4,000 samples against the model's probabilities."""
    model, tokenizer = load_language_model(str(base)), load_tokenizer(str(base))
    with torch.no_grad():
        model.lm_head.weight.mul_(20)  # random weights alone are close to uniform
    prompt = torch.tensor([Encoder(tokenizer, 64).prompt_ids(QUESTIONS[0])])
    with torch.no_grad():
        probabilities = torch.softmax(model(prompt).logits[0, -1] / 0.7, dim=-1)
    drawn = generate(
        model,
        tokenizer,
        [QUESTIONS[0]] * 4_000,
        temperature=0.7,
        max_new_tokens=1,
        batch_size=1_000,
        seed=1,
    )
    likely = int(probabilities.argmax())
    share = sum(one.text == tokenizer.decode([likely]) for one in drawn) / len(drawn)
    assert probabilities[likely] < 0.95
    assert share == pytest.approx(probabilities[likely].item(), abs=0.03)


def test_all_files_have_the_order_of_the_problems(base, problems, tmp_path, capsys):
    save_dir = tmp_path / "gsm8k"
    words = ["--model", base, "--problems", problems, "--save_dir", save_dir]
    assert sample(*words, "--num_samples", 3, "--max_new_tokens", 8, "--batch_size", 3) == 0
    assert sorted(file.name for file in save_dir.iterdir()) == [
        "output-greedy.jsonl",
        *(f"output-rs{k}.jsonl" for k in range(3)),
        "provenance.json",
    ]
    for file in save_dir.glob("*.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        assert [row["question"] for row in rows] == QUESTIONS
    assert len(read_completions(tmp_path, "gsm8k", "greedy")) == len(QUESTIONS)
    rows = read_completions(tmp_path, "gsm8k", "all")
    texts = [{row["generated_solution"] for row in rows if row["sample"] == k} for k in range(3)]
    assert texts[0] != texts[1] != texts[2]
    assert "sample gsm8k: 0.0% of the greedy solutions correct" in capsys.readouterr().err


def test_surplus_samples_of_an_earlier_run_are_removed(base, problems, tmp_path):
    """Otherwise they would vote."""
    words = ["--model", base, "--problems", problems, "--save_dir", tmp_path / "gsm8k"]
    for samples in (3, 1):
        assert sample(*words, "--num_samples", samples, "--max_new_tokens", 4) == 0
        rows = read_completions(tmp_path, "gsm8k", "all")
        assert {row["sample"] for row in rows} == set(range(samples))


def test_samples_depend_on_the_seed_alone(base, problems, tmp_path):
    words = ["--model", base, "--problems", problems, "--num_samples", 2, "--max_new_tokens", 8]
    for folder, seed in (("first", 0), ("second", 0), ("other", 1)):
        assert sample(*words, "--save_dir", tmp_path / folder, "--data_seed", seed) == 0
    first, second, other = (
        (tmp_path / folder / "output-rs1.jsonl").read_bytes()
        for folder in ("first", "second", "other")
    )
    assert first == second != other


def test_draws_of_two_sets_are_independent(base, problems, tmp_path):
    copy = tmp_path / "math.jsonl"
    copy.write_bytes(problems.read_bytes())
    words = ["--model", base, "--num_samples", 1, "--max_new_tokens", 8]
    assert sample(*words, "--problems", problems, "--save_dir", tmp_path / "a") == 0
    assert sample(*words, "--problems", copy, "--save_dir", tmp_path / "b") == 0
    a, b = (tmp_path / folder / "output-rs0.jsonl" for folder in "ab")
    assert a.read_bytes() != b.read_bytes()


def test_labels():
    problem = {"question": "q", "expected_answer": "7"}
    solutions = [
        Generated("3 + 4 = 7 . answer 7", finished=True),
        Generated("so the answer is 7.0", finished=True),
        Generated("3 + 4 = 8 . answer 8", finished=True),
        Generated("3 + 4 = 7 . answer 7", finished=False),
        Generated("", finished=True),
    ]
    rows = label([problem] * len(solutions), solutions)
    assert [row["predicted_answer"] for row in rows] == ["7", "7.0", "8", None, None]
    assert [row["is_correct"] for row in rows] == [True, True, False, False, False]
    assert rows[0].keys() == {
        "question",
        "expected_answer",
        "generated_solution",
        "predicted_answer",
        "is_correct",
    }


def test_a_problem_without_an_answer_is_named(base, tmp_path, capsys):
    file = tmp_path / "gsm8k.jsonl"
    file.write_text('{"question": "q", "expected_answer": 7}\n')
    assert sample("--model", base, "--problems", file, "--save_dir", tmp_path) == 1
    assert "gsm8k.jsonl, row 1: expected_answer must be text" in capsys.readouterr().err


def test_non_finite_logits_are_reported_before_sampling(base, problems, tmp_path, capsys):
    model, tokenizer = load_language_model(str(base)), load_tokenizer(str(base))
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    model.save_pretrained(tmp_path / "broken")
    tokenizer.save_pretrained(tmp_path / "broken")
    words = ["--model", tmp_path / "broken", "--problems", problems, "--save_dir", tmp_path / "o"]
    assert sample(*words, "--num_samples", 1) == 1
    error = capsys.readouterr().err.splitlines()
    assert error[-1].startswith(f"sample: error: {tmp_path / 'broken'}: its logits are not finite")
    assert not (tmp_path / "o").exists()


def test_problems_are_not_overwritten(base, problems, tmp_path, capsys):
    """A file of solutions can also be a file of problems."""
    file = tmp_path / "output-greedy.jsonl"
    shutil.copy(problems, file)
    assert sample("--model", base, "--problems", file, "--save_dir", tmp_path) == 1
    assert f"{file} would be overwritten; give another folder" in capsys.readouterr().err
    assert file.read_bytes() == problems.read_bytes()


def test_missing_model_is_reported(problems, tmp_path, capsys):
    words = ["--problems", problems, "--save_dir", tmp_path]
    assert sample("--model", "./nowhere", *words) == 1
    assert "./nowhere: no such folder" in capsys.readouterr().err


def test_prompt_longer_than_the_context_is_reported_before_sampling(base, tmp_path, capsys):
    file = tmp_path / "gsm8k.jsonl"
    file.write_text(json.dumps({"question": "tom " * 100, "expected_answer": "7"}) + "\n")
    words = ["--model", base, "--problems", file, "--save_dir", tmp_path / "out"]
    assert sample(*words, "--max_new_tokens", 60) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "a prompt of 102 tokens with max_new_tokens = 60 is longer than the context" in error
    assert not (tmp_path / "out").exists()
    assert sample(*words, "--max_new_tokens", 8) == 0


def test_tokenizer_of_another_model_is_reported(base, problems, tmp_path, capsys):
    other = shutil.copytree(base, tmp_path / "other")
    make_byte_tokenizer().save_pretrained(other)
    assert sample("--model", other, "--problems", problems, "--save_dir", tmp_path / "out") == 1
    assert "they do not belong together" in capsys.readouterr().err


def test_a_program_solves_chains_and_knows_its_errors(tmp_path, capsys):
    """Labels and values agree, the two seeds differ, and readers keep the values."""
    rows = [
        vars(one) for one in make_problems("chain", 50, random.Random(0), set(), chain_steps=(3, 3))
    ]
    file = write_rows(tmp_path / "chain.jsonl", *rows)
    words = ["--problems", file, "--error_rate", 0.2, "--num_samples", 2]
    for seed in (0, 1):
        assert sample(*words, "--save_dir", tmp_path / f"{seed}" / "c", "--data_seed", seed) == 0
    first, other = (read_completions(tmp_path / f"{seed}", "c", "all") for seed in (0, 1))
    assert first != other and len(first) == 100
    for row in first:
        assert row["is_correct"] == (row["step_values"][-1] == 1)
        assert len(row["step_ends"]) == 3
    assert 20 < sum(row["is_correct"] for row in first) < 80


def test_a_program_solves_nothing_else(base, problems, tmp_path, capsys):
    file = write_rows(tmp_path / "math.jsonl", {"question": "q", "expected_answer": "6"})
    words = ["--save_dir", tmp_path / "out", "--error_rate", 0.1]
    assert sample(*words, "--problems", file) == 1
    assert "math.jsonl, row 1: solution must be text" in capsys.readouterr().err
    row = {"question": "q", "expected_answer": "6", "solution": "2 * 3 = 6 . answer 6"}
    assert sample(*words, "--problems", write_rows(file, row)) == 1
    assert "math.jsonl, row 1: solution: '2 * 3 = 6 . answer 6' has" in capsys.readouterr().err
    assert sample(*words, "--problems", file, "--model", base) == 1
    assert "give --model, or --error_rate" in capsys.readouterr().err
    assert sample("--problems", file, "--save_dir", tmp_path / "out") == 1
    assert "give --model, or --error_rate" in capsys.readouterr().err
    assert sample("--problems", file, "--save_dir", tmp_path, "--error_place", "last") == 1
    assert "error_place does nothing without error_rate" in capsys.readouterr().err
