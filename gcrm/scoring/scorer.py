"""Scores completions with a reward model, from where an interrupted run stopped.

Work is always divided into the same batches, so that scores are the same, bit for bit, however
often it was interrupted.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from gcrm.data.ragged import Ragged
from gcrm.lineage.resume import Unfinished
from gcrm.modeling.batching import Batch
from gcrm.modeling.passes import unique
from gcrm.modeling.reward_model import RewardModel, Scores
from gcrm.modeling.tokenization import Encoded
from gcrm.utils.distributed import Processes
from gcrm.utils.logging import Progress, say

Rows = Mapping[str, Ragged]
"""scores of completions by name, a row a completion"""


@dataclass(frozen=True)
class Pass:
    """A pass of a reward model over completions, from where an interrupted one stopped.

    Attributes:
        tokens_per_batch: see `RewardModel.score_encoded`.
        processes: those that share it; every process is given the same completions.
        unfinished: where results are kept until they are written.
        name: of the completions, in progress lines.
    """

    reward_model: RewardModel
    tokens_per_batch: int | None
    processes: Processes
    unfinished: Unfinished
    name: str

    def batches(self, encoded: Sequence[Encoded]) -> list[Batch]:
        """The completions in batches."""
        return self.reward_model.passes.batches(encoded, self.tokens_per_batch)


def score(encoded: Sequence[Encoded], through: Pass) -> Scores:
    """Score completions; every process returns all scores.

    Raises:
        UserError: there is no room for unfinished scores, or scores are no finite numbers.
    """
    reward_model = through.reward_model
    distinct, which = unique(encoded)
    if copies := len(encoded) - len(distinct):
        say(f"{through.name}: {copies} of {len(encoded)} completions equal others: scored once")
    scores = Scores.zeros(distinct, reward_model.goal_state is not None)

    def score_batches(batches: Sequence[Batch]) -> Iterable[Batch]:
        return reward_model.score_batches(distinct, batches, scores)

    fill(scores.of_tokens, distinct, score_batches, through)
    return scores.take(which)


def fill(
    rows: Rows,
    encoded: Sequence[Encoded],
    score_batches: Callable[[Sequence[Batch]], Iterable[Batch]],
    through: Pass,
) -> None:
    """Fill a row for each completion.

    Args:
        rows: all 0; those of all processes at the end.
        score_batches: fills the rows of batches, and gives each batch when it is done.
    """
    processes, unfinished, name = through.processes, through.unfinished, through.name
    batches, total = through.batches(encoded), len(encoded)
    done = torch.zeros(total, dtype=torch.int32)
    if processes.first:  # the other processes get its rows below, in the sum
        done += torch.from_numpy(restore(unfinished, rows, total))
    processes.add_up(done)
    if number := int(done.sum()):
        say(f"{name}: resuming: {number} of {total} completions are scored")
    progress = Progress(name, total - number, "completion")
    left = [batch for batch in batches if not done[batch.rows[0]]]
    pending: list[int] = []
    for turn, batch in enumerate(score_batches(processes.share(left))):
        pending += batch.rows
        if unfinished.is_due:
            save(unfinished, rows, pending)
            pending = []
        progress.advance(sum(len(one.rows) for one in processes.turn(left, turn)))
    save(unfinished, rows, pending)
    for ragged in rows.values():
        processes.add_up(torch.from_numpy(ragged.values))  # 0 where another process has scored


def save(unfinished: Unfinished, rows: Rows, indices: Sequence[int]) -> None:
    """Write the rows of these indices to a file of unfinished work.

    Raises:
        UserError: there is no room for it.
    """
    if indices:
        found = {name: ragged.take(indices).values for name, ragged in rows.items()}
        unfinished.write(str(indices[0]), {"rows": np.array(indices), **found})


def restore(unfinished: Unfinished, rows: Rows, total: int) -> NDArray[np.bool_]:
    """Put what was saved in its place; returns which of the `total` rows it is, (total,)."""
    done = np.zeros(total, bool)
    for arrays in unfinished.read("[0-9]*"):
        for name, ragged in rows.items():
            ragged.put(arrays["rows"], arrays[name])
        done[arrays["rows"]] = True
    return done
