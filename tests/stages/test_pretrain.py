"""Stage `pretrain`: the tokenizer, and a standard, reproducible checkpoint."""

import json
import math
import random
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from gcrm.cli import run_stage
from gcrm.config.pretrain import PretrainOptions
from gcrm.modeling.tokenization import Encoder
from gcrm.pretrain import run
from gcrm.synthetic.language_model import IGNORED, _encode, _order, make_tokenizer
from gcrm.synthetic.problems import make_problems

SIZE = ["--layers", "1", "--hidden_size", "16", "--heads", "2", "--batch_size", "16"]
TEXTS = ["ann has 2 pens . how many ?", "2 + 10 = 12 . answer 12", "( 3 ) mod 2"]
WORDS = sorted({word for text in TEXTS for word in text.split()})


def pretrain(*words: object) -> int:
    return run_stage(PretrainOptions, run, [str(word) for word in words])


@pytest.fixture(scope="module")
def problems(tmp_path_factory) -> Path:
    made = make_problems("mawps", 200, random.Random(0), set())
    file = tmp_path_factory.mktemp("problems") / "pretrain.jsonl"
    file.write_text("".join(json.dumps(vars(problem)) + "\n" for problem in made))
    return file


@pytest.fixture(scope="module")
def trained(problems, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "base_model"
    words = ["--problems", problems, "--save_path", folder, "--steps", 40]
    assert pretrain(*words, *SIZE, "--learning_rate", 0.01) == 0
    return folder


@given(st.lists(st.sampled_from(WORDS)))
def test_texts_survive_encoding_and_decoding(words):
    tokenizer = make_tokenizer(TEXTS)
    text = " ".join(words)
    ids = tokenizer(text).input_ids
    assert len(ids) == len(words)
    assert tokenizer.decode(ids) == text


def test_numbers_are_single_tokens_in_order_and_special_tokens_differ():
    tokenizer = make_tokenizer(TEXTS)
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3, 4, 5, 6]) == [
        *("<pad>", "<eos>", "<unk>"),
        *("2", "3", "10", "12"),
    ]
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert tokenizer("never heard").input_ids == [tokenizer.unk_token_id] * 2


def test_encoder_separates_question_and_solution():
    tokenizer = make_tokenizer(TEXTS)
    encoded = Encoder(tokenizer, 64).encode(TEXTS[0], TEXTS[1])
    assert tokenizer.decode(encoded.input_ids[: encoded.start]) == TEXTS[0]
    assert tokenizer.decode(encoded.input_ids[encoded.start :]) == f"{TEXTS[1]} <eos>"


def test_labels_cover_only_the_solution_and_eos():
    tokenizer = make_tokenizer(TEXTS)
    (row,) = _encode(tokenizer, [("2 + 10", "= 12")])
    ids = tokenizer("2 + 10 = 12").input_ids
    assert row["input_ids"] == [*ids, tokenizer.eos_token_id]
    assert row["labels"] == [IGNORED, IGNORED, IGNORED, *ids[3:], tokenizer.eos_token_id]


def test_batches_have_rows_of_similar_length_and_use_every_row():
    rng = random.Random(0)
    rows = [{"input_ids": [0] * rng.randint(5, 50)} for _ in range(400)]
    order = _order(rows, steps=40, batch_size=20, rng=random.Random(1))
    assert sorted(order) == sorted(list(range(400)) * 2)
    batches = [order[i : i + 20] for i in range(0, 800, 20)]
    longest = [max(len(rows[i]["input_ids"]) for i in batch) for batch in batches]
    tokens = sum(len(rows[i]["input_ids"]) for i in order)
    assert tokens / (20 * sum(longest)) > 0.85
    assert longest != sorted(longest) and longest != sorted(longest, reverse=True)


def test_checkpoint_is_standard_and_has_learnt(trained, problems):
    tokenizer = AutoTokenizer.from_pretrained(trained)
    model, info = AutoModelForCausalLM.from_pretrained(trained, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert model.config.model_type == "llama"
    assert model.config.pad_token_id == tokenizer.pad_token_id != tokenizer.eos_token_id
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    dialogue = [{"role": role, "content": role} for role in ("user", "assistant")]
    shown = tokenizer.apply_chat_template(dialogue, tokenize=False)  # as RewardBench and vLLM do
    assert shown == f"user\nassistant{tokenizer.eos_token}"
    rows = [json.loads(line) for line in problems.read_text().splitlines()[:20]]
    encoder = Encoder(tokenizer, 128)
    losses = []
    for row in rows:
        one = encoder.encode(row["question"], row["solution"])
        ids = torch.tensor([one.input_ids])
        with torch.no_grad():
            logits = model(ids).logits[0, one.start - 1 : -1]
        losses.append(torch.nn.functional.cross_entropy(logits, ids[0, one.start :]).item())
    assert sum(losses) / len(losses) < 0.8 * math.log(len(tokenizer))
    provenance = json.loads((trained / "provenance.json").read_text())
    assert provenance["parameters"] == model.num_parameters()
    assert provenance["loss"] == pytest.approx(sum(losses) / len(losses), rel=0.2)


def test_weights_depend_on_the_seed_alone(trained, problems, tmp_path):
    weights = (trained / "model.safetensors").read_bytes()
    words = ["--problems", problems, "--steps", 40, *SIZE, "--learning_rate", 0.01]
    assert pretrain(*words, "--save_path", tmp_path / "same") == 0
    assert (tmp_path / "same" / "model.safetensors").read_bytes() == weights
    assert pretrain(*words, "--save_path", tmp_path / "other", "--data_seed", 1) == 0
    assert (tmp_path / "other" / "model.safetensors").read_bytes() != weights


def test_terminal_shows_only_progress(problems, tmp_path, capsys):
    words = ["--problems", problems, "--save_path", tmp_path / "model", "--steps", 3, *SIZE]
    assert pretrain(*words, "--log-file", tmp_path / "log") == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 2, err
    first, last = err.splitlines()
    assert first.startswith("pretrain: 200 problems, 3 steps")
    assert last.startswith("pretrain: step 3/3, done in ")
    assert "pretrain: step 3: {'loss'" in (tmp_path / "log").read_text()


def test_long_problems_are_dropped_and_counted(problems, tmp_path, capsys):
    rows = problems.read_text().splitlines()[:32]
    long = json.dumps({"question": "and " * 200, "solution": "7"})
    some, all_long = tmp_path / "some.jsonl", tmp_path / "all.jsonl"
    some.write_text("\n".join([*rows, long, long]))
    all_long.write_text("\n".join([long] * 20))
    words = ["--save_path", tmp_path / "model", "--steps", 2, *SIZE]
    assert pretrain("--problems", some, *words) == 0
    assert "pretrain: 2 of 34 problems dropped: longer than 128" in capsys.readouterr().err
    assert json.loads((tmp_path / "model/provenance.json").read_text())["too_long"] == 2
    assert pretrain("--problems", all_long, *words) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("pretrain: error: no problem with its solution fits into 128 tokens")


def test_mistakes_are_reported(tmp_path, capsys):
    file = tmp_path / "pretrain.jsonl"
    file.write_text('{"question": "q", "solution": "s"}\n{"question": "q", "solution": " "}\n')
    assert pretrain("--problems", file, "--save_path", tmp_path / "model", *SIZE) == 1
    assert "pretrain.jsonl, row 2: solution must be text" in capsys.readouterr().err
    words = ["--problems", tmp_path / "x", "--save_path", tmp_path]
    assert pretrain(*words, "--hidden_size", 30, "--heads", 4) == 1
    assert "hidden_size (30) must be a multiple of 2 * heads (8)" in capsys.readouterr().err
