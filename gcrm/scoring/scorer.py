"""Scores completions with a reward model, from where an interrupted run stopped."""

import hashlib
import os
from array import array
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import torch

from gcrm.config.evaluate import EvaluateOptions
from gcrm.lineage.provenance import FILE, read_provenance, sha256
from gcrm.modeling.reward_model import RewardModel, Scores
from gcrm.modeling.tokenization import Encoded
from gcrm.scoring.resume import PartialScores, Unfinished
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
        self._name = short_name(options.reward_model_path)
        self._claims = ExitStack()
        self._begun: list[Unfinished] = []
        self._partial: PartialScores | None = None  # of the last table

    def score(self, encoded: Sequence[Encoded], what: str, path: Path) -> Scores:
        """Score completions; every process is given the same and returns all scores.

        Args:
            what: name of the completions in progress lines. path: where their table will be.

        Raises:
            UserError: no table can be written there, or another process is about to.
        """
        check_writable(path.parent)
        self._claims.enter_context(claim(path))
        if self._partial is not None:
            self._partial.save()
        values = self.reward_model.no_values(encoded)
        self._begun.append(self._unfinished(encoded, path))
        self._partial = PartialScores(self._begun[-1], values)
        done = torch.zeros(len(encoded), dtype=torch.int32)
        if self.processes.first:  # the other processes get its values below, in the sum
            done += torch.from_numpy(self._partial.restore())
        self.processes.add_up(done)
        if number := int(done.sum()):
            say(f"evaluate {what}: resuming: {number} of {len(encoded)} completions are scored")
        progress = Progress(f"evaluate {self._name} {what}", len(encoded) - number, "completion")
        every = self.reward_model.batches(encoded, self.options.tokens_per_batch)
        batches = [batch for batch in every if not done[batch[0]]]
        shared = self.processes.share(batches)
        scored = self.reward_model.score_batches(encoded, shared, values)
        for turn, indices in enumerate(scored):
            self._partial.add(indices)
            progress.advance(sum(map(len, self.processes.turn(batches, turn))))
        for flat in values.arrays.values():
            self.processes.add_up(torch.from_numpy(flat))  # 0 where another process has scored
        return values.scores(encoded)

    def _unfinished(self, encoded: Sequence[Encoded], path: Path) -> Unfinished:
        """The unfinished work on the scores of exactly these tokens by exactly this model."""
        digest = hashlib.sha256()
        for one in encoded:
            digest.update(array("q", [len(one.input_ids), one.start, *one.input_ids]).tobytes())
        return Unfinished.of(
            path,
            "evaluate",
            {"tokens_per_batch": self.options.tokens_per_batch},
            self.options.model_sources,
            self.reward_model,
            digest.hexdigest(),
        )

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Remove the unfinished work, unless there was an error."""
        if kind is None and self.processes.first:
            for unfinished in self._begun:
                unfinished.discard()
        self._claims.close()


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
