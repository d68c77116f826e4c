"""Scores completions with a reward model, from where an interrupted run stopped.

Work is always divided into the same batches, so that scores are the same, bit for bit, however
often it was interrupted.
"""

import hashlib
import os
from array import array
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gcrm.config.evaluate import EvaluateOptions
from gcrm.lineage.provenance import FILE, read_provenance, sha256
from gcrm.lineage.resume import Unfinished
from gcrm.modeling.reward_model import RewardModel, Scores
from gcrm.modeling.tokenization import Encoded
from gcrm.utils.disk import check_writable
from gcrm.utils.distributed import join
from gcrm.utils.errors import UserError
from gcrm.utils.locks import claim
from gcrm.utils.logging import Progress, say
from gcrm.utils.paths import short_name


class Scorer(AbstractContextManager["Scorer"]):
    """The reward model of an evaluation, and the processes that share its work.

    The unfinished work on all tables is kept until the end of the `with` block, when all tables
    are written, and beyond it if the block ends in an error.
    """

    def __init__(self, options: EvaluateOptions) -> None:
        """Load the model.

        Raises:
            UserError: there is no whole reward model, or the goal state is another model's.
        """
        check_goal_state(options)
        self.options = options
        self.processes = join()
        self.reward_model = RewardModel.from_pretrained(
            options.reward_model_path,
            options.goal_state_file,
            max_len=options.max_len,
            trust_remote_code=options.trust_remote_code,
        )
        self._claims = ExitStack()
        self._begun: list[Unfinished] = []

    def score(self, encoded: Sequence[Encoded], what: str, path: Path) -> Scores:
        """Score completions; every process is given the same and returns all scores.

        Args:
            what: name of the completions in progress lines. path: where their table will be.

        Raises:
            UserError: no table can be written there, or another process is about to.
        """
        check_writable(path.parent)
        self._claims.enter_context(claim(path))
        unfinished = self._unfinished(encoded, path)
        self._begun.append(unfinished)
        scores = Scores.zeros(encoded, self.reward_model.goal_state is not None)
        done = torch.zeros(len(encoded), dtype=torch.int32)
        if self.processes.first:  # the other processes get its scores below, in the sum
            done += torch.from_numpy(restore(unfinished, scores))
        self.processes.add_up(done)
        if number := int(done.sum()):
            say(f"evaluate {what}: resuming: {number} of {len(encoded)} completions are scored")
        name = f"evaluate {short_name(self.options.reward_model_path)} {what}"
        progress = Progress(name, len(encoded) - number, "completion")
        every = self.reward_model.batches(encoded, self.options.tokens_per_batch)
        batches = [batch for batch in every if not done[batch[0]]]
        shared = self.processes.share(batches)
        pending: list[int] = []
        for turn, rows in enumerate(self.reward_model.score_batches(encoded, shared, scores)):
            pending += rows
            if unfinished.is_due:
                save(unfinished, scores, pending)
                pending = []
            progress.advance(sum(map(len, self.processes.turn(batches, turn))))
        save(unfinished, scores, pending)
        for ragged in scores.of_tokens.values():
            self.processes.add_up(torch.from_numpy(ragged.values))  # 0 where another has scored
        return scores

    def _unfinished(self, encoded: Sequence[Encoded], path: Path) -> Unfinished:
        """The unfinished work on the scores of exactly these tokens by exactly this model."""
        digest = hashlib.sha256()
        for one in encoded:
            digest.update(array("q", [len(one.input_ids), one.start, *one.input_ids]).tobytes())
        return Unfinished(
            path,
            "evaluate",
            {"tokens_per_batch": self.options.tokens_per_batch},
            self.options.model_sources,
            *(digest.hexdigest(), *self.reward_model.numerics),
        )

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Remove the unfinished work, unless there was an error."""
        if kind is None and self.processes.first:
            for unfinished in self._begun:
                unfinished.discard()
        self._claims.close()


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


def check_goal_state(options: EvaluateOptions) -> None:
    """Refuse the goal state of another model: cosines between two models' states mean nothing.

    A goal state without provenance is accepted.

    Raises:
        UserError: the provenance names another model.
    """
    path, model = options.goal_state_file, options.reward_model_path
    facts = None if path is None else read_provenance(path.parent / FILE)
    if facts is None or facts["command"] != "represent":
        return
    other = str(facts["options"].get("reward_model_path"))
    then = facts["inputs"].get(other)
    same = os.path.realpath(other) == os.path.realpath(model)
    if not same and then is not None and then != sha256(Path(model)):  # it may have been moved
        raise UserError(
            f"{path}: is the goal state of another model, {other}; make that of {model} with "
            "`represent`"
        )
