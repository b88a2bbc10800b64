from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.bench.neighbours import busiest, read_process_times
from edgecnn.testing.fakes import write_tree

SECOND = 1_000_000_000


def _line(pid: int, name: str, ticks: int, session: int = 1) -> str:
    return f"{pid} ({name}) S 1 1 {session} 0 -1 0 0 0 0 0 {ticks - 1} 1 0 0 20 0 1 0 100\n"


def _tree(root: Path, *lines: tuple[int, str, int, int]) -> Path:
    return write_tree(root, {f"proc/{pid}/stat": _line(pid, name, ticks, own) for pid, name, ticks, own in lines})


def test_the_two_busiest_are_named(tmp_path: Path) -> None:
    before = read_process_times(_tree(tmp_path / "a", (7, "make) (x", 500, 1), (8, "ffmpeg", 10, 1), (9, "idle", 5, 1)))
    after = read_process_times(
        _tree(
            tmp_path / "b",
            (7, "make) (x", 550, 1),
            (8, "ffmpeg", 200, 1),
            (9, "idle", 8, 1),
            (12, "new", 30, 1),
            (20, "worker", 400, 20),
            (21, "of the worker", 400, 20),
        )
    )
    assert before[7].name == "make) (x"
    assert busiest(before, after, elapsed_ns=2 * SECOND, own={20}) == ("ffmpeg (pid 8)", "make) (x (pid 7)")
    assert busiest(before, after, elapsed_ns=100 * SECOND, own={20}) == ()


@pytest.mark.parametrize("text", ["", "7 (x) S 1\n", "7 (x) S a b c d e f g h i j k l m\n"])
def test_what_cannot_be_read_is_passed_over(tmp_path: Path, text: str) -> None:
    assert read_process_times(write_tree(tmp_path, {"proc/7/stat": text, "proc/self/stat": _line(7, "x", 5)})) == {}
    assert read_process_times(tmp_path / "none") == {}
