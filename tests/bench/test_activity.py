from __future__ import annotations

import time
from pathlib import Path

import pytest

from edgecnn.bench.activity import Activity, CpuTimes, activity_between, read_cpu_times
from edgecnn.testing.fakes import write_tree

S = 1_000_000_000
STAT = "cpu  100 20 30 5000 40 5 6 7 50 0\ncpu0 1 2 3\nintr 12\n"


def test_recorded_counters(tmp_path: Path) -> None:
    root = write_tree(tmp_path, {"proc/stat": STAT, "proc/thread-self/schedstat": "123456 789 42\n"})
    times = read_cpu_times(root)
    tick = 10_000_000
    assert times.busy_ns == (100 + 20 + 30 + 5 + 6) * tick
    assert times.idle_ns == (5000 + 40) * tick
    assert times.stolen_ns == 7 * tick
    assert times.waited_ns == 789


@pytest.mark.parametrize("text", ["", "cpu 1 2 3\n", "cpu0 1 2 3 4 5 6 7 8\n", "cpu a b c d e f g h\n"])
def test_damaged_counters_are_unknown(tmp_path: Path, text: str) -> None:
    times = read_cpu_times(write_tree(tmp_path, {"proc/stat": text, "proc/thread-self/schedstat": text}))
    assert (times.busy_ns, times.idle_ns, times.stolen_ns) == (None, None, None)


def test_own_time_is_taken_off_what_all_processes_used() -> None:
    before = CpuTimes(own_ns=S, busy_ns=10 * S, idle_ns=0, stolen_ns=0, waited_ns=0)
    after = CpuTimes(own_ns=4 * S, busy_ns=15 * S, idle_ns=3 * S, stolen_ns=S // 5, waited_ns=S // 10)
    activity = activity_between(before, after, elapsed_ns=2 * S)
    assert activity == Activity(seconds=2.0, own_cores=1.5, other_cores=1.0, stolen_cores=0.1, waited_share=0.05)


def test_ticks_that_lag_behind_do_not_make_others_negative() -> None:
    before = CpuTimes(own_ns=0, busy_ns=0, idle_ns=0)
    activity = activity_between(before, CpuTimes(own_ns=S, busy_ns=S - 5, idle_ns=S), elapsed_ns=S)
    assert activity is not None
    assert activity.other_cores == 0.0


def test_counters_that_stand_still_are_unknown_not_idle() -> None:
    nothing = CpuTimes(own_ns=0, busy_ns=0, idle_ns=0, stolen_ns=0)
    activity = activity_between(nothing, CpuTimes(own_ns=S, busy_ns=0, idle_ns=0, stolen_ns=0), elapsed_ns=S)
    assert activity == Activity(seconds=1.0, own_cores=1.0)


def test_unknown_stays_unknown() -> None:
    assert activity_between(CpuTimes(own_ns=0), CpuTimes(own_ns=S), elapsed_ns=S) == Activity(
        seconds=1.0, own_cores=1.0
    )
    assert activity_between(CpuTimes(own_ns=0), CpuTimes(own_ns=S), elapsed_ns=0) is None


def test_this_machine_sees_its_own_work() -> None:
    before, begin = read_cpu_times(), time.perf_counter_ns()
    while time.perf_counter_ns() - begin < 50_000_000:
        pass
    activity = activity_between(before, read_cpu_times(), elapsed_ns=time.perf_counter_ns() - begin)
    assert activity is not None
    assert activity.own_cores > 0.05
