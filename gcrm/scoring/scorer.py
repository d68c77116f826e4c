"""Scores completions with a reward model, from where an interrupted run stopped.

Work is always divided into the same batches, so that scores are the same, bit for bit, however
often it was interrupted.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from gcrm.lineage.resume import Unfinished
from gcrm.modeling.reward_model import RewardModel, Scores
from gcrm.modeling.tokenization import Encoded
from gcrm.utils.distributed import Processes
from gcrm.utils.logging import Progress, say


def score(
    reward_model: RewardModel,
    encoded: Sequence[Encoded],
    tokens_per_batch: int | None,
    unfinished: Unfinished,
    processes: Processes,
    name: str,
) -> Scores:
    """Score completions; every process is given the same and returns all scores.

    Args:
        unfinished: where scores are kept until their table is written.
        name: of the completions, in progress lines.

    Raises:
        UserError: there is no room for unfinished scores, or scores are no finite numbers.
    """
    scores = Scores.zeros(encoded, reward_model.goal_state is not None)
    done = torch.zeros(len(encoded), dtype=torch.int32)
    if processes.first:  # the other processes get its scores below, in the sum
        done += torch.from_numpy(restore(unfinished, scores))
    processes.add_up(done)
    if number := int(done.sum()):
        say(f"{name}: resuming: {number} of {len(encoded)} completions are scored")
    progress = Progress(name, len(encoded) - number, "completion")
    every = reward_model.batches(encoded, tokens_per_batch)
    batches = [batch for batch in every if not done[batch[0]]]
    work = reward_model.score_batches(encoded, processes.share(batches), scores)
    pending: list[int] = []
    for turn, rows in enumerate(work):
        pending += rows
        if unfinished.is_due:
            save(unfinished, scores, pending)
            pending = []
        progress.advance(sum(map(len, processes.turn(batches, turn))))
    save(unfinished, scores, pending)
    for ragged in scores.of_tokens.values():
        processes.add_up(torch.from_numpy(ragged.values))  # 0 where another process has scored
    return scores


def save(unfinished: Unfinished, scores: Scores, rows: Sequence[int]) -> None:
    """Write the scores of these completions to a file of unfinished work.

    Raises:
        UserError: there is no room for it.
    """
    if rows:
        found = {name: ragged.take(rows).values for name, ragged in scores.of_tokens.items()}
        unfinished.write(str(rows[0]), {"rows": np.array(rows), **found})


def restore(unfinished: Unfinished, scores: Scores) -> NDArray[np.bool_]:
    """Put what was saved in its place; returns which completions it is, shape (n,)."""
    done = np.zeros(len(scores.truncated), bool)
    for arrays in unfinished.read("[0-9]*"):
        for name, ragged in scores.of_tokens.items():
            ragged.put(arrays["rows"], arrays[name])
        done[arrays["rows"]] = True
    return done
