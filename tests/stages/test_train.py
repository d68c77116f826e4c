"""Stage `train`: the minimised loss, the checkpoint, and error messages."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from gcrm import RewardModel
from gcrm.utils.io import read_jsonl
from helpers.gguf_files import save_gguf_and_folder
from helpers.rows import write_rows
from helpers.training import log_of, train, training_folder, weights_of, write_pairs

CONTRASTIVE = ("--reward_model_strategy", "contrastive")
LONG = ("--max_len", "128")  # the authors' prompt is longer than 64 tokens
OBJECTIVES = {
    "single": ("--contrastive_strategy", "single_goal"),
    "rs": ("--contrastive_strategy", "rs"),
    "avg": ("--contrastive_strategy", "avg", "--contrastive_mean", "batch"),
    "average": ("--contrastive_strategy", "completion_avg", "--positives", "cross"),
    "late": ("--source_late_share", "0.5", "--goal_late_share", "0.5", "--temperature", "0.3"),
    "official": ("--parity", "official", "--micro_train_batch_size", "4", *LONG),
    "mlp": ("--value_head_strategy", "mlp"),
    "mlp-wide": ("--value_head_strategy", "mlp_wide"),
    "official-mlp": ("--parity", "official", "--value_head_strategy", "mlp", *LONG),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return training_folder(tmp_path_factory.mktemp("train"))


@pytest.fixture(scope="module")
def trained(folder):
    """A function that returns the model trained with these flags; each is trained once."""
    models = {}

    def model(*flags):
        if flags not in models:
            status, models[flags] = train(folder, f"model{len(models)}", *flags)
            assert status == 0
        return models[flags]

    return model


def facts_of(model):
    return json.loads((model / "reward_model.json").read_text())


def margins_of(model, rows):
    """Rewards of the correct completions minus those of the incorrect ones."""
    rm = RewardModel.from_pretrained(model)
    rewards = [rm.score(row["question"], [row["correct"], row["incorrect"]]).reward for row in rows]
    return np.array([chosen - rejected for chosen, rejected in rewards])


def test_a_given_chat_template_is_trained_with_and_stored(folder, trained, capsys):
    template = folder / "mine.jinja"
    template.write_text("{% for m in messages %}{{ m['content'] }} = {% endfor %}")
    model = trained("--chat_template", str(template))
    assert AutoTokenizer.from_pretrained(model).chat_template == template.read_text()
    assert RewardModel.from_pretrained(model).encoder.render("tom has") == "tom has = "
    assert str(template) in json.loads((model / "provenance.json").read_text())["inputs"]
    assert log_of(model) != log_of(trained())
    assert train(folder, "none", "--chat_template", str(folder / "none.jinja"))[0] == 1
    assert "none.jinja: cannot be read as a chat template: " in capsys.readouterr().err


def test_a_gguf_base_model_trains_as_the_weights_it_stands_for(tmp_path):
    write_pairs(tmp_path / "pairs.jsonl")
    models = []
    for base in save_gguf_and_folder(tmp_path):
        flags = ("--pretrain", str(base), "--max_len", "256")
        status, model = train(tmp_path, f"from-{base.name}", *flags)
        assert status == 0
        models.append(model)
    weights, expected = map(weights_of, models)
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert log_of(models[0]) == log_of(models[1])


def test_checkpoint_is_standard_with_its_side_files(trained):
    folder = trained(*CONTRASTIVE)
    model, info = AutoModelForSequenceClassification.from_pretrained(
        folder, output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert model.score.weight.shape == (1, 32)
    assert model.config.id2label == {0: "reward"}
    assert model.config.pad_token_id != model.config.eos_token_id
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "tokenizer.json", "README.md", "provenance.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".partial"))]


@pytest.mark.parametrize("flags", [(), ("--lora_rank", "2"), ("--init_value_head",)])
def test_training_goes_on_from_the_head_of_a_reward_model(folder, trained, flags):
    first = trained("--max_epochs", "8")
    frozen = ("--seed", "5", "--learning_rate", "1e-12")
    _, onward = train(folder, "onward" + "".join(flags), "--pretrain", str(first), *frozen, *flags)
    new = trained(*frozen) if flags == ("--init_value_head",) else first
    heads = [weights_of(model)["score.weight"] for model in (onward, new)]
    torch.testing.assert_close(*heads, atol=1e-8, rtol=0)


def test_model_learns_to_prefer_the_chosen_completion(folder, trained):
    margins = margins_of(trained("--max_epochs", "8"), read_jsonl(folder / "pairs.jsonl"))
    assert np.mean(margins > 0) > 0.9


def test_weights_depend_on_the_seed_alone(folder, trained):
    first = trained(*CONTRASTIVE)
    _, again = train(folder, "again", *CONTRASTIVE)
    weights = (first / "model.safetensors").read_bytes()
    assert (again / "model.safetensors").read_bytes() == weights
    assert log_of(again) == log_of(first)
    other = trained(*CONTRASTIVE, "--seed", "1")
    assert (other / "model.safetensors").read_bytes() != weights


def test_micro_batches_do_not_change_a_vanilla_model(trained):
    """Also with a last step of 24 - 2 * 10 = 4 pairs, in micro-batches of 5 and 2."""
    batch = ("--train_batch_size", "10", "--micro_train_batch_size")
    whole = trained(*batch, "10")
    for other in (trained(*batch, "5"), trained(*batch, "2")):
        for a, b in zip(log_of(whole), log_of(other), strict=True):
            assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)
        for name, weight in weights_of(whole).items():
            torch.testing.assert_close(weight, weights_of(other)[name], atol=1e-4, rtol=1e-3)


def test_eval_steps_measure_accuracy_on_a_share_of_the_pairs(trained):
    model = trained("--eval_steps", "1", "--heldout_share", "0.3")
    facts = facts_of(model)
    assert facts["pairs"] + facts["heldout_pairs"] == 24 and facts["heldout_pairs"] > 2
    accuracies = [line["eval_accuracy"] for line in log_of(model) if "eval_accuracy" in line]
    assert len(accuracies) == -(-facts["pairs"] // 8)


def test_last_accuracy_on_an_eval_dataset_is_that_of_the_saved_model(folder, trained):
    path = write_pairs(folder / "all.jsonl")
    model = trained("--eval_steps", "3", "--eval_dataset", str(path))
    last = [line for line in log_of(model) if "eval_accuracy" in line][-1]
    margins = margins_of(model, read_jsonl(path))
    assert last["eval_accuracy"] == pytest.approx(np.mean(margins > 0))
    assert last["eval_margin"] == pytest.approx(np.mean(margins), abs=1e-4)


def test_datasets_are_mixed_by_their_shares(folder, trained):
    write_pairs(folder / "more.jsonl", count=30, wrong=5)
    both = f"{folder / 'pairs.jsonl'},{folder / 'more.jsonl'}"
    model = trained("--dataset", both, "--dataset_probs", "0.25,0.75")
    assert facts_of(model)["pairs"] == 40  # 30 are three quarters of 40


def test_long_pairs_are_dropped_and_counted(folder, trained, capsys):
    long = {"question": "tom", "correct": "apples " * 80, "incorrect": "now"}
    text = (folder / "pairs.jsonl").read_text() + json.dumps(long) + "\n"
    (folder / "long.jsonl").write_text(text)
    model = trained("--dataset", str(folder / "long.jsonl"))
    assert "1 of 25 pairs dropped" in capsys.readouterr().err
    assert facts_of(model)["pairs_too_long"] == 1


@pytest.mark.gpu
@pytest.mark.parametrize("there", [True, False])
def test_hardware_is_used_or_its_lack_is_said(folder, capsys, monkeypatch, there):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": there})
    words = ["--bf16", "--flash_attn", "--gradient_checkpointing"]
    assert train(folder, f"bf16-{there}", *words)[0] == 0
    said = capsys.readouterr().err
    if not torch.cuda.is_available():
        assert ("this CPU lacks it" in said) != there and "using sdpa" in said


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
        (["--lora_rank", "2", "--train_layers", "1"], "lora_rank and train_layers exclude each"),
        (["--lora_alpha", "8"], "lora_alpha has no effect without lora_rank"),
        (["--parity", "official", "--train_batch_size", "32"], "24 pairs do not fill one batch of"),
        (
            [*CONTRASTIVE, "--contrastive_strategy", "avg", "--micro_train_batch_size", "1"],
            "avg takes the pairs of one forward pass together, and here it has one",
        ),
    ],
)
def test_mistakes_are_reported_in_one_line(folder, capsys, flags, message):
    status, model = train(folder, "refused", *flags)
    said = capsys.readouterr().err
    assert status == 1
    assert message in said and "Traceback" not in said
    assert not (model / "model.safetensors").exists()


def test_rs_needs_two_prompts(folder, capsys):
    """Prompts are told apart as elsewhere: not by case or spaces."""
    one, *_ = read_jsonl(folder / "pairs.jsonl")
    rows = [one, one | {"question": one["question"].upper().replace(" ", "  ")}] * 4
    write_rows(folder / "one prompt.jsonl", *rows)
    flags = ["--contrastive_strategy", "rs", "--dataset", str(folder / "one prompt.jsonl")]
    assert train(folder, "refused", *CONTRASTIVE, *flags)[0] == 1
    assert "all pairs have the same prompt; give data with more prompts" in capsys.readouterr().err


@pytest.mark.parametrize("logging_steps", ["1", "1000"])
def test_non_finite_loss_ends_training_at_once(folder, capsys, logging_steps):
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
    assert "lower learning_rate, or check the base model's weights" in said
    assert not list(model.glob("*"))


@pytest.mark.gpu
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_trains_and_scores(trained, name):
    """The stage itself compares the rewards of the saved model with those of the trained one."""
    flags = OBJECTIVES[name]
    model = trained(*CONTRASTIVE, *flags)
    settings, card = facts_of(model)["objective"], (model / "README.md").read_text()
    for flag, value in zip(flags[::2], flags[1::2], strict=True):
        if not flag.startswith(("--micro", "--max")):
            assert str(settings[flag.removeprefix("--")]) == value
            assert f"| {flag.removeprefix('--')} | {value} |" in card
    for line in log_of(model):
        expected = line["preference_loss"] + 0.5 * line["contrastive_loss"]
        assert line["loss"] == pytest.approx(expected, abs=1e-5)
        assert -1 <= line["positive_cosine"] <= 1 and -1 <= line["negative_cosine"] <= 1
    scores = RewardModel.from_pretrained(model).score("tom has 3 apples .", ["answer 7"])
    assert np.isfinite(scores.reward).all()
    assert ("is not a standard checkpoint" in card) == ("mlp" in name)
    assert ("parity: official" in card) == ("official" in name)
    # The pipeline with template and EOS would give other rewards of a text that has neither.
    assert ("pipeline" in card.partition("---\n\n")[2]) != ("official" in name or "mlp" in name)


def test_parity_is_stored_and_changes_the_encoding(trained):
    """Settings that the authors' code lacks are not listed."""
    official, ours = trained(*CONTRASTIVE, *OBJECTIVES["official"]), trained(*CONTRASTIVE)
    facts = facts_of(official)
    assert facts["parity"] == "official" and facts["pairs_too_long"] == 0
    assert not {"positives", "temperature", "goal_late_share"} & facts["objective"].keys()
    for model, ends_in_eos in ((official, False), (ours, True)):
        rm = RewardModel.from_pretrained(model)
        [one] = rm.encoder.encode_many([("tom", "answer 7")])
        assert (one.input_ids[-1] == rm.tokenizer.eos_token_id) == ends_in_eos


def test_parity_drops_the_incomplete_last_batch(trained):
    """24 pairs are two steps of 10; by default there is a third."""
    batch = ("--train_batch_size", "10", "--micro_train_batch_size", "5")
    models = trained(*batch), trained(*batch, "--parity", "official", *LONG)
    assert [len(log_of(model)) for model in models] == [3, 2]


def test_official_contrastive_loss_depends_on_the_micro_batch(trained):
    flags = (*CONTRASTIVE, "--parity", "official", *LONG, "--micro_train_batch_size")
    two, eight = (log_of(trained(*flags, micro))[0] for micro in ("2", "8"))
    assert two["preference_loss"] == pytest.approx(eight["preference_loss"], abs=1e-5)
    assert two["contrastive_loss"] != eight["contrastive_loss"]


@pytest.mark.parametrize("checkpointing", [(), ("--gradient_checkpointing",)])
def test_only_the_selected_layers_are_trained(folder, trained, checkpointing):
    before = weights_of(folder / "base")
    after = weights_of(trained("--train_layers", "1", *checkpointing))
    for name, weight in after.items():
        if name != "score.weight":
            learns = "layers.1." in name or name == "model.norm.weight"
            assert torch.equal(weight, before[name]) != learns, name


@pytest.mark.parametrize("flags", [(), ("--train_layers", "1")])
def test_gradient_checkpointing_does_not_change_weights(trained, flags):
    plain, recomputed = trained(*flags), trained(*flags, "--gradient_checkpointing")
    for name, weight in weights_of(plain).items():
        torch.testing.assert_close(weight, weights_of(recomputed)[name])


def test_margins_of_the_data_are_subtracted(folder, trained, capsys):
    """In the first step all rewards are near 0, so the loss is that of minus the margin."""
    rows = [row | {"margin": 2.5} for row in read_jsonl(folder / "pairs.jsonl")]
    write_rows(folder / "margins.jsonl", *rows)
    model = trained("--dataset", str(folder / "margins.jsonl"))
    assert "the data has margins (2.5 to 2.5)" in capsys.readouterr().err
    assert log_of(model)[0]["preference_loss"] == pytest.approx(np.log1p(np.exp(2.5)), abs=0.1)
    assert "| margins of the data | subtracted |" in (model / "README.md").read_text()


def test_center_loss_is_added_to_the_loss(trained):
    for line in log_of(trained("--center_rewards", "3", "--micro_train_batch_size", "4")):
        expected = line["preference_loss"] + 3 * line["center_loss"]
        assert line["loss"] == pytest.approx(expected, abs=1e-5)
        assert line["center_loss"] > 0
