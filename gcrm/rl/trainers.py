"""TRL's trainers of a policy: RLOO against a reward model, DPO on pairs.

Prompts and pairs are tokenised by `Encoder`, as everywhere. They are laid out in the order of all
steps beforehand, so that a resumed training sees the same ones in the same order.

RLOO and not GRPO: both are stable parts of TRL 1.16 and run on a CPU. RLOO subtracts the log ratio
to the base model from the reward of a completion, as the paper's PPO does; GRPO adds it to the loss
of each token, and by default divides by the spread of a prompt's rewards.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer
from trl import DPOConfig, DPOTrainer, RLOOConfig, RLOOTrainer

from gcrm.config.policy import PolicyOptions
from gcrm.data.messages import Prompt, messages_of
from gcrm.data.preferences import Preference
from gcrm.modeling.hardware import Hardware
from gcrm.modeling.onednn import use_onednn
from gcrm.modeling.tokenization import Encoder
from gcrm.rl.rewards import RewardFunction
from gcrm.training.collation import EncodedPair, encode_training_pairs
from gcrm.utils.errors import UserError
from gcrm.utils.logging import say
from gcrm.utils.paths import short_name


class _Rloo(RLOOTrainer):
    """RLOO with the prompts' tokens of `Encoder`; TRL would add a BOS of its own, or none."""

    encoder: Encoder

    def _tokenize_prompts(
        self, prompts: list[Prompt]
    ) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [self.encoder.prompt_ids(prompt) for prompt in prompts], None, {}


class _Dpo(DPOTrainer):
    """DPO on pairs that are tokenised already."""

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **options: Any) -> Dataset:
        return dataset


def rloo_trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    encoder: Encoder,
    pairs: Sequence[Preference],
    rewards: RewardFunction,
    options: PolicyOptions,
    arguments: dict[str, Any],
) -> Trainer:
    """A trainer on completions of the pairs' prompts, which the policy samples itself.

    Args:
        arguments: see `shared_arguments`.

    Raises:
        UserError: no prompt leaves room for a completion in max_len.
    """
    prompts = _fitting_prompts(pairs, encoder, options)
    number = options.batch_size // options.samples_per_prompt
    order = in_order_of_steps(len(prompts), options.steps * number, options.seed)
    config = RLOOConfig(
        **arguments,
        num_generations=options.samples_per_prompt,
        max_completion_length=options.max_new_tokens,
        temperature=options.temperature,
        beta=options.beta,
        shuffle_dataset=False,
    )
    trainer = _Rloo(
        model=model,
        reward_funcs=rewards,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": prompts}).select(order),
        processing_class=tokenizer,
    )
    trainer.encoder = encoder
    if trainer.ref_model is not None:
        use_onednn(trainer.ref_model)
    return trainer


def dpo_trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    encoder: Encoder,
    pairs: Sequence[Preference],
    options: PolicyOptions,
    arguments: dict[str, Any],
) -> Trainer:
    """A trainer on the pairs.

    Raises:
        UserError: no pair fits into max_len.
    """
    encoded = encode_training_pairs(pairs, encoder, "policy", options.dataset)
    order = in_order_of_steps(len(encoded), options.steps * options.batch_size, options.seed)
    config = DPOConfig(
        **arguments,
        beta=options.beta,
        max_length=None,
        train_sampling_strategy="sequential",
    )
    trainer = _Dpo(
        model=model,
        args=config,
        train_dataset=Dataset.from_list([_columns(pair) for pair in encoded]).select(order),
        processing_class=tokenizer,
    )
    if trainer.ref_model is not None:
        use_onednn(trainer.ref_model)
    return trainer


def shared_arguments(options: PolicyOptions, hardware: Hardware, folder: Path) -> dict[str, Any]:
    """Arguments of both trainers.

    Args:
        folder: for checkpoints.
    """
    return {
        "output_dir": str(folder),
        "run_name": short_name(options.save_path),
        "max_steps": options.steps,
        "per_device_train_batch_size": options.micro,
        "gradient_accumulation_steps": options.batch_size // options.micro,
        "learning_rate": options.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": options.warmup_ratio,
        # As in `train`: the plain AdamW takes MKL's square root, which rounds otherwise on AMD.
        "optim": "adamw_torch_fused" if options.reproducible else "adamw_torch",
        "max_grad_norm": options.max_norm,
        "disable_dropout": True,
        "bf16": hardware.bf16,
        "gradient_checkpointing": options.gradient_checkpointing,
        "use_cpu": hardware.device == "cpu",
        "dataloader_pin_memory": hardware.device != "cpu",
        "logging_steps": options.logging_steps,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps" if options.save_steps > 0 else "no",
        "save_steps": max(options.save_steps, 1),
        "report_to": [],
        "seed": options.seed,
        "disable_tqdm": True,
        "log_level": "error",
    }


def in_order_of_steps(number: int, total: int, seed: int) -> list[int]:
    """Indices below `number` for all steps: shuffled passes over all, up to `total`."""
    rng = random.Random(seed)
    order: list[int] = []
    while len(order) < total:
        order += rng.sample(range(number), number)
    return order[:total]


def _fitting_prompts(
    pairs: Sequence[Preference], encoder: Encoder, options: PolicyOptions
) -> list[Prompt]:
    """The different prompts that leave room for a completion; all texts, or all messages."""
    prompts = list({pair.question: pair.prompt for pair in pairs}.values())
    most = encoder.max_len - options.max_new_tokens
    fitting = [prompt for prompt in prompts if len(encoder.prompt_ids(prompt)) < most]
    if not fitting:
        raise UserError(
            f"{', '.join(options.dataset)}: no prompt with max_new_tokens = "
            f"{options.max_new_tokens} fits into max_len = {encoder.max_len} tokens"
        )
    if too_long := len(prompts) - len(fitting):
        say(f"policy: {too_long} of {len(prompts)} prompts left out: too long")
    if all(isinstance(prompt, str) for prompt in fitting):
        return fitting
    return [messages_of(prompt) for prompt in fitting]


def _columns(pair: EncodedPair) -> dict[str, list[int]]:
    """A pair as TRL's DPO takes it: the prompt is what both sides share."""
    return {
        "prompt_ids": pair.chosen.input_ids[: pair.shared],
        "chosen_ids": pair.chosen.input_ids[pair.shared :],
        "rejected_ids": pair.rejected.input_ids[pair.shared :],
    }
