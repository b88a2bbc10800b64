"""Stand-ins for what a test cannot command: time, and an engine whose every run takes as long as the test says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain, repeat
from pathlib import Path

from edgecnn.runtimes.base import Array, Feeds, Session
from edgecnn.runtimes.null import zeros_for
from edgecnn.specs import EngineInfo, TensorSpec


class FakeClock:
    """A clock that stands still until it is moved.

    Args:
        start_ns: what it shows at first.
        step_ns: by how much every reading moves it on, after the reading.

    Attributes:
        reads: how often it was read.
    """

    def __init__(self, *, start_ns: int = 0, step_ns: int = 0) -> None:
        self._now_ns = start_ns
        self._step_ns = step_ns
        self.reads = 0

    def now_ns(self) -> int:
        """Return the time that the clock shows."""
        now = self._now_ns
        self._now_ns += self._step_ns
        self.reads += 1
        return now

    def advance(self, nanoseconds: int) -> None:
        """Move the clock on; a negative value is a clock that jumps back."""
        self._now_ns += nanoseconds


class FakeRun:
    """A callable whose calls take given times on a fake clock; the last time holds for all further calls.

    Args:
        clock: what the calls move on.
        durations_ns: of the first calls, in order; at least one.
        on_call: called with the 0-based number of each call before its time passes.

    Attributes:
        calls: how often it was called.
    """

    def __init__(
        self, clock: FakeClock, durations_ns: Sequence[int], *, on_call: Callable[[int], None] | None = None
    ) -> None:
        self._clock = clock
        self._durations = chain(durations_ns, repeat(durations_ns[-1]))
        self._on_call = on_call
        self.calls = 0

    def __call__(self) -> None:
        """Let the time of one call pass."""
        if self._on_call:
            self._on_call(self.calls)
        self.calls += 1
        self._clock.advance(next(self._durations))


class FakeSession(Session):
    """A session that answers with zeros and takes given times on a fake clock.

    Args:
        run: what passes the time of each run.
        inputs: one float32 [N, 3] by default.
        outputs: one float32 [N, 2] by default.
        info: what `info` returns.

    Attributes:
        feeds: of every run, in order.
    """

    def __init__(
        self,
        run: Callable[[], object],
        *,
        inputs: tuple[TensorSpec, ...] = (TensorSpec(name="x", dtype="float32", shape=("N", 3)),),
        outputs: tuple[TensorSpec, ...] = (TensorSpec(name="y", dtype="float32", shape=("N", 2)),),
        info: EngineInfo | None = None,
    ) -> None:
        super().__init__(inputs, outputs)
        self._work = run
        self._described = info or EngineInfo(backend="fake", engine="fake", engine_version="1")
        self.feeds: list[Feeds] = []

    def _run(self, feeds: Feeds) -> dict[str, Array]:
        self.feeds.append(feeds)
        self._work()
        return zeros_for(self, feeds)

    def _info(self) -> EngineInfo:
        return self._described


def write_tree(folder: Path, files: Mapping[str, str]) -> Path:
    """Write files by relative path, as a stand-in for /proc and /sys; return the folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder
