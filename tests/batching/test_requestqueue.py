"""Which requests leave together and when, on a clock that only the test moves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edgecnn.batching.requestqueue import Request, RequestQueue, Taken

MAX_ROWS = 4
SIZE = 6


def request(
    *, rows: int = 1, key: str = "a", now_ns: int = 0, wait_ns: int = 10, allowed_ns: int | None = None
) -> Request:
    return Request(
        feeds={"x": np.zeros((rows, 1))},
        rows=rows,
        key=key,
        finish=lambda outputs: outputs,
        submitted_ns=now_ns,
        due_ns=now_ns + wait_ns,
        deadline_ns=None if allowed_ns is None else now_ns + allowed_ns,
    )


def filled(*requests: Request) -> RequestQueue:
    queue = RequestQueue(size=SIZE, max_rows=MAX_ROWS)
    for one in requests:
        queue.put(one)
    return queue


def test_a_batch_waits_until_its_oldest_is_due_and_leaves_then() -> None:
    first, second = request(), request(now_ns=5)
    queue = filled(first, second)
    assert queue.take(9) == Taken()
    assert queue.wake_ns == 10
    assert queue.take(10).batch == [first, second]
    assert queue.wake_ns is None
    assert len(queue) == 0


def test_a_full_batch_leaves_at_once_and_the_rest_waits_on() -> None:
    requests = [request(now_ns=i) for i in range(6)]
    queue = filled(*requests)
    assert queue.take(6).batch == requests[:4]
    assert queue.take(6).batch == []
    assert queue.wake_ns == 14


def test_putting_tells_when_a_worker_must_look() -> None:
    queue = RequestQueue(size=SIZE, max_rows=MAX_ROWS)
    assert queue.put(request(now_ns=0))
    assert not queue.put(request(now_ns=1))
    assert queue.put(request(now_ns=2, wait_ns=3))
    assert queue.put(request(now_ns=3))


def test_what_does_not_fit_any_more_makes_a_batch_full() -> None:
    first, second, third = request(rows=2), request(rows=3), request(rows=1)
    queue = filled(first, second, third)
    assert queue.take(0).batch == [first]
    assert queue.take(0).batch == [second, third]


def test_other_shapes_wait_for_their_own_batch() -> None:
    one, other, third = request(), request(key="b"), request()
    queue = filled(one, other, third)
    assert queue.take(10).batch == [one, third]
    assert queue.take(10).batch == [other]


def test_requests_without_rows_run_alone_and_at_once() -> None:
    one, other = request(rows=0), request(rows=0)
    queue = filled(one, other)
    assert queue.take(0).batch == [one]
    assert queue.take(0).batch == [other]


def test_hurry_does_not_wait_for_company() -> None:
    one = request()
    assert filled(one).take(0, hurry=True).batch == [one]


def test_expired_and_cancelled_requests_leave_without_a_run() -> None:
    late, unwanted, good = request(allowed_ns=20, wait_ns=10), request(), request(now_ns=15)
    queue = filled(late, unwanted, good)
    unwanted.future.cancel()
    assert queue.take(20) == Taken(expired=[late], cancelled=1)
    assert queue.take(25).batch == [good]
    assert unwanted.future.cancelled()


def test_clear_returns_what_waits() -> None:
    requests = [request(), request()]
    queue = filled(*requests)
    assert queue.clear() == requests
    assert len(queue) == 0
    assert queue.wake_ns is None


class Interleavings(RuleBasedStateMachine):
    """Nothing is lost, nothing leaves twice, nothing leaves late, whatever comes in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = 0
        self.queue = RequestQueue(size=SIZE, max_rows=MAX_ROWS)
        self.waiting: list[Request] = []

    @precondition(lambda self: not self.queue.full)
    @rule(
        rows=st.integers(0, MAX_ROWS),
        key=st.sampled_from("ab"),
        wait_ns=st.integers(0, 9),
        allowed_ns=st.none() | st.integers(1, 20),
    )
    def put(self, rows: int, key: str, wait_ns: int, allowed_ns: int | None) -> None:
        key = key if rows else "alone"
        one = request(rows=rows, key=key, now_ns=self.now_ns, wait_ns=wait_ns, allowed_ns=allowed_ns)
        self.queue.put(one)
        self.waiting.append(one)

    @rule(step_ns=st.integers(0, 12))
    def advance(self, step_ns: int) -> None:
        self.now_ns += step_ns

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        assert data.draw(st.sampled_from(self.waiting)).future.cancel()

    @rule(hurry=st.booleans())
    def take(self, hurry: bool) -> None:
        before = list(self.waiting)
        taken = self.queue.take(self.now_ns, hurry=hurry)
        self._leave(taken)
        alive = [one for one in before if not one.future.cancelled() and one not in taken.expired]
        if taken.batch:
            assert taken.batch[0] is alive[0]
            same = [one for one in alive if one.key == alive[0].key]
            assert taken.batch == same[: len(taken.batch)]
            assert sum(one.rows for one in taken.batch) <= MAX_ROWS
        elif alive:
            assert not hurry
            assert self.now_ns < min(one.due_ns for one in alive)
            assert sum(one.rows for one in alive if one.key == alive[0].key) < MAX_ROWS
        assert all(one.deadline_ns is None or one.deadline_ns > self.now_ns for one in taken.batch)

    @rule()
    def sweep(self) -> None:
        taken = self.queue.sweep(self.now_ns)
        assert not taken.batch
        self._leave(taken)

    @invariant()
    def the_queue_knows_its_length(self) -> None:
        assert len(self.queue) == len(self.waiting)
        assert self.queue.full == (len(self.waiting) >= SIZE)
        assert self.queue.wake_ns == min((one.due_ns for one in self.waiting), default=None)

    def _leave(self, taken: Taken) -> None:
        gone = [*taken.batch, *taken.expired]
        cancelled = [one for one in self.waiting if one.future.cancelled()]
        assert taken.cancelled == (len(cancelled) if len(self.queue) < len(self.waiting) else 0)
        for one in gone:
            assert one.future.running()
            self.waiting.remove(one)
        for one in cancelled:
            self.waiting.remove(one)


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize("count", [1, SIZE])
def test_full_is_full(count: int) -> None:
    queue = filled(*(request() for _ in range(count)))
    assert queue.full == (count == SIZE)
