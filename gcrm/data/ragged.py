"""Numbers of tokens: lists of different lengths, one a completion, as flat numpy arrays."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Ragged:
    """Lists of numbers of different lengths: row i is values[offsets[i]:offsets[i+1]].

    Kept flat, so that 250,000 completions stay numpy arrays and never become Python lists.
    """

    values: NDArray[np.float32]
    offsets: NDArray[np.int64]

    @classmethod
    def zeros(cls, lengths: Sequence[int] | NDArray[Any]) -> "Ragged":
        """Rows of these lengths, all 0."""
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return cls(np.zeros(offsets[-1], np.float32), offsets)

    @classmethod
    def of(cls, rows: Iterable[Any]) -> "Ragged":
        """From lists or arrays, one a row."""
        arrays = [np.asarray(row, np.float32).reshape(-1) for row in rows]
        found = cls.zeros([len(array) for array in arrays])
        np.concatenate([found.values[:0], *arrays], out=found.values)
        return found

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> NDArray[np.float32]:
        """A view of one row, which can be written to."""
        row = range(len(self))[row]  # negative ones count from the end
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def slice(self, first: int, last: int) -> "Ragged":
        """A view of the rows from `first` to before `last`."""
        offsets = self.offsets[first : last + 1]
        return Ragged(self.values[offsets[0] : offsets[-1]], offsets - offsets[0])

    def padded(self, filler: float) -> NDArray[np.float32]:
        """All rows in one matrix (rows, longest), with `filler` after their ends."""
        lengths = self.lengths
        matrix = np.full((len(self), lengths.max(initial=0)), filler, np.float32)
        matrix[np.arange(matrix.shape[1]) < lengths[:, None]] = self.values
        return matrix

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Length of each row, shape (rows,)."""
        return np.diff(self.offsets)

    def at_percentile(self, percentile: float) -> NDArray[np.float32]:
        """The value at token max(int(n*p) - 1, 0) of the n tokens of each row (no row is empty)."""
        index = np.maximum((self.lengths * percentile).astype(np.int64) - 1, 0)
        return self.values[self.offsets[:-1] + index]

    def __add__(self, other: "Ragged") -> "Ragged":
        """The rows of both, those of `other` last."""
        offsets = np.concatenate([self.offsets, other.offsets[1:] + self.offsets[-1]])
        return Ragged(np.concatenate([self.values, other.values]), offsets)

    def take(self, rows: Iterable[int]) -> "Ragged":
        """The rows of these indices, in their order."""
        return Ragged.of(self[row] for row in rows)

    def put(self, rows: Iterable[int], values: NDArray[np.float32]) -> None:
        """Overwrite the rows of these indices with the values of `take(rows)`."""
        begin = 0
        for row in rows:
            self[row][:] = values[begin : (begin := begin + len(self[row]))]


@dataclass(frozen=True, eq=False)
class AtShares:
    """A `Ragged` of which only the values after some shares of the tokens are kept.

    Attributes:
        shares: m shares of the tokens.
        values: shape (rows, m).
    """

    shares: Sequence[float]
    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.values)

    def at_percentile(self, percentile: float) -> NDArray[np.float32]:
        """As of the whole rows, at one of the shares."""
        return np.asarray(self.values[:, self.shares.index(percentile)])

    def take(self, rows: NDArray[Any]) -> "AtShares":
        """The rows of these indices, in their order."""
        return replace(self, values=self.values[rows])
