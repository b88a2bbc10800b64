"""How far a build is, and stopping one: no exception may cross TensorRT's own code, so a build is asked to end instead."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Progress = Callable[[str, int, int], object]
"""Called with a phase's name, how many of its steps are done, and how many it has. TensorRT calls it from its threads."""


class Stop:
    """Why a build shall end.

    Attributes:
        reason: what its caller shall raise, None while the build may go on.
    """

    def __init__(self) -> None:
        self.reason: BaseException | None = None


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Yield what ends a build, and raise its reason once the build has ended.

    Ctrl-C would raise at any instruction, inside a callback of TensorRT as well, which ends the process there. So it is kept
    for the end of the block, unless the app handles it by itself; only the main thread gets it.
    """
    stop = Stop()

    def keep(number: int, frame: object) -> None:
        stop.reason = KeyboardInterrupt()

    own = threading.current_thread() is threading.main_thread()
    own = own and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if own:
        signal.signal(signal.SIGINT, keep)
    try:
        yield stop
    finally:
        if own:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if stop.reason is not None:
        raise stop.reason


def progress_monitor(trt: Any, stop: Stop, progress: Progress | None) -> Any:
    """Return TensorRT's IProgressMonitor that tells `progress`, and ends the build once there is a reason.

    Args:
        trt: the module.
        stop: what `progress` raises becomes its reason.
        progress: None tells nobody.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps
            self._tell(phase_name, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._tell(phase_name, step + 1)
            return stop.reason is None

        def phase_finish(self, phase_name: str) -> None:
            # After an early end as well, so the steps are not counted as done.
            self._steps.pop(phase_name, None)

        def _tell(self, phase_name: str, done: int) -> None:
            if progress is not None and stop.reason is None:
                try:
                    progress(phase_name, done, self._steps.get(phase_name, done))
                except BaseException as error:
                    stop.reason = error

    return Monitor()
