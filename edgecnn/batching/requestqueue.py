"""The bounded queue of a `Batcher`: which requests leave together, and when. No threads and no waiting in here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from edgecnn.runtimes.base import Array


@dataclass(slots=True, kw_only=True, eq=False)
class Request:
    """Rows that wait for a run.

    Attributes:
        feeds: the model's inputs, all with `rows` rows.
        rows: how many; 0 where the model has no batch, such requests run alone.
        key: what requests of one batch have in common: names, dtypes and shapes but for the rows.
        finish: makes the answer out of the outputs' rows.
        future: gets the answer.
        submitted_ns: when it came, on the queue's clock.
        due_ns: until when it may wait for company.
        deadline_ns: from when on it is not run any more, None for never.
    """

    feeds: Mapping[str, Array]
    rows: int
    key: Hashable
    finish: Callable[[dict[str, Array]], Any]
    submitted_ns: int
    due_ns: int
    deadline_ns: int | None = None
    future: Future[Any] = field(default_factory=Future)


@dataclass(slots=True, kw_only=True)
class Taken:
    """What leaves the queue at one time.

    Attributes:
        batch: requests of one key that run together, oldest first; their futures are marked as running.
        expired: requests whose deadline has passed; their futures are marked as running and want an error.
        cancelled: how many had been cancelled by whoever asked.
    """

    batch: list[Request] = field(default_factory=list)
    expired: list[Request] = field(default_factory=list)
    cancelled: int = 0


class RequestQueue:
    """Requests in the order in which they came. The caller keeps threads apart.

    Args:
        size: so many may wait.
        max_rows: a batch has at most so many rows; a request must not have more.
    """

    def __init__(self, *, size: int, max_rows: int) -> None:
        self._size = size
        self._max_rows = max_rows
        self._waiting: deque[Request] = deque()
        self._rows = 0
        self._wake_ns: int | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether no further request may wait."""
        return len(self._waiting) >= self._size

    @property
    def wake_ns(self) -> int | None:
        """When the first request must leave, None for an empty queue."""
        return self._wake_ns

    def put(self, request: Request) -> bool:
        """Add a request to a queue that is not full; tell whether whoever waits for a batch must look again."""
        sooner = self._wake_ns is None or request.due_ns < self._wake_ns
        self._waiting.append(request)
        self._rows += request.rows or self._max_rows
        if sooner:
            self._wake_ns = request.due_ns
        return sooner or self._rows >= self._max_rows

    def take(self, now_ns: int, *, hurry: bool = False) -> Taken:
        """Return the batch that leaves now, if one does, and all requests that are not to be run.

        A batch leaves when it is full, or when a request's time to wait is over; the oldest request is always in it,
        and younger ones of the same key as they come, none out of turn.

        Args:
            now_ns: the time.
            hurry: do not wait for company.
        """
        taken = self.sweep(now_ns)
        if not self._waiting:
            return taken
        members, full = self._members()
        if full or hurry or (self._wake_ns is not None and now_ns >= self._wake_ns):
            chosen = {id(request) for request in members}
            self._keep([request for request in self._waiting if id(request) not in chosen])
            # One that is cancelled at this very moment is left out here.
            taken.batch = [request for request in members if request.future.set_running_or_notify_cancel()]
            taken.cancelled += len(members) - len(taken.batch)
        return taken

    def sweep(self, now_ns: int) -> Taken:
        """Remove and return what is not to be run: the expired and the cancelled."""
        taken = Taken()
        kept = []
        for request in self._waiting:
            late = request.deadline_ns is not None and now_ns >= request.deadline_ns
            if not late and not request.future.cancelled():
                kept.append(request)
            elif request.future.set_running_or_notify_cancel():
                taken.expired.append(request)
            else:
                taken.cancelled += 1
        if len(kept) < len(self._waiting):
            self._keep(kept)
        return taken

    def clear(self) -> list[Request]:
        """Remove and return all requests."""
        waiting = list(self._waiting)
        self._keep([])
        return waiting

    def _members(self) -> tuple[list[Request], bool]:
        """Return the requests that would leave with the oldest, and whether no further one can join them."""
        head = self._waiting[0]
        if head.rows == 0:
            return [head], True
        members: list[Request] = []
        rows = 0
        for request in self._waiting:
            if request.key != head.key:
                continue
            if rows + request.rows > self._max_rows:
                return members, True
            members.append(request)
            rows += request.rows
        return members, rows == self._max_rows

    def _keep(self, requests: list[Request]) -> None:
        self._waiting = deque(requests)
        self._rows = sum(request.rows or self._max_rows for request in requests)
        self._wake_ns = min((request.due_ns for request in requests), default=None)
