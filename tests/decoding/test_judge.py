"""A reward model that values beams, against its scores of the whole texts."""

from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from gcrm.decoding.judge import StreamJudge, same_tokens
from gcrm.decoding.search import Beam, Step
from gcrm.modeling.reward_model import RewardModel
from helpers.models import make_byte_tokenizer, make_tokenizer, save_base_model, save_reward_model

QUESTIONS = ["tom has 3 apples . how many ?", "ann buys 12 pears"]


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory: pytest.TempPathFactory) -> RewardModel:
    folder = tmp_path_factory.mktemp("models")
    path = save_reward_model(folder / "rm", save_base_model(folder / "base"), scale=50)
    goal = np.random.default_rng(0).normal(size=32)
    return RewardModel.from_pretrained(path, goal_state=goal)


def grow(
    judge: StreamJudge, tokenizer: PreTrainedTokenizerBase, beam: Beam, text: str, ends: bool
) -> tuple[Beam, float]:
    """A beam after a step whose whole text is then `text`."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tuple(ids[: len(beam.tokens)]) == beam.tokens
    end = (tokenizer.eos_token_id,) if ends else ()
    step = Step((*ids[len(beam.tokens) :], *end), -1.0, ends)
    (found,) = judge.judge([beam], [step])
    tokens = beam.tokens + step.tokens
    return Beam(beam.problem, tokens, beam.steps + 1, 0.0, ends, found.handle), found.value


@pytest.mark.parametrize("kind", ["reward", "q_value"])
def test_a_step_has_the_value_of_its_last_token(reward_model, kind):
    tokenizer = make_tokenizer()
    judge = StreamJudge(reward_model, tokenizer, QUESTIONS, kind)
    first, value = grow(judge, tokenizer, Beam(1), "3 + 4 =", ends=False)
    other, _ = grow(judge, tokenizer, Beam(0), "3 + 5 =", ends=False)
    left, on_the_left = grow(judge, tokenizer, first, "3 + 4 = 7 .", ends=False)
    right, at_the_end = grow(judge, tokenizer, first, "3 + 4 = 8 answer 8", ends=True)
    scores = reward_model.score(QUESTIONS[1], ["3 + 4 = 7 .", "3 + 4 = 8 answer 8"])
    expected = scores.partial_rewards if kind == "reward" else scores.q_values
    assert value == pytest.approx(expected[0][3], abs=1e-4)
    assert on_the_left == pytest.approx(expected[0][5], abs=1e-4)
    assert at_the_end == pytest.approx(expected[1][-1], abs=1e-4)
    judge.drop([first, left, right, other])


def test_each_token_is_read_once(reward_model):
    tokenizer = make_tokenizer()
    judge = StreamJudge(reward_model, tokenizer, QUESTIONS, "reward")
    first, _ = grow(judge, tokenizer, Beam(0), "3 + 4 =", ends=False)
    for text in ("3 + 4 = 7", "3 + 4 = 8"):
        grow(judge, tokenizer, first, text, ends=True)
    prompt = len(reward_model.encoder.prompt_ids(QUESTIONS[0]))
    assert judge.tokens_read == prompt + 4 + 2 * 2


@pytest.mark.parametrize("kind", ["reward", "q_value"])
def test_other_tokens_are_read_as_text(reward_model, kind):
    """A whole solution has the score of its text."""
    tokenizer = make_byte_tokenizer()
    judge = StreamJudge(reward_model, tokenizer, QUESTIONS, kind)
    text = "3 + 4 = 7 . tom has 7 apples"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    beam = Beam(0)
    for begin in range(0, len(ids), 3):
        step = Step(tuple(ids[begin : begin + 3]), -1.0, ends=False)
        (found,) = judge.judge([beam], [step])
        beam = Beam(0, beam.tokens + step.tokens, beam.steps + 1, handle=found.handle)
    (found,) = judge.judge([beam], [Step((tokenizer.eos_token_id,), -1.0, ends=True)])
    scores = reward_model.score(QUESTIONS[0], [text])
    expected = scores.partial_rewards if kind == "reward" else scores.q_values
    assert found.value == pytest.approx(expected[0][-1], abs=1e-4)


def test_text_without_a_whole_token_tells_no_beams_apart(reward_model):
    """The reward model's tokens are words, and the first word may go on."""
    tokenizer = make_byte_tokenizer()
    judge = StreamJudge(reward_model, tokenizer, QUESTIONS, "q_value")
    letters = [tokenizer(letter, add_special_tokens=False)["input_ids"] for letter in "ta"]
    steps = [Step(tuple(ids), -1.0, ends=False) for ids in letters]
    first, second = judge.judge([Beam(0)] * 2, steps)
    assert first.value == second.value == 1.0


def test_tokens_are_the_same_where_the_reward_model_only_has_more(tmp_path: Path):
    tokenizer, more = make_tokenizer(), make_tokenizer()
    more.add_tokens(["<|pad|>"])
    assert same_tokens(tokenizer, more)
    assert not same_tokens(more, tokenizer)
    assert not same_tokens(make_byte_tokenizer(), tokenizer)
