from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgecnn.errors import BadInput
from edgecnn.testing.fakes import FakeClock, FakeRun, FakeSession, write_tree


def test_the_clock_stands_still_until_it_is_moved() -> None:
    clock = FakeClock(start_ns=5)
    assert [clock.now_ns(), clock.now_ns()] == [5, 5]
    clock.advance(10)
    assert clock.now_ns() == 15
    assert clock.reads == 3


def test_the_clock_can_move_with_every_reading() -> None:
    clock = FakeClock(step_ns=7)
    assert [clock.now_ns() for _ in range(3)] == [0, 7, 14]


def test_runs_take_the_times_that_were_given() -> None:
    clock, seen = FakeClock(), list[int]()
    run = FakeRun(clock, [3, 4], on_call=seen.append)
    stamps = []
    for _ in range(4):
        run()
        stamps.append(clock.now_ns())
    assert stamps == [3, 7, 11, 15]
    assert (run.calls, seen) == (4, [0, 1, 2, 3])


def test_the_session_keeps_the_contract_of_sessions() -> None:
    clock = FakeClock()
    with FakeSession(FakeRun(clock, [100])) as session:
        feeds = {"x": np.ones((5, 3), np.float32)}
        answer = session.run(feeds)
        assert (answer["y"].shape, answer["y"].dtype) == ((5, 2), np.float32)
        assert clock.now_ns() == 100
        assert session.feeds == [feeds]
        assert session.info().backend == "fake"
        with pytest.raises(BadInput, match="input x"):
            session.run({"x": np.ones((5, 4), np.float32)})
    with pytest.raises(RuntimeError, match="closed"):
        session.run(feeds)


def test_a_tree_is_written(tmp_path: Path) -> None:
    root = write_tree(tmp_path, {"proc/self/status": "a", "sys/x": "b"})
    assert root == tmp_path
    assert (root / "proc/self/status").read_text() == "a"
    assert (root / "sys/x").read_text() == "b"
