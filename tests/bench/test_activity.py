from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.bench.activity import Activity, CpuTimes, CpuUse, activity_of, read_cpu_times, use_between
from edgecnn.testing.fakes import write_tree

S = 1_000_000_000
MS = 1_000_000
STAT = "cpu  100 20 30 5000 40 5 6 7 50 0\ncpu0 1 2 3\ncpu1 1 2 3\nintr 12\n"


def test_recorded_counters(tmp_path: Path) -> None:
    root = write_tree(tmp_path, {"proc/stat": STAT, "proc/thread-self/schedstat": "123456 789 42\n"})
    times = read_cpu_times(root)
    tick = 10_000_000
    assert times.busy_ns == (100 + 20 + 30 + 5 + 6) * tick
    assert times.idle_ns == (5000 + 40) * tick
    assert times.stolen_ns == 7 * tick
    assert times.waited_ns == 789
    assert times.processors == 2


@pytest.mark.parametrize("text", ["", "cpu 1 2 3\n", "cpu0 1 2 3 4 5 6 7 8\n", "cpu a b c d e f g h\n"])
def test_damaged_counters_are_unknown(tmp_path: Path, text: str) -> None:
    times = read_cpu_times(write_tree(tmp_path, {"proc/stat": text, "proc/thread-self/schedstat": text}))
    assert (times.busy_ns, times.idle_ns, times.stolen_ns, times.processors) == (None, None, None, None)


def _activity(*uses: CpuUse) -> Activity:
    activity = activity_of(uses)
    assert activity is not None
    return activity


def test_own_time_is_taken_off_what_all_processes_used() -> None:
    before = CpuTimes(own_ns=S, busy_ns=10 * S, idle_ns=0, stolen_ns=0, waited_ns=0, processors=4)
    after = CpuTimes(
        own_ns=4 * S, busy_ns=15 * S, idle_ns=14 * S // 5, stolen_ns=S // 5, waited_ns=S // 10, processors=4
    )
    use = use_between(before, after, elapsed_ns=2 * S)
    assert use is not None
    activity = _activity(use)
    assert (activity.seconds, activity.own_cores, activity.other_cores) == (2.0, 1.5, pytest.approx(1.0))
    assert (activity.stolen_cores, activity.waited_share) == (pytest.approx(0.1), 0.05)


def test_windows_are_added_up_before_anything_is_divided() -> None:
    """Ticks put the others of the first short window at -40% and those of the second at +40%: together there is nobody."""
    late = CpuUse(elapsed_ns=20 * MS, own_ns=20 * MS, busy_ns=12 * MS, idle_ns=28 * MS, processors=2)
    early = CpuUse(elapsed_ns=20 * MS, own_ns=20 * MS, busy_ns=28 * MS, idle_ns=12 * MS, processors=2)
    assert _activity(late, early).other_cores == pytest.approx(0.0)


def test_short_windows_say_how_much_the_ticks_leave_open() -> None:
    """Ten windows of 20 ms on two processors: 3 * 10 ms / sqrt(6) * sqrt(20) of 200 ms."""
    short = _activity(*[CpuUse(elapsed_ns=20 * MS, own_ns=0, processors=2)] * 10)
    long = _activity(*[CpuUse(elapsed_ns=2 * S, own_ns=0, processors=2)] * 10)
    tick = 1 / os.sysconf("SC_CLK_TCK")
    assert short.resolution_cores == pytest.approx(3 * tick / math.sqrt(6) * math.sqrt(20) / 0.2)
    assert long.resolution_cores == pytest.approx(short.resolution_cores / 100)


COUNT = st.integers(0, 10 * S)
SHARE = st.floats(0, 1)


@given(st.lists(st.tuples(st.integers(1, 10 * S), SHARE, COUNT, COUNT, COUNT, SHARE), min_size=1), st.integers(1, 64))
def test_shares_are_bounded_whatever_the_ticks_say(
    windows: list[tuple[int, float, int, int, int, float]], processors: int
) -> None:
    uses = [
        CpuUse(
            elapsed_ns=elapsed,
            own_ns=int(own * elapsed * processors),
            busy_ns=busy,
            idle_ns=idle,
            stolen_ns=stolen,
            waited_ns=int(waited * elapsed),
            processors=processors,
        )
        for elapsed, own, busy, idle, stolen, waited in windows
    ]
    activity = _activity(*uses)
    if activity.other_cores is not None and activity.stolen_cores is not None:
        assert activity.other_cores >= 0
        assert activity.own_cores + activity.other_cores <= processors * (1 + 1e-9)
        assert 0 <= activity.stolen_cores <= processors
    assert activity.waited_share is not None
    assert 0 <= activity.waited_share <= 1


def test_counters_that_stand_still_are_unknown_not_idle() -> None:
    assert _activity(CpuUse(elapsed_ns=S, own_ns=S, busy_ns=0, idle_ns=0, stolen_ns=0)).other_cores is None


def test_unknown_stays_unknown() -> None:
    use = use_between(CpuTimes(own_ns=0), CpuTimes(own_ns=S), elapsed_ns=S)
    assert use == CpuUse(elapsed_ns=S, own_ns=S)
    activity = _activity(use)
    assert (activity.other_cores, activity.stolen_cores, activity.waited_share) == (None, None, None)
    assert use_between(CpuTimes(own_ns=0), CpuTimes(own_ns=S), elapsed_ns=0) is None
    assert activity_of([]) is None


def _spin(nanoseconds: int) -> CpuUse:
    begin, before = time.perf_counter_ns(), read_cpu_times()
    while time.perf_counter_ns() - begin < nanoseconds:
        pass
    use = use_between(before, read_cpu_times(), elapsed_ns=time.perf_counter_ns() - begin)
    assert use is not None
    return use


def test_this_machine_sees_its_own_work() -> None:
    assert _activity(_spin(50 * MS)).own_cores > 0.05


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts what all processes use")
def test_nobody_uses_more_than_there_is_on_a_crowded_machine() -> None:
    """Twice as many busy processes as processors, and windows as short as the shortest blocks."""
    crowd = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        uses = [_spin(20 * MS) for _ in range(30)]
    finally:
        for one in crowd:
            one.kill()
            one.wait()
    for use in uses:
        assert use.waited_ns is None or use.waited_ns <= use.elapsed_ns
        assert use.own_ns <= use.elapsed_ns
    activity = _activity(*uses)
    if activity.other_cores is not None:
        assert activity.own_cores + activity.other_cores <= (uses[0].processors or 1) * (1 + 1e-9)
