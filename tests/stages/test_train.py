"""Training through the command: the loss it minimises, what it saves, and what it refuses."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from gcrm import RewardModel
from helpers.training import log_of, train, training_folder, weights_of, write_pairs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return training_folder(tmp_path_factory.mktemp("train"))


@pytest.fixture(scope="module")
def contrastive(folder):
    status, model = train(folder, "contrastive", "--reward_model_strategy", "contrastive")
    assert status == 0
    return model


def test_saves_a_standard_checkpoint_with_its_side_files(contrastive):
    model, info = AutoModelForSequenceClassification.from_pretrained(
        contrastive, output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert model.score.weight.shape == (1, 32)
    assert model.config.id2label == {0: "reward"}
    assert model.config.pad_token_id != model.config.eos_token_id
    names = {path.name for path in contrastive.iterdir()}
    assert {"model.safetensors", "tokenizer.json", "README.md", "provenance.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".partial"))]


def test_log_has_the_parts_of_the_objective(contrastive):
    for line in log_of(contrastive):
        assert line["loss"] == pytest.approx(
            line["preference_loss"] + 0.5 * line["contrastive_loss"], abs=1e-5
        )


def test_learns_to_prefer_the_chosen_completion(folder):
    status, model = train(folder, "learned", "--max_epochs", "8")
    assert status == 0
    rm = RewardModel.from_pretrained(model)
    pairs = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    margins = []
    for pair in pairs:
        chosen, rejected = rm.score(pair["question"], [pair["correct"], pair["incorrect"]]).reward
        margins.append(chosen - rejected)
    assert np.mean(np.array(margins) > 0) > 0.9


def test_same_seed_same_weights_other_seed_others(folder, contrastive):
    _, again = train(folder, "again", "--reward_model_strategy", "contrastive")
    _, other = train(folder, "other", "--reward_model_strategy", "contrastive", "--seed", "1")
    first = (contrastive / "model.safetensors").read_bytes()
    assert (again / "model.safetensors").read_bytes() == first
    assert (other / "model.safetensors").read_bytes() != first
    assert log_of(again) == log_of(contrastive)


def test_micro_batches_change_nothing_for_vanilla(folder):
    """Also with a last step of 24 - 2 * 10 = 4 pairs, in micro-batches of 5 and 2."""
    batch = ("--train_batch_size", "10", "--micro_train_batch_size")
    _, whole = train(folder, "whole", *batch, "10")
    _, parts = train(folder, "parts", *batch, "5")
    _, small = train(folder, "small", *batch, "2")
    for other in (parts, small):
        for a, b in zip(log_of(whole), log_of(other), strict=True):
            assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)
        for name, weight in weights_of(whole).items():
            torch.testing.assert_close(weight, weights_of(other)[name], atol=1e-4, rtol=1e-3)


def test_eval_steps_measure_held_out_preference_accuracy(folder):
    status, model = train(folder, "eval", "--eval_steps", "1", "--heldout_share", "0.3")
    assert status == 0
    facts = json.loads((model / "reward_model.json").read_text())
    assert facts["pairs"] + facts["heldout_pairs"] == 24 and facts["heldout_pairs"] > 2
    accuracies = [line["eval_accuracy"] for line in log_of(model) if "eval_accuracy" in line]
    assert len(accuracies) == -(-facts["pairs"] // 8)
    # The trained model's own rewards on the held-out pairs give the last accuracy.
    rm = RewardModel.from_pretrained(model)
    write_pairs(folder / "all.jsonl")
    status, same = train(
        folder, "eval2", "--eval_steps", "3", "--eval_dataset", str(folder / "all.jsonl")
    )
    last = [line for line in log_of(same) if "eval_accuracy" in line][-1]
    rm = RewardModel.from_pretrained(same)
    rows = [json.loads(line) for line in (folder / "all.jsonl").read_text().splitlines()]
    margins = [
        float(np.subtract(*rm.score(r["question"], [r["correct"], r["incorrect"]]).reward))
        for r in rows
    ]
    assert last["eval_accuracy"] == pytest.approx(np.mean(np.array(margins) > 0))
    assert last["eval_margin"] == pytest.approx(np.mean(margins), abs=1e-4)


def test_several_datasets_are_mixed_by_their_shares(folder):
    write_pairs(folder / "more.jsonl", count=30, wrong=5)
    both = f"{folder / 'pairs.jsonl'},{folder / 'more.jsonl'}"
    status, model = train(folder, "mixed", "--dataset", both, "--dataset_probs", "0.25,0.75")
    assert status == 0
    facts = json.loads((model / "reward_model.json").read_text())
    assert facts["pairs"] == 40  # 30 are three quarters of 40


def test_too_long_pairs_are_dropped_and_counted(folder, capsys):
    long = {"question": "tom", "correct": "apples " * 80, "incorrect": "now"}
    text = (folder / "pairs.jsonl").read_text() + json.dumps(long) + "\n"
    (folder / "long.jsonl").write_text(text)
    status, model = train(folder, "long", "--dataset", str(folder / "long.jsonl"))
    assert status == 0
    assert "1 of 25 pairs dropped" in capsys.readouterr().err
    assert json.loads((model / "reward_model.json").read_text())["pairs_too_long"] == 1


def test_hardware_that_is_missing_is_said_and_replaced(folder, capsys):
    status, _ = train(folder, "fallback", "--bf16", "--flash_attn", "--gradient_checkpointing")
    said = capsys.readouterr().err
    assert status == 0
    if not torch.cuda.is_available():
        assert "computing in fp32" in said and "using sdpa" in said


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--pretrain", "./none"], "./none: no such folder"),
        (["--dataset", "none.jsonl"], "none.jsonl: no such file"),
        (["--dataset_probs", "0.5"], "add to 1"),
        (["--train_batch_size", "8", "--micro_train_batch_size", "3"], "multiple"),
        (["--max_len", "10"], "no pair fits into max_len = 10"),
        (["--eval_steps", "1", "--heldout_share", "0.0001"], "too few to hold out"),
        (["--value_head_strategy", "cubic"], "linear"),
        (["--train_layers", "3"], "train_layers is 3, but LlamaForSequenceClassification"),
        (["--parity", "official", "--train_batch_size", "32"], "24 pairs are none of train_batch"),
    ],
)
def test_mistakes_end_in_one_line(folder, capsys, flags, message):
    status, model = train(folder, "refused", *flags)
    said = capsys.readouterr().err
    assert status == 1
    assert message in said and "Traceback" not in said
    assert not (model / "model.safetensors").exists()


@pytest.mark.parametrize("logging_steps", ["1", "1000"])
def test_a_loss_that_is_no_number_ends_training_at_once(folder, capsys, logging_steps):
    """Or hours of it would end in a model of NaN."""
    broken = folder / "broken base"
    model = AutoModelForCausalLM.from_pretrained(folder / "base")
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    model.save_pretrained(broken)
    AutoTokenizer.from_pretrained(folder / "base").save_pretrained(broken)
    flags = ["--pretrain", str(broken), "--logging_steps", logging_steps]
    status, model = train(folder, "not a number", *flags)
    said = capsys.readouterr().err
    assert status == 1 and "Traceback" not in said
    assert "lower learning_rate, or see whether the base model's weights are whole" in said
    assert not list(model.glob("*"))


OBJECTIVES = {
    "single": ["--contrastive_strategy", "cosine_single"],
    "average": ["--contrastive_strategy", "cosine_avg", "--positives", "cross"],
    "late": ["--source_late_share", "0.5", "--goal_late_share", "0.5", "--temperature", "0.3"],
    "official": ["--parity", "official", "--micro_train_batch_size", "4", "--max_len", "128"],
    "mlp": ["--value_head_strategy", "mlp"],
    "official-mlp": ["--parity", "official", "--value_head_strategy", "mlp", "--max_len", "128"],
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_trains_and_is_scored_as_it_was_saved(folder, name):
    """The stage itself compares the saved model's rewards with those of the trained one."""
    flags = ["--reward_model_strategy", "contrastive", *OBJECTIVES[name]]
    status, model = train(folder, name, *flags)
    assert status == 0
    facts = json.loads((model / "reward_model.json").read_text())
    settings = facts["objective"]
    for flag, value in zip(OBJECTIVES[name][::2], OBJECTIVES[name][1::2], strict=True):
        if flag.startswith(("--micro", "--max")):
            continue
        assert str(settings[flag.removeprefix("--")]) == value
        assert f"| {flag.removeprefix('--')} | {value} |" in (model / "README.md").read_text()
    for line in log_of(model):
        expected = line["preference_loss"] + 0.5 * line["contrastive_loss"]
        assert line["loss"] == pytest.approx(expected, abs=1e-5)
        assert -1 <= line["positive_cosine"] <= 1 and -1 <= line["negative_cosine"] <= 1
    scores = RewardModel.from_pretrained(model).score("tom has 3 apples .", ["answer 7"])
    assert np.isfinite(scores.reward).all()
    card = (model / "README.md").read_text()
    assert ("is no standard checkpoint" in card) == ("mlp" in name)
    assert ("parity: official" in card) == ("official" in name)


def test_parity_is_remembered_and_not_mixed_with_what_it_replaces(folder):
    """What the authors' code has not is not among the settings that the card tells."""
    flags = ["--reward_model_strategy", "contrastive", *OBJECTIVES["official"]]
    _, model = train(folder, "remembered", *flags)
    facts = json.loads((model / "reward_model.json").read_text())
    assert facts["parity"] == "official" and facts["pairs_too_long"] == 0
    assert not {"positives", "temperature", "goal_late_share"} & facts["objective"].keys()
    rm = RewardModel.from_pretrained(model)
    [one] = rm.encoder.encode_many([("tom", "answer 7")])
    assert one.input_ids[-1] != rm.tokenizer.eos_token_id
    _, ours = train(folder, "ours", "--reward_model_strategy", "contrastive")
    [one] = RewardModel.from_pretrained(ours).encoder.encode_many([("tom", "answer 7")])
    assert one.input_ids[-1] == rm.tokenizer.eos_token_id


def test_parity_drops_the_last_incomplete_batch(folder):
    """24 pairs are two steps of 10; ours are three."""
    batch = ("--train_batch_size", "10", "--micro_train_batch_size", "5", "--max_len", "128")
    _, ours = train(folder, "three-steps", *batch)
    _, official = train(folder, "two-steps", *batch, "--parity", "official")
    assert [len(log_of(model)) for model in (ours, official)] == [3, 2]


def test_with_parity_the_contrastive_loss_depends_on_the_micro_batch(folder):
    """And without it, it does not: the states of a pair are drawn anew, but its log is its own."""
    flags = ["--reward_model_strategy", "contrastive", "--parity", "official", "--max_len", "128"]
    logs = []
    for micro in ("2", "8"):
        _, model = train(folder, f"micro{micro}", *flags, "--micro_train_batch_size", micro)
        logs.append(log_of(model)[0])
    assert logs[0]["preference_loss"] == pytest.approx(logs[1]["preference_loss"], abs=1e-5)
    assert logs[0]["contrastive_loss"] != logs[1]["contrastive_loss"]


@pytest.mark.parametrize("checkpointing", [[], ["--gradient_checkpointing"]])
def test_frozen_layers_stay_and_the_others_learn(folder, capsys, checkpointing):
    status, model = train(folder, "frozen", "--train_layers", "1", *checkpointing)
    assert status == 0 and "parameters are trained" in capsys.readouterr().err
    before, after = weights_of(folder / "base"), weights_of(model)
    for name, weight in after.items():
        if name != "score.weight":
            learns = "layers.1." in name or name == "model.norm.weight"
            assert torch.equal(weight, before[name]) != learns, name


def test_gradient_checkpointing_changes_no_weight(folder):
    for name, flags in (("all", []), ("last", ["--train_layers", "1"])):
        _, plain = train(folder, f"plain-{name}", *flags)
        _, recomputed = train(folder, f"recomputed-{name}", *flags, "--gradient_checkpointing")
        for weight, other in zip(
            weights_of(plain).values(), weights_of(recomputed).values(), strict=True
        ):
            torch.testing.assert_close(weight, other)


def test_margins_of_the_data_are_subtracted(folder, capsys):
    """In the first step all rewards are near 0: the loss is that of minus the margin."""
    rows = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    text = "".join(json.dumps(row | {"margin": 2.5}) + "\n" for row in rows)
    (folder / "margins.jsonl").write_text(text)
    status, model = train(folder, "margins", "--dataset", str(folder / "margins.jsonl"))
    assert status == 0 and "the data has margins (2.5 to 2.5)" in capsys.readouterr().err
    assert log_of(model)[0]["preference_loss"] == pytest.approx(np.log1p(np.exp(2.5)), abs=0.1)
    assert "| margins of the data | subtracted |" in (model / "README.md").read_text()


def test_centring_is_a_part_of_the_loss(folder):
    """Its mean over pairs, however the pairs are cut into micro-batches."""
    flags = ["--center_rewards", "3", "--micro_train_batch_size", "4"]
    _, model = train(folder, "centred", *flags)
    for line in log_of(model):
        expected = line["preference_loss"] + 3 * line["center_loss"]
        assert line["loss"] == pytest.approx(expected, abs=1e-5)
        assert line["center_loss"] > 0
