"""Scoring that takes hours is kept part by part, so that an interruption costs a minute of it.

A part is a file with the numbers of the completions that were scored in about a minute, and the
values of their tokens. Batches are the same in every go, so that the table is the same, bit for
bit, in however many goes it was made.
"""

import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcrm.utils.io import atomic_path

SECONDS = 60.0
"""Time between two parts: what an interruption may cost."""

Values = Sequence[NDArray[np.float32]]
"""For each kind of score, the values of the tokens of all completions, end to end."""


class Parts:
    """The parts of one table of scores, in a folder of their own.

    Attributes:
        completions: how many were scored in earlier goes.
    """

    def __init__(self, folder: Path, num_tokens: NDArray[np.int32], read: bool = True) -> None:
        """Look at what there is.

        Args:
            num_tokens: tokens of each completion.
            read: false in all but one of several processes, all of which write.
        """
        self._folder = folder
        self._tokens = num_tokens
        self._ends = np.cumsum(num_tokens, dtype=np.int64)
        files = sorted(folder.glob("[0-9]*.npz")) if read else []
        self._found = [file for file in files if self._is_usable(file)]
        self.completions = sum(len(arrays["rows"]) for arrays in self._arrays())
        self._values: Values = []
        self._pending: list[int] = []
        self._saved = time.monotonic()

    def restore(self, values: Values) -> NDArray[np.bool_]:
        """Put what was scored in earlier goes to its place; which completions that is, (n,).

        Args:
            values: where scores are put; parts are later taken from there.
        """
        self._values = values
        done = np.zeros(len(self._tokens), bool)
        for arrays in self._arrays():
            rows = arrays["rows"]
            for number, kind in enumerate(values):
                kind[self._places(rows)] = arrays[f"values{number}"]
            done[rows] = True
        return done

    def add(self, rows: Sequence[int]) -> None:
        """Count completions as scored; now and then, write down those since the last time."""
        self._pending += rows
        if time.monotonic() - self._saved >= SECONDS:
            self.save()

    def save(self) -> None:
        """Write down what was scored since the last time.

        Raises:
            UserError: there is no room for it.
        """
        if self._pending:
            rows = np.array(self._pending, np.int64)
            places = self._places(rows)
            kinds: Any = {f"values{n}": kind[places] for n, kind in enumerate(self._values)}
            with atomic_path(self._folder / f"{rows[0]}.npz") as path:
                np.savez(path, rows=rows, **kinds)
        self._pending = []
        self._saved = time.monotonic()

    def _arrays(self) -> Iterator[dict[str, NDArray[Any]]]:
        return filter(None, map(read_arrays, self._found))

    def _places(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the tokens of these completions are."""
        spans = zip(self._ends[rows], self._tokens[rows], strict=True)
        return np.concatenate([np.arange(end - length, end) for end, length in spans])

    def _is_usable(self, file: Path) -> bool:
        """Whether a part is readable, and of as many tokens as it should be."""
        try:
            arrays = read_arrays(file) or {}
            return bool(len(arrays["values0"]) == self._tokens[arrays["rows"]].sum())
        except (KeyError, IndexError):
            return False


def read_arrays(file: Path) -> dict[str, NDArray[Any]] | None:
    """The arrays of an .npz file by name; None where it is not there, or damaged."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile):
        return None
