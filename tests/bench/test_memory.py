from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgecnn.bench.memory import (
    Memory,
    Phase,
    PhaseMeter,
    available_bytes,
    peak_since,
    read_anonymous,
    read_cgroup_peak,
    read_memory,
    read_pss,
    reset_peak,
)
from edgecnn.testing.fakes import write_tree

STATUS = """Name:	python3
VmPeak:	  913304 kB
VmSize:	  913300 kB
VmHWM:	   81234 kB
VmRSS:	   71200 kB
RssAnon:	   40000 kB
"""


def test_a_recorded_status(tmp_path: Path) -> None:
    root = write_tree(tmp_path, {"proc/self/status": STATUS})
    assert read_memory(root) == Memory(resident_bytes=71200 * 1024, peak_bytes=81234 * 1024)


@pytest.mark.parametrize(
    "text", ["", "VmRSS:\t 5 kB\n", "VmRSS:\t 5 MB\nVmHWM:\t 5 MB\n", "VmRSS:\nVmHWM:\n", "VmRSS: x kB\nVmHWM: 5 kB\n"]
)
def test_a_status_without_the_figures_is_unknown(tmp_path: Path, text: str) -> None:
    assert read_memory(write_tree(tmp_path, {"proc/self/status": text})) is None


def test_no_proc_is_unknown_and_nothing_is_written(tmp_path: Path) -> None:
    assert read_memory(tmp_path) is None
    assert not reset_peak(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_reset_writes_the_kernels_code(tmp_path: Path) -> None:
    root = write_tree(tmp_path, {"proc/self/clear_refs": ""})
    assert reset_peak(root)
    assert (root / "proc/self/clear_refs").read_text() == "5"


def test_a_reset_that_is_refused_is_told(tmp_path: Path) -> None:
    """A folder in its place cannot be opened for writing, not even by root."""
    (tmp_path / "proc/self/clear_refs").mkdir(parents=True)
    assert not reset_peak(tmp_path)


def _memory(peak: int) -> Memory:
    return Memory(resident_bytes=50, peak_bytes=peak)


@pytest.mark.parametrize(
    ("before", "now", "was_reset", "peak"),
    [
        (60, 90, True, 90),
        (60, 60, True, 60),
        (60, 90, False, 90),  # reached after the baseline, or the counter would have been there already
        (60, 60, False, None),  # may be from before the baseline
    ],
)
def test_peak_is_told_only_where_it_was_reached_since(before: int, now: int, was_reset: bool, peak: int | None) -> None:
    assert peak_since(_memory(before), _memory(now), was_reset=was_reset) == peak


@pytest.mark.skipif(sys.platform != "linux", reason="the counters are Linux's")
def test_the_real_peak_follows_an_allocation_and_not_an_earlier_one() -> None:
    """In a process of its own: 64 MB before the reset do not count, 32 MB after it do."""
    code = (
        "from edgecnn.bench.memory import *\n"
        "block = b'x' * (64 << 20); del block\n"
        "ok = reset_peak(); base = read_memory()\n"
        "block = b'x' * (32 << 20); del block\n"
        "now = read_memory()\n"
        "print(ok, base.peak_bytes - base.resident_bytes, peak_since(base, now, was_reset=ok) - base.resident_bytes)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    if out[0] != "True":
        pytest.skip("this kernel does not reset the peak")
    assert int(out[1]) < 2 << 20
    # Each processor holds back a few pages of the counters.
    assert 31 << 20 <= int(out[2]) < 40 << 20


def test_pages_of_files_are_told_apart(tmp_path: Path) -> None:
    root = write_tree(tmp_path, {"proc/self/status": STATUS + "RssFile:\t   31200 kB\n"})
    memory = read_memory(root)
    assert memory is not None
    assert memory.file_bytes == 31200 * 1024


def test_a_phase_ends_with_its_own_peak_and_begins_the_next(tmp_path: Path) -> None:
    root = write_tree(tmp_path, {"proc/self/status": STATUS, "proc/self/clear_refs": ""})
    meter = PhaseMeter(root)
    assert (root / "proc/self/clear_refs").read_text() == "5"
    write_tree(root, {"proc/self/status": "VmHWM:\t 90000 kB\nVmRSS:\t 80000 kB\n", "proc/self/clear_refs": ""})
    assert meter.end() == Phase(resident_bytes=80000 * 1024, peak_bytes=90000 * 1024)
    assert (root / "proc/self/clear_refs").read_text() == "5"


def test_without_a_reset_only_a_new_peak_is_told(tmp_path: Path) -> None:
    root = write_tree(tmp_path, {"proc/self/status": STATUS})
    meter = PhaseMeter(root)
    assert meter.end() == Phase(resident_bytes=71200 * 1024, peak_bytes=None)
    write_tree(root, {"proc/self/status": "VmHWM:\t 81235 kB\nVmRSS:\t 80000 kB\n"})
    assert meter.end() == Phase(resident_bytes=80000 * 1024, peak_bytes=81235 * 1024)
    assert PhaseMeter(tmp_path / "nowhere").end() is None


def test_the_proportional_size(tmp_path: Path) -> None:
    rollup = "55d-7ff ---p 00000000 00:00 0    [rollup]\nRss:   9000 kB\nPss:     4321 kB\nPss_Anon: 4000 kB\n"
    assert read_pss(write_tree(tmp_path, {"proc/self/smaps_rollup": rollup})) == 4321 * 1024
    assert read_pss(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("group", "file"),
    [
        ("0::/box\n", "sys/fs/cgroup/box/memory.peak"),
        ("4:memory:/box\n", "sys/fs/cgroup/memory/box/memory.max_usage_in_bytes"),
    ],
)
def test_the_containers_peak_in_both_versions(tmp_path: Path, group: str, file: str) -> None:
    root = write_tree(tmp_path, {"proc/self/cgroup": group, file: "123456\n"})
    assert read_cgroup_peak(root) == 123456


def test_what_is_left_is_the_lesser_of_the_machines_and_the_containers(tmp_path: Path) -> None:
    root = write_tree(tmp_path, {"proc/meminfo": "MemTotal: 900 kB\nMemAvailable:     500 kB\n"})
    assert available_bytes(root) == 500 * 1024
    box = "sys/fs/cgroup/box/memory"
    write_tree(root, {"proc/self/cgroup": "0::/box\n", f"{box}.max": "300000\n", f"{box}.current": "100000\n"})
    assert available_bytes(root) == 200_000
    write_tree(root, {f"{box}.max": "max\n"})
    assert available_bytes(root) == 500 * 1024
    assert available_bytes(tmp_path / "nowhere") is None


def test_pages_that_are_no_file_are_counted_exactly(tmp_path: Path) -> None:
    rollup = "55d-7ff ---p 00000000 00:00 0    [rollup]\nRss:   9000 kB\nPss:     4321 kB\nAnonymous:      4000 kB\n"
    assert read_anonymous(write_tree(tmp_path, {"proc/self/smaps_rollup": rollup})) == 4000 * 1024
    assert read_anonymous(tmp_path / "nowhere") is None


@pytest.mark.skipif(sys.platform != "linux", reason="the counters are Linux's")
def test_the_real_sizes_follow_allocations_to_the_page_and_halve_what_two_processes_share() -> None:
    """In a process of its own: 8 MB of its own, then 32 MB that it shares with a child."""
    code = (
        "import mmap, os, signal\n"
        "from edgecnn.bench.memory import *\n"
        "read_anonymous(); read_pss()\n"
        "base = read_anonymous()\n"
        "own = mmap.mmap(-1, 8 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
        "own.write(b'x' * len(own))\n"
        "print(read_anonymous() - base)\n"
        "shared = mmap.mmap(-1, 32 << 20)\n"
        "shared.write(b'x' * len(shared))\n"
        "alone = read_pss()\n"
        "come, go = os.pipe()\n"
        "child = os.fork()\n"
        "if child == 0: shared[:] = b'y' * len(shared); os.write(go, b'.'); signal.pause()\n"
        "os.read(come, 1)\n"
        "print(alone - read_pss())\n"
        "os.kill(child, 9)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert 8 << 20 <= int(out[0]) < (8 << 20) + (1 << 20)
    # The interpreter's own pages are shared with the child as well.
    assert 16 << 20 <= int(out[1]) < 32 << 20
