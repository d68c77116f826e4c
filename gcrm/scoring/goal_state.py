"""The goal state: the mean state in which good completions end (section 3 of the paper)."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gcrm.config.layout import goal_state_file
from gcrm.config.represent import RepresentOptions
from gcrm.data.attributes import Selection, select
from gcrm.data.layouts import checked_prompt
from gcrm.data.messages import Prompt, checked_completion
from gcrm.lineage.provenance import write_provenance
from gcrm.lineage.resume import Unfinished
from gcrm.modeling.batching import Batch
from gcrm.modeling.reward_model import RewardModel
from gcrm.modeling.tokenization import Encoded
from gcrm.scoring.scorer import Pass
from gcrm.utils.disk import check_writable
from gcrm.utils.distributed import join
from gcrm.utils.errors import UserError
from gcrm.utils.io import atomic_path
from gcrm.utils.logging import Progress, say
from gcrm.utils.paths import short_name

COMPLETIONS_AT_ONCE = 1024
"""completions that are encoded together; no more are in memory, however many there are"""

Example = tuple[Prompt, str, Sequence[Any] | NDArray[np.bool_], str]
"""Prompt, completion, and whether each of its states counts for each goal state: (goal states,), or
(states, goal states) where several states of a completion are read; and its row, for errors."""
Reading = Callable[[Tensor, Encoded], Tensor]
"""The state of a completion that counts, (hidden_size,) fp64, or several, (states, hidden_size); of
the hidden states of its tokens, (tokens, hidden_size)."""


def extract_goal_state(options: RepresentOptions) -> None:
    """Write the mean state of the chosen completions: goal_state.npy, float32, (1, hidden_size).

    Each attribute gets goal_state-<attribute>.npy, of the completions with its highest values. For
    data without pairs, goal_state.npy is the mean over all completions that count for an attribute.

    Raises:
        UserError: data or model cannot be read, or no completion fits into max_len.
    """
    selection = select(
        options.dataset_path, options.attributes, options.attribute_share, options.max_pairs
    )
    processes = join()
    reward_model = RewardModel.from_pretrained(**options.loading)
    check_writable(options.save_dir)
    unfinished = Unfinished(
        options.save_dir / "goal_state.npy",
        "represent",
        options.model_dump(mode="json", exclude={"save_dir"}),
        [options.reward_model_path, *options.dataset_path],
        *(processes.count, *reward_model.numerics),
    )
    name = f"represent {short_name(options.save_dir)}"
    sums = sum_states(
        ((pair.prompt, pair.chosen, flags, pair.where) for pair, flags in selection),
        (selection.total, len(selection.counts)),
        partial(state_of, goal_token=options.goal_token),
        Pass(reward_model, options.tokens_per_batch, processes, unfinished, name),
    )
    _check_counts(selection, sums.counts, options, reward_model.encoder.max_len)
    if processes.first:
        _write(options, selection, sums)
        unfinished.discard()


@dataclass
class Sums:
    """Sums of states in fp64, so that means do not depend on batches and processes.

    Attributes:
        states: sum for each goal state, (goal states, hidden_size).
        counts: completions in each sum, (goal states,).
        position: how much of the data is in the sums: chunks, batches of the next chunk in this
            process, and completions in all processes.
    """

    states: Tensor
    counts: Tensor
    position: Tensor


def sum_states(
    examples: Iterable[Example], numbers: tuple[int, int], reading: Reading, through: Pass
) -> Sums:
    """Sum the states of all examples that fit.

    Args:
        numbers: of examples and of goal states.
    """
    reward_model, name = through.reward_model, through.name
    processes, unfinished = through.processes, through.unfinished
    total, goal_states = numbers
    states = torch.zeros(goal_states, reward_model.hidden_size).double()
    sums = Sums(states, torch.zeros(goal_states).double(), torch.zeros(3).long())
    file = f"process{processes.rank}"
    for arrays in unfinished.read(file):
        sums = Sums(**{name: torch.from_numpy(array) for name, array in arrays.items()})
    chunks, batches_done, completions = sums.position.tolist()
    if completions:
        say(f"{name}: resuming: {completions} of {total} completions are done")
    progress = Progress(name, total - completions, "completion")

    def advance(chunks: int, batches: int, completions: int) -> None:
        sums.position[:2] = torch.tensor([chunks, batches])
        sums.position[2] += completions
        progress.advance(completions)
        if unfinished.is_due:
            unfinished.write(file, {name: value.numpy() for name, value in vars(sums).items()})

    for number, chunk in islice(enumerate(_chunks(examples)), chunks, None):
        encoded, members = _encode(chunk, reward_model)
        batches = through.batches(encoded)
        work = processes.share(batches)[batches_done:]
        found = _states(reward_model, encoded, work, reading)
        for turn, (batch, states) in enumerate(found, start=batches_done):
            flags = members[batch.rows].reshape(-1, goal_states)
            sums.states += flags.T @ states.reshape(len(flags), -1)
            advance(number, turn + 1, sum(len(one.rows) for one in processes.turn(batches, turn)))
        sums.counts += members.reshape(-1, goal_states).sum(dim=0)
        batches_done = 0
        advance(number + 1, 0, len(chunk) - len(encoded))
    processes.add_up(sums.states)
    return sums


def _chunks(examples: Iterable[Example]) -> Iterator[list[Example]]:
    rest = iter(examples)
    while chunk := list(islice(rest, COMPLETIONS_AT_ONCE)):
        yield chunk


def _encode(chunk: Sequence[Example], reward_model: RewardModel) -> tuple[list[Encoded], Tensor]:
    """The completions that fit, and which of their states count for which goal states, fp64."""
    prompts, completions, flags, where = zip(*chunk, strict=True)
    texts = zip(prompts, completions, strict=True)
    encoded = reward_model.encoder.encode_for_goal_state(texts, where)
    fitting = [(one, flag) for one, flag in zip(encoded, flags, strict=True) if one is not None]
    members = torch.from_numpy(np.array([flag for _, flag in fitting], np.float64))
    return [one for one, _ in fitting], members


def _states(
    reward_model: RewardModel,
    encoded: Sequence[Encoded],
    batches: Iterable[Batch],
    reading: Reading,
) -> Iterator[tuple[Batch, Tensor]]:
    """Each batch, and what is read of each of its completions."""
    for batch in batches:
        states = []
        for rows, hidden, _ in reward_model.passes(encoded, batch):
            each = hidden.split([encoded[row].num_tokens for row in rows])
            states += [reading(one, encoded[row]) for one, row in zip(each, rows, strict=True)]
        found = torch.stack(states).cpu()
        reward_model.passes.check_finite(found.numpy())
        yield batch, found


def state_of(hidden: Tensor, one: Encoded, goal_token: str, draw: int = 0) -> Tensor:
    """The state of one completion, (hidden_size,) fp64.

    Args:
        hidden: of its tokens, (tokens, hidden_size).
        draw: of the random token.
    """
    if goal_token == "mean":
        return hidden.double().mean(dim=0)
    last = one.num_tokens - 1
    if goal_token == "random":
        # By hash of the tokens: the same in every run, and independent of the rest of the data.
        text = str(one.input_ids) + (f" {draw}" if draw else "")
        digest = hashlib.sha256(text.encode()).digest()
        last -= int.from_bytes(digest[:8]) % one.num_tokens
    return hidden[last].double()


def goal_state(
    reward_model: RewardModel, completions: Iterable[tuple[Prompt, str]]
) -> NDArray[np.float32]:
    """The mean state at the last token of (prompt, completion) pairs, (hidden_size,).

    `RewardModel.from_pretrained` takes it as `goal_state`. Completions that are too long are left
    out.

    Raises:
        UserError: no completion fits into the reward model's max_len, or one is not text.
    """
    encoder = reward_model.encoder
    texts = [
        (checked_prompt(prompt, "goal_state"), checked_completion(completion, "goal_state"))
        for prompt, completion in completions
    ]
    encoded = [one for one in encoder.encode_for_goal_state(texts) if one is not None]
    if not encoded:
        raise UserError(f"no completion fits into {encoder.max_len} tokens")
    total = torch.zeros(reward_model.hidden_size).double()
    last = partial(state_of, goal_token="last")
    for _, states in _states(reward_model, encoded, reward_model.passes.batches(encoded), last):
        total += states.sum(dim=0)
    mean: NDArray[np.float32] = (total / len(encoded)).float().numpy()
    return mean


def _check_counts(
    selection: Selection, counts: Tensor, options: RepresentOptions, max_len: int
) -> None:
    """Report what was too long.

    Raises:
        UserError: everything, for some goal state.
    """
    for name, number in zip(selection.counts, counts.tolist(), strict=True):
        if not number:
            which = f" with a highest value of {name}" if name else ""
            data = ", ".join(options.dataset_path)
            raise UserError(f"{data}: no completion{which} fits into {max_len} tokens")
    if too_long := selection.total - int(counts[0]):
        say(
            f"represent: {too_long} of {selection.total} pairs left out: longer than {max_len} "
            "tokens"
        )


def _write(options: RepresentOptions, selection: Selection, sums: Sums) -> None:
    files = [options.save_dir / goal_state_file(name) for name in selection.counts]
    goal_states = sums.states / sums.counts[:, None]
    for file, goal_state in zip(files, goal_states, strict=True):
        with atomic_path(file) as path:
            np.save(path, goal_state.float().numpy()[None, :])
    completions, *of_attributes = map(int, sums.counts.tolist())
    attributes = zip(selection.lowest.items(), of_attributes, strict=True)
    write_provenance(
        options.save_dir / "provenance.json",
        options,
        [options.reward_model_path, *options.dataset_path],
        files,
        completions=completions,
        completions_too_long=selection.total - completions,
        attributes={
            name: {"lowest_value": lowest, "completions": number}
            for (name, lowest), number in attributes
        },
    )
