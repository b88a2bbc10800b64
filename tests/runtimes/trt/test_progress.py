"""Stopping a build without an exception inside TensorRT's own code."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading

import pytest

from edgecnn.runtimes.trt.progress import progress_monitor, stoppable
from edgecnn.testing.fakecuda import FakeCudart
from edgecnn.testing.faketrt import FakeTensorRT


@pytest.fixture(autouse=True)
def default_handler() -> None:
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        pytest.skip("something else handles Ctrl-C here")


def test_an_interruption_waits_for_the_end_of_the_block() -> None:
    # In a process of its own: after OpenVINO's bfloat16 kernels have run under pytest's fault handler, as they do in other
    # tests, any signal ends the process.
    child = multiprocessing.get_context("spawn").Process(target=_interrupted_block)
    child.start()
    child.join()
    assert child.exitcode == 0


def _interrupted_block() -> None:
    reached = False
    with pytest.raises(KeyboardInterrupt), stoppable() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        reached = isinstance(stop.reason, KeyboardInterrupt)
    assert reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_a_reason_nothing_is_raised() -> None:
    with stoppable() as stop:
        pass
    assert stop.reason is None


def test_an_error_of_the_build_comes_first() -> None:
    with pytest.raises(ValueError, match="own"), stoppable() as stop:
        stop.reason = KeyboardInterrupt()
        raise ValueError("own")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_apps_own_handler_and_other_threads_are_left_alone() -> None:
    def own(number: int, frame: object) -> None:
        pass

    signal.signal(signal.SIGINT, own)
    try:
        with stoppable():
            assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    seen: list[object] = []

    def work() -> None:
        with stoppable():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


def test_a_monitor_tells_steps_until_there_is_a_reason() -> None:
    told: list[tuple[str, int, int]] = []

    def progress(name: str, done: int, of: int) -> None:
        told.append((name, done, of))
        if done == 2:
            raise SystemExit("enough")

    trt = FakeTensorRT(FakeCudart())
    with pytest.raises(SystemExit, match="enough"), stoppable() as stop:
        monitor = progress_monitor(trt, stop, progress)
        monitor.phase_start("outer", None, 3)
        monitor.phase_start("inner", "outer", 5)
        assert monitor.step_complete("inner", 0)
        assert not monitor.step_complete("inner", 1)
        assert not monitor.step_complete("outer", 0)
        monitor.phase_finish("inner")
    assert told == [("outer", 0, 3), ("inner", 0, 5), ("inner", 1, 5), ("inner", 2, 5)]
