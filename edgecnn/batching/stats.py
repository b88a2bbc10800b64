"""The figures of a `Batcher`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class BatcherStats:
    """What a batcher has done so far: submitted = queued + running + answered + failed + expired + cancelled.

    Attributes:
        queued: requests that wait now.
        running: requests in runs that are not done.
        submitted: requests that were taken in.
        refused: requests that were not, because the queue was full.
        answered: requests that got their answer.
        failed: requests that got the error of their run.
        expired: requests that got DeadlineExceeded.
        cancelled: requests that were cancelled before they ran.
        batches: runs of the engine.
        sizes: rows of a batch -> how many batches had them.
        waited_ms: time in the queue, milliseconds, sum over all requests that ran.
        longest_wait_ms: the longest of these times.
    """

    queued: int = 0
    running: int = 0
    submitted: int = 0
    refused: int = 0
    answered: int = 0
    failed: int = 0
    expired: int = 0
    cancelled: int = 0
    batches: int = 0
    sizes: Mapping[int, int] = field(default_factory=dict)
    waited_ms: float = 0.0
    longest_wait_ms: float = 0.0

    @property
    def mean_batch(self) -> float:
        """Rows per batch, 0 before the first."""
        return sum(rows * count for rows, count in self.sizes.items()) / self.batches if self.batches else 0.0

    @property
    def mean_wait_ms(self) -> float:
        """Time in the queue per request that ran, milliseconds, 0 before the first."""
        ran = self.running + self.answered + self.failed
        return self.waited_ms / ran if ran else 0.0
