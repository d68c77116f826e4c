"""Training against TRL's RewardTrainer: the same model, pairs, batch and losses, in fp32.

    pip install -e .[bench]
    python -m benchmarks.training

A step has 8 pairs. TRL is given its best settings on a CPU: no gradient checkpointing, the fused
AdamW, and one pair at a time (eight at a time took 2.5 times as long on hh-harmless). The memory is
the most that a process of its own takes for a step on hh-harmless.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from datasets import Dataset, disable_progress_bars
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)
from transformers.utils import logging
from trl import RewardConfig
from trl import RewardTrainer as TRLTrainer

from benchmarks.meter import metered
from benchmarks.setting import ASDIV, HH_HARMLESS, alternate, make_model, print_machine, texts
from gcrm.config.train import TrainSettings
from gcrm.modeling.onednn import use_onednn
from gcrm.training.collation import EncodedPair
from gcrm.training.trainer import RewardTrainer

STEPS = 2
ROUNDS = 2
MakeTrainer = Callable[[], Trainer]


def main() -> None:
    """Measure and print; with the name of a trainer, only let it make one step."""
    logging.set_verbosity_error()
    disable_progress_bars()
    if sys.argv[1:]:
        train(trainers_of(HH_HARMLESS, steps=1)[sys.argv[1]])
        return
    print_machine()
    print(f"fp32{'':34}{'pairs/s':>10}{'ratio':>8}   losses of the first steps")
    for name, lengths in (("asdiv", ASDIV), ("hh-harmless", HH_HARMLESS)):
        print(f"{name}, {len(lengths)} pairs a step")
        compare(trainers_of(lengths, STEPS), len(lengths))
    print(f"\n{'':38}{'GiB':>10}")
    for name in trainers_of(HH_HARMLESS, STEPS):
        print(f"  {name:36}{metered('-m', 'benchmarks.training', name).gib:10.2f}")


def trainers_of(lengths: Sequence[tuple[int, ...]], steps: int) -> dict[str, MakeTrainer]:
    """The trainers by name, of pairs of these lengths."""
    pairs = []
    for prompt, *sides in lengths:
        chosen, rejected = texts(prompt, *sides)
        pairs.append(EncodedPair(chosen, rejected))
    trainers: dict[str, MakeTrainer] = {"TRL": partial(trl_trainer, pairs, steps)}
    for strategy in ("vanilla", "contrastive"):
        trainers[f"gcrm, {strategy}"] = partial(our_trainer, pairs, strategy, steps)
    return trainers


def train(make: MakeTrainer) -> list[float]:
    """Make a trainer and train; returns the loss of each step."""
    trainer = make()
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


def compare(trainers: dict[str, MakeTrainer], pairs: int) -> None:
    """Time the steps of each trainer, and show its losses."""
    losses: dict[str, list[float]] = {}

    def work(name: str) -> None:
        losses[name] = train(trainers[name])

    seconds = alternate({name: partial(work, name) for name in trainers}, ROUNDS)
    for name, each in seconds.items():
        shown = " ".join(f"{loss:.4f}" for loss in losses[name])
        print(f"  {name:36}{pairs * STEPS / each:10.3f}{seconds['TRL'] / each:8.2f}   {shown}")


def arguments(kind: type[TrainingArguments], steps: int, **options: Any) -> TrainingArguments:
    """What both trainers are told."""
    return kind(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=8,
        max_steps=steps,
        learning_rate=1e-5,
        lr_scheduler_type="constant",
        logging_steps=1,
        optim="adamw_torch_fused",
        bf16=False,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        **options,
    )


def trl_trainer(pairs: Sequence[EncodedPair], steps: int) -> Trainer:
    """TRL's trainer of these pairs."""
    rows = [
        {"chosen_ids": pair.chosen.input_ids, "rejected_ids": pair.rejected.input_ids}
        for pair in pairs
    ]
    trainer: Trainer = TRLTrainer(
        make_model(),
        arguments(RewardConfig, steps, gradient_checkpointing=False),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer(),
    )
    return trainer


def our_trainer(pairs: Sequence[EncodedPair], strategy: Any, steps: int) -> Trainer:
    """Our trainer of these pairs."""
    model = make_model()
    use_onednn(model)
    settings = TrainSettings(reward_model_strategy=strategy, train_batch_size=8)
    options = arguments(TrainingArguments, steps)
    return RewardTrainer(model, tokenizer(), pairs, settings, options)


def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer that is asked for its special tokens alone."""
    words = Tokenizer(WordLevel({"<pad>": 0, "<eos>": 1}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")


if __name__ == "__main__":
    main()
