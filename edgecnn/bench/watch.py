"""The machine around a row of timed runs: its state, who used the processors, and what this process held."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecnn.bench.activity import CpuTimes, read_cpu_times, use_between
from edgecnn.bench.clock import Clock
from edgecnn.bench.job import Block, Timed
from edgecnn.bench.latency import SAMPLE_BYTES
from edgecnn.bench.memory import Phase, PhaseMeter, read_cgroup_peak
from edgecnn.devices.state import read_state


class Watch:
    """Looks at the machine before and after; make it first, then `begin`, run, `end`.

    Args:
        clock: what times runs.
        meter: of this process's memory.
        root: folder that stands for "/".
        cgroup_before: peak of the container before the session was opened, None where unknown.
    """

    def __init__(self, clock: Clock, meter: PhaseMeter, root: Path, *, cgroup_before: int | None) -> None:
        self._clock, self._meter, self._root = clock, meter, root
        self._cgroup_before = cgroup_before
        self._before = read_state(root)
        self._cpu: tuple[CpuTimes, CpuTimes] | None = None
        self._times_ns = (0, 0)

    def begin(self) -> None:
        """Begin; what happened since the watch was made is no part of memory or activity."""
        self._meter.restart()
        # Outside of the readings at both ends: no share of the time between can be more than all of it.
        now = self._clock.now_ns()
        self._times_ns = (now, now)
        cpu = read_cpu_times(self._root)
        self._cpu = (cpu, cpu)

    def end(self) -> None:
        """End."""
        assert self._cpu is not None
        self._cpu = (self._cpu[0], read_cpu_times(self._root))
        self._times_ns = (self._times_ns[0], self._clock.now_ns())

    def timed(self, durations_ns: NDArray[np.int64], gpu_reasons: int | None = None) -> Timed:
        """Return the block between `begin` and `end`.

        Args:
            durations_ns: int64 [n], of the runs.
            gpu_reasons: as in `Block`.
        """
        assert self._cpu is not None
        begin, end = self._times_ns
        memory = without_samples(self._meter.end(), durations_ns.size * SAMPLE_BYTES)
        block = Block(
            durations="",
            begin_ns=begin,
            end_ns=end,
            before=self._before,
            after=read_state(self._root),
            use=use_between(*self._cpu, elapsed_ns=end - begin),
            memory=memory,
            cgroup_peak_bytes=self._cgroup_peak(),
            gpu_reasons=gpu_reasons,
        )
        return Timed(block=block, samples_ns=durations_ns)

    def _cgroup_peak(self) -> int | None:
        """Return the container's peak if it was reached since the session was opened."""
        peak, before = read_cgroup_peak(self._root), self._cgroup_before
        return peak if peak is not None and before is not None and peak > before else None


def without_samples(phase: Phase | None, own_bytes: int) -> Phase | None:
    """Return memory without what the harness itself took for samples."""
    if phase is None:
        return None
    peak = None if phase.peak_bytes is None else phase.peak_bytes - own_bytes
    return Phase(resident_bytes=phase.resident_bytes - own_bytes, peak_bytes=peak, file_bytes=phase.file_bytes)
