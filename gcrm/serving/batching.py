"""Requests that arrive while the model works are scored together, in the next batch.

The model runs in one thread, and the server answers meanwhile. A batch takes some solutions of each
waiting request in turn, so that a large request holds up a small one by a batch at the most.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from gcrm.config.serve import Limits
from gcrm.modeling.reward_model import RewardModel
from gcrm.modeling.stream import TokenScores
from gcrm.modeling.tokenization import Encoded
from gcrm.serving.errors import Refused
from gcrm.serving.metrics import Metrics
from gcrm.serving.reading import costs_of
from gcrm.utils.logging import say

SPEED_SMOOTHING = 0.8
"""share of the former speed in the mean of tokens a second"""
LONGEST_WAIT = 60
"""seconds; no Retry-After is longer"""


@dataclass(eq=False)
class _Job:
    """The texts of a request with the tokens that each costs, and the scores so far."""

    encoded: Sequence[Encoded]
    costs: Sequence[int]
    done: asyncio.Future[list[TokenScores]]
    taken: int = 0
    scores: list[TokenScores] = field(default_factory=list)


Share = tuple[_Job, slice]
"""The texts of a job that a batch scores."""


class Batcher:
    """Scores the texts of many requests, in batches, one after the other.

    Attributes:
        waiting_tokens: tokens of all requests that are not answered yet.
    """

    def __init__(self, model: RewardModel, limits: Limits, metrics: Metrics, per_pass: int | None):
        self._model, self._limits, self._metrics = model, limits, metrics
        self._per_pass = per_pass
        self._jobs: deque[_Job] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._speed = 0.0
        self.waiting_tokens = 0

    async def score(self, encoded: Sequence[Encoded]) -> list[TokenScores]:
        """The scores of the texts of a request, in their order.

        Cancelled, as by a timeout, it leaves the queue.

        Raises:
            Refused: too many tokens wait, or the model fails.
        """
        costs = costs_of(encoded)
        tokens = sum(costs)
        if self.waiting_tokens + tokens > self._limits.max_queue_tokens:
            raise Refused(
                429,
                f"{self.waiting_tokens} tokens wait, and with the {tokens} of this request there "
                f"would be more than {self._limits.max_queue_tokens} (max_queue_tokens)",
                retry_after=self.seconds_to_wait(),
            )
        job = _Job(encoded, costs, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._arrived.set()
        self.waiting_tokens += tokens
        self._metrics.queue_tokens.inc(tokens)
        try:
            return await job.done
        finally:
            self.waiting_tokens -= tokens
            self._metrics.queue_tokens.dec(tokens)

    def seconds_to_wait(self) -> int:
        """After how long the queue should have been worked off, in whole seconds."""
        seconds = self.waiting_tokens / self._speed if self._speed else 1
        return int(min(max(seconds, 1), LONGEST_WAIT))

    async def run(self) -> None:
        """Score what arrives, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            batch = self._take()
            if not batch:
                self._arrived.clear()
                continue
            started = time.monotonic()
            try:
                await loop.run_in_executor(self._thread, self._score, batch)
            except Exception as error:
                if len(batch) == 1:
                    self._fail(batch[0][0], error)
                else:  # the others must not suffer from the one that fails
                    await self._one_by_one(batch)
            self._note(batch, time.monotonic() - started)
            for job, _ in batch:
                if len(job.scores) == len(job.encoded) and not job.done.done():
                    job.done.set_result(job.scores)

    def close(self) -> None:
        """End the model's thread."""
        self._thread.shutdown(cancel_futures=True)

    def _take(self) -> list[Share]:
        """The next batch: of each request in turn some texts, the last perhaps beyond the limit."""
        left = self._limits.max_batch_tokens
        batch: list[Share] = []
        for _ in range(len(self._jobs)):
            if left <= 0:
                break
            job = self._jobs.popleft()
            if job.done.done():  # it timed out
                continue
            first = job.taken
            while job.taken < len(job.encoded) and left > 0:
                left -= job.costs[job.taken]
                job.taken += 1
            batch.append((job, slice(first, job.taken)))
            if job.taken < len(job.encoded):
                self._jobs.append(job)
        return batch

    def _score(self, batch: Sequence[Share]) -> None:
        """Score a batch and put its scores where they belong; in the model's thread."""
        texts = [text for job, share in batch for text in job.encoded[share]]
        found = self._model.score_encoded(texts, self._per_pass)
        scores = (
            TokenScores(
                found.partial_rewards[row],
                None if found.q_values is None else found.q_values[row],
            )
            for row in range(len(texts))
        )
        for job, share in batch:
            job.scores += islice(scores, share.stop - share.start)

    async def _one_by_one(self, batch: Sequence[Share]) -> None:
        loop = asyncio.get_running_loop()
        for share in batch:
            try:
                await loop.run_in_executor(self._thread, self._score, [share])
            except Exception as error:
                self._fail(share[0], error)

    def _fail(self, job: _Job, error: Exception) -> None:
        """Tell a request that the model failed; what it says may hold paths, or a user's text."""
        say(f"serve: the model failed on a request: {type(error).__name__}")
        if job in self._jobs:
            self._jobs.remove(job)
        if not job.done.done():
            job.done.set_exception(
                Refused(503, "the model failed on this request; its texts may be too long for it")
            )

    def _note(self, batch: Sequence[Share], seconds: float) -> None:
        tokens = sum(sum(job.costs[share]) for job, share in batch)
        texts = sum(share.stop - share.start for _, share in batch)
        speed = tokens / max(seconds, 1e-9)
        mixed = SPEED_SMOOTHING * self._speed + (1 - SPEED_SMOOTHING) * speed
        self._speed = mixed if self._speed else speed
        self._metrics.batches(tokens, len(batch), texts, seconds)
