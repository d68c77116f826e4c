"""Training against TRL's RewardTrainer: the same model, pairs, batch and losses, in fp32.

    pip install -e .[bench]
    python -m benchmarks.training

A step has 8 pairs. TRL is given its best settings on a CPU: no gradient checkpointing, the fused
AdamW, and one pair at a time (eight at a time took 2.5 times as long on hh-harmless).
"""

import resource
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

from benchmarks.setting import ASDIV, HH_HARMLESS, alternate, make_model, print_machine, texts
from gcrm.config.train import TrainSettings
from gcrm.modeling.onednn import use_onednn
from gcrm.training.collation import EncodedPair
from gcrm.training.trainer import RewardTrainer

STEPS = 2
ROUNDS = 2


def main() -> None:
    """Measure and print."""
    logging.set_verbosity_error()
    disable_progress_bars()
    print_machine()
    print(f"{'':38}{'pairs/s':>10}{'ratio':>8}   losses of the first steps")
    for name, lengths in (("asdiv", ASDIV), ("hh-harmless", HH_HARMLESS)):
        pairs = []
        for prompt, *sides in lengths:
            chosen, rejected = texts(prompt, *sides)
            pairs.append(EncodedPair(chosen, rejected))
        print(f"{name}, {len(pairs)} pairs a step")
        trainers: dict[str, Callable[[], Trainer]] = {"TRL": partial(trl_trainer, pairs)}
        for strategy in ("vanilla", "contrastive"):
            trainers[f"gcrm, {strategy}"] = partial(our_trainer, pairs, strategy)
        compare(trainers, len(pairs))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\npeak memory of all together {peak:.1f} GiB")


def compare(trainers: dict[str, Callable[[], Trainer]], pairs: int) -> None:
    """Time the steps of each trainer, and show the losses of the first round."""
    losses: dict[str, list[float]] = {}

    def train(name: str) -> None:
        trainer = trainers[name]()
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        found = [line["loss"] for line in trainer.state.log_history if "loss" in line]
        losses.setdefault(name, found)

    seconds = alternate({name: partial(train, name) for name in trainers}, ROUNDS)
    for name, each in seconds.items():
        shown = " ".join(f"{loss:.4f}" for loss in losses[name])
        print(f"  {name:36}{pairs * STEPS / each:10.3f}{seconds['TRL'] / each:8.2f}   {shown}")


def arguments(kind: type[TrainingArguments], **options: Any) -> TrainingArguments:
    """What both trainers are told."""
    return kind(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=8,
        max_steps=STEPS,
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


def trl_trainer(pairs: Sequence[EncodedPair]) -> Trainer:
    """TRL's trainer of these pairs."""
    rows = [
        {"chosen_ids": pair.chosen.input_ids, "rejected_ids": pair.rejected.input_ids}
        for pair in pairs
    ]
    trainer: Trainer = TRLTrainer(
        make_model(),
        arguments(RewardConfig, gradient_checkpointing=False),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer(),
    )
    return trainer


def our_trainer(pairs: Sequence[EncodedPair], strategy: Any) -> Trainer:
    """Our trainer of these pairs."""
    model = make_model()
    use_onednn(model)
    settings = TrainSettings(reward_model_strategy=strategy, train_batch_size=8)
    return RewardTrainer(model, tokenizer(), pairs, settings, arguments(TrainingArguments))


def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer that is asked for its special tokens alone."""
    words = Tokenizer(WordLevel({"<pad>": 0, "<eos>": 1}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")


if __name__ == "__main__":
    main()
