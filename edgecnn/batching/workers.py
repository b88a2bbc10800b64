"""The threads of a `Batcher`: they wait for batches, run them and answer every request once."""

from __future__ import annotations

import atexit
from collections import Counter
from collections.abc import Callable, Sequence
from threading import Condition, Lock, Thread, current_thread
from types import MappingProxyType
from typing import Any
from weakref import WeakSet

from edgecnn.batching.requestqueue import Request, RequestQueue, Taken
from edgecnn.batching.stats import BatcherStats
from edgecnn.errors import DeadlineExceeded, Overloaded
from edgecnn.runtimes.base import Array
from edgecnn.units import count_of

CLOSED = "this batcher is closed"

RunBatch = Callable[[Sequence[Request]], list[dict[str, Array]]]

# An engine that still runs while the interpreter goes away crashes the process; see `_end_all`.
_started: WeakSet[Workers] = WeakSet()


class Workers:
    """A queue and the threads that empty it. Futures are answered outside the lock: their callbacks may submit again.

    Args:
        run: runs a batch and returns the outputs of each of its requests.
        queue: touched under this object's lock only.
        clock: monotonic, nanoseconds.
    """

    def __init__(self, run: RunBatch, queue: RequestQueue, clock: Callable[[], int]) -> None:
        self._run = run
        self._queue = queue
        self._clock = clock
        lock = Lock()
        self._work = Condition(lock)
        self._room = Condition(lock)
        self._closing = False
        self._threads: list[Thread] = []
        self._counts: Counter[str] = Counter()
        self._sizes: Counter[int] = Counter()
        self._waited_ns = 0
        self._longest_ns = 0

    @property
    def closing(self) -> bool:
        """Whether `close` was called."""
        return self._closing

    def start(self, count: int) -> None:
        """Start the threads. They do not keep the process alive."""
        self._threads = [Thread(target=self._loop, name=f"edgecnn-batcher-{i}", daemon=True) for i in range(count)]
        for thread in self._threads:
            thread.start()
        _started.add(self)

    def admit(self, block_s: float | None) -> None:
        """Return when there is room for a request, which another thread may take.

        Raises:
            Overloaded: there is none, or none came within `block_s`.
            RuntimeError: closed, also while this waited.
        """
        self._sweep()
        with self._work:
            self._wait_for_room(block_s)

    def put(self, request: Request, block_s: float | None) -> None:
        """Queue a request; raises as `admit`."""
        self._sweep()
        with self._work:
            self._wait_for_room(block_s)
            self._counts["submitted"] += 1
            if self._queue.put(request):
                self._work.notify()

    def close(self, *, drain: bool) -> None:
        """Take no more requests, run or cancel what waits, and return when all threads have ended.

        A callback of a future runs in one of these threads and does not wait: two that close would wait for each other.
        """
        with self._work:
            self._closing = True
            dropped = [] if drain else self._queue.clear()
            self._counts["cancelled"] += len(dropped)
            self._work.notify_all()
            self._room.notify_all()
        for request in dropped:
            request.future.cancel()
            request.future.set_running_or_notify_cancel()
        if current_thread() not in self._threads:
            for thread in self._threads:
                thread.join()

    def stats(self) -> BatcherStats:
        """Return the figures of this moment."""
        with self._work:
            return BatcherStats(
                queued=len(self._queue),
                sizes=MappingProxyType(dict(sorted(self._sizes.items()))),
                waited_ms=self._waited_ns / 1e6,
                longest_wait_ms=self._longest_ns / 1e6,
                **self._counts,
            )

    def _wait_for_room(self, block_s: float | None) -> None:
        if self._closing:
            raise RuntimeError(CLOSED)
        if not self._queue.full:
            return
        if block_s != 0:
            self._room.wait_for(lambda: self._closing or not self._queue.full, block_s)
        if self._closing:
            raise RuntimeError(CLOSED)
        if self._queue.full:
            self._counts["refused"] += 1
            raise Overloaded(
                f"the queue is full: {count_of(len(self._queue), 'request')} in it",
                "try again later, or allow a longer queue",
            )

    def _sweep(self) -> None:
        """Make room in a full queue: what has expired or was cancelled need not wait for a worker."""
        if not self._queue.full:
            return
        with self._work:
            now_ns = self._clock()
            taken = self._queue.sweep(now_ns)
            self._count(taken, now_ns)
        _expire(taken)

    def _loop(self) -> None:
        while (taken := self._next()) is not None:
            _expire(taken)
            if taken.batch:
                self._answer(taken.batch)

    def _next(self) -> Taken | None:
        """Wait for the next batch, or for requests that have expired; None when there is nothing more to do."""
        with self._work:
            while True:
                now_ns = self._clock()
                taken = self._queue.take(now_ns, hurry=self._closing)
                self._count(taken, now_ns)
                if taken.batch or taken.expired:
                    # Another worker must see to the rest: this one is busy from here on.
                    if len(self._queue):
                        self._work.notify()
                    return taken
                wake_ns = self._queue.wake_ns
                if wake_ns is None and self._closing:
                    return None
                self._work.wait(None if wake_ns is None else max(0, wake_ns - now_ns) / 1e9)

    def _count(self, taken: Taken, now_ns: int) -> None:
        if not (taken.batch or taken.expired or taken.cancelled):
            return
        self._counts["expired"] += len(taken.expired)
        self._counts["cancelled"] += taken.cancelled
        self._room.notify_all()
        if taken.batch:
            waits = [now_ns - request.submitted_ns for request in taken.batch]
            self._waited_ns += sum(waits)
            self._longest_ns = max(self._longest_ns, *waits)
            self._counts["running"] += len(taken.batch)
            self._counts["batches"] += 1
            self._sizes[sum(request.rows for request in taken.batch) or 1] += 1

    def _answer(self, batch: list[Request]) -> None:
        answers: list[tuple[Request, Any, BaseException | None]] = []
        try:
            outputs = self._run(batch)
        except BaseException as error:  # whatever it is, it belongs to those who asked, and the thread goes on
            answers = [(request, None, error) for request in batch]
        else:
            answers = [(request, *_finished(request, part)) for request, part in zip(batch, outputs, strict=True)]
        failed = sum(error is not None for _, _, error in answers)
        with self._work:
            self._counts["running"] -= len(batch)
            self._counts["failed"] += failed
            self._counts["answered"] += len(batch) - failed
        for request, answer, problem in answers:
            if problem is None:
                request.future.set_result(answer)
            else:
                request.future.set_exception(problem)


def _finished(request: Request, outputs: dict[str, Array]) -> tuple[Any, BaseException | None]:
    try:
        return request.finish(outputs), None
    except BaseException as error:
        return None, error


def _expire(taken: Taken) -> None:
    for request in taken.expired:
        allowed_s = ((request.deadline_ns or 0) - request.submitted_ns) / 1e9
        request.future.set_exception(
            DeadlineExceeded(f"no run began within {allowed_s:g} s", "allow more time, or send fewer requests at once")
        )


def _end_all() -> None:
    for workers in list(_started):
        workers.close(drain=False)


atexit.register(_end_all)
