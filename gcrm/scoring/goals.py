"""Goal states of few, wrong or mixed examples, and what the filter keeps with each of them.

The experiment of the paper's Figure 5 and Table 8. A goal state is a mean of states, so one pass
over the examples adds them up for all goal states; one pass over the samples gives their Q-values
for all, of which the filter needs the smallest, and AUROC the last.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from gcrm.config.goals import GoalsOptions
from gcrm.config.layout import model_of
from gcrm.data.preferences import Preference, load_preferences
from gcrm.data.ragged import Ragged
from gcrm.lineage.provenance import beside, write_provenance
from gcrm.lineage.resume import Unfinished
from gcrm.modeling.batching import Batch
from gcrm.modeling.reward_model import RewardModel, read_goal_state
from gcrm.modeling.tokenization import Encoded, Encoder
from gcrm.scoring.evaluation import Unscored, encode, solutions
from gcrm.scoring.goal_state import COMPLETIONS_AT_ONCE, Example, state_of, sum_states
from gcrm.scoring.scorer import Pass, fill
from gcrm.stats.goals import Kind, measure
from gcrm.utils.disk import check_writable
from gcrm.utils.distributed import join
from gcrm.utils.errors import UserError
from gcrm.utils.io import write_jsonl
from gcrm.utils.logging import say
from gcrm.utils.paths import short_name


def measure_goal_states(options: GoalsOptions) -> None:
    """Write how the filter does with goal states of few, wrong or mixed examples.

    Raises:
        UserError: data or model cannot be read, or no example fits into max_len.
    """
    pairs = load_preferences(options.dataset_path, max_pairs=options.max_pairs)
    folder, names = options.completions_data_path, options.benchmarks
    given = [*solutions(folder, names, ["all"], options.max_problems, all_needed=True)]
    processes = join()
    reward_model = RewardModel.from_pretrained(**options.loading)
    check_writable(options.output.parent)
    found = [encode(table, reward_model.encoder) for table in given]
    tables, samples = [table for table, _ in found], [one for _, each in found for one in each]
    files = [file for table in given for file in table.inputs]
    unfinished = Unfinished(
        options.output,
        "goals",
        options.model_dump(mode="json", exclude={"output", "filter_threshold"}),
        [options.reward_model_path, *options.dataset_path, *files],
        *(processes.count, *reward_model.numerics),
    )
    name = f"goals {short_name(options.output.with_suffix(''))}"
    design = Design.of(pairs, options, reward_model.encoder)
    through = Pass(reward_model, options.tokens_per_batch, processes, unfinished, name)
    goal_states = _goal_states(design, pairs, through)
    q_values = _q_values(samples, goal_states, options.skip_tokens, through)
    if not processes.first:
        return
    rows = _measurements(tables, q_values, design.goals, options.filter_threshold)
    model = model_of(options.output.with_suffix(""))
    write_jsonl(options.output, (model | row for row in rows))
    inputs = [options.reward_model_path, *options.dataset_path, *files]
    facts = {"goal_states": len(design.goals), "samples": len(samples)}
    write_provenance(beside(options.output), options, inputs, [options.output], **facts)
    unfinished.discard()


@dataclass(frozen=True)
class Goal:
    """A goal state: the mean over `examples` completions of one draw."""

    kind: Kind
    examples: int
    draw: int


@dataclass(frozen=True)
class Design:
    """Which example counts for which goal state.

    The examples of a draw are those with the smallest hashes of its number and their text: the same
    on every machine, in every order of the data. So the first n of a draw are among its first m >
    n: along a curve, only the added examples differ.

    Attributes:
        goals: the goal states.
        ranks: place of every chosen and of every rejected completion in each draw, (2, pairs,
            draws); that of one that does not fit is larger than all.
    """

    goals: list[Goal]
    ranks: NDArray[np.int64]

    @classmethod
    def of(cls, pairs: Sequence[Preference], options: GoalsOptions, encoder: Encoder) -> "Design":
        """The design for these pairs.

        Raises:
            UserError: no chosen completion fits into max_len, or no rejected one.
        """
        ranks = np.empty((2, len(pairs), options.draws), np.int64)
        counts = []
        for side, name in enumerate(("chosen", "rejected")):
            fits = np.array([*_fitting(pairs, name, encoder)])
            counts.append(int(fits.sum()))
            if not fits.any():
                data = ", ".join(options.dataset_path)
                raise UserError(f"{data}: no {name} completion fits into {encoder.max_len} tokens")
            if too_long := len(fits) - counts[-1]:
                say(f"goals: {too_long} of {len(fits)} {name} completions left out: too long")
            for draw in range(options.draws):
                hashes = np.array(
                    [_hash(draw, pair.question, getattr(pair, name)) for pair in pairs]
                )
                order = np.lexsort((hashes, ~fits))
                ranks[side, order, draw] = np.arange(len(pairs))
            ranks[side, ~fits] = len(pairs)
        return cls([*_goals(counts, options)], ranks)

    @cached_property
    def _columns(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Of each goal state: draw, examples, kind, and which state of a completion it reads."""
        draw, examples, kind = (
            np.array([getattr(goal, name) for goal in self.goals])
            for name in ("draw", "examples", "kind")
        )
        return draw, examples, kind, np.where(kind == "random token", 1 + draw, 0)

    def members(self, side: int, number: int) -> NDArray[np.bool_]:
        """Whether the states of a completion count for the goal states, (1 + draws, goal states).

        The first state is that of the last token; the others are of random tokens.

        Args:
            side: 0 for chosen, 1 for rejected.
            number: of its pair.
        """
        draw, examples, kind, state = self._columns
        ranks = self.ranks[side, number]
        drawn = ranks[draw] < examples
        if side == 0:
            fits = ranks[0] < len(self.ranks[0])
            counts = np.where(kind == "corrupted", fits, drawn & (kind != "rejected"))
        else:
            counts = drawn & np.isin(kind, ("corrupted", "rejected"))
        members = np.zeros((1 + self.draws, len(self.goals)), bool)
        members[state, np.arange(len(self.goals))] = counts
        return members

    @property
    def draws(self) -> int:
        """Number of draws."""
        return int(self.ranks.shape[2])

    def examples(self, pairs: Sequence[Preference]) -> Iterator[Example]:
        """The completions that count for a goal state."""
        for number, pair in enumerate(pairs):
            for side, completion in enumerate((pair.chosen, pair.rejected)):
                if (members := self.members(side, number)).any():
                    yield pair.prompt, completion, members, pair.where

    @property
    def total(self) -> int:
        """Number of `examples`."""
        chosen, rejected = (ranks.min(axis=1) for ranks in self.ranks)
        most = max(goal.examples for goal in self.goals if goal.kind == "rejected")
        return int((chosen < len(chosen)).sum() + (rejected < most).sum())


def _fitting(pairs: Sequence[Preference], side: str, encoder: Encoder) -> Iterator[bool]:
    """Whether each completion of this side fits; only some are in memory as tokens."""
    for first in range(0, len(pairs), COMPLETIONS_AT_ONCE):
        chunk = pairs[first : first + COMPLETIONS_AT_ONCE]
        texts = [(pair.prompt, getattr(pair, side)) for pair in chunk]
        encoded = encoder.encode_for_goal_state(texts, [pair.where for pair in chunk])
        yield from (one is not None for one in encoded)


def _hash(draw: int, question: str, completion: str) -> int:
    digest = hashlib.sha256(f"{draw} {question}\n{completion}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1  # numpy's int64


def _goals(counts: Sequence[int], options: GoalsOptions) -> Iterator[Goal]:
    """The goal states. All chosen completions are always among the numbers of examples.

    Args:
        counts: numbers of chosen and of rejected completions that fit.
    """
    chosen, rejected = counts
    of_chosen, of_rejected = (
        sorted({min(number, count) for number in options.examples} | all_of_them)
        for count, all_of_them in ((chosen, {chosen}), (rejected, set()))
    )
    kinds: list[tuple[Kind, list[int], int]] = [
        ("chosen", of_chosen, chosen),
        ("random token", of_chosen, 0),
        ("corrupted", of_rejected, rejected),
        ("rejected", of_rejected, rejected),
    ]
    for kind, numbers, whole in kinds:
        for number in numbers:
            # All draws of all completions are the same.
            for draw in range(1 if number == whole else options.draws):
                yield Goal(kind, number, draw)


def _goal_states(design: Design, pairs: Sequence[Preference], through: Pass) -> Tensor:
    """The unit vectors of all goal states, (hidden_size, goal states)."""
    reward_model = through.reward_model

    def reading(hidden: Tensor, one: Encoded) -> Tensor:
        random = (state_of(hidden, one, "random", draw) for draw in range(design.draws))
        return torch.stack([state_of(hidden, one, "last"), *random])

    numbers = design.total, len(design.goals)
    through = replace(through, name=f"{through.name}, examples")
    sums = sum_states(design.examples(pairs), numbers, reading, through)
    means = (sums.states / sums.counts[:, None]).float().numpy()
    units = [read_goal_state(mean, reward_model.hidden_size) for mean in means]
    return torch.stack(units, dim=1).to(reward_model.model.device)


def _q_values(
    samples: Sequence[Encoded], goal_states: Tensor, skipped: int, through: Pass
) -> dict[str, NDArray[np.float32]]:
    """The smallest Q-value of each sample after the skipped tokens, and the last, (n, goals)."""
    number = goal_states.shape[1]
    found = {what: Ragged.zeros([number] * len(samples)) for what in ("lowest", "last")}

    def score_batches(batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            for rows, hidden, _ in through.reward_model.passes(samples, batch):
                cosines = (F.normalize(hidden, dim=-1) @ goal_states).cpu()
                each = cosines.split([samples[row].num_tokens for row in rows])
                for row, values in zip(rows, each, strict=True):
                    found["last"][row][:] = values[-1]
                    found["lowest"][row][:] = values[skipped:].numpy().min(0, initial=np.inf)
            yield batch

    fill(found, samples, score_batches, replace(through, name=f"{through.name}, samples"))
    return {what: values.values.reshape(-1, number) for what, values in found.items()}


def _measurements(
    tables: Sequence[Unscored],
    q_values: dict[str, NDArray[np.float32]],
    goals: Sequence[Goal],
    threshold: float,
) -> Iterator[dict[str, Any]]:
    """The rows of the file without the model's name."""
    begin = 0
    for table in tables:
        labels = np.array(table.columns["label"], bool)
        rows = slice(begin, begin := begin + len(labels))
        facts = {"samples": len(labels), "correct": float(labels.mean())}
        for column, goal in enumerate(goals):
            lowest, last = (q_values[what][rows, column] for what in ("lowest", "last"))
            yield {
                "benchmark": table.name,
                **vars(goal),
                **facts,
                **measure(labels, lowest, last, threshold),
            }
