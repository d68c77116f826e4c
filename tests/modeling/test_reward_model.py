"""A trained checkpoint is standard, and its scores do not depend on batches."""

import gzip
import io
import math
import pickle
import shutil

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from gcrm import RewardModel
from gcrm.config.layout import FACTS
from gcrm.config.represent import RepresentOptions
from gcrm.lineage.provenance import write_provenance
from gcrm.modeling.reward_model import read_goal_state
from gcrm.utils.errors import UserError
from helpers.models import save_reward_model

QUESTION = "tom has 3 apples . tom buys 4 apples . how many apples does tom have ?"
SOLUTIONS = [
    "3 + 4 = 7 . answer 7",
    "answer 8",
    "3 + 4 = 12 . 12 - 4 = 8 . 8 - 1 = 7 . answer 7",
    "",
]


@pytest.fixture(scope="module")
def checkpoint(base, tmp_path_factory):
    """A reward model with random weights; the head is made large, so that rewards differ."""
    return save_reward_model(tmp_path_factory.mktemp("reward_model") / "rm", base, scale=20)


@pytest.fixture(scope="module")
def goal_state():
    return np.random.default_rng(0).normal(size=(1, 32)).astype(np.float32)


def test_plain_transformers_gives_our_rewards(checkpoint):
    """`AutoModelForSequenceClassification` alone: one sequence, and a padded batch."""
    model, info = AutoModelForSequenceClassification.from_pretrained(
        checkpoint, output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"]
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    texts = [
        tokenizer.apply_chat_template([{"role": "user", "content": QUESTION}], tokenize=False)
        + solution
        + tokenizer.eos_token
        for solution in SOLUTIONS
    ]
    ours = RewardModel.from_pretrained(checkpoint).score(QUESTION, SOLUTIONS)
    with torch.no_grad():
        batch = tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens=False)
        together = model(**batch).logits.squeeze(-1)
        alone = [
            model(**tokenizer(text, return_tensors="pt", add_special_tokens=False)).logits.item()
            for text in texts
        ]
    assert np.ptp(ours.reward) > 0.01
    np.testing.assert_allclose(ours.reward, together.numpy(), atol=1e-4)
    np.testing.assert_allclose(ours.reward, alone, atol=1e-4)


def test_values_of_every_token_by_a_slow_way(checkpoint, goal_state):
    """Rewards and cosines from `output_hidden_states`, token by token."""
    rm = RewardModel.from_pretrained(checkpoint, goal_state=goal_state)
    scores = rm.score(QUESTION, SOLUTIONS)
    goal = goal_state[0]
    for row, solution in enumerate(SOLUTIONS):
        one = rm.encoder.encode(QUESTION, solution)
        with torch.no_grad():
            output = rm.model.model(torch.tensor([one.input_ids]))
        hidden = output.last_hidden_state[0, one.start :].numpy()
        head = rm.model.score.weight[0].detach().numpy()
        assert len(scores.partial_rewards[row]) == one.num_tokens == scores.num_tokens[row]
        for token, state in enumerate(hidden):
            assert scores.partial_rewards[row][token] == pytest.approx(state @ head, abs=1e-4)
            cosine = state @ goal / math.sqrt((state @ state) * (goal @ goal))
            assert scores.q_values[row][token] == pytest.approx(cosine, abs=1e-5)
        assert scores.reward[row] == scores.partial_rewards[row][-1]


@pytest.mark.parametrize("tokens_per_batch", [1, 100, 100_000])
def test_scores_do_not_depend_on_the_batch(checkpoint, goal_state, tokens_per_batch):
    rm = RewardModel.from_pretrained(checkpoint, goal_state=goal_state)
    encoded = rm.encoder.encode_many((QUESTION, s) for s in SOLUTIONS * 5)
    scores = rm.score_encoded(encoded, tokens_per_batch)
    alone = [rm.score(QUESTION, [solution]) for solution in SOLUTIONS]
    for row, one in enumerate(alone * 5):
        assert scores.reward[row] == pytest.approx(one.reward[0], abs=1e-4)
        np.testing.assert_allclose(scores.q_values[row], one.q_values[0], atol=1e-4)


def test_without_goal_state_there_are_no_q_values(checkpoint):
    rm = RewardModel.from_pretrained(checkpoint)
    assert rm.score(QUESTION, SOLUTIONS).q_values is None
    nothing = rm.score(QUESTION, [])
    assert len(nothing.reward) == len(nothing.partial_rewards) == 0


def test_prompts_of_a_caller_are_read_as_those_of_data(checkpoint):
    model = RewardModel.from_pretrained(checkpoint)
    forms = (
        "a ?",
        [{"role": "user", "content": "a ?"}],
        {"from": "human", "value": "a ?"},
        "\n\nHuman: a ?\n\nAssistant:",
        [{"role": "USER", "content": [{"type": "text", "text": "a ?"}], "id": 1}],
    )
    rewards = {float(model.score(form, ["b"]).reward[0]) for form in forms}
    assert len(rewards) == 1


@pytest.mark.parametrize(
    ("question", "solutions", "message"),
    [
        ("a", "b", "solutions must be a list of texts, not one text"),
        ("a", [{"role": "assistant", "content": "b"}], "a completion must be text, not dict"),
        ([], ["b"], "prompt has no messages"),
        ("<|user|>a", ["b"], "prompt has the marks of a chat template already"),
        (7, ["b"], "prompt must be text, or a list of messages"),
        ([{"role": "critic", "content": "a"}], ["b"], "message 1: the role 'critic' is unknown"),
    ],
)
def test_other_prompts_and_solutions_are_refused(checkpoint, question, solutions, message):
    with pytest.raises(UserError, match=message):
        RewardModel.from_pretrained(checkpoint).score(question, solutions)


def test_too_long_solution_loses_its_end_and_is_marked(checkpoint):
    rm = RewardModel.from_pretrained(checkpoint, max_len=30)
    scores = rm.score(QUESTION, ["answer 7", "3 + 4 = 7 . " * 10 + "answer 7"])
    assert scores.truncated.tolist() == [False, True]
    assert scores.num_tokens[1] > scores.num_tokens[0]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_give_no_scores(checkpoint, tmp_path, value):
    """As an interrupted download or a training that blew up leaves them."""
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[3, 3] = value
    model.save_pretrained(tmp_path / "rm")
    AutoTokenizer.from_pretrained(checkpoint).save_pretrained(tmp_path / "rm")
    rm = RewardModel.from_pretrained(tmp_path / "rm")
    with pytest.raises(UserError, match="rm: gives rewards that are no finite numbers"):
        rm.score(QUESTION, SOLUTIONS)


@pytest.mark.parametrize(
    "array", [[6.0, 8.0], [[6, 8]], np.array([[3, 4]], np.float16), [[3.0, 0.0], [0.0, 4.0]]]
)
def test_a_goal_state_is_the_unit_vector_of_its_mean_row(tmp_path, array):
    np.save(tmp_path / "goal_state.npy", array)
    for given in (array, tmp_path, tmp_path / "goal_state.npy"):
        assert read_goal_state(given, 2).tolist() == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones(31), "width 32"),
        (np.ones((2, 2, 32)), "width 32"),
        (np.full(32, np.nan), "NaN"),
        (np.where(np.arange(32) == 5, np.inf, 1.0), "NaN or infinite"),
        (np.full(32, 1e300), "NaN or infinite"),
        (np.zeros(32), "is zero"),
        (np.ones((0, 32)), "shape \\(0, 32\\)"),
        (np.ones(()), "width 32"),
        (np.full(32, "a"), "holds <U1; expected an array of real numbers"),
        (np.ones(32, complex), "holds complex128"),
        (np.ones(32, bool), "holds bool"),
        (np.zeros(32, [("a", "f4")]), "expected an array of real numbers"),
        (np.zeros(32, "M8[s]"), "expected an array of real numbers"),
    ],
)
def test_unusable_goal_states_are_refused(array, message):
    with pytest.raises(UserError, match=message):
        read_goal_state(array, 32)


def written(save, *arrays, **options):
    """What numpy writes, in bytes."""
    with io.BytesIO() as file:
        save(file, *arrays, **options)
        return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; `represent` makes it"),
        (b"", "not a numpy array"),
        (b"no array", "not a numpy array of numbers \\(another format\\)"),
        (gzip.compress(b"x" * 99, mtime=0), "another format"),
        (written(np.save, np.ones((1, 32)))[:-8], "not a numpy array"),
        (written(np.save, np.ones((1, 32)))[:9], "not a numpy array"),
        (written(np.savez, goal=np.ones(32)), "holds several arrays"),
        (written(np.save, np.array([print] * 32, object), allow_pickle=True), "another format"),
        (pickle.dumps(np.ones(32)), "another format"),
    ],
)
def test_files_that_hold_no_goal_state_are_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "goal_state.npy").write_bytes(content)
    with pytest.raises(UserError, match=message) as told:
        read_goal_state(tmp_path, 32)
    assert str(told.value).startswith(str(tmp_path)) and "\n" not in str(told.value)


def test_the_goal_state_of_a_model_that_was_trained_anew_is_refused(checkpoint, tmp_path):
    """Though it is at the same path. An edited card and a copy of the model make no difference."""
    model, goals = tmp_path / "rm", tmp_path / "goals"
    shutil.copytree(checkpoint, model)
    goals.mkdir()
    np.save(goals / "goal_state.npy", np.ones(32, np.float32))
    made = RepresentOptions(dataset_path=["d"], reward_model_path=str(model), save_dir=goals)
    write_provenance(goals / "provenance.json", made, [model])
    (model / "README.md").write_text("My model.")
    shutil.copytree(model, tmp_path / "copy")
    for accepted in (model, tmp_path / "copy"):
        assert RewardModel.from_pretrained(accepted, goals).goal_state is not None
    weights = load_file(model / "model.safetensors")
    weights["score.weight"] += 1
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="another reward model, the earlier one at this path"):
        RewardModel.from_pretrained(model, goals)


def test_a_model_of_the_hub_is_read_with_its_facts(checkpoint, tmp_path, monkeypatch):
    """From the cache, where an earlier download is: tests have no network."""
    commit = "0" * 40
    home = tmp_path / "models--owner--rm"
    copy = home / "snapshots" / commit
    shutil.copytree(checkpoint, copy)
    (copy / FACTS).write_text('{"parity": "official"}')
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    found = [
        RewardModel.from_pretrained(source).score(QUESTION, SOLUTIONS[:1]).reward
        for source in ("owner/rm", copy, checkpoint)
    ]
    assert found[0] == found[1] != found[2]  # the last one has EOS
