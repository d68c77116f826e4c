"""A reward model that scores tables of completions, each from where an interrupted run left it."""

import hashlib
import os
from array import array
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import numpy as np
import torch

from gcrm.config.evaluate import EvaluateOptions
from gcrm.lineage.provenance import FILE, read_provenance, sha256
from gcrm.lineage.resume import discard, parts_of, unfinished
from gcrm.modeling.reward_model import RewardModel, Scores
from gcrm.modeling.tokenization import Encoded
from gcrm.scoring.parts import Parts
from gcrm.utils.disk import check_writable
from gcrm.utils.distributed import join
from gcrm.utils.errors import UserError
from gcrm.utils.locks import claim
from gcrm.utils.logging import Progress, say
from gcrm.utils.paths import short_name


class Scorer(AbstractContextManager["Scorer"]):
    """The reward model of an evaluation, and the processes that share its work.

    What is kept of a table to resume from stays until all tables are written: until the end of the
    `with` block, and beyond it where that ends in an error.
    """

    def __init__(self, options: EvaluateOptions) -> None:
        """Load the model.

        Raises:
            UserError: there is no whole reward model, or its goal state is another one's.
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
        self._paths: list[Path] = []
        self._parts: Parts | None = None  # of the table that was scored last

    def score(self, encoded: Sequence[Encoded], what: str, path: Path) -> Scores:
        """Score completions.

        Args:
            what: their name in progress lines. path: where their table will be.

        Raises:
            UserError: no table can be written there, or another process is about to.
        """
        check_writable(path.parent)
        self._claims.enter_context(claim(path))
        if self._parts is not None:
            self._parts.save()
        tokens = np.array([one.num_tokens for one in encoded], np.int32)
        parts = Parts(self._begun(encoded, path), tokens, read=self.processes.first)
        self._parts = parts
        self._paths.append(path)
        if parts.completions:
            say(
                f"evaluate {what}: resuming: {parts.completions} of {len(encoded)} completions "
                "are scored"
            )
        left = len(encoded) - parts.completions
        progress = Progress(f"evaluate {self._name} {what}", left, "completion")
        return self.reward_model.score_encoded(
            encoded, self.options.tokens_per_batch, progress.advance, self.processes, parts
        )

    def _begun(self, encoded: Sequence[Encoded], path: Path) -> Path:
        """The folder for the scores of just these tokens by just this model."""
        digest = hashlib.sha256()
        for one in encoded:
            digest.update(array("q", [len(one.input_ids), one.start, *one.input_ids]).tobytes())
        model = self.reward_model.model
        return unfinished(
            parts_of(path),
            path,
            "evaluate",
            {"tokens_per_batch": self.options.tokens_per_batch},
            self.options.model_sources,
            *(digest.hexdigest(), torch.get_num_threads(), model.device.type, model.dtype),
            getattr(model.config, "_commit_hash", None),  # of a model from the hub
        )

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Forget what there is to resume from, if all went well."""
        if kind is None and self.processes.first:
            for path in self._paths:
                discard(parts_of(path), path)
        self._claims.close()


def check_goal_state(options: EvaluateOptions) -> None:
    """Refuse the goal state of another model: cosines between their spaces mean nothing.

    One without provenance is taken as it is.

    Raises:
        UserError: its provenance says that it is another's.
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
