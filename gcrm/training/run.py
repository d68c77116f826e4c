"""Training of a reward model, from preference pairs to a standard checkpoint on disk.

The steps, in order: read the pairs, load the base model with a new head, tokenise, train, check the
rewards, save.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from gcrm.config.deepspeed import zero_file
from gcrm.config.layout import FACTS
from gcrm.config.train import CONTRASTIVE_ONLY, SET_BY_PARITY, TrainOptions
from gcrm.data.preferences import Preference, load_preferences
from gcrm.data.questions import question_hash, question_key
from gcrm.lineage.provenance import write_provenance
from gcrm.modeling.adapters import choose_trained_weights, merged
from gcrm.modeling.hardware import choose_hardware
from gcrm.modeling.loading import (
    fitting_length,
    load_reward_model,
    new_reward_model,
    use_chat_template,
)
from gcrm.modeling.passes import pad
from gcrm.modeling.reward_model import encoder_for
from gcrm.modeling.saving import save_checkpoint
from gcrm.modeling.templates import PLAIN_TEMPLATE
from gcrm.modeling.tokenization import Encoded, Encoder
from gcrm.training.arguments import (
    start_deepspeed,
    training_arguments,
    unfinished_training,
)
from gcrm.training.callbacks import TrainingCurve, train_to_the_end
from gcrm.training.collation import EncodedPair, collate, encode_pairs, encode_training_pairs
from gcrm.training.model_card import model_card
from gcrm.training.tracking import without_timings
from gcrm.training.trainer import RewardTrainer
from gcrm.utils.disk import check_writable
from gcrm.utils.errors import UserError
from gcrm.utils.io import atomic_folder, write_json, write_jsonl
from gcrm.utils.logging import say

PAIRS_TO_CHECK = 8
"""training pairs for the check; the mean of their rewards is stored with the model"""


def train_reward_model(options: TrainOptions) -> None:
    """Train and save a reward model; load it again and compare its rewards.

    Raises:
        UserError: data or base model cannot be used, or no pair fits into max_len.
        SystemExit: a signal ended the training, after saving a checkpoint.
    """
    hardware = choose_hardware(options.bf16, options.flash_attn)
    zero = zero_file(options)
    if zero is not None:
        start_deepspeed(hardware.device == "cpu")
    pairs = load_preferences(options.dataset, options.dataset_probs, options.max_pairs)
    pairs, heldout = _hold_out(pairs, options)
    unfinished = unfinished_training(options, hardware, zero)
    arguments = training_arguments(options, hardware, zero, unfinished.folder)

    model, tokenizer = new_reward_model(
        options.pretrain,
        hardware.attention,
        options.seed,
        options.trust_remote_code,
        options.value_head_strategy,
        options.parity == "official",
        options.init_value_head,
    )
    choose_trained_weights(model, options, options.seed)
    use_chat_template(tokenizer, options.chat_template)
    tokenizer.chat_template = tokenizer.chat_template or PLAIN_TEMPLATE
    encoder = encoder_for(options.parity, tokenizer, _max_len(options, model))
    encoded = encode_training_pairs(pairs, encoder, "train", options.dataset)
    _check_pairs(pairs, encoded, options)

    check_writable(options.save_path)
    trainer = RewardTrainer(
        model, tokenizer, encoded, options, arguments, encode_pairs(heldout, encoder)
    )
    curve = TrainingCurve(options, training=unfinished.folder.name)
    _train(trainer, curve, options.max_checkpoints)

    rewards = _rewards_of_first(trainer, encoded)
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if trainer.is_world_process_zero():
        facts = _facts(options, pairs, heldout, encoded, encoder, rewards)
        _save(trainer, weights, encoded, rewards, facts, options, curve.id)
        unfinished.discard()
        say(f"train: saved {options.save_path}")


def _hold_out(
    pairs: list[Preference], options: TrainOptions
) -> tuple[list[Preference], list[Preference]]:
    """Split into training and held-out pairs, which share no prompt."""
    if options.eval_steps < 1:
        return pairs, []
    if options.eval_dataset:
        return pairs, load_preferences(options.eval_dataset, heldout=True)
    border = int(options.heldout_share * 16**8)
    sides: tuple[list[Preference], list[Preference]] = ([], [])
    for pair in pairs:
        held_out = int(question_hash(question_key(pair.question))[:8], 16) < border
        sides[held_out].append(pair)
    if not (sides[0] and sides[1]):
        raise UserError(
            f"eval_steps: {len(pairs)} pairs are too few to hold out {options.heldout_share:.0%} "
            "of the prompts; give --eval_dataset, or a larger --heldout_share"
        )
    return sides


def _max_len(options: TrainOptions, model: PreTrainedModel) -> int:
    found = fitting_length(model.config, options.max_len)
    if found < options.max_len:
        say(f"train: max_len {options.max_len} is lowered to {found}, the base model's context")
    return found


def _check_pairs(
    pairs: list[Preference], encoded: list[EncodedPair], options: TrainOptions
) -> None:
    """Check that there are enough pairs; report margins."""
    if options.parity == "official" and len(encoded) < options.train_batch_size:
        raise UserError(
            f"parity: official drops the last incomplete batch, and {len(encoded)} pairs do not "
            f"fill one batch of train_batch_size = {options.train_batch_size}; lower it"
        )
    if margins := [pair.margin for pair in pairs if pair.margin is not None]:
        say(
            f"train: the data has margins ({min(margins):g} to {max(margins):g}): they are "
            "subtracted from the reward difference"
        )


def _train(trainer: RewardTrainer, curve: TrainingCurve, max_checkpoints: int) -> None:
    """Train; if that fails, the training curve says so."""
    try:
        train_to_the_end(trainer, "train", max_checkpoints, curve)
    except Exception:
        curve.finish(completed=False)
        raise


def _facts(
    options: TrainOptions,
    pairs: list[Preference],
    heldout: list[Preference],
    encoded: list[EncodedPair],
    encoder: Encoder,
    rewards: np.ndarray,
) -> dict[str, Any]:
    """The content of `reward_model.json`."""
    return {
        "base_model": options.pretrain,
        "max_len": encoder.max_len,
        "chat_template_sha256": hashlib.sha256(encoder.template.encode()).hexdigest(),
        "pairs": len(encoded),
        "pairs_too_long": len(pairs) - len(encoded),
        "heldout_pairs": len(heldout),
        "reward_sample": len(rewards),
        "reward_mean": float(rewards.mean()),
        "reward_std": float(rewards.std()),
        "parity": options.parity,
        "objective": options.model_dump(mode="json", include=_effective_settings(options)),
        "margins": any(pair.margin for pair in encoded),
        "seed": options.seed,
    }


def _effective_settings(options: TrainOptions) -> set[str]:
    """Names of the settings that affect the objective or select the trained weights."""
    names = {"reward_model_strategy", "preference_loss", "center_rewards", "value_head_strategy"}
    names |= {"train_layers", "parity"}
    if options.lora_rank:
        names |= {"lora_rank", "lora_alpha"}
    if options.reward_model_strategy == "contrastive":
        names |= set(CONTRASTIVE_ONLY)
    return names - set(SET_BY_PARITY) if options.parity == "official" else names


# --- Saving, and the check that what was saved gives the same rewards.


def _save(
    trainer: RewardTrainer,
    weights: dict[str, Any],
    encoded: list[EncodedPair],
    rewards: np.ndarray,
    facts: dict[str, Any],
    options: TrainOptions,
    tracking_id: str,
) -> None:
    """Write the checkpoint and its side files atomically, and check it."""
    if options.lora_rank:
        weights = merged(weights, options.lora_rank, options.lora_alpha)
    with atomic_folder(options.save_path, last="config.json") as folder:
        save_checkpoint(
            trainer.reward_model,
            trainer.tokenizer,
            folder,
            state_dict=weights,
            max_shard_size="1TB",
        )
        write_json(folder / FACTS, facts)
        write_jsonl(folder / "training_log.jsonl", without_timings(trainer.state.log_history))
        (folder / "README.md").write_text(model_card(options, facts), encoding="utf-8")
        attention = trainer.reward_model.config._attn_implementation
        _check_saved(folder, encoded, rewards, attention, trainer.args.bf16)
        write_provenance(
            folder / "provenance.json",
            options,
            [*options.sources, *(options.eval_dataset or [])],
            outputs=sorted(folder.iterdir()),
            **facts,
            tracking_id=tracking_id,
        )


def _sides(encoded: list[EncodedPair]) -> list[Encoded]:
    """Both sides of the first pairs."""
    return [side for pair in encoded[:PAIRS_TO_CHECK] for side in (pair.chosen, pair.rejected)]


def _rewards_of_first(trainer: RewardTrainer, encoded: list[EncodedPair]) -> np.ndarray:
    """Rewards of both sides of the first pairs from the model in memory, (2 * pairs,).

    Raises:
        UserError: a reward is NaN or infinite.
    """
    trainer.model_wrapped.eval()
    rewards = []
    for side in _sides(encoded):  # one at a time, without padding
        batch = collate([EncodedPair(side, side)], pad_id=0)
        inputs = {key: value.to(trainer.args.device) for key, value in batch.items()}
        with torch.no_grad():
            (of_tokens, _), _, (span, _) = trainer.forward(trainer.model_wrapped, inputs)
        rewards.append(span.last(of_tokens).cpu().numpy())
    found = np.concatenate(rewards)
    if not np.isfinite(found).all():
        raise UserError(
            "training ended with rewards that are not finite: lower learning_rate, or check the "
            "base model's weights"
        )
    return found


def _check_saved(
    folder: Path, encoded: list[EncodedPair], rewards: np.ndarray, attention: str, bf16: bool
) -> None:
    """Load the checkpoint as a user would, and compare its rewards with those in memory.

    Args:
        attention: the kind that the trained model has.
        bf16: the rewards were computed in bfloat16; these are not.
    """
    unset_hf_deepspeed_config()  # otherwise ZeRO-3 would split the loaded model, too
    attention = "eager" if attention == "eager" else "sdpa"  # flash attention has no fp32
    model, tokenizer = load_reward_model(str(folder), torch.float32, attention)
    with torch.no_grad():
        again = np.concatenate(
            [
                model(**pad([side.input_ids], tokenizer.pad_token_id)).logits[:, 0]
                for side in _sides(encoded)
            ]
        )
    tolerance = 5e-2 if bf16 else 1e-4
    worst = float(np.abs(again - rewards).max())
    if not worst <= tolerance * max(1.0, float(np.abs(rewards).max())):
        raise RuntimeError(f"the saved model's rewards differ from the trained one's by {worst}")
