"""The cache between processes: made once, whole or not there, and private."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.errors import BadInput, UnavailableError
from edgecnn.files import cache_root
from edgecnn.runtimes.cache import Cache, default_folder

KEY = {"model": "ab" * 32, "engine": "1.2", "threads": 2, "options": {"a": None, "b": [1, 2.5]}}


def writes(content: bytes) -> Any:
    return lambda path: path.write_bytes(content)


def never(path: Path) -> None:
    raise AssertionError(f"made again: {path}")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "kept")


def test_an_entry_is_made_once_and_found_again(cache: Cache) -> None:
    assert cache.get(KEY) is None
    path = cache.get_or_make(KEY, "model.onnx", writes(b"one"))
    assert path.read_bytes() == b"one"
    assert path.suffix == ".onnx"
    assert cache.get_or_make(dict(reversed(KEY.items())), "model.onnx", never) == path
    assert Cache(cache.folder).get(KEY) == path


@pytest.mark.parametrize("change", [{"threads": 3}, {"options": {"a": 0, "b": [1, 2.5]}}, {"more": None}])
def test_another_key_is_another_entry(cache: Cache, change: dict[str, Any]) -> None:
    cache.get_or_make(KEY, "model.onnx", writes(b"one"))
    assert cache.get({**KEY, **change}) is None
    cache.get_or_make({**KEY, **change}, "model.onnx", writes(b"two"))
    kept = cache.get(KEY)
    assert kept is not None
    assert kept.read_bytes() == b"one"


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False), max_size=4))
def test_any_plain_key_finds_its_entry(tmp_path_factory: pytest.TempPathFactory, key: dict[str, Any]) -> None:
    cache = Cache(tmp_path_factory.mktemp("kept"))
    cache.folder.chmod(0o700)
    if any(value in (float("inf"), float("-inf")) for value in key.values()):
        with pytest.raises(ValueError, match="JSON"):
            cache.get(key)
        return
    path = cache.get_or_make(key, "x", writes(b"1"))
    assert cache.get(key) == path
    assert cache.entries()[0].key == key


def test_the_folder_and_its_files_are_private(cache: Cache) -> None:
    before = os.umask(0)
    try:
        path = cache.get_or_make(KEY, "engine.plan", writes(b"code"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in cache.folder.iterdir()} == {0o600}
    assert path.parent == cache.folder


def test_default_folder_is_below_edgecnns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder().parent == cache_root() == tmp_path / "edgecnn"
    # What a download leaves under a umask that trusts the group does not hinder this cache.
    cache_root().mkdir(mode=0o775)
    cache_root().chmod(0o775)
    assert Cache().get_or_make(KEY, "x", writes(b"1")).parent == default_folder()


@pytest.mark.parametrize(
    "damage", ["content", "shorter", "gone", "manifest", "no manifest", "other key", "link", "writable"]
)
def test_what_is_damaged_is_made_again(cache: Cache, tmp_path: Path, damage: str) -> None:
    path = cache.get_or_make(KEY, "engine.plan", writes(b"good"))
    manifest = next(cache.folder.glob("*.json"))
    if damage == "content":
        path.write_bytes(b"evil")
    elif damage == "shorter":
        path.write_bytes(b"goo")
    elif damage == "gone":
        path.unlink()
    elif damage == "manifest":
        manifest.write_bytes(manifest.read_bytes()[:-10])
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "other key":
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "key": {"model": "other"}}))
    elif damage == "link":
        (tmp_path / "elsewhere").write_bytes(b"good")
        path.unlink()
        path.symlink_to(tmp_path / "elsewhere")
    elif damage == "writable":
        path.chmod(0o666)
    assert cache.get(KEY) is None
    assert cache.get_or_make(KEY, "engine.plan", writes(b"new")).read_bytes() == b"new"
    assert cache.get_or_make(KEY, "engine.plan", never).read_bytes() == b"new"
    assert not path.is_symlink()


def test_a_maker_that_fails_leaves_nothing(cache: Cache) -> None:
    def fails(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.get_or_make(KEY, "x", fails)
    assert cache.get(KEY) is None
    assert {path.suffix for path in cache.folder.iterdir()} == {".lock"}

    def refuses(path: Path) -> None:
        raise BadInput("no model")

    with pytest.raises(BadInput, match="no model"):
        cache.get_or_make(KEY, "x", refuses)
    with pytest.raises(UnavailableError, match="No such file"):
        cache.get_or_make(KEY, "x", lambda path: None)


def test_put_replaces_and_drop_removes(cache: Cache) -> None:
    cache.drop(KEY)
    first = cache.put(KEY, "timing.bin", writes(b"a"))

    def adds(path: Path) -> None:
        found = cache.get(KEY)
        assert found is not None
        path.write_bytes(found.read_bytes() + b"b")

    assert cache.put(KEY, "timing.bin", adds) == first
    assert first.read_bytes() == b"ab"
    renamed = cache.get_or_make(KEY, "other.bin", writes(b"c"))
    assert renamed != first
    assert not first.exists()
    cache.drop(KEY)
    assert cache.get(KEY) is None
    assert {path.suffix for path in cache.folder.iterdir()} == {".lock"}


def test_entries_tell_key_and_size(cache: Cache) -> None:
    assert cache.entries() == ()
    path = cache.get_or_make(KEY, "engine.plan", writes(b"12345"))
    (cache.folder / "stray.json").write_text("{")
    (entry,) = cache.entries()
    assert (entry.name, entry.key, entry.path, entry.size_bytes) == ("engine.plan", KEY, path, 5)
    assert cache.size_bytes() == 5


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a\n"])
def test_names_stay_in_the_folder(cache: Cache, name: str) -> None:
    with pytest.raises(ValueError, match="named"):
        cache.get_or_make(KEY, name, writes(b""))


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o702])
def test_a_folder_that_others_may_write_to_is_refused(cache: Cache, mode: int) -> None:
    cache.get_or_make(KEY, "x", writes(b"1"))
    cache.folder.chmod(mode)
    for act in (lambda: cache.get(KEY), lambda: cache.get_or_make(KEY, "x", never), cache.entries):
        with pytest.raises(UnavailableError, match="others may write") as caught:
            act()
        assert caught.value.hint == f"chmod 700 {cache.folder}"
    cache.folder.chmod(0o755)  # others may look
    assert cache.get(KEY) is not None


def test_a_folder_of_someone_else_is_refused(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.get_or_make(KEY, "x", writes(b"1"))
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(UnavailableError, match=f"belongs to user {owner}, not to user {owner + 1}"):
        cache.get_or_make(KEY, "x", never)


def test_a_file_in_the_folders_place_is_refused(cache: Cache) -> None:
    cache.folder.write_bytes(b"")
    with pytest.raises(UnavailableError, match="is not a folder"):
        cache.get_or_make(KEY, "x", never)
    below = Cache(cache.folder / "deeper")
    with pytest.raises(UnavailableError, match="cache=False"):
        below.get_or_make(KEY, "x", never)


def test_a_folder_that_cannot_be_written_to_is_named() -> None:
    with pytest.raises(UnavailableError, match="cannot write to the cache /proc/edgecnn") as caught:
        Cache(Path("/proc/edgecnn")).get_or_make(KEY, "x", never)
    assert "cache=False" in caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/usr/bin/setpriv").exists(), reason="root may write anywhere")
def test_a_read_only_folder_still_gives_what_it_has(cache: Cache) -> None:
    cache.get_or_make(KEY, "x", writes(b"1"))
    cache.folder.chmod(0o500)
    code = (
        "import sys; from pathlib import Path; from edgecnn.runtimes.cache import Cache;"
        "from edgecnn.errors import UnavailableError\n"
        "cache = Cache(Path(sys.argv[1])); key = __import__('json').loads(sys.argv[2])\n"
        "assert cache.get_or_make(key, 'x', None).read_bytes() == b'1'\n"
        "try: cache.get_or_make({}, 'x', None)\n"
        "except UnavailableError as error: print(error)\n"
    )
    # Without the capability to pass over file modes, which root has.
    drop = ["setpriv", "--bounding-set", "-dac_override", "--inh-caps", "-dac_override"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*drop, sys.executable, "-c", code, str(cache.folder), json.dumps(KEY)],
        capture_output=True,
        text=True,
        check=False,
    )
    cache.folder.chmod(0o700)
    if drop and done.returncode and "setpriv" in done.stderr:
        pytest.skip(f"no way to give up root's rights here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert "cannot write to the cache" in done.stdout
    assert "Permission denied" in done.stdout


def _make_counted(folder: Path, log: Path, start: Any) -> None:
    def make(path: Path) -> None:
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.2)
        path.write_bytes(b"engine" * 1000)

    start.wait()
    assert Cache(folder).get_or_make(KEY, "engine.plan", make).read_bytes() == b"engine" * 1000


@pytest.mark.slow
def test_ten_processes_make_an_entry_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Barrier(10)
    log = tmp_path / "log"
    workers = [context.Process(target=_make_counted, args=(tmp_path / "kept", log, start)) for _ in range(10)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 10
    assert len(log.read_text().split()) == 1


def _write_for_ever(folder: Path, seed: int, started: Any) -> None:
    cache, turn = Cache(folder), seed
    while True:
        turn += 1
        if turn == seed + 3:
            started.set()
        content = bytes([turn % 256]) * 50_000

        def make(path: Path, content: bytes = content) -> None:
            with path.open("wb") as file:
                for start in range(0, len(content), 5000):
                    file.write(content[start : start + 5000])
                    file.flush()

        cache.put(KEY, "engine.plan", make)


@pytest.mark.slow
def test_a_killed_maker_leaves_a_cache_that_works(tmp_path: Path) -> None:
    """Kill -9 at a random moment, forty times: the entry is whole or not there, and the next process goes on."""
    cache = Cache(tmp_path / "kept")
    context = multiprocessing.get_context("fork")
    chance = random.Random(0)
    whole = 0
    for turn in range(40):
        started = context.Event()
        worker = context.Process(target=_write_for_ever, args=(cache.folder, turn, started))
        worker.start()
        assert started.wait(60)
        time.sleep(chance.uniform(0, 0.03))
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        found = cache.get(KEY)
        if found is not None:
            content = found.read_bytes()
            assert content == b"made" or (len(content) == 50_000 and len(set(content)) == 1)
            whole += content != b"made"
        assert cache.get_or_make(KEY, "engine.plan", writes(b"made")).exists()
        if turn % 4 == 3:
            cache.drop(KEY)
            cache.get_or_make(KEY, "engine.plan", writes(b"made"))
            # Nothing that a killed process left piles up.
            assert {path.suffix for path in cache.folder.iterdir()} == {".lock", ".json", ".plan"}
            assert len(list(cache.folder.iterdir())) == 3
    assert whole > 0


def _put_and_die(folder: Path, name: str, wanted: int) -> None:
    real, seen = getattr(os, name), 0

    def counting(*args: Any, **kwargs: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == wanted:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)

    setattr(os, name, counting)
    Cache(folder).put(KEY, "engine.plan", writes(b"second"))


@pytest.mark.parametrize(
    "call", ["replace", *(pytest.param(call, marks=pytest.mark.slow) for call in ("chmod", "fsync", "unlink", "open"))]
)
def test_killed_at_each_step(tmp_path: Path, call: str) -> None:
    """Kill -9 before the first, second, ... call of each kind that a write makes; then another process reads and makes."""
    context = multiprocessing.get_context("fork")
    for wanted in range(1, 20):
        cache = Cache(tmp_path / f"{wanted}")
        cache.put(KEY, "engine.plan", writes(b"first"))
        worker = context.Process(target=_put_and_die, args=(cache.folder, call, wanted))
        worker.start()
        worker.join(30)
        assert worker.exitcode in (0, -signal.SIGKILL)
        found = cache.get(KEY)
        assert found is None or found.read_bytes() in (b"first", b"second")
        again = cache.get_or_make(KEY, "engine.plan", writes(b"third")).read_bytes()
        assert again == (found.read_bytes() if found else b"third")
        if worker.exitcode == 0:
            assert again == b"second"
            break
    assert 1 < wanted < 19, f"os.{call} was reached {wanted - 1} times"
