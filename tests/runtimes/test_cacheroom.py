"""The cache fits its limit, and nobody who uses it notices."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.errors import BadInput, UnavailableError
from edgecnn.runtimes.base import OpenOptions
from edgecnn.runtimes.cache import Cache
from edgecnn.runtimes.cacheroom import (
    JUST_USED_S,
    MOST_BYTES,
    clear,
    kept_in,
    limit_bytes,
    make_room,
    set_limit,
    usage,
)
from edgecnn.runtimes.privatefiles import locked
from edgecnn.testing.models import REFERENCE, TINY

HOUR_NS = 3_600_000_000_000
SIZE = 100_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept"


def make(folder: Path, number: int, *, hours_ago: float = 0, size: int = SIZE, kind: str = "test") -> Path:
    """Make an entry that was last used some hours ago."""
    path = Cache(folder).put({"kind": kind, "number": number}, "model.onnx", lambda path: path.write_bytes(bytes(size)))
    used(path, hours_ago=hours_ago)
    return path


def used(path: Path, *, hours_ago: float) -> None:
    when_ns = time.time_ns() - round(hours_ago * HOUR_NS)
    for file in path.parent.glob(f"*{path.name[:40]}*"):
        os.utime(file, ns=(when_ns, when_ns))


def left(folder: Path) -> set[int]:
    return {entry.key["number"] for entry in Cache(folder).entries()}


def test_what_was_not_used_for_longest_goes_first(folder: Path) -> None:
    for number, hours in enumerate([30, 10, 20, 5]):
        make(folder, number, hours_ago=hours)
    assert make_room(folder, limit=round(2.5 * SIZE)) == 2
    assert left(folder) == {1, 3}
    assert sorted(path.suffix for path in folder.iterdir() if path.suffix != ".lock") == [
        ".json",
        ".json",
        ".onnx",
        ".onnx",
    ]
    assert make_room(folder, limit=round(2.5 * SIZE)) == 0


def test_looking_is_no_use(folder: Path) -> None:
    for number in range(3):
        make(folder, number, hours_ago=30 - number)
    before = kept_in(folder)
    usage(folder)
    assert kept_in(folder) == before


def test_a_use_is_what_the_system_saw_last(folder: Path) -> None:
    first, _ = (make(folder, number, hours_ago=50 - number) for number in range(2))
    status = first.stat()
    os.utime(first, ns=(time.time_ns() - HOUR_NS, status.st_mtime_ns))
    make_room(folder, limit=round(1.5 * SIZE))
    assert left(folder) == {0}


def test_a_write_makes_room_and_keeps_what_it_wrote(folder: Path) -> None:
    make(folder, 0, hours_ago=9)
    set_limit(round(1.5 * SIZE), folder)
    cache = Cache(folder)
    path = cache.get_or_make({"kind": "test", "number": 1}, "m", lambda path: path.write_bytes(bytes(5 * SIZE)))
    assert left(folder) == {1}
    assert path.stat().st_size == 5 * SIZE
    # An hour later a smaller one is wanted, and the large one is what has to go.
    used(path, hours_ago=1)
    make(folder, 2)
    assert left(folder) == {2}


def test_what_was_used_a_moment_ago_stays_for_now(folder: Path) -> None:
    make(folder, 0, hours_ago=0.9 * JUST_USED_S / 3600)
    make(folder, 1, hours_ago=1.1 * JUST_USED_S / 3600)
    assert make_room(folder, limit=0) == 1
    assert left(folder) == {0}
    assert make_room(folder, limit=0, now_ns=time.time_ns() + HOUR_NS) == 1


def test_what_somebody_is_making_stays(folder: Path) -> None:
    path = make(folder, 0, hours_ago=9)
    with locked(folder / f"{path.name[:40]}.lock"):
        assert make_room(folder, limit=0) == 0
        assert (clear(folder).entries, clear(folder).left) == (0, 1)
    cleared = clear(folder)
    assert (cleared.entries, cleared.left) == (1, 0)
    assert cleared.size_bytes >= SIZE


def test_what_a_killed_process_left_counts_and_goes(folder: Path) -> None:
    path = make(folder, 0, hours_ago=9)
    path.rename(path.with_name(f".{path.name}"))
    path.with_name(f"{path.name[:40]}.json").unlink()
    assert usage(folder).kinds == {"unfinished": SIZE}
    assert make_room(folder, limit=0) == 1
    assert usage(folder).entries == 0


def test_tickets_go_with_the_model_that_they_name(folder: Path) -> None:
    kept, gone = make(folder, 0, hours_ago=1), make(folder, 1, hours_ago=9)
    for number, path in enumerate((kept, gone)):
        (folder / f"0000000{number}.ticket").write_text(json.dumps({"for": "x", "optimised": path.name}))
    (folder / "00000002.ticket").write_text('{"for": "another kind"}')
    make_room(folder, limit=round(1.5 * SIZE))
    assert sorted(path.name for path in folder.glob("*.ticket")) == ["00000000.ticket", "00000002.ticket"]


def test_engines_of_tensorrts_provider_go_with_their_mark(folder: Path) -> None:
    key = {"kind": "ort-trt", "number": 0}
    mark = Cache(folder).put(key, "ort-trt.json", lambda path: path.write_text('{"folder": "ort-trt-ab"}'))
    for name in ("ort-trt-ab", "ort-trt-cd", "ort-trt-timing-ef"):
        (folder / name).mkdir()
        (folder / name / "engine").write_bytes(bytes(SIZE))
        os.utime(folder / name / "engine", ns=(1, time.time_ns() - 9 * HOUR_NS))
        os.utime(folder / name, ns=(1, time.time_ns() - 9 * HOUR_NS))
    used(mark, hours_ago=9)
    found = usage(folder)
    assert found.entries == 3
    assert found.size_bytes > 3 * SIZE
    with locked(folder / f"{mark.name[:40]}.lock"):  # as while it is built
        assert make_room(folder, limit=0) == 1
        assert sorted(path.name for path in folder.glob("ort-trt-*")) == ["ort-trt-ab", "ort-trt-cd"]
    assert make_room(folder, limit=0) == 1
    # One that nothing names may be in the making by an older edgecnn, for a day.
    assert [path.name for path in folder.glob("ort-trt-*")] == ["ort-trt-cd"]
    assert make_room(folder, limit=0, now_ns=time.time_ns() + 24 * HOUR_NS) == 1
    assert not list(folder.glob("ort-trt-*"))


def test_a_mark_cannot_name_a_folder_elsewhere(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "ort-trt-mine").mkdir()
    Cache(folder).put({"number": 0}, "ort-trt.json", lambda path: path.write_text('{"folder": "../ort-trt-mine"}'))
    clear(folder)
    assert (tmp_path / "ort-trt-mine").is_dir()


def test_a_folder_has_a_limit_of_its_own(folder: Path, tmp_path: Path) -> None:
    assert 0 < limit_bytes(folder) <= MOST_BYTES
    set_limit(12_345, folder)
    assert limit_bytes(folder) == usage(folder).limit_bytes == 12_345
    assert limit_bytes(tmp_path / "other") != 12_345
    (folder / "limit").write_text("many")
    assert limit_bytes(folder) == limit_bytes(tmp_path / "other")
    set_limit(None, folder)
    assert not list(folder.iterdir())
    for wrong in (-1, 1.5, True):
        with pytest.raises(BadInput, match="limit in bytes"):
            set_limit(wrong, folder)  # type: ignore[arg-type]


def test_a_folder_that_others_write_to_is_not_touched(folder: Path) -> None:
    make(folder, 0, hours_ago=9)
    folder.chmod(0o777)
    for call in (usage, clear, kept_in):
        with pytest.raises(UnavailableError, match="others may write to the cache"):
            call(folder)
    assert make_room(folder, limit=0) == 0
    folder.chmod(0o700)
    assert left(folder) == {0}


def test_without_a_cache_there_is_nothing(folder: Path) -> None:
    assert (usage(folder).entries, usage(folder).size_bytes) == (0, 0)
    assert clear(folder).entries == make_room(folder) == 0
    assert not folder.exists()


@settings(max_examples=6, deadline=None)
@given(sizes=st.lists(st.integers(1, 50_000), max_size=4), limit=st.integers(0, 200_000))
def test_any_cache_fits_any_limit_and_no_more_goes_than_has_to(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], limit: int
) -> None:
    folder = tmp_path_factory.mktemp("kept", numbered=True) / "cache"
    for number, size in enumerate(sizes):
        make(folder, number, hours_ago=100 - number, size=size)
    before = kept_in(folder)
    gone = make_room(folder, limit=limit)
    assert [one.paths for one in kept_in(folder)] == [one.paths for one in before[gone:]]
    assert sum(one.size_bytes for one in before[gone:]) <= limit
    assert gone == 0 or sum(one.size_bytes for one in before[gone - 1 :]) > limit


def make_many(folder: Path, seed: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    number = seed
    while time.monotonic() < end:
        wanted = bytes([number % 6]) * 1000
        key = {"kind": "test", "number": number % 6}
        path = Cache(folder).get_or_make(key, "model.onnx", partial(Path.write_bytes, data=wanted))
        with suppress(FileNotFoundError):
            assert path.read_bytes() == wanted
        number += 1


@pytest.mark.slow
def test_processes_that_make_and_clear_at_once_see_whole_entries(folder: Path) -> None:
    start = multiprocessing.get_context("spawn")
    workers = [start.Process(target=make_many, args=(folder, seed, 1.0)) for seed in range(3)]
    for worker in workers:
        worker.start()
    cleared = 0
    while any(worker.is_alive() for worker in workers):
        if folder.exists():
            cleared += clear(folder).entries
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert cleared > 0


@contextmanager
def cleared_all_the_time(folder: Path) -> Iterator[list[int]]:
    counts: list[int] = []
    ending = threading.Event()

    def work() -> None:
        while not ending.is_set():
            if folder.exists():
                counts.append(clear(folder).entries)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield counts
    finally:
        ending.set()
        thread.join()


def test_models_open_while_their_optimised_form_goes(folder: Path) -> None:
    pytest.importorskip("onnxruntime")
    import edgecnn

    options = OpenOptions(threads=1, cache=True, cache_folder=folder)
    with np.load(REFERENCE) as stored:
        images, wanted = stored["input"][:1], stored["logits"][:1]
    seen: list[Any] = []
    with cleared_all_the_time(folder) as counts:
        for _ in range(8):
            with edgecnn.load(TINY, options=options) as classifier:
                np.testing.assert_allclose(classifier.run({"input": images})["logits"], wanted, atol=1e-5)
                seen.append(classifier.info().options["optimised_model"])
    assert sum(counts) > 0
    assert "made" in seen


def test_an_open_session_keeps_running_after_its_file_went(folder: Path) -> None:
    pytest.importorskip("onnxruntime")
    import edgecnn

    options = OpenOptions(threads=1, cache=True, cache_folder=folder)
    edgecnn.load(TINY, options=options).close()
    with np.load(REFERENCE) as stored, edgecnn.load(TINY, options=options) as classifier:
        assert classifier.info().options["optimised_model"] == "from cache"
        assert clear(folder).entries == 1
        assert not list(folder.glob("*optimised*"))
        answer = classifier.run({"input": stored["input"][:2]})["logits"]
        np.testing.assert_allclose(answer, stored["logits"][:2], atol=1e-5)
