"""The goal state: the mean state in which good completions end (section 3 of the paper)."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gcrm.config.represent import RepresentOptions
from gcrm.data.attributes import Selection, select
from gcrm.data.preferences import Preference
from gcrm.lineage.provenance import write_provenance
from gcrm.lineage.resume import discard, parts_of, unfinished
from gcrm.modeling.reward_model import RewardModel
from gcrm.modeling.tokenization import Encoded
from gcrm.scoring import parts
from gcrm.utils.disk import check_writable
from gcrm.utils.distributed import Processes, join
from gcrm.utils.errors import UserError
from gcrm.utils.io import atomic_path
from gcrm.utils.logging import Progress, say
from gcrm.utils.paths import short_name

COMPLETIONS_AT_ONCE = 1024
"""completions that are encoded together; no more are in memory, however many there are"""


def extract_goal_state(options: RepresentOptions) -> None:
    """Write the mean state of the chosen completions: goal_state.npy, float32, (1, hidden_size).

    Each attribute gets goal_state-<attribute>.npy of the completions with its highest values. Of
    data without pairs, goal_state.npy is the mean over all completions that count for an attribute.

    Raises:
        UserError: data or model cannot be read, or no completion fits into max_len.
    """
    selection = select(
        options.dataset_path, options.attributes, options.attribute_share, options.max_pairs
    )
    processes = join()
    reward_model = RewardModel.from_pretrained(
        options.reward_model_path,
        max_len=options.max_len,
        trust_remote_code=options.trust_remote_code,
    )
    check_writable(options.save_dir)
    sums, counts = _sum_states(selection, reward_model, options, processes)
    max_len = reward_model.encoder.max_len
    for name, number in zip(selection.counts, counts.tolist(), strict=True):
        if not number:
            which = f" with a highest value of {name}" if name else ""
            data = ", ".join(options.dataset_path)
            raise UserError(f"{data}: no completion{which} fits into {max_len} tokens")
    too_long = selection.total - int(counts[0])
    if too_long:
        say(
            f"represent: {too_long} of {selection.total} pairs left out: longer than {max_len} "
            "tokens"
        )
    if not processes.first:
        return
    files = [
        options.save_dir / (f"goal_state-{name}.npy" if name else "goal_state.npy")
        for name in selection.counts
    ]
    for file, goal_state in zip(files, sums / counts[:, None], strict=True):
        with atomic_path(file) as path:
            np.save(path, goal_state.float().numpy()[None, :])
    write_provenance(
        options.save_dir / "provenance.json",
        options,
        [options.reward_model_path, *options.dataset_path],
        files,
        completions=int(counts[0]),
        completions_too_long=too_long,
        attributes={
            name: {"lowest_value": lowest, "completions": int(number)}
            for (name, lowest), number in zip(
                selection.lowest.items(), counts[1:].tolist(), strict=True
            )
        },
    )
    discard(_parts(options), options.save_dir)


def _sum_states(
    selection: Selection,
    reward_model: RewardModel,
    options: RepresentOptions,
    processes: Processes,
) -> tuple[Tensor, Tensor]:
    """Sum of the states for each goal state, (goal states, hidden_size), and their numbers; fp64,
    so that the mean of many states does not depend on how they were batched and shared."""
    width = reward_model.model.config.get_text_config().hidden_size
    sums = torch.zeros(len(selection.counts), width, dtype=torch.float64)
    counts = torch.zeros(len(selection.counts), dtype=torch.float64)
    kept = _Kept(_begun(options, reward_model, processes), [sums, counts])
    name = f"represent {short_name(options.save_dir)}"
    if kept.done:
        say(f"{name}: resuming: {kept.done} of {selection.total} completions are through")
    progress = Progress(name, selection.total - kept.done, "completion")
    chunks = enumerate(_chunks(selection))
    for number, chunk in islice(chunks, kept.chunks, None):
        encoded = reward_model.encoder.encode_for_goal_state(
            (pair.prompt, pair.chosen) for pair, _ in chunk
        )
        fitting = [one for one in encoded if one is not None]
        members = torch.tensor(
            [flags for one, (_, flags) in zip(encoded, chunk, strict=True) if one is not None],
            dtype=torch.float64,
        )
        batches = reward_model.batches(fitting, options.tokens_per_batch)
        first = kept.batches if number == kept.chunks else 0
        work = reward_model.forward(fitting, processes.share(batches)[first:])
        for done, (indices, hidden, _) in enumerate(work, start=first):
            batch = [fitting[i] for i in indices]
            states = torch.stack(
                [state_of(hidden[row], one, options.goal_token) for row, one in enumerate(batch)]
            )
            sums += members[indices].T @ states.cpu()
            completions = sum(map(len, processes.turn(batches, done)))
            progress.advance(completions)
            kept.advance(number, done + 1, completions)
        counts += members.sum(dim=0)
        progress.advance(len(chunk) - len(fitting))
        kept.advance(number + 1, 0, len(chunk) - len(fitting))
    processes.add_up(sums)
    return sums, counts


def _begun(options: RepresentOptions, reward_model: RewardModel, processes: Processes) -> Path:
    """The file of what this process has added up of just these goal states."""
    model = reward_model.model
    folder = unfinished(
        _parts(options),
        options.save_dir,
        "represent",
        options.model_dump(mode="json", exclude={"save_dir"}),
        [options.reward_model_path, *options.dataset_path],
        *(processes.count, torch.get_num_threads(), model.device.type, model.dtype),
        getattr(model.config, "_commit_hash", None),  # of a model from the hub
    )
    return folder / f"process{processes.rank}.npz"


def _parts(options: RepresentOptions) -> Path:
    return parts_of(options.save_dir / "goal_state.npy")


class _Kept:
    """Sums that are written down now and then, and how much of the data is in them.

    Attributes:
        chunks: how many are whole in them. batches: of the next chunk, in this process.
        done: completions.
    """

    def __init__(self, file: Path, sums: Sequence[Tensor]) -> None:
        """Put what is in the file, if it is there and whole, into `sums`."""
        self._file, self._sums = file, sums
        self.chunks = self.batches = self.done = 0
        self._saved = time.monotonic()
        if found := parts.read_arrays(file):
            self.chunks, self.batches, self.done = map(int, found["at"])
            for number, one in enumerate(sums):
                one.copy_(torch.from_numpy(found[f"sums{number}"]))

    def advance(self, chunks: int, batches: int, completions: int) -> None:
        """Say what is in the sums now.

        Raises:
            UserError: there is no room to write it down.
        """
        self.done += completions
        if time.monotonic() - self._saved < parts.SECONDS:
            return
        sums: Any = {f"sums{number}": one.numpy() for number, one in enumerate(self._sums)}
        with atomic_path(self._file) as path:
            np.savez(path, at=np.array([chunks, batches, self.done]), **sums)
        self._saved = time.monotonic()


def _chunks(selection: Selection) -> Iterator[list[tuple[Preference, list[bool]]]]:
    rest = iter(selection)
    while chunk := list(islice(rest, COMPLETIONS_AT_ONCE)):
        yield chunk


def state_of(hidden: Tensor, one: Encoded, goal_token: str) -> Tensor:
    """The state of one completion, (hidden_size,) fp64; `hidden` is (tokens, hidden_size)."""
    if goal_token == "mean":
        return hidden[one.start : len(one.input_ids)].double().mean(dim=0)
    last = len(one.input_ids) - 1
    if goal_token == "random":
        # By hash of the tokens: the same in every run, and whatever else is in the data.
        digest = hashlib.sha256(str(one.input_ids).encode()).digest()
        last -= int.from_bytes(digest[:8]) % one.num_tokens
    return hidden[last].double()
