from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.procfs import read_integer, read_text
from edgecnn.runtimes.threads import (
    big_cores,
    cgroup_directories,
    cgroup_memory_limit,
    cgroup_quota,
    usable_big_cores,
    usable_processors,
    usable_threads,
)

GROUPS = "sys/fs/cgroup"
CPUS = "sys/devices/system/cpu"
TREES = Path(__file__).parents[1] / "devices/trees"

# Capacities as Linux gives them: Radxa ROCK 5B (RK3588: 4 Cortex-A55, 4 Cortex-A76) and Google Tensor (4 A55, 2 A76, 2 X1).
RK3588 = (530, 530, 530, 530, 1024, 1024, 1024, 1024)
TENSOR = (160, 160, 160, 160, 498, 498, 1024, 1024)


def _root(root: Path, cgroup: str, **files: str) -> Path:
    for name, text in {"proc/self/cgroup": cgroup, **files}.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def test_version_2_takes_the_tightest_group(tmp_path: Path) -> None:
    files = {
        f"{GROUPS}/pod/app/cpu.max": "max 100000\n",
        f"{GROUPS}/pod/cpu.max": "150000 100000\n",
        f"{GROUPS}/cpu.max": "400000 100000\n",
    }
    root = _root(tmp_path, "0::/pod/app\n", **files)
    assert cgroup_quota(root) == 1.5
    assert usable_threads(root, affinity=8) == 2
    assert usable_threads(root, affinity=1) == 1
    assert (usable_processors(root, affinity=8), usable_processors(root, affinity=1)) == (2, 1)


def test_small_cores_are_processors_all_the_same(tmp_path: Path) -> None:
    capacities = {f"{CPUS}/cpu{core}/cpu_capacity": f"{one}\n" for core, one in enumerate(RK3588)}
    root = _root(tmp_path, "0::/\n", **capacities)
    assert (usable_threads(root, affinity=8), usable_processors(root, affinity=8)) == (4, 8)


def test_version_2_inside_a_namespace(tmp_path: Path) -> None:
    root = _root(tmp_path, "0::/\n", **{f"{GROUPS}/cpu.max": "20000 50000\n", f"{GROUPS}/memory.max": "1073741824\n"})
    assert cgroup_quota(root) == 0.4
    assert cgroup_memory_limit(root) == 1 << 30
    assert usable_threads(root, affinity=8) == 1


def test_a_group_outside_of_the_namespace_reads_the_mount_only(tmp_path: Path) -> None:
    files = {f"{GROUPS}/cpu.max": "300000 100000\n", "sys/fs/other/cpu.max": "100000 100000\n"}
    assert cgroup_quota(_root(tmp_path, "0::/../other\n", **files)) == 3.0


def test_version_1(tmp_path: Path) -> None:
    cpu, memory = f"{GROUPS}/cpu,cpuacct/app", f"{GROUPS}/memory/app"
    files = {
        f"{cpu}/cpu.cfs_quota_us": "250000\n",
        f"{cpu}/cpu.cfs_period_us": "100000\n",
        f"{GROUPS}/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
        f"{GROUPS}/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        f"{memory}/memory.limit_in_bytes": "536870912\n",
        f"{GROUPS}/memory/memory.limit_in_bytes": "9223372036854771712\n",
    }
    root = _root(tmp_path, "9:memory:/app\n4:cpu,cpuacct:/app\n1:name=systemd:/app\n", **files)
    assert cgroup_quota(root) == 2.5
    assert usable_threads(root, affinity=4) == 3
    assert cgroup_memory_limit(root) == 512 << 20


def test_version_1_in_a_container_that_sees_the_hosts_path(tmp_path: Path) -> None:
    files = {
        f"{GROUPS}/cpu/cpu.cfs_quota_us": "100000\n",
        f"{GROUPS}/cpu/cpu.cfs_period_us": "50000\n",
        f"{GROUPS}/memory/memory.limit_in_bytes": "268435456\n",
    }
    root = _root(tmp_path, "3:cpu,cpuacct:/docker/4f2a\n2:memory:/docker/4f2a\n", **files)
    assert cgroup_quota(root) == 2.0
    assert cgroup_memory_limit(root) == 256 << 20


def test_hybrid_reads_both(tmp_path: Path) -> None:
    files = {
        f"{GROUPS}/cpu/cpu.cfs_quota_us": "-1\n",
        f"{GROUPS}/cpu/cpu.cfs_period_us": "100000\n",
        f"{GROUPS}/unified/app/cpu.max": "700000 100000\n",
        f"{GROUPS}/memory/memory.limit_in_bytes": "9223372036854710272\n",
    }
    root = _root(tmp_path, "4:memory:/app\n1:cpu:/\n0::/app\n", **files)
    assert cgroup_quota(root) == 7.0
    assert cgroup_memory_limit(root) is None
    assert cgroup_directories(root, "cpu") == (
        root / GROUPS / "cpu",
        root / GROUPS / "unified/app",
        root / GROUPS / "unified",
    )


def test_no_limit(tmp_path: Path) -> None:
    root = _root(tmp_path, "0::/a\n", **{f"{GROUPS}/a/cpu.max": "max 100000\n", f"{GROUPS}/a/memory.max": "max\n"})
    assert cgroup_quota(root) is None
    assert cgroup_memory_limit(root) is None
    assert usable_threads(root, affinity=6) == 6


@pytest.mark.parametrize("text", ["", "max", "100000", "100000 0", "0 100000", "-1 100000", "a b", "1 2 3", "\0\1\2"])
def test_malformed_quota_is_unknown(tmp_path: Path, text: str) -> None:
    assert cgroup_quota(_root(tmp_path, "0::/\n", **{f"{GROUPS}/cpu.max": text})) is None


@pytest.mark.parametrize("text", ["", "garbage", "::::", "0", "0:", "0::", "\n\n", "7:cpu", "x:cpu:/a"])
def test_malformed_group_is_no_group_of_its_own(tmp_path: Path, text: str) -> None:
    root = _root(tmp_path, text, **{f"{GROUPS}/a/cpu.max": "100000 100000\n"})
    assert usable_threads(root, affinity=5) == 5


def test_nothing_there(tmp_path: Path) -> None:
    assert cgroup_directories(tmp_path, "cpu") == ()
    assert usable_threads(tmp_path, affinity=3) == 3
    assert usable_threads(tmp_path, affinity=0) == 1


@settings(max_examples=30, deadline=None)
@given(quota=st.integers(1, 10**7), period=st.integers(1_000, 10**6), affinity=st.integers(1, 128))
def test_threads_stay_within_affinity_and_quota(
    tmp_path_factory: pytest.TempPathFactory, quota: int, period: int, affinity: int
) -> None:
    root = _root(tmp_path_factory.mktemp("root"), "0::/\n", **{f"{GROUPS}/cpu.max": f"{quota} {period}\n"})
    threads = usable_threads(root, affinity=affinity)
    assert 1 <= threads <= affinity
    assert threads == affinity or (threads - 1) * period < quota <= threads * period


def test_unreadable_files_are_none(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "word").write_text("many\n")
    (tmp_path / "number").write_text(" 42\n")
    assert read_text(tmp_path) is None
    assert read_text(tmp_path / "loop") is None
    assert read_text(tmp_path / "a\0b") is None
    assert read_integer(tmp_path / "word") is None
    assert read_integer(tmp_path / "number") == 42


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and /sys")
def test_this_machine() -> None:
    allowed = len(os.sched_getaffinity(0))
    assert 1 <= usable_threads() <= allowed
    assert usable_threads(affinity=1) == 1


def _cores(root: Path, values: tuple[int | str, ...], name: str = "cpu_capacity") -> Path:
    files = {f"{CPUS}/cpu{core}/{name}": f"{value}\n" for core, value in enumerate(values)}
    return _root(
        root, "0::/\n", **files, **{f"{CPUS}/cpufreq/policy0/affected_cpus": "0\n", f"{CPUS}/cpuidle/x": "1\n"}
    )


def test_large_cores_by_capacity(tmp_path: Path) -> None:
    root = _cores(tmp_path, RK3588)
    assert big_cores(root) == (4, 5, 6, 7)
    assert usable_threads(root, affinity=8) == 4
    assert usable_big_cores(root, affinity=range(8)) == (4, 5, 6, 7)
    assert usable_threads(root, affinity={0, 1, 2, 5}) == 1
    assert usable_big_cores(root, affinity={0, 1, 2, 5}) == (5,)


def test_a_process_that_is_bound_to_one_kind_keeps_all_of_it(tmp_path: Path) -> None:
    root = _cores(tmp_path, RK3588)
    for bound in ({0, 1, 2}, {4, 5, 6}):
        assert usable_threads(root, affinity=bound) == 3
        assert usable_big_cores(root, affinity=bound) == ()


def test_the_largest_of_three_kinds(tmp_path: Path) -> None:
    assert big_cores(_cores(tmp_path, TENSOR)) == (6, 7)


def test_capacity_goes_before_frequency(tmp_path: Path) -> None:
    _cores(tmp_path, (1800000, 1800000, 2400000), "cpufreq/cpuinfo_max_freq")
    assert big_cores(tmp_path) == (2,)
    _cores(tmp_path, (1024, 1024, 1024))
    assert big_cores(tmp_path) == ()


def test_recorded_machines() -> None:
    assert big_cores(TREES / "big_little") == (4, 5)
    assert usable_threads(TREES / "big_little", affinity=6) == 2
    for alike in ("rpi4", "rpi5", "container", "pc"):
        assert big_cores(TREES / alike) == ()
    assert usable_threads(TREES / "rpi5", affinity=4) == 4
    assert usable_threads(TREES / "container", affinity=8) == 2


def test_a_quota_holds_on_large_cores_too(tmp_path: Path) -> None:
    root = _root(_cores(tmp_path, RK3588), "0::/\n", **{f"{GROUPS}/cpu.max": "150000 100000\n"})
    assert usable_threads(root, affinity=8) == 2
    assert usable_big_cores(root, affinity=8) == (4, 5, 6, 7)


def test_cores_of_one_kind_that_differ_a_little_are_alike(tmp_path: Path) -> None:
    assert big_cores(_cores(tmp_path, (5100000, 5200000, 5200000, 5000000), "cpufreq/cpuinfo_max_freq")) == ()


@pytest.mark.parametrize("values", [(), ("x", "y"), (0, 0), (-5, -1), (512,)])
def test_capacities_that_say_nothing(tmp_path: Path, values: tuple[int | str, ...]) -> None:
    root = _cores(tmp_path, values)
    assert big_cores(root) == ()
    assert usable_threads(root, affinity=3) == 3


@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.integers(1, 1024), min_size=1, max_size=8), allowed=st.sets(st.integers(0, 9), min_size=1))
def test_large_cores_are_those_near_the_greatest(
    tmp_path_factory: pytest.TempPathFactory, values: list[int], allowed: set[int]
) -> None:
    root = _cores(tmp_path_factory.mktemp("root"), tuple(values))
    large = big_cores(root)
    if large:
        small = [value for core, value in enumerate(values) if core not in large]
        assert small
        assert min(values[core] for core in large) >= 0.8 * max(values) > max(small)
    else:
        assert min(values) >= 0.8 * max(values)
    assert 1 <= usable_threads(root, affinity=allowed) <= len(allowed)
    assert set(usable_big_cores(root, affinity=allowed)) <= allowed
