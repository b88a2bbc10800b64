from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.devices.emulation import is_emulated


@pytest.mark.parametrize(
    ("target", "emulated"),
    [("/usr/bin/qemu-aarch64-static", True), ("/usr/bin/python3.11", False), ("/opt/qemu-tools/python3", False)],
)
def test_the_threads_own_link_tells(tmp_path: Path, target: str, emulated: bool) -> None:
    link = tmp_path / "proc/thread-self/exe"
    link.parent.mkdir(parents=True)
    link.symlink_to(target)
    assert is_emulated(tmp_path) is emulated


def test_no_proc_is_not_emulated(tmp_path: Path) -> None:
    assert not is_emulated(tmp_path)
