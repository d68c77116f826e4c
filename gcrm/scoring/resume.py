"""Unfinished scores and goal states on disk: an interruption costs about a minute of work.

Work is always divided into the same batches, so that the result is the same, bit for bit, however
often it was interrupted.
"""

import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gcrm.lineage.resume import discard, parts_of, unfinished
from gcrm.modeling.reward_model import RewardModel, TokenValues
from gcrm.utils.io import atomic_path

SECONDS = 60.0
"""Time between two files of unfinished work."""

Arrays = Mapping[str, NDArray[Any]]


class Unfinished:
    """The arrays of unfinished work, in .npz files of one folder.

    Args:
        folder: see `of`. result: the file that is to be made.
    """

    def __init__(self, folder: Path, result: Path) -> None:
        self.folder, self._result = folder, result
        self._written = time.monotonic()

    @classmethod
    def of(
        cls,
        result: Path,
        stage: str,
        settings: Mapping[str, Any],
        sources: Iterable[Path | str],
        reward_model: RewardModel,
        *others: Any,
    ) -> "Unfinished":
        """The work on a result that was begun exactly as it is to be made now.

        Args:
            settings: those that the result depends on, as JSON has them.
            sources: reward model and data; files count by their content.
            reward_model: the loaded model; the last digits depend on its device and type.
            others: what else the result depends on.
        """
        model = reward_model.model
        machine = (torch.get_num_threads(), model.device.type, model.dtype)
        commit = getattr(model.config, "_commit_hash", None)  # of a model from the hub
        facts = (*others, *machine, commit)
        folder = unfinished(parts_of(result), result, stage, settings, sources, *facts)
        return cls(folder, result)

    @property
    def is_due(self) -> bool:
        """Whether the last file is old enough for the next one."""
        return time.monotonic() - self._written >= SECONDS

    def write(self, name: str, arrays: Arrays) -> None:
        """Write arrays to a file of this name, in place of an earlier one.

        Raises:
            UserError: there is no room for it.
        """
        contents: Any = dict(arrays)
        with atomic_path(self.folder / f"{name}.npz") as path:
            np.savez(path, **contents)
        self._written = time.monotonic()

    def read(self, pattern: str) -> Iterator[Arrays]:
        """The arrays of each file whose name matches; damaged files are left out."""
        for file in sorted(self.folder.glob(f"{pattern}.npz")):
            try:
                with np.load(file, allow_pickle=False) as arrays:
                    found = dict(arrays)
            except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile):
                continue
            yield found

    def discard(self) -> None:
        """Remove all unfinished work on the result, whatever it was begun with."""
        discard(parts_of(self._result), self._result)


class PartialScores:
    """The values of scored completions, written part by part.

    Args:
        files: where the parts are. values: where scores are put, and parts are taken from.
    """

    def __init__(self, files: Unfinished, values: TokenValues) -> None:
        self._files, self._values = files, values
        self._pending: list[int] = []

    def restore(self) -> NDArray[np.bool_]:
        """Put what was scored earlier in its place; returns which completions, shape (n,)."""
        done = np.zeros(len(self._values.num_tokens), bool)
        for arrays in self._files.read("[0-9]*"):
            try:
                rows = arrays["rows"]
                indices = self._values.token_indices(rows)
                found = {name: arrays[name] for name in self._values.arrays}
            except (KeyError, IndexError):  # not a part of this table
                continue
            if all(len(values) == len(indices) for values in found.values()):
                for name, values in found.items():
                    self._values.arrays[name][indices] = values
                done[rows] = True
        return done

    def add(self, rows: Sequence[int]) -> None:
        """Count completions as scored; now and then, write those since the last time."""
        self._pending += rows
        if self._files.is_due:
            self.save()

    def save(self) -> None:
        """Write what was scored since the last time.

        Raises:
            UserError: there is no room for it.
        """
        if self._pending:
            rows = np.array(self._pending, np.int64)
            indices = self._values.token_indices(rows)
            scores = {name: values[indices] for name, values in self._values.arrays.items()}
            self._files.write(str(rows[0]), {"rows": rows, **scores})
        self._pending = []
