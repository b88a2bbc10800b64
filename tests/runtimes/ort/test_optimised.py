"""Optimised models that are kept: the same answers, made once, and made again where anything has changed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.artifacts import file_sha256, load_artifact
from edgecnn.errors import BadInput, UnavailableError
from edgecnn.runtimes import OpenOptions, Session, open_session
from edgecnn.runtimes.ort.optimised import cpu_kinds, optimised_key
from edgecnn.runtimes.ort.packed import unpacked_graph
from edgecnn.runtimes.ort.session import tells_placement
from edgecnn.testing.models import TINY, TINY_BATCH1, TINY_INT8

onnxruntime = pytest.importorskip("onnxruntime")

STATES = ("made", "from cache", "from cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that was not written just now, as those of an app."""
    path = tmp_path / "model.onnx"
    shutil.copy(TINY, path)
    return path


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files that were written a moment ago count as unchanged for long, as those of an app are."""
    monkeypatch.setattr("edgecnn.runtimes.tickets._SETTLED_NS", 0)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Which models were read for their digest."""
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return file_sha256(path)

    monkeypatch.setattr("edgecnn.runtimes.ort.optimised.file_sha256", counted)
    return read


def _open(model: Path, folder: Path, **changes: object) -> Session:
    options = replace(OpenOptions(threads=1, cache=True, cache_folder=folder), **changes)  # type: ignore[arg-type]
    return open_session(load_artifact(model), options=options)


def _state(model: Path, folder: Path, **changes: object) -> object:
    with _open(model, folder, **changes) as session:
        return session.info().options["optimised_model"]


@pytest.mark.parametrize("file", [TINY, TINY_INT8, TINY_BATCH1], ids=lambda path: path.stem)
@pytest.mark.parametrize("spinning", [True, False])
def test_answers_are_those_of_a_session_without_it(file: Path, spinning: bool, folder: Path) -> None:
    with open_session(load_artifact(file), options=OpenOptions(threads=2, spinning=spinning)) as plain:
        assert plain.info().options["optimised_model"] == "off"
        shape = [size if isinstance(size, int) else 5 for size in plain.inputs[0].shape]
        feeds = {"input": np.random.default_rng(3).standard_normal(shape, np.float32)}
        wanted, inputs, outputs = plain.run(feeds), plain.inputs, plain.outputs
    for state in STATES:
        with _open(file, folder, threads=2, spinning=spinning) as session:
            info = session.info()
            assert info.options["optimised_model"] == state
            assert (session.inputs, session.outputs) == (inputs, outputs)
            assert set(info.nodes or {}) == ({"CPUExecutionProvider"} if tells_placement(onnxruntime) else set())
            for _ in range(2):
                answer = session.run(feeds)
                assert {name: value.tobytes() for name, value in answer.items()} == {
                    name: value.tobytes() for name, value in wanted.items()
                }


def test_the_kept_file_is_what_the_engine_runs(folder: Path) -> None:
    """Optimised: fewer nodes than the model, and none of them left for the engine to rewrite."""
    onnx = pytest.importorskip("onnx")
    _state(TINY_INT8, folder)
    (kept,) = folder.glob("*.packed")
    before, after = onnx.load(TINY_INT8).graph.node, _graph(kept).node
    assert len(after) < len(before)
    assert "QLinearConv" in {node.op_type for node in after}
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_threads_do_not_change_what_is_kept(tmp_path: Path) -> None:
    """The key leaves them out."""
    for file in (TINY, TINY_INT8):
        kept = []
        for threads in (1, 2):
            folder = tmp_path / f"{file.stem}{threads}"
            assert _state(file, folder, threads=threads) == "made"
            kept += [_content(path) for path in folder.glob("*.packed")]
        assert kept[0] == kept[1]


@pytest.mark.usefixtures("settled")
def test_nothing_is_read_twice_while_files_stay(model: Path, folder: Path, hashed: list[Path]) -> None:
    assert [_state(model, folder) for _ in range(4)] == ["made", *["from cache"] * 3]
    assert hashed == [model]


def test_a_file_of_this_moment_is_read_each_time(model: Path, folder: Path, hashed: list[Path]) -> None:
    """Its times could stay while it changes."""
    assert [_state(model, folder) for _ in range(3)] == list(STATES)
    assert hashed == [model] * 3
    assert not list(folder.glob("*.ticket"))


@pytest.mark.usefixtures("settled")
def test_a_changed_model_is_another_one(model: Path, folder: Path) -> None:
    assert [_state(model, folder) for _ in range(2)] == ["made", "from cache"]
    # Same size, same mtime.
    status = model.stat()
    model.write_bytes(bytes(model.read_bytes()).replace(b"logits", b"answer"))
    os.utime(model, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert model.stat().st_size == status.st_size
    with open_session(load_artifact(TINY), options=OpenOptions(threads=1)) as plain:
        wanted = plain.run({"input": np.ones((1, 1, 8, 8), np.float32)})["logits"]
    with _open(model, folder) as session:
        assert session.info().options["optimised_model"] == "made"
        np.testing.assert_array_equal(session.run({"input": np.ones((1, 1, 8, 8), np.float32)})["answer"], wanted)


@pytest.mark.usefixtures("settled")
def test_a_copy_of_the_model_shares_the_entry(model: Path, folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere.onnx"
    shutil.copy(model, copy)
    assert [_state(model, folder), _state(copy, folder)] == ["made", "from cache"]
    assert len(list(folder.glob("*.packed"))) == 1


def _graph(path: Path) -> Any:
    """Return the graph of a packed file, with its weights in it."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load_model_from_string(unpacked_graph(onnxruntime.SessionOptions(), path))
    onnx.load_external_data_for_model(model, str(path.parent))
    return model.graph


def _content(path: Path) -> object:
    """Return operators and weights; the engine names some of its own nodes in no fixed order."""
    onnx = pytest.importorskip("onnx")
    graph = _graph(path)
    operators = [(node.domain, node.op_type, *sorted(map(str, node.attribute))) for node in graph.node]
    return operators, [(list(one.dims), onnx.numpy_helper.to_array(one).tobytes()) for one in graph.initializer]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _of_another(path: Path) -> None:
    shutil.copy(TINY_INT8, path)


def _gone(path: Path) -> None:
    path.unlink()


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("damage", [_cut, _flip, _empty, _of_another, _gone])
def test_a_damaged_file_is_made_again(damage: Callable[[Path], None], model: Path, folder: Path) -> None:
    assert [_state(model, folder) for _ in range(2)] == ["made", "from cache"]
    (kept,) = folder.glob("*.packed")
    whole = _content(kept)
    damage(kept)
    assert [_state(model, folder) for _ in range(2)] == ["made", "from cache"]
    assert _content(kept) == whole


@pytest.mark.usefixtures("settled")
def test_a_whole_file_that_the_engine_cannot_read_is_made_again(model: Path, folder: Path) -> None:
    """Manifest and ticket fit it, and yet it is no model: an engine gone wrong wrote it."""
    for _ in range(2):
        _state(model, folder)
    (kept,) = folder.glob("*.packed")
    whole = _content(kept)
    kept.write_bytes(b"no model")
    (manifest,) = folder.glob("*.json")
    fields = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**fields, "sha256": hashlib.sha256(b"no model").hexdigest()}))
    (ticket,) = folder.glob("*.ticket")
    remembered = json.loads(ticket.read_text())
    status = kept.stat()
    remembered["identities"][1] = [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    ticket.write_text(json.dumps(remembered))
    assert [_state(model, folder) for _ in range(2)] == ["made", "from cache"]
    assert _content(kept) == whole


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"optimised": "../x"}', '{"optimised": 5, "identities": 5}'])
def test_a_damaged_ticket_is_no_ticket(text: str, model: Path, folder: Path, hashed: list[Path]) -> None:
    _state(model, folder)
    (ticket,) = folder.glob("*.ticket")
    ticket.write_text(text)
    assert _state(model, folder) == "from cache"
    assert hashed == [model, model]


@pytest.mark.usefixtures("settled")
def test_a_ticket_of_something_else_is_not_taken(model: Path, folder: Path, hashed: list[Path]) -> None:
    """Its name is a check sum, which two may share."""
    _state(model, folder)
    (ticket,) = folder.glob("*.ticket")
    remembered = json.loads(ticket.read_text())
    ticket.write_text(json.dumps({**remembered, "for": remembered["for"].replace("onnxruntime", "other")}))
    _state(model, folder)
    assert hashed == [model, model]


@pytest.mark.usefixtures("settled")
def test_opening_by_a_ticket_loads_no_openssl(model: Path, folder: Path) -> None:
    _state(model, folder)
    code = (
        "import sys, pathlib, edgecnn\n"
        "options = edgecnn.OpenOptions(threads=1, cache=True, cache_folder=pathlib.Path(sys.argv[2]))\n"
        "info = edgecnn.load(sys.argv[1], options=options, trusted=True).info()\n"
        "print(info.options['optimised_model'], '_hashlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, model, folder], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "from cache False"


@pytest.mark.usefixtures("settled")
def test_what_others_may_write_to_is_not_trusted(model: Path, folder: Path, hashed: list[Path]) -> None:
    _state(model, folder)
    (kept,) = folder.glob("*.packed")
    kept.chmod(0o666)
    assert _state(model, folder) == "made"
    (ticket,) = folder.glob("*.ticket")
    ticket.chmod(0o666)
    assert _state(model, folder) == "from cache"
    assert hashed == [model] * 3
    folder.chmod(0o777)
    with pytest.raises(UnavailableError, match="others may write"):
        _state(model, folder)


def test_a_model_that_cannot_be_read_leaves_nothing(tmp_path: Path, folder: Path) -> None:
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(TINY)
    graph.graph.node[0].op_type = "NoSuchOperator"
    broken = tmp_path / "broken.onnx"
    onnx.save(graph, broken)
    with pytest.raises(BadInput, match="cannot load"):
        _state(broken, folder)
    assert not [path for path in folder.iterdir() if path.suffix != ".lock"]


def test_entries_that_rewrite_graphs_have_files_of_their_own(folder: Path) -> None:
    for engine in ({}, {"session.set_denormal_as_zero": True}, {"session.dynamic_block_base": 4}):
        _state(TINY, folder, engine=engine)
    assert len(list(folder.glob("*.packed"))) == 2


def test_the_key_names_engine_and_processor(tmp_path: Path) -> None:
    key = optimised_key(onnxruntime, {"session.intra_op_thread_affinities": "1", "session.qdqisint8allowed": 1})
    assert key["engine"] == f"onnxruntime {onnxruntime.__version__}"
    assert key["entries"] == {"session.qdqisint8allowed": 1}
    assert key["cpu"] == cpu_kinds()
    machines = Path(__file__).parents[2] / "devices/trees"
    digests = {cpu_kinds(machines / name) for name in ("rpi4", "rpi5", "pc", "big_little", "container")}
    assert len(digests) == 5
    assert cpu_kinds(tmp_path) not in digests


def test_the_clock_of_cpus_is_no_kind(tmp_path: Path) -> None:
    block = "processor : {}\nvendor_id : AuthenticAMD\nmodel : 1\ncpu MHz : {}\nflags : fpu sse avx2\n\n"
    digests = []
    for number, mhz in enumerate((2400.1, 3100.7)):
        root = tmp_path / str(number)
        (root / "proc").mkdir(parents=True)
        (root / "proc/cpuinfo").write_text(block.format(0, mhz) + block.format(1, mhz + 5))
        digests.append(cpu_kinds(root))
    assert digests[0] == digests[1]


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="cache") as caught:
        _state(TINY, tmp_path / "file/kept")
    assert "cache=False" in caught.value.hint


def test_time_passes_for_files(model: Path, folder: Path, hashed: list[Path]) -> None:
    """Without the shortcut of the other tests: a model of some seconds ago gets its ticket with the second session."""
    bundled = [_state(TINY, folder) for _ in range(3)]
    assert bundled == list(STATES)
    old = time.time_ns() - max(TINY.stat().st_mtime_ns, TINY.stat().st_ctime_ns) > 3_000_000_000
    assert hashed == ([TINY] if old else [TINY] * 3)


def test_a_model_that_is_gone_is_said(model: Path, folder: Path) -> None:
    artifact = load_artifact(model)
    model.unlink()
    with pytest.raises(BadInput, match=r"cannot read .*model\.onnx"):
        open_session(artifact, options=OpenOptions(cache=True, cache_folder=folder))


@pytest.mark.usefixtures("settled")
def test_a_model_that_changes_while_it_is_optimised_is_not_kept(
    model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replaced(path: Path) -> str:
        digest = file_sha256(path)
        shutil.copy(TINY_INT8, path)
        return digest

    monkeypatch.setattr("edgecnn.runtimes.ort.optimised.file_sha256", replaced)
    assert _state(model, folder) == "made"
    assert not [*folder.glob("*.packed"), *folder.glob("*.ticket")]


def test_a_folder_that_was_filled_beforehand_may_be_read_only(model: Path, folder: Path) -> None:
    """As on a device whose file system is; nothing is written, a lock neither."""
    _state(model, folder)
    before = sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir())
    folder.chmod(0o500)
    try:
        assert _state(model, folder) == "from cache"
        assert sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir()) == before
    finally:
        folder.chmod(0o700)
