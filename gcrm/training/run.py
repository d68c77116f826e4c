"""From preference pairs to a standard reward-model checkpoint on disk."""

import hashlib
import signal
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gcrm.config.deepspeed import zero_file
from gcrm.config.train import CONTRASTIVE_ONLY, SET_BY_PARITY, TrainOptions
from gcrm.data.preferences import Preference, load_preferences
from gcrm.data.questions import question_hash, question_key
from gcrm.lineage.provenance import write_provenance
from gcrm.lineage.resume import discard
from gcrm.modeling.freezing import train_last_layers
from gcrm.modeling.hardware import choose_hardware
from gcrm.modeling.loading import FACTS, new_reward_model
from gcrm.modeling.lora import add_lora, merged
from gcrm.modeling.reward_model import encoder_for
from gcrm.modeling.tokenization import PLAIN_TEMPLATE, Encoder
from gcrm.training.arguments import training_arguments
from gcrm.training.interruption import Checkpoints, StopOnSignal, last_checkpoint
from gcrm.training.model_card import model_card
from gcrm.training.tracking import curve
from gcrm.training.trainer import EncodedPair, RewardTrainer, collate
from gcrm.training.training_curve import TrainingCurve
from gcrm.training.verify import check_saved, rewards_of_first
from gcrm.training.zero import start_deepspeed
from gcrm.utils.disk import check_writable
from gcrm.utils.errors import UserError
from gcrm.utils.io import atomic_folder, write_json, write_jsonl
from gcrm.utils.logging import say


def train_reward_model(options: TrainOptions) -> None:
    """Train, save, load again and compare. See `TrainOptions`.

    Raises:
        UserError: data or base model cannot be used, or no pair fits into max_len.
    """
    hardware = choose_hardware(options.bf16, options.flash_attn)
    zero = zero_file(options)
    if zero is not None:
        start_deepspeed(hardware.device == "cpu")
    pairs = load_preferences(options.dataset, options.dataset_probs, options.max_pairs)
    pairs, heldout = _hold_out(pairs, options)
    arguments = training_arguments(options, hardware, zero)

    official = options.parity == "official"
    model, tokenizer = new_reward_model(
        options.pretrain,
        hardware.attention,
        options.seed,
        options.trust_remote_code,
        options.value_head_strategy,
        official,
    )
    _choose_what_is_trained(model, options)
    tokenizer.chat_template = tokenizer.chat_template or PLAIN_TEMPLATE
    encoder = encoder_for(options.parity, tokenizer, _max_len(options, model))
    encoded, too_long = _encode(pairs, encoder)
    if not encoded:
        raise UserError(
            f"{', '.join(options.dataset)}: no pair fits into max_len = {encoder.max_len} tokens"
        )
    if official and len(encoded) < options.train_batch_size:
        raise UserError(
            f"parity: official drops the last incomplete batch, and {len(encoded)} pairs are none "
            f"of train_batch_size = {options.train_batch_size}; lower it"
        )
    if too_long:
        say(
            f"train: {too_long} of {len(pairs)} pairs dropped: longer than {encoder.max_len} tokens"
        )

    _say_margins(pairs)
    check_writable(options.save_path)
    trainer = RewardTrainer(
        model,
        options,
        encoded,
        args=arguments,
        eval_dataset=_encode(heldout, encoder)[0] or None,
        data_collator=_collator(options, tokenizer),
        processing_class=tokenizer,
    )
    training_curve = TrainingCurve(options, Path(str(arguments.output_dir)).name)
    trainer.add_callback(training_curve)
    _train(trainer, options.max_checkpoints)

    rewards = rewards_of_first(trainer, encoded)
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if not trainer.is_world_process_zero():
        return
    if options.lora_rank:
        weights = merged(weights, options.lora_rank, options.lora_alpha)
    facts = {
        "base_model": options.pretrain,
        "max_len": encoder.max_len,
        "chat_template_sha256": hashlib.sha256(encoder.template.encode()).hexdigest(),
        "pairs": len(encoded),
        "pairs_too_long": too_long,
        "heldout_pairs": len(heldout),
        "reward_sample": len(rewards),
        "reward_mean": float(rewards.mean()),
        "reward_std": float(rewards.std()),
        "parity": options.parity,
        "objective": options.model_dump(mode="json", include=_objective(options)),
        "margins": any(pair.margin for pair in encoded),
        "seed": options.seed,
    }
    with atomic_folder(options.save_path, last="config.json") as folder:
        model.save_pretrained(folder, state_dict=weights, max_shard_size="1TB")
        tokenizer.save_pretrained(folder)
        write_json(folder / FACTS, facts)
        write_jsonl(folder / "training_log.jsonl", curve(trainer.state.log_history))
        (folder / "README.md").write_text(model_card(facts, options), encoding="utf-8")
        check_saved(folder, encoded, rewards)
        write_provenance(
            folder / "provenance.json",
            options,
            [options.pretrain, *options.dataset, *(options.eval_dataset or [])],
            outputs=sorted(folder.iterdir()),
            **facts,
            tracking_id=training_curve.id,
        )
    discard(Path(str(arguments.output_dir)).parent, options.save_path)
    say(f"train: saved {options.save_path}")


def _train(trainer: RewardTrainer, max_checkpoints: int) -> None:
    """Train to the end, from the last checkpoint if there is one.

    Raises:
        SystemExit: SIGTERM or Ctrl-C came, and what was reached is saved.
    """
    stop = StopOnSignal()
    trainer.add_callback(stop)
    trainer.add_callback(Checkpoints(max_checkpoints))
    last = last_checkpoint(Path(str(trainer.args.output_dir)))
    if last:
        say(f"train: resuming from {last}")
    with stop.listening():
        trainer.train(resume_from_checkpoint=last)
        if stop.stopped:  # torchrun ends the others as soon as one is gone
            trainer.accelerator.wait_for_everyone()
    if stop.stopped:
        step, steps = trainer.state.global_step, trainer.state.max_steps
        name = signal.Signals(stop.stopped).name
        say(f"train: stopped by {name}, saved at step {step} of {steps}: run it again to resume")
        raise SystemExit(stop.status)


def _objective(options: TrainOptions) -> set[str]:
    """The settings of the objective and of what is trained, as far as they play a part."""
    names = {"reward_model_strategy", "preference_loss", "center_rewards", "value_head_strategy"}
    names |= {"train_layers", "parity"}
    if options.lora_rank:
        names |= {"lora_rank", "lora_alpha"}
    if options.reward_model_strategy == "contrastive":
        names |= set(CONTRASTIVE_ONLY)
    return names - set(SET_BY_PARITY) if options.parity == "official" else names


def _choose_what_is_trained(model: PreTrainedModel, options: TrainOptions) -> None:
    """Freeze and recompute layers; the Trainer, recomputing, would give frozen ones gradients."""
    if options.gradient_checkpointing:
        model.activation_checkpointing_enable()
    if options.train_layers is not None:
        train_last_layers(model, options.train_layers)
    elif options.lora_rank:
        add_lora(model, options.lora_rank, options.lora_alpha, options.seed)
    else:
        return
    numbers = [
        (getattr(weight, "ds_numel", weight.numel()), weight.requires_grad)  # ds_: under ZeRO-3
        for weight in model.parameters()
    ]
    trained = sum(number for number, learns in numbers if learns)
    say(f"train: {trained:,} of {sum(n for n, _ in numbers):,} parameters are trained")


def _say_margins(pairs: list[Preference]) -> None:
    margins = [pair.margin for pair in pairs if pair.margin is not None]
    if margins:
        say(
            f"train: the data has margins ({min(margins):g} to {max(margins):g}): they are "
            "subtracted from the difference of the rewards"
        )


def _collator(options: TrainOptions, tokenizer: PreTrainedTokenizerBase) -> Any:
    """How pairs become a batch; the authors pad on the left, and with EOS."""
    if options.parity == "official":
        return partial(collate, pad_id=tokenizer.eos_token_id, side="left")
    return partial(collate, pad_id=tokenizer.pad_token_id)


def _hold_out(
    pairs: list[Preference], options: TrainOptions
) -> tuple[list[Preference], list[Preference]]:
    """Pairs to train on and to measure on, which share no prompt."""
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
    context = getattr(model.config.get_text_config(), "max_position_embeddings", options.max_len)
    if context < options.max_len:
        say(f"train: max_len is {context}, the context of the base model, not {options.max_len}")
    return int(min(options.max_len, context))


def _encode(pairs: list[Preference], encoder: Encoder) -> tuple[list[EncodedPair], int]:
    """The pairs that fit into max_len, and how many do not."""
    sides = encoder.encode_fitting(
        (pair.prompt, side) for pair in pairs for side in (pair.chosen, pair.rejected)
    )
    encoded = [
        EncodedPair(chosen, rejected, pair.margin or 0.0)
        for pair, chosen, rejected in zip(pairs, sides[::2], sides[1::2], strict=True)
        if chosen is not None and rejected is not None
    ]
    return encoded, len(pairs) - len(encoded)
