"""The transformers Trainer with the reward-model loss, order of pairs, and log."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler
from transformers import (
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)

from gcrm.config.train import TrainSettings
from gcrm.modeling.passes import HeadWatch
from gcrm.training.callbacks import ProgressLine, check_loss
from gcrm.training.collation import (
    Batch,
    EncodedPair,
    collate,
    collator_for,
    model_inputs,
)
from gcrm.training.contrastive import Spans
from gcrm.training.objective import Objective
from gcrm.training.pool import Pairs
from gcrm.utils.errors import UserError


class SortedWithinSteps(Sampler[int]):
    """A random order of the pairs, sorted by length within each optimiser step.

    The loss of a step is the mean over its pairs in any order; sorting saves padding in the
    micro-batches. Several processes take micro-batches in turn. To give all processes equally many
    in the last step, the order ends with fillers, the index len(lengths), up to a multiple of
    `fill_to`.
    """

    def __init__(self, lengths: Sequence[int], pairs_per_step: int, seed: int, fill_to: int = 1):
        self.lengths, self.pairs_per_step, self.seed = lengths, pairs_per_step, seed
        self.fillers = -len(lengths) % fill_to
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.lengths) + self.fillers

    def __iter__(self) -> Iterator[int]:
        order = self.shuffled()
        for begin in range(0, len(order), self.pairs_per_step):
            step = order[begin : begin + self.pairs_per_step]
            yield from sorted(step, key=lambda i: -self.lengths[i])
        yield from [len(order)] * self.fillers

    def shuffled(self) -> list[int]:
        """The order of this epoch, not sorted."""
        rng = np.random.default_rng([self.seed, self.epoch])
        order: list[int] = rng.permutation(len(self.lengths)).tolist()
        return order

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch, also when resuming."""
        self.epoch = epoch


class WholeSteps(SortedWithinSteps):
    """`parity: official`: a random order without the incomplete last step of an epoch.

    It is not sorted: the authors' means over micro-batches depend on which pairs are together.
    """

    def __len__(self) -> int:
        return len(self.lengths) // self.pairs_per_step * self.pairs_per_step

    def __iter__(self) -> Iterator[int]:
        yield from self.shuffled()[: len(self)]


class RewardTrainer(Trainer):
    """Trains a reward model on pairs: the transformers Trainer with another loss and order.

        pairs = load_preferences(["pairs.jsonl"])
        model, tokenizer = new_reward_model("base", "sdpa", seed=0)
        settings = TrainSettings(reward_model_strategy="contrastive", train_batch_size=8)
        encoded = encode_pairs(pairs, Encoder(tokenizer, max_len=2048))
        RewardTrainer(model, tokenizer, encoded, settings, TrainingArguments(...)).train()

    Args:
        model, tokenizer: see `gcrm.modeling.loading.new_reward_model`.
        pairs: see `encode_pairs`.
        settings: the objective and the batch sizes, which must agree with `args`.
        heldout: pairs for the Trainer's evaluation.
        options: further options of `transformers.Trainer`.

    Raises:
        UserError: no pair can be compared with another one, as the settings ask.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        pairs: Sequence[EncodedPair],
        settings: TrainSettings,
        args: TrainingArguments,
        heldout: Sequence[EncodedPair] = (),
        **options: Any,
    ):
        _check_pool(pairs, settings, args.world_size)
        official = settings.parity == "official"  # the authors pad on the left, with EOS
        pad_id: Any = tokenizer.eos_token_id if official else tokenizer.pad_token_id
        left = partial(collate, pad_id=pad_id, side="left")
        collator = left if official else collator_for(model, pad_id)
        shortest = min(pairs, key=lambda pair: pair.length)
        args.remove_unused_columns = False  # otherwise the Trainer drops columns it does not know
        super().__init__(
            model,
            args,
            train_dataset=[*pairs, replace(shortest, counts=False)],
            eval_dataset=list(heldout) or None,
            data_collator=collator,
            processing_class=tokenizer,
            compute_metrics=accuracy_and_margin,
            callbacks=[ProgressLine()],
            **options,
        )
        self.remove_callback(PrinterCallback)
        # compute_loss divides by the number of pairs in the whole step; the Trainer must not divide
        # by the number of micro-batches as well.
        self.model_accepts_loss_kwargs = True
        self.settings = settings
        self.objective: Objective = Objective(settings)
        self.reward_model, self.tokenizer = model, tokenizer
        self.lengths = [pair.length for pair in pairs]
        self._sums: dict[str, Tensor] = {}
        self._at = (-1, 0)

    @cached_property
    def watch(self) -> HeadWatch:
        """Created at the first forward pass, when DeepSpeed has wrapped the model: its hook on the
        head, which gathers the weight for the backward pass, must run before this one."""
        return HeadWatch(self.reward_model)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        order = WholeSteps if self.settings.parity == "official" else SortedWithinSteps
        together = self.settings.micro_train_batch_size * self.args.world_size
        fill_to = together if self.args.world_size > 1 else 1
        return order(self.lengths, self.settings.train_batch_size, self.args.seed, fill_to)

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """This batch's share of the mean loss over the pairs of the optimiser step."""
        rewards, hidden, spans = self.forward(model, inputs)
        counted = inputs["labels"] > 0
        pairs = Pairs(inputs["margin"], inputs["prompt"], counted)
        terms = self.objective(rewards, hidden, spans, pairs, self._step_rng())
        for name, values in terms.logged.items():
            logged = counted & ~values.isnan()
            new = torch.stack([values.detach().where(logged, 0).sum(), logged.sum().float()])
            self._sums[name] = self._sums[name] + new if name in self._sums else new
        loss = terms.loss.where(counted, 0).sum()
        if num_items_in_batch is None:
            return loss / counted.sum()
        # num_items_in_batch counts all processes' pairs; gradients are averaged over processes.
        return loss / num_items_in_batch * self.accelerator.num_processes

    def prediction_step(
        self,
        model: Any,
        inputs: Any,
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The preference loss and reward differences of held-out pairs."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad():
            (chosen, rejected), _, spans = self.forward(model, inputs)
        difference = spans[0].last(chosen) - spans[1].last(rejected)
        loss = self.objective.preference(difference - inputs["margin"]).mean()
        return loss, difference, inputs["labels"]

    def forward(
        self, model: Any, inputs: Batch
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], tuple[Spans, Spans]]:
        """Rewards (pairs, longest) and last hidden states (pairs, longest, hidden_size) of all
        tokens, and positions of the completions; each of the chosen, then of the rejected sides."""
        watch = self.watch
        model(**model_inputs(inputs, self.reward_model), use_cache=False)
        pairs = len(inputs["labels"])
        spans = Spans(inputs["start"], inputs["end"])
        rewards, hidden = watch.rewards[inputs["row"]], watch.hidden
        hidden = hidden if len(hidden) >= pairs else hidden.expand(pairs, -1, -1)
        sides = (hidden[:pairs], hidden[pairs:]) if len(hidden) > pairs else (hidden, hidden)
        return (
            (rewards[:pairs], rewards[pairs:]),
            sides,
            (
                Spans(spans.start[:pairs], spans.end[:pairs]),
                Spans(spans.start[pairs:], spans.end[pairs:]),
            ),
        )

    def _step_rng(self) -> np.random.Generator:
        """A generator seeded by (seed, step, micro-batch, rank): a resumed run draws the same
        states as an uninterrupted one."""
        step, micro = self._at
        micro = micro + 1 if step == self.state.global_step else 0
        self._at = (self.state.global_step, micro)
        return np.random.default_rng([self.args.seed, *self._at, self.args.process_index])

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the means over the pairs of all processes since the last line that have a value.

        Raises:
            UserError: the loss is NaN or infinite.
        """
        if "loss" in logs:
            for name, sums in self._sums.items():
                total, count = self.accelerator.reduce(sums, "sum").tolist()
                if count:
                    logs[name] = total / count
            self._sums = {}
            check_loss(logs["loss"], self.state.global_step)
        super().log(logs, start_time)


def _check_pool(pairs: Sequence[EncodedPair], settings: TrainSettings, processes: int) -> None:
    if mistake := settings.too_few_pairs(processes):
        raise UserError(mistake)
    if "rs" in settings.needs_pool() and len({pair.prompt for pair in pairs}) == 1:
        raise UserError(
            "contrastive_strategy rs takes goal states from completions of other prompts, and all "
            "pairs have the same prompt; give data with more prompts, or sgs"
        )


def accuracy_and_margin(prediction: EvalPrediction) -> dict[str, float]:
    """Share of held-out pairs with the higher chosen reward, ties as 0.5; mean reward margin."""
    margins = np.asarray(prediction.predictions)
    return {
        "accuracy": float(((margins > 0) + 0.5 * (margins == 0)).mean()),
        "margin": float(margins.mean()),
    }
