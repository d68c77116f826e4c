"""Every decoder of transformers from training to scores, or refused: as docs/models.md says."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForSequenceClassification
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from gcrm import RewardModel
from gcrm.config.evaluate import EvaluateOptions
from gcrm.config.represent import RepresentOptions
from gcrm.config.train import TrainOptions
from gcrm.data.scores import read_scores
from gcrm.modeling import batching
from gcrm.modeling.loading import check_head, new_reward_model
from gcrm.modeling.passes import HeadWatch
from gcrm.modeling.tokenization import Encoded
from gcrm.scoring.evaluation import evaluate
from gcrm.scoring.goal_state import extract_goal_state
from gcrm.training import collation
from gcrm.training.collation import (
    PACKED,
    EncodedPair,
    collate,
    collate_flat,
    collate_packed,
    model_inputs,
    takes_borders,
    takes_positions,
)
from gcrm.training.run import train_reward_model
from gcrm.utils.errors import UserError
from helpers.architectures import save_tiny_model
from helpers.flash_attention import use_flash_attention
from helpers.models import make_tokenizer
from helpers.training import write_pairs

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
LISTED = {
    kind: re.findall("`(.+?)`", types)
    for kind, types in re.findall(r"^\| \**([^`|*]+)\** +\| (`.+) \|$", PAGE.read_text(), re.M)
}
WORK = {
    model_type: kind
    for kind in ("sdpa", "eager")
    for model_type in LISTED[f"works, {kind} attention"]
}

OFTEN = {
    *("bloom", "falcon", "gemma2", "gemma3_text", "gpt2", "gpt_neo", "gpt_neox", "gptj", "llama"),
    *("mistral", "mixtral", "opt", "phi3", "qwen2", "qwen3", "qwen3_moe", "smollm3"),
}
"""the families that people train, and one of each kind of positions and attention: the others are
tried in the slow suite, before a release"""
WORKING = [
    pytest.param(name, marks=[] if name in OFTEN else pytest.mark.slow) for name in sorted(WORK)
]


def test_all_are_listed_once() -> None:
    assert set(WORK) >= OFTEN
    classifiers = set(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)
    none = sorted(set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - classifiers)
    assert LISTED["refused: no sequence classifier"] == none
    assert sorted([*WORK, *LISTED["refused: another head"]]) == sorted(classifiers)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    write_pairs(path, count=4)
    return path


@pytest.mark.parametrize("model_type", WORKING)
def test_it_is_trained_and_scores(
    model_type: str, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, model = save_tiny_model(model_type, tmp_path / "base"), str(tmp_path / "model")
    capsys.readouterr()
    train_reward_model(
        TrainOptions(
            pretrain=str(base),
            dataset=[str(pairs)],
            save_path=tmp_path / "model",
            reward_model_strategy="contrastive",
            train_batch_size=2,
            micro_train_batch_size=2,
            max_len=128,
            learning_rate=1e-2,
        )
    )
    said = capsys.readouterr().err
    assert said.count("has no sdpa attention: using eager") == (WORK[model_type] == "eager")
    assert "not used" not in said
    extract_goal_state(
        RepresentOptions(
            dataset_path=[str(pairs)], reward_model_path=model, save_dir=tmp_path / "goal"
        )
    )
    evaluate(
        EvaluateOptions(
            reward_model_path=model,
            dataset=[str(pairs)],
            goal_state_path=tmp_path / "goal",
            output=tmp_path / "scores.parquet",
        )
    )
    scores = read_scores(tmp_path / "scores.parquet")
    rm = RewardModel.from_pretrained(model, tmp_path / "goal")
    encoded = rm.encoder.encode_many(zip(scores.prompt, scores.completion, strict=True))
    # One at a time there is no padding; in one batch, there is.
    alone, together = (rm.score_encoded(encoded, tokens) for tokens in (1, 10_000))
    assert np.ptp([len(one.input_ids) for one in encoded]) > 3
    for one in (together, alone):
        assert np.ptp(one.reward) > 1e-3
        np.testing.assert_allclose(one.reward, scores.reward, atol=1e-4)
        np.testing.assert_allclose(
            one.partial_rewards.values, alone.partial_rewards.values, atol=1e-4
        )
        np.testing.assert_allclose(one.q_values.values, alone.q_values.values, atol=1e-4)
    numbers = [*range(len(encoded))]
    groups = [[row, row + 1] for row in numbers[::2]] if rm.passes.sharing != "none" else []
    for rows in [*groups, *([numbers] if rm.passes.reads_behind(8, 5) else [])]:
        longest = max(encoded[row].start for row in rows)
        ((_, _, behind),) = rm.passes(encoded, batching.Batch([rows], longest))
        whole = np.concatenate([alone.partial_rewards[row] for row in rows])
        np.testing.assert_allclose(behind, whole, atol=1e-4)
    standard, info = AutoModelForSequenceClassification.from_pretrained(
        model, output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"]
    with torch.no_grad():
        reward = standard.eval()(torch.tensor([encoded[0].input_ids])).logits.item()
    assert reward == pytest.approx(scores.reward[0], abs=1e-4)
    stream = rm.stream(scores.prompt[0])  # of the first two completions
    handles, texts = stream.add(2), scores.completion[:2]
    for pieces in ([text[:9] for text in texts], [text[9:] for text in texts]):
        stream.push_text(dict(zip(handles, pieces, strict=True)))
    stream.finish(handles)
    for row, handle in enumerate(handles):
        found = stream.scores(handle)
        np.testing.assert_allclose(found.rewards, alone.partial_rewards[row], atol=1e-5)
        np.testing.assert_allclose(found.q_values, alone.q_values[row], atol=1e-5)


def states(model: Any, batch: collation.Batch) -> torch.Tensor:
    """The states of all completions of a batch, one after the other."""
    watch = HeadWatch(model)
    with torch.no_grad():
        model(**model_inputs(batch, model), use_cache=False)
    places = zip(batch["row"], batch["start"], batch["end"], strict=True)
    return torch.cat([watch.hidden[row, start:end] for row, start, end in places])


@pytest.mark.parametrize("model_type", WORKING)
def test_one_row_a_pair_has_the_states_of_two(
    model_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collation, "WORTH_PACKING", 0)
    model, _ = new_reward_model(str(save_tiny_model(model_type, tmp_path)), "sdpa", seed=0)
    numbers = np.random.default_rng(0).integers(3, model.config.get_text_config().vocab_size, 99)
    tokens = numbers.tolist()
    pairs = [
        EncodedPair(
            Encoded(tokens[:long], start), Encoded([*tokens[:start], *tokens[50:end]], start)
        )
        for start, long, end in ((20, 29, 55), (12, 16, 61))
    ]
    two, one = collate(pairs, 0), collate_packed(pairs, 0)
    assert len(two["input_ids"]) == 2 * len(one["input_ids"])
    whole = states(model.eval(), two)
    try:
        packed = states(model, one)
    except Exception:  # of architectures that take no such mask, each with an error of its own
        packed = torch.full_like(whole, torch.nan)
    assert bool((whole - packed).norm() < 1e-5 * whole.norm()) == (model_type in PACKED)
    if takes_positions(model) and model._supports_flash_attn:
        if hasattr(model, "set_experts_implementation"):
            model.set_experts_implementation("eager")  # grouped products have no fp64
        use_flash_attention(model.double(), monkeypatch)  # in fp32, transformers would round
        flat = states(model, collate_flat(pairs, 0))
        assert bool((flat - whole).norm() < 1e-5 * whole.norm()) == takes_borders(model)


@pytest.mark.parametrize("model_type", LISTED["refused: another head"])
def test_another_head_is_refused(model_type: str) -> None:
    if model_type == "layoutlmv2":
        pytest.skip("needs the package detectron2, and is no decoder")
    config = CONFIG_MAPPING[model_type](**{"vocab_size": 33} if model_type == "esm" else {})
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
    with pytest.raises(UserError, match="no linear head `score` on a decoder"):
        check_head(model, model_type)


def test_without_a_sequence_classifier(tmp_path: Path) -> None:
    CONFIG_MAPPING["granite"]().save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"no sequence classifier.*docs/models\.md"):
        new_reward_model(str(tmp_path), "sdpa", seed=0)
