"""A tiny language model for synthetic runs: word-level tokenizer, random weights, pretraining."""

import logging
import os
import random
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    DataCollatorForSeq2Seq,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from gcrm.config.pretrain import PretrainSettings
from gcrm.modeling.onednn import use_onednn
from gcrm.modeling.tokenization import Encoder
from gcrm.utils.errors import UserError
from gcrm.utils.logging import Progress, say

PAD, EOS, UNKNOWN = "<pad>", "<eos>", "<unk>"
# A newline separates question and solution; white space is not tokenised. Programs that show whole
# dialogues read the reward at the last token, which must be EOS.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '\n' }}{% endfor %}"
)
MAX_LEN = 128
"""longest question with solution, in tokens"""
BATCHES_SORTED_TOGETHER = 8
IGNORED = -100
"""label of tokens outside the loss, as in transformers"""


def make_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer with each word of the texts (separated by white space) as one token."""
    words = {word for text in texts for word in text.split()} - {PAD, EOS, UNKNOWN}
    # Numbers first and in order, only to make the vocabulary readable.
    in_order = sorted(
        words, key=lambda word: (not word.isdigit(), len(word) * word.isdigit(), word)
    )
    ids = {word: number for number, word in enumerate([PAD, EOS, UNKNOWN, *in_order])}
    backend = Tokenizer(WordLevel(ids, unk_token=UNKNOWN))
    backend.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNKNOWN,
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_LEN,
        padding_side="right",
        clean_up_tokenization_spaces=False,  # otherwise " ." loses its space
    )


def make_model(
    tokenizer: PreTrainedTokenizerFast, layers: int, hidden_size: int, heads: int, seed: int
) -> LlamaForCausalLM:
    """A Llama with random weights and the tokenizer's vocabulary."""
    set_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=hidden_size,
            intermediate_size=2 * hidden_size,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            max_position_embeddings=2 * MAX_LEN,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    use_onednn(model)
    return model


def pretrain(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    examples: Sequence[tuple[str, str]],
    settings: PretrainSettings,
    seed: int,
) -> dict[str, float]:
    """Train a model in place on (question, solution); only tokens of solutions are in the loss.

    Returns:
        Mean loss over all steps (`train_loss`) and over the last steps (`loss`), in nats per token,
        and the number of examples dropped because they are longer than MAX_LEN (`too_long`).

    Raises:
        UserError: no example is left.
    """
    if not torch.cuda.is_available():
        # Otherwise DeepSpeed, which the Trainer imports if installed, prints a warning.
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    rows = _encode(tokenizer, examples)
    too_long = len(examples) - len(rows)
    if not rows:
        raise UserError(f"no problem with its solution fits into {MAX_LEN} tokens; shorten them")
    if too_long:
        say(
            f"pretrain: {too_long} of {len(examples)} problems dropped: longer than {MAX_LEN} "
            "tokens with their solutions"
        )
    rows = [rows[i] for i in _order(rows, settings.steps, settings.batch_size, random.Random(seed))]
    progress = _ProgressCallback(settings.steps)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(
            model=model,
            args=_arguments(settings, seed, scratch),
            train_dataset=rows,
            data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=IGNORED),
            callbacks=[progress],
        )
        trainer.remove_callback(PrinterCallback)
        result = trainer.train()
    return {"train_loss": result.training_loss, "loss": progress.loss, "too_long": too_long}


def _arguments(settings: PretrainSettings, seed: int, scratch: str) -> TrainingArguments:
    return TrainingArguments(
        output_dir=scratch,
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        train_sampling_strategy="sequential",  # shuffled by `_order`
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=min(50, settings.steps // 10),
        adam_beta2=0.98,
        weight_decay=0.01,
        max_grad_norm=1.0,
        logging_steps=min(50, settings.steps),
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        seed=seed,
    )


def _encode(
    tokenizer: PreTrainedTokenizerFast, examples: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """Token ids, and labels of the solution and its EOS; without examples above MAX_LEN."""
    encoded = Encoder(tokenizer, MAX_LEN).encode_fitting(examples)
    return [
        {"input_ids": one.input_ids, "labels": [IGNORED] * one.start + one.input_ids[one.start :]}
        for one in encoded
        if one is not None
    ]


def _order(
    rows: Sequence[dict[str, Any]], steps: int, batch_size: int, rng: random.Random
) -> list[int]:
    """Indices of `steps` batches of rows of similar length, to save padding.

    Each epoch is shuffled. Rows of a few batches at a time are sorted by length and split into
    batches, and these batches are shuffled.
    """
    window = BATCHES_SORTED_TOGETHER * batch_size
    drawn: list[int] = []
    while len(drawn) < steps * batch_size:
        epoch = list(range(len(rows)))
        rng.shuffle(epoch)
        drawn += epoch
    batches = []
    for start in range(0, steps * batch_size, window):
        part = drawn[start : min(start + window, steps * batch_size)]
        part.sort(key=lambda i: len(rows[i]["input_ids"]))
        split = [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
        rng.shuffle(split)
        batches += split
    return [i for batch in batches for i in batch]


class _ProgressCallback(TrainerCallback):
    """Reports progress, and logs the losses."""

    def __init__(self, steps: int):
        self.progress = Progress("pretrain", steps)
        self.loss = float("nan")

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.progress.advance(note=f"loss {self.loss:.3f}" if self.loss == self.loss else "")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if logs and "loss" in logs:
            self.loss = logs["loss"]
        logging.getLogger("gcrm").info("pretrain: step %d: %s", state.global_step, logs)
