"""A filter within `generate` of transformers drops what the filter of whole samples drops."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gcrm import RewardModel
from gcrm.data.ragged import Ragged
from gcrm.decoding.hooks import LiveFilter
from gcrm.decoding.rules import Rule
from gcrm.modeling.loading import load_language_model, load_tokenizer
from gcrm.modeling.tokenization import Encoded, Encoder
from gcrm.stats.filters import q_filter
from gcrm.utils.errors import UserError
from helpers.models import make_byte_tokenizer, save_base_model, save_reward_model

QUESTIONS = ["tom has 3 apples", "how many pears does ann have ?"]
SAMPLES, TOKENS, SKIP = 6, 14, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("models")
    base = save_base_model(folder / "base")
    save_reward_model(folder / "rm", base)
    other = save_base_model(folder / "other base", tokenizer=make_byte_tokenizer())
    save_reward_model(folder / "other rm", other)
    return folder


@pytest.fixture(scope="module")
def generator(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    return load_language_model(str(folder / "base")), load_tokenizer(str(folder / "base"))


def load(folder: Path, name: str = "rm") -> RewardModel:
    return RewardModel.from_pretrained(folder / name, np.random.default_rng(1).normal(size=32))


def generated(generator: Any, **hooks: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Six samples of two prompts of different lengths, drawn with the same seed.

    Returns what `generate` returns, and the new tokens of it.
    """
    model, tokenizer = generator
    encoder = Encoder(tokenizer, 99)
    prompts = [encoder.prompt_ids(question) for question in QUESTIONS]
    width = max(map(len, prompts))
    missing = [width - len(one) for one in prompts]
    torch.manual_seed(1)
    output: torch.Tensor = model.generate(
        input_ids=torch.tensor([[0] * m + one for m, one in zip(missing, prompts, strict=True)]),
        attention_mask=torch.tensor([[0] * m + [1] * (width - m) for m in missing]),
        do_sample=True,
        top_k=0,
        temperature=2.0,
        max_new_tokens=TOKENS,
        num_return_sequences=SAMPLES,
        pad_token_id=0,
        **hooks,
    )
    return output, output[:, width:]


def whole_q_values(rm: RewardModel, rows: torch.Tensor) -> Ragged:
    """The Q-values of samples without a filter; of EOS only where the generator has written it."""
    found = []
    for row, tokens in enumerate(rows.tolist()):
        prompt = rm.encoder.prompt_ids(QUESTIONS[row // SAMPLES])
        end = tokens.index(rm.encoder.eos_id) + 1 if rm.encoder.eos_id in tokens else None
        scores = rm.score_encoded([Encoded([*prompt, *tokens[:end]], len(prompt))])
        assert scores.q_values is not None
        found.append(scores.q_values[0])
    return Ragged.of(found)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_the_filter_of_whole_samples(folder: Path, generator: Any, share: float) -> None:
    """A sample ends at its first token behind the skipped ones that is below the threshold."""
    rm, (_, plain) = load(folder), generated(generator)
    q_values = whole_q_values(rm, plain)
    filtered: Any = q_filter(None, q_values, SKIP)  # without votes
    threshold = float(np.quantile(filtered.smallest, share))
    crossing = filtered.crossing(threshold)
    assert 0 < sum(crossing >= 0) < len(crossing)
    live = LiveFilter(
        rm, QUESTIONS, *generator, Rule("q_value", keep=0, threshold=threshold), skip=SKIP
    )
    output, rows = generated(generator, **live.hooks)
    eos = rm.encoder.eos_id
    for row, at in enumerate(crossing.tolist()):
        kept = plain[row].tolist() if at < 0 else plain[row].tolist()[: at + 1]
        tokens = rows[row].tolist()
        assert tokens[: len(kept)] == kept[: len(tokens)]
        assert set(tokens[len(kept) :]) <= {0, eos}
        assert live.dropped.get(row) == (None if at < 0 else at + (kept[-1] != eos))
        found = live.scores(row).q_values
        assert found is not None
        np.testing.assert_allclose(found, q_values[row][: len(found)], atol=1e-5)
    rewards = live.finish(output)
    assert np.isneginf(rewards).tolist() == (crossing >= 0).tolist()
    for row in np.flatnonzero(crossing < 0).tolist():
        tokens = plain[row].tolist()
        tokens = tokens[: tokens.index(eos)] if eos in tokens else tokens
        prompt = rm.encoder.prompt_ids(QUESTIONS[row // SAMPLES])
        whole = rm.score_encoded([Encoded([*prompt, *tokens, eos], len(prompt))])
        assert rewards[row] == pytest.approx(whole.reward[0], abs=1e-5)


def test_the_worst_share_at_each_check(folder: Path, generator: Any) -> None:
    """Every 4 tokens the worse half by reward ends, but for the best two of a question."""
    rm, (_, plain) = load(folder), generated(generator)
    live = LiveFilter(rm, QUESTIONS, *generator, Rule("reward", keep=2, share=0.5), every=4)
    _, rows = generated(generator, **live.hooks)
    assert set(live.dropped.values()) <= {4, 8, 12}
    for place in range(2):
        of_question = range(place * SAMPLES, (place + 1) * SAMPLES)
        first = [live.scores(row).rewards[3] for row in of_question]
        worst = {place * SAMPLES + int(row) for row in np.argsort(first)[:3]}
        assert {row for row in of_question if live.dropped.get(row) == 4} == worst
        left = [row for row in of_question if row not in live.dropped]
        assert len(left) == 2
        for row in left:
            assert rows[row].tolist() == plain[row].tolist()[: rows.shape[1]]


def test_a_reward_model_with_another_tokenizer(folder: Path, generator: Any) -> None:
    """Texts are tokenised anew; the rewards are those of whole texts."""
    rm, (_, tokenizer) = load(folder, "other rm"), generator
    live = LiveFilter(rm, QUESTIONS, *generator, every=3)
    output, rows = generated(generator, **live.hooks)
    texts = tokenizer.batch_decode(rows, skip_special_tokens=True)
    rewards = live.finish(output)
    for row, text in enumerate(texts):
        whole = rm.score(QUESTIONS[row // SAMPLES], [text]).reward[0]
        assert rewards[row] == pytest.approx(whole, abs=1e-5)
    assert live.dropped == {}


def test_calls_that_cannot_work_are_refused(folder: Path, generator: Any) -> None:
    rm = load(folder)
    with pytest.raises(UserError, match="questions must be a list"):
        LiveFilter(rm, QUESTIONS[0], *generator)
    with pytest.raises(UserError, match="nothing has been generated"):
        LiveFilter(rm, QUESTIONS, *generator).scores(0)
    rule = Rule("q_value", keep=1, threshold=0)
    no_goal = LiveFilter(RewardModel.from_pretrained(folder / "rm"), QUESTIONS, *generator, rule)
    with pytest.raises(UserError, match="needs a reward model with a goal state"):
        generated(generator, **no_goal.hooks)
    with pytest.raises(UserError, match="12 rows for 5 questions"):
        generated(generator, **LiveFilter(rm, QUESTIONS[:1] * 5, *generator).hooks)
    beams = LiveFilter(rm, QUESTIONS, *generator)
    with pytest.raises(UserError, match="cannot follow beam search"):
        generated(generator, num_beams=6, **beams.hooks)
