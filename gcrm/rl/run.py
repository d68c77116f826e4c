"""Training of a policy, from a base model to a checkpoint with its solutions.

The steps, in order: read the data, load the base model, train with TRL, solve problems, save.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, Trainer

from gcrm.config.policy import NO_MATTER, PolicyOptions
from gcrm.data.preferences import Preference, cap_pairs, load_preferences
from gcrm.data.questions import first_by_hash, question_key
from gcrm.decoding.sampling import check_prompts, generate
from gcrm.lineage.provenance import write_provenance
from gcrm.lineage.resume import Unfinished
from gcrm.modeling.hardware import choose_hardware
from gcrm.modeling.loading import fitting_length, load_generator
from gcrm.modeling.saving import save_checkpoint
from gcrm.modeling.templates import PLAIN_TEMPLATE
from gcrm.modeling.tokenization import Encoder
from gcrm.rl.callbacks import Accuracy, PolicyProgress
from gcrm.rl.rewards import RewardFunction, reward_function
from gcrm.rl.trainers import dpo_trainer, rloo_trainer, shared_arguments
from gcrm.synthetic.labels import labelled
from gcrm.training.callbacks import train_to_the_end
from gcrm.training.tracking import without_timings
from gcrm.utils.disk import check_writable
from gcrm.utils.errors import UserError
from gcrm.utils.io import Row, atomic_folder, read_jsonl, write_jsonl
from gcrm.utils.logging import say

PAIRS_OF_SCALE = 256
"""pairs, chosen by hash of the prompt, on which rewards are standardised"""
PROBLEMS_AT_ONCE = 256
"""problems that are decoded together"""
NOT_FINITE = "probability tensor contains either"
"""what torch says when it is to sample from logits that are not finite"""
DIVERGED = "the policy's logits are not finite after step {}: lower learning_rate, or raise beta"
Sets = Mapping[str, Sequence[Row]]
"""problems by the name of their file"""


def train_policy(options: PolicyOptions) -> None:
    """Train and save a policy, with its training log and its solutions.

    Raises:
        UserError: data or a model cannot be used, or the loss is not finite.
        SystemExit: a signal ended the training, after saving a checkpoint.
    """
    hardware = choose_hardware(options.bf16)
    pairs = load_preferences(options.dataset, max_pairs=options.max_pairs)
    watched = read_problems(options.eval_problems, options.max_eval_problems)
    solved = read_problems(options.problems)
    check_writable(options.save_path)
    model, tokenizer = load_generator(
        options.pretrain, options.chat_template, options.trust_remote_code
    )
    tokenizer.chat_template = tokenizer.chat_template or PLAIN_TEMPLATE
    policy = Policy(model, tokenizer, options.max_new_tokens)
    policy.check(watched, solved)
    encoder = Encoder(tokenizer, fitting_length(model.config, options.max_len))
    rewards = _rewards(options, model, tokenizer, pairs)
    unfinished = Unfinished(
        options.save_path,
        "policy",
        options.model_dump(mode="json", exclude=NO_MATTER),
        options.sources,
        *(torch.get_num_threads(), hardware.device),
        parent=options.checkpoints,
    )
    arguments = shared_arguments(options, hardware, unfinished.folder)
    if rewards is None:
        trainer = dpo_trainer(model, tokenizer, encoder, pairs, options, arguments)
    else:
        trainer = rloo_trainer(model, tokenizer, encoder, pairs, rewards, options, arguments)
    if watched:
        trainer.add_callback(Accuracy(lambda: policy.measure(watched, rewards), options.eval_steps))
    _train(trainer, options)
    _save(trainer, policy.solve(solved), options)
    unfinished.discard()
    say(f"policy: saved {options.save_path}")


def _rewards(
    options: PolicyOptions,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Preference],
) -> RewardFunction | None:
    """The reward function; None for DPO."""
    if options.reward_model_path is None:
        return None
    ends = model.generation_config.eos_token_id
    ids = {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])} - {None}
    function = reward_function(
        options.reward_model_path,
        missing_eos_penalty=options.missing_eos_penalty,
        eos_token_ids=ids,
        max_len=options.max_len,
        bf16=options.bf16 or None,
        trust_remote_code=options.trust_remote_code,
    )
    if options.standardise_rewards:
        some = cap_pairs([*pairs], PAIRS_OF_SCALE)
        sides = [(pair.prompt, side) for pair in some for side in (pair.chosen, pair.rejected)]
        function.standardise(sides)
    return function


class Policy:
    """A policy that solves problems by greedy decoding, also in the middle of its training."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_new_tokens: int
    ):
        self._model, self._tokenizer, self._most = model, tokenizer, max_new_tokens

    def check(self, *sets: Sets) -> None:
        """Refuse problems that do not fit into the context, before the training, not after it.

        Raises:
            UserError: a prompt with max_new_tokens exceeds the model's context.
        """
        encoder = Encoder(self._tokenizer, max_len=1)  # max_len does not apply to prompts
        rows = [row for each in sets for problems in each.values() for row in problems]
        check_prompts(
            self._model, [encoder.prompt_ids(row["question"]) for row in rows], self._most
        )

    def solve(self, sets: Sets) -> list[Row]:
        """Labelled solutions to all problems, each with `benchmark`, the name of its set."""
        problems = [(name, problem) for name, rows in sets.items() for problem in rows]
        training = self._model.training
        self._model.eval()
        solutions = generate(
            self._model,
            self._tokenizer,
            [problem["question"] for _, problem in problems],
            temperature=None,
            max_new_tokens=self._most,
            batch_size=PROBLEMS_AT_ONCE,
        )
        self._model.train(training)
        return [
            {"benchmark": name, **labelled(problem, solution.text, solution.finished)}
            for (name, problem), solution in zip(problems, solutions, strict=True)
        ]

    def measure(self, sets: Sets, rewards: RewardFunction | None) -> dict[str, float]:
        """Greedy accuracy over all problems and by set, and the mean reward where there is one."""
        rows = self.solve(sets)
        found = {"accuracy": fmean(row["is_correct"] for row in rows)}
        for name in sets:
            right = [row["is_correct"] for row in rows if row["benchmark"] == name]
            found[f"accuracy/{name}"] = fmean(right)
        if rewards is not None:
            texts = [row["generated_solution"] for row in rows]
            found["greedy_reward"] = fmean(rewards([row["question"] for row in rows], texts))
        return found


def read_problems(files: Sequence[Path], most: int | None = None) -> dict[str, list[Row]]:
    """The problems of files, by the files' names.

    Args:
        most: cap on the problems of a file, chosen by hash of the question.

    Raises:
        UserError: a row is broken, or two files have the same name.
    """
    sets: dict[str, list[Row]] = {}
    for file in files:
        if file.stem in sets:
            raise UserError(f"{file}: another file of problems has this name; rename one of them")
        rows = read_jsonl(file, texts=("question", "expected_answer"))
        if most is not None:
            kept = first_by_hash({row["question"] for row in rows}, most)
            rows = [row for row in rows if question_key(row["question"]) in kept]
        sets[file.stem] = rows
    return sets


def _train(trainer: Trainer, options: PolicyOptions) -> None:
    trainer.remove_callback(PrinterCallback)
    try:
        train_to_the_end(trainer, "policy", options.max_checkpoints, PolicyProgress())
    except RuntimeError as error:
        if NOT_FINITE not in str(error):
            raise
        raise UserError(DIVERGED.format(trainer.state.global_step)) from None


def _save(trainer: Trainer, solutions: list[Row], options: PolicyOptions) -> None:
    """Write the checkpoint and its side files atomically."""
    model: Any = trainer.accelerator.unwrap_model(trainer.model)
    tokenizer: Any = trainer.processing_class
    with atomic_folder(options.save_path, last="config.json") as folder:
        save_checkpoint(model, tokenizer, folder, max_shard_size="1TB")
        write_jsonl(folder / "training_log.jsonl", _log(trainer))
        write_jsonl(folder / "solutions.jsonl", solutions)
        write_provenance(
            folder / "provenance.json",
            options,
            options.sources,
            outputs=sorted(folder.iterdir()),
        )


def _log(trainer: Trainer) -> list[Row]:
    """The training log without the time of a step, which differs from run to run."""
    rows = without_timings(trainer.state.log_history)
    return [{key: value for key, value in row.items() if key != "step_time"} for row in rows]
