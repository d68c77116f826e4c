"""The three encodings of `parity: official`, against the tokenizer called as the authors do."""

import json
import re

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from gcrm import RewardModel
from gcrm.modeling.loading import new_reward_model, use_chat_template
from gcrm.modeling.official import OfficialEncoder
from gcrm.modeling.tokenization import Encoder, PromptTooLong
from gcrm.training.collation import EncodedPair, collate
from gcrm.utils.errors import UserError
from helpers.models import (
    make_byte_tokenizer,
    make_sentencepiece_tokenizer,
    make_tokenizer,
    save_reward_model,
)
from helpers.workflow_runs import ROOT

QUESTION = "How many {apples} does Tom have?"
SOLUTION = "3 + 4 = 7, so Tom has 7 apples.\nThe answer is \\boxed{7}."
TRAINING = (
    "  System:\n  You're an expert Python programmer and mathematician.   Help the user to solve "
    "this problem using code when necessary.   Make sure to put the answer (and only answer) "
    "inside \\boxed{}.\n\nUser:\nHow many {apples} does Tom have?\n\nAssistant:\n"
)
REPRESENTATION = re.sub(" +", " ", TRAINING).replace("\n ", "\n").lstrip()
TOKENIZERS = [make_byte_tokenizer, make_sentencepiece_tokenizer, make_tokenizer]


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request):
    return request.param()


def alone(tokenizer, completion=SOLUTION):
    return len(tokenizer(completion, add_special_tokens=False).input_ids)


def test_training_appends_a_space_and_eos_and_keeps_an_eos(tokenizer):
    """In a truncated text the last token becomes EOS; n is that of the whole completion."""
    ids = tokenizer(TRAINING + SOLUTION + " " + tokenizer.eos_token).input_ids
    [whole] = OfficialEncoder(tokenizer, 4096).encode_fitting([(QUESTION, SOLUTION)])
    assert whole.input_ids == ids and ids[-1] == tokenizer.eos_token_id
    most = len(ids) - 5
    [cut] = OfficialEncoder(tokenizer, most).encode_fitting([(QUESTION, SOLUTION)])
    assert cut.input_ids == [*ids[: most - 1], tokenizer.eos_token_id]
    assert whole.num_tokens == cut.num_tokens == alone(tokenizer)
    [long] = OfficialEncoder(tokenizer, 20).encode_fitting([(QUESTION, SOLUTION * 30)])
    assert len(long.input_ids) == 20 and long.start < 0


def test_evaluation_appends_nothing(tokenizer):
    ids = tokenizer(TRAINING + SOLUTION).input_ids
    for most in (len(ids), len(ids) - 3):
        [one] = OfficialEncoder(tokenizer, most).encode_many([(QUESTION, SOLUTION)])
        assert one.input_ids == ids[:most] and one.truncated == (most < len(ids))
        assert one.num_tokens == alone(tokenizer)
    with pytest.raises(PromptTooLong, match="leaves no room"):
        OfficialEncoder(tokenizer, most).encode_many([(QUESTION * 50, SOLUTION)])


def test_an_empty_solution_has_a_value(tokenizer):
    """That of the last token of its prompt; the authors' slice [-0:] would be the whole prompt."""
    [one] = OfficialEncoder(tokenizer, 4096).encode_many([(QUESTION, "")])
    assert one.num_tokens == 1 and one.input_ids == tokenizer(TRAINING).input_ids


def test_representation_has_another_prompt_and_1024_tokens(tokenizer):
    encoder = OfficialEncoder(tokenizer, 4096)
    [one] = encoder.encode_for_goal_state([(QUESTION, SOLUTION)])
    assert one.input_ids == tokenizer(REPRESENTATION + SOLUTION).input_ids
    assert REPRESENTATION.startswith("System:\nYou're an expert") and REPRESENTATION != TRAINING
    [long] = encoder.encode_for_goal_state([(QUESTION, SOLUTION * 200)])
    assert long.input_ids == tokenizer(REPRESENTATION + SOLUTION * 200).input_ids[:1024]


def test_dialogues_have_the_tokenizers_own_template():
    tokenizer = make_byte_tokenizer()
    turns = [{"role": "user", "content": "How many?"}]
    [one] = OfficialEncoder(tokenizer, 99).encode_many([(turns, "seven")])
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert one.input_ids == tokenizer(text + "seven").input_ids


def test_the_template_of_the_papers_config_is_their_prompt_of_representation():
    tokenizer = make_byte_tokenizer()
    use_chat_template(tokenizer, ROOT / "config" / "paper" / "nemo.jinja")
    encoder = Encoder(tokenizer, 4096)
    assert encoder.render(QUESTION) == REPRESENTATION
    turns = [("system", "Be brief."), ("user", "Why?"), ("assistant", "So."), ("user", "Really?")]
    dialogue = [{"role": role, "content": content} for role, content in turns]
    expected = "System:\nBe brief.\n\nUser:\nWhy?\n\nAssistant:\nSo.\n\nUser:\nReally?\n\n"
    assert encoder.render(dialogue) == expected + "Assistant:\n"


def test_left_padding_ends_all_sequences_together():
    encoder = OfficialEncoder(make_tokenizer(), 4096)
    texts = [(QUESTION, "7"), (QUESTION, "3 + 4 = 7"), (QUESTION, "8"), (QUESTION, "now")]
    sides = encoder.encode_fitting(texts)
    batch = collate([EncodedPair(*sides[:2]), EncodedPair(*sides[2:])], pad_id=2, side="left")
    width = batch["input_ids"].shape[1]
    assert batch["end"].tolist() == [width] * 4
    assert (batch["end"] - batch["start"]).tolist() == [1, 1, 5, 1]  # chosen, chosen, rejected …
    for row, one in zip((0, 2, 1, 3), sides, strict=True):
        padding = width - len(one.input_ids)
        assert batch["input_ids"][row].tolist() == [2] * padding + one.input_ids
        assert batch["attention_mask"][row].tolist() == [0] * padding + [1] * len(one.input_ids)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_states_of_left_padding_are_numbers(base, attention):
    """They can be sampled, and nothing may attend to a pad, nor a pad to anything."""
    model, tokenizer = new_reward_model(str(base), attention, seed=0)
    sides = OfficialEncoder(tokenizer, 99).encode_fitting([(QUESTION, "7 " * n) for n in (1, 20)])
    batch = collate([EncodedPair(*sides)], pad_id=tokenizer.eos_token_id, side="left")
    names = ("input_ids", "attention_mask")
    with torch.no_grad():
        hidden = model.model(**{name: batch[name] for name in names}).last_hidden_state
        alone = model.model(torch.tensor([sides[0].input_ids])).last_hidden_state
    assert torch.isfinite(hidden).all()
    torch.testing.assert_close(hidden[0, -alone.shape[1] :], alone[0], atol=1e-4, rtol=1e-4)


# The checkpoint remembers.


@pytest.fixture
def checkpoint(base, tmp_path):
    folder = save_reward_model(tmp_path / "rm", base, scale=20)
    (folder / "reward_model.json").write_text(json.dumps({"parity": "official"}))
    return folder


def test_a_reward_model_scores_by_its_parity(checkpoint):
    """The value of the last token of the authors' text, of an unpadded sequence."""
    rm = RewardModel.from_pretrained(checkpoint)
    solutions = ["3 + 4 = 7 . answer 7", "answer 8"]
    scores = rm.score("tom has 3 apples .", solutions)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    prompt = TRAINING.replace(QUESTION, "tom has 3 apples .")
    for row, solution in enumerate(solutions):
        ids = rm.tokenizer(prompt + solution, return_tensors="pt").input_ids
        with torch.no_grad():
            values = model.score(model.model(ids).last_hidden_state)[0, :, 0]
        assert scores.reward[row] == pytest.approx(values[-1].item(), abs=1e-5)
        n = len(solution.split())
        assert scores.partial_rewards[row].tolist() == pytest.approx(values[-n:].tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "not valid JSON"), ("[]", "expected a JSON object"), ('{"parity": 3}', "is 3")],
)
def test_facts_that_cannot_be_used(checkpoint, content, message):
    (checkpoint / "reward_model.json").write_text(content)
    with pytest.raises(UserError, match=message):
        RewardModel.from_pretrained(checkpoint)
