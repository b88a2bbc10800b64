"""Caches as sysfs tells them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.devices.caches import CacheLevel, data_caches


def cache(root: Path, index: int, **files: str) -> None:
    folder = root / f"sys/devices/system/cpu/cpu0/cache/index{index}"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text + "\n")


def test_data_caches_are_told_nearest_first(tmp_path: Path) -> None:
    """As a Ryzen shows them; the instruction cache holds no data."""
    cache(tmp_path, 3, level="3", type="Unified", size="32768K", shared_cpu_list="0-15")
    cache(tmp_path, 0, level="1", type="Data", size="32K", shared_cpu_list="0,8")
    cache(tmp_path, 1, level="1", type="Instruction", size="32K", shared_cpu_list="0,8")
    cache(tmp_path, 2, level="2", type="Unified", size="1M")
    assert data_caches(tmp_path) == (
        CacheLevel(level=1, size_bytes=32 << 10, shared_by=2),
        CacheLevel(level=2, size_bytes=1 << 20, shared_by=None),
        CacheLevel(level=3, size_bytes=32 << 20, shared_by=16),
    )


@pytest.mark.parametrize("size", ["", "0K", "many", "-1K"])
def test_what_is_not_told_is_left_out(tmp_path: Path, size: str) -> None:
    cache(tmp_path, 0, level="1", type="Data", size=size, shared_cpu_list="0")
    cache(tmp_path, 1, level="2", type="Unified")
    assert data_caches(tmp_path) == ()


def test_a_kernel_without_cache_files_tells_nothing(tmp_path: Path) -> None:
    assert data_caches(tmp_path) == ()
