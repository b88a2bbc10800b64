"""Where workers run, as the engine wants it said."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.artifacts import load_artifact
from edgecnn.errors import BadInput
from edgecnn.runtimes import OpenOptions, open_session
from edgecnn.runtimes.ort.affinity import AFFINITIES, affinity_entry, worker_affinities
from edgecnn.specs import Scalar
from edgecnn.testing.models import TINY

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processors are counted as Linux does")


def _root(root: Path, capacities: tuple[int, ...]) -> Path:
    for core, capacity in enumerate(capacities):
        folder = root / f"sys/devices/system/cpu/cpu{core}"
        folder.mkdir(parents=True)
        (folder / "cpu_capacity").write_text(f"{capacity}\n")
    return root


@given(cores=st.sets(st.integers(0, 63), min_size=1), threads=st.integers(2, 64))
def test_one_group_fewer_than_threads_and_ids_from_one(cores: set[int], threads: int) -> None:
    groups = worker_affinities(cores, threads).split(";")
    assert len(groups) == threads - 1
    for group in groups:
        assert {int(number) - 1 for number in group.split(",")} == cores


def test_big_means_the_large_cores_that_may_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _root(tmp_path, (530, 530, 530, 530, 1024, 1024, 1024, 1024))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(7)))
    assert affinity_entry("big", 3, root=root) == "5,6,7;5,6,7"
    assert affinity_entry("big", 1, root=root) is None
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert affinity_entry("big", 2, root=root) is None


def test_big_says_nothing_where_cores_are_alike(tmp_path: Path) -> None:
    assert affinity_entry("big", 2, root=_root(tmp_path, (1024, 1024))) is None


@pytest.mark.parametrize(
    ("value", "threads", "text"),
    [
        ("1;1", 2, "expected 1 groups for 2 threads, got 2"),
        ("1", 1, "expected 0 groups for 1 threads, got 1"),
        ("0", 2, "ids begin at 1"),
        ("9999", 2, "expected processors that this process may use, got 9999"),
        ("a", 2, "groups of processor ids from 1"),
        ("1,", 2, "groups of processor ids from 1"),
        ("", 2, "groups of processor ids from 1"),
        ("large", 2, '"big" or groups'),
        (None, 2, "groups of processor ids from 1"),
    ],
)
def test_what_the_engine_would_mistake_is_refused(value: Scalar, threads: int, text: str) -> None:
    with pytest.raises(BadInput, match=re.escape(text)):
        affinity_entry(value, threads)


def test_workers_of_a_session_run_where_it_was_said(capfd: pytest.CaptureFixture[str]) -> None:
    open_session(load_artifact(TINY), options=OpenOptions(threads=1)).close()  # the engine's own threads have begun
    before = set(_masks())
    core = max(os.sched_getaffinity(0))
    options = OpenOptions(threads=3, engine={AFFINITIES: f"{core + 1};{core + 1}-{core + 1}"})
    with open_session(load_artifact(TINY), options=options) as session:
        assert session.info().options[AFFINITIES] == f"{core + 1};{core + 1}-{core + 1}"
        # Each worker places itself when it begins.
        for _ in range(200):
            workers = [mask for task, mask in _masks().items() if task not in before]
            if workers == [{core}, {core}]:
                break
            time.sleep(0.01)
    assert workers == [{core}, {core}]
    assert capfd.readouterr() == ("", "")


def _masks() -> dict[str, set[int]]:
    """Return thread -> processors that it may run on."""
    names = [path.name for path in Path("/proc/self/task").iterdir()]
    return {name: set(os.sched_getaffinity(int(name))) for name in names}
