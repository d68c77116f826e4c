"""From preference pairs to a standard reward-model checkpoint on disk."""

import contextlib
import hashlib
import json
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from gcrm.checkpoints import FACTS, new_reward_model
from gcrm.disk import check_writable
from gcrm.encoding import PLAIN_TEMPLATE, Encoder
from gcrm.errors import UserError
from gcrm.files import atomic_folder, write_json, write_jsonl
from gcrm.fingerprint import code_version, content_hash
from gcrm.freezing import train_last_layers
from gcrm.hardware import Hardware, choose_hardware
from gcrm.model_card import model_card
from gcrm.preferences import Preference, read_heldout, read_preferences
from gcrm.progress import say
from gcrm.provenance import write_provenance
from gcrm.questions import question_hash, question_key
from gcrm.rescoring import check_saved, rewards_of_first
from gcrm.reward_model import encoder_for
from gcrm.settings.train import CONTRASTIVE_ONLY, SET_BY_PARITY, TrainOptions
from gcrm.sources import files_of
from gcrm.tracking import start_wandb
from gcrm.trainer import EncodedPair, RewardTrainer, collate
from gcrm.zero import prepare_environment, zero_config


def train_reward_model(options: TrainOptions) -> None:
    """Train, save, load again and compare. See `TrainOptions`.

    Raises:
        UserError: data or base model cannot be used, or no pair fits into max_len.
    """
    hardware = choose_hardware(options.bf16, options.flash_attn)
    if options.zero_stage:
        prepare_environment()
    pairs = read_preferences(options.dataset, options.dataset_probs, options.max_pairs)
    pairs, heldout = _hold_out(pairs, options)
    arguments = _training_arguments(options, hardware)

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
    last = get_last_checkpoint(arguments.output_dir) if options.save_steps > 0 else None
    if last:
        say(f"train: resuming from {last}")
    trainer.train(resume_from_checkpoint=last)

    rewards = rewards_of_first(trainer, encoded)
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if not trainer.is_world_process_zero():
        return
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
    with atomic_folder(options.save_path) as folder:
        model.save_pretrained(folder, state_dict=weights, max_shard_size="1TB")
        tokenizer.save_pretrained(folder)
        write_json(folder / FACTS, facts)
        write_jsonl(folder / "training_log.jsonl", _log(trainer))
        (folder / "README.md").write_text(model_card(facts, options), encoding="utf-8")
        check_saved(folder, encoded, rewards)
        write_provenance(
            folder / "provenance.json", options, [options.pretrain, *options.dataset], **facts
        )
    checkpoints = _checkpoint_folder(options)
    shutil.rmtree(checkpoints, ignore_errors=True)
    with contextlib.suppress(OSError):  # other settings' checkpoints may lie beside ours
        checkpoints.parent.rmdir()
    say(f"train: saved {options.save_path}")


def _objective(options: TrainOptions) -> set[str]:
    """The settings of the objective and of what is trained, as far as they play a part."""
    names = {"reward_model_strategy", "preference_loss", "center_rewards", "value_head_strategy"}
    names |= {"train_layers", "parity"}
    if options.reward_model_strategy == "contrastive":
        names |= set(CONTRASTIVE_ONLY)
    return names - set(SET_BY_PARITY) if options.parity == "official" else names


def _choose_what_is_trained(model: PreTrainedModel, options: TrainOptions) -> None:
    """Freeze and recompute layers; the Trainer, recomputing, would give frozen ones gradients."""
    if options.gradient_checkpointing:
        model.activation_checkpointing_enable()
    if options.train_layers is not None:
        train_last_layers(model, options.train_layers)
        trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        say(f"train: {trained:,} of {model.num_parameters():,} parameters are trained")


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
        return pairs, read_heldout(options.eval_dataset)
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


def _training_arguments(options: TrainOptions, hardware: Hardware) -> TrainingArguments:
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    accumulate, rest = divmod(options.train_batch_size, options.micro_train_batch_size * processes)
    if rest:
        raise UserError(
            f"train_batch_size ({options.train_batch_size}) must be a multiple of "
            f"micro_train_batch_size ({options.micro_train_batch_size}) times the number of "
            f"processes ({processes})"
        )
    on_cpu = hardware.device == "cpu"
    arguments = TrainingArguments(
        output_dir=str(_checkpoint_folder(options)),
        run_name=f"{options.save_path.parent.name}/{options.save_path.name}",
        per_device_train_batch_size=options.micro_train_batch_size,
        per_device_eval_batch_size=options.micro_train_batch_size,
        gradient_accumulation_steps=accumulate,
        num_train_epochs=options.max_epochs,
        learning_rate=options.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=options.warmup_ratio,
        optim="adamw_torch",
        adam_beta1=options.adam_betas[0],
        adam_beta2=options.adam_betas[1],
        weight_decay=options.weight_decay,
        max_grad_norm=options.max_norm,
        bf16=hardware.bf16,
        use_cpu=on_cpu,
        deepspeed=zero_config(options.zero_stage, on_cpu) if options.zero_stage else None,
        logging_steps=options.logging_steps,
        logging_nan_inf_filter=False,
        save_strategy="steps" if options.save_steps > 0 else "no",
        save_steps=max(options.save_steps, 1),
        save_total_limit=2,
        eval_strategy="steps" if options.eval_steps > 0 else "no",
        eval_steps=max(options.eval_steps, 1),
        report_to=["wandb"] if start_wandb(options) else [],
        seed=options.seed,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        disable_tqdm=True,
        log_level="error",
    )
    # One process, one device: several GPUs are used by several processes (torchrun).
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _checkpoint_folder(options: TrainOptions) -> Path:
    """Where to resume from: a folder of its own for these settings, data and code."""
    parent = options.ckpt_path or options.save_path.with_name(
        f"{options.save_path.name}.checkpoints"
    )
    settings = options.model_dump(
        mode="json", exclude={"save_path", "ckpt_path", "use_wandb", "logging_steps"}
    )
    sources = [options.pretrain, *options.dataset, *(options.eval_dataset or [])]
    files = [file for source in sources for file in files_of(source) if file.is_file()]
    identity = json.dumps(
        [settings, content_hash(files), code_version("gcrm.train")], sort_keys=True
    )
    return parent / hashlib.sha256(identity.encode()).hexdigest()[:16]


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


def _log(trainer: RewardTrainer) -> list[dict[str, Any]]:
    """The training log without timings, so that it is the same from run to run."""
    return [
        {
            key: value
            for key, value in line.items()
            if "runtime" not in key and "per_second" not in key
        }
        for line in trainer.state.log_history
        if "train_runtime" not in line
    ]
