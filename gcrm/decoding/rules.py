"""Which samples of a problem end at a check, by what a reward model says of them so far."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from gcrm.stats.bootstrap import Floats

By = Literal["q_value", "reward"]


class Known(Protocol):
    """What is known of a sample: None where there is no such score yet."""

    @property
    def q_value(self) -> float | None:
        """The smallest Q-value so far."""

    @property
    def reward(self) -> float | None:
        """The reward so far."""


@dataclass(frozen=True)
class Rule:
    """Drops samples below a threshold, or the worst share of those that go on.

    The worst are dropped first, until no more than `keep` samples of the problem are left. A sample
    without a score is not dropped.

    Attributes:
        by: the score that is compared; higher is better.
        keep: samples of a problem that are never dropped.
        threshold: of the score; None to drop a share.
        share: of the samples that go on, 0 to 1; their number is rounded down.
    """

    by: By
    keep: int
    threshold: float | None = None
    share: float = 0.0

    def dropped(self, samples: Sequence[Known], running: Sequence[bool], kept: int) -> list[int]:
        """Places of the samples that are dropped, the worst first.

        Args:
            samples: those of a problem that are looked at.
            running: whether each goes on; the others have just ended by themselves.
            kept: samples of the problem that ended before, and were not dropped.
        """
        scores = self._scores(samples)
        worst_first = [int(place) for place in np.argsort(scores, kind="stable")]
        if self.threshold is None:
            candidates = [place for place in worst_first if running[place]]
            number = int(self.share * len(candidates))
            candidates = [place for place in candidates[:number] if np.isfinite(scores[place])]
        else:
            candidates = [place for place in worst_first if scores[place] < self.threshold]
        return candidates[: max(0, len(samples) + kept - self.keep)]

    def _scores(self, samples: Sequence[Known]) -> Floats:
        found = (getattr(one, self.by) for one in samples)
        return np.array([np.inf if score is None else score for score in found], np.float64)
