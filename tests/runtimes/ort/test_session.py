"""What the backends on ONNX Runtime share, with the real engine, a damaged one and an older one."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import edgecnn
from edgecnn.artifacts import load_artifact
from edgecnn.errors import BadInput, ProviderFallback
from edgecnn.runtimes import OpenOptions
from edgecnn.runtimes.ort.bound import BoundOrtSession
from edgecnn.runtimes.ort.installed import engine_distributions
from edgecnn.runtimes.ort.session import (
    CPU_PROVIDER,
    OrtSession,
    create_session,
    forbid_cpu,
    placement,
    refuse_fallback,
    session_options,
    tells_placement,
)
from edgecnn.testing.models import REFERENCE, TINY

onnxruntime = pytest.importorskip("onnxruntime")

CPU = [(CPU_PROVIDER, {})]


def _installed(folder: Path, *names: str) -> Path:
    """Return a folder of packages where these distributions own the folder onnxruntime, of which nothing is left."""
    (folder / "onnxruntime").mkdir(parents=True)
    (folder / "onnxruntime/__init__.py").write_text("")
    for name in names:
        info = folder / f"{name.replace('-', '_')}-9.9.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n")
        (info / "RECORD").write_text("onnxruntime/__init__.py,,\nother/file.py,,\n")
    return folder


def test_distributions_that_share_the_folder_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _installed(tmp_path, "onnxruntime-gpu", "onnxruntime-directml")
    addon = folder / "onnxruntime_extensions-1.0.dist-info"
    addon.mkdir()
    (addon / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-extensions\nVersion: 1.0\n")
    (addon / "RECORD").write_text("onnxruntime_extensions/__init__.py,,\n")
    built = folder / "onnxruntime.egg-info"  # of a source tree, which has the version inside alone
    built.mkdir()
    (built / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: onnxruntime\nVersion: 1.0\n")
    (built / "SOURCES.txt").write_text("onnxruntime/__init__.py\n")
    monkeypatch.setattr(sys, "path", [str(folder)])
    assert engine_distributions() == ("onnxruntime", "onnxruntime-directml", "onnxruntime-gpu")


def test_what_two_distributions_left_is_said_with_the_way_out(tmp_path: Path) -> None:
    folder = _installed(tmp_path, "onnxruntime", "onnxruntime-gpu")
    code = (
        "from edgecnn.runtimes import get_runtime\n"
        "try: get_runtime('cpu').check()\n"
        "except Exception as error: print(type(error).__name__, error.message, error.hint, sep='\\n')"
    )
    home = str(Path(edgecnn.__file__).parents[1])
    start = f"import sys; sys.path[:0] = [{str(folder)!r}, {home!r}]\n{code}"
    done = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True, check=True, env={**os.environ})
    kind, message, hint = done.stdout.splitlines()
    assert kind == "RuntimeUnavailable"
    assert "(onnxruntime and onnxruntime-gpu overwrite each other): AttributeError" in message
    assert hint == "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'edgecnn[cpu]'"
    assert done.stderr == ""


def test_options_say_everything_that_was_asked_for() -> None:
    options = OpenOptions(spinning=False, arena=False)
    chosen = session_options(
        onnxruntime, options, 3, {"session.dynamic_block_base": 4, "session.disable_prepacking": True}
    )
    assert (chosen.intra_op_num_threads, chosen.inter_op_num_threads) == (3, 1)
    assert chosen.enable_cpu_mem_arena is False
    assert chosen.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert chosen.get_session_config_entry("session.dynamic_block_base") == "4"
    assert chosen.get_session_config_entry("session.disable_prepacking") == "1"


@pytest.mark.parametrize("kind", [OrtSession, BoundOrtSession])
def test_a_session_tells_what_it_asked_for_and_got(kind: type[OrtSession]) -> None:
    options = OpenOptions()
    chosen = session_options(onnxruntime, options, 1)
    artifact = load_artifact(TINY)
    named = {"backend": "x", "providers": CPU, "chosen": chosen, "threads": 1, "described": {"a": 1}}
    with kind(onnxruntime, artifact, options, **named) as session, np.load(REFERENCE) as stored:
        for _ in range(3):
            answer = session.run({"input": stored["input"][:2]})["logits"]
            np.testing.assert_allclose(answer, stored["logits"][:2], rtol=1e-4, atol=1e-5)
        info = session.info()
    assert (info.backend, info.providers_asked, info.providers_active) == ("x", (CPU_PROVIDER,), (CPU_PROVIDER,))
    assert info.options == {"spinning": True, "arena": True, "a": 1}


def test_a_provider_that_is_not_there_is_an_error_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    chosen = session_options(onnxruntime, OpenOptions(), 1)
    with pytest.raises(BadInput, match="cannot load"):
        create_session(onnxruntime, load_artifact(TINY), chosen, [("NoSuchExecutionProvider", {})])
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not tells_placement(onnxruntime), reason="this engine does not tell where nodes run")
def test_nodes_are_named_with_their_operators() -> None:
    chosen = session_options(onnxruntime, OpenOptions(), 1)
    placed = placement(create_session(onnxruntime, load_artifact(TINY), chosen, CPU))
    assert placed is not None
    assert set(placed) == {CPU_PROVIDER}
    assert any(name.endswith(" (Conv)") or "Conv" in name for name in placed[CPU_PROVIDER])


def test_an_engine_that_does_not_tell_refuses_the_cpu_itself() -> None:
    older = SimpleNamespace(InferenceSession=object)
    assert placement(object()) is None
    refuse_fallback(("A",), ("A", CPU_PROVIDER), None)
    key = "session.disable_cpu_ep_fallback"
    for engine, options, entry in (
        (older, OpenOptions(), "1"),
        (older, OpenOptions(allow_fallback=True), None),
        (SimpleNamespace(InferenceSession=SimpleNamespace(get_provider_graph_assignment_info=1)), OpenOptions(), None),
    ):
        chosen = onnxruntime.SessionOptions()
        forbid_cpu(engine, chosen, options)
        try:
            found = chosen.get_session_config_entry(key)
        except RuntimeError:
            found = None
        assert found == entry


def test_the_engines_own_refusal_is_a_fallback() -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError(
            "This session contains graph nodes that are assigned to the default CPU EP, "
            "but fallback to CPU EP has been explicitly disabled by the user."
        )

    engine = SimpleNamespace(InferenceSession=refuse, __version__="1.23.2")
    with pytest.raises(ProviderFallback, match=r"CUDAExecutionProvider cannot run every node of .*tiny\.onnx"):
        create_session(engine, load_artifact(TINY), None, [("CUDAExecutionProvider", {})])


@pytest.mark.parametrize("arena", [True, False])
def test_an_engine_with_its_arena_may_use_freed_blocks_again(arena: bool) -> None:
    """Blocks of some megabytes are mapped one by one by a fresh GNU C library, and no longer after a session was made."""
    code = """
import ctypes, sys
import numpy as np
import edgecnn
from edgecnn import OpenOptions
from edgecnn.bench.allocations import _Info

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = _Info

def mapped_for(size):
    before = mallinfo().hblks
    block = np.empty(size, np.uint8)
    return mallinfo().hblks - before

assert mapped_for(1 << 20) == 1
classifier = edgecnn.load(sys.argv[1], options=OpenOptions(threads=1, arena=sys.argv[2] == "True"))
print(mapped_for(3 << 20))
"""
    if not hasattr(ctypes.CDLL(None), "mallinfo2"):
        pytest.skip("no GNU C library of version 2.33 or newer")
    done = subprocess.run(
        [sys.executable, "-c", code, str(TINY), str(arena)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == (0 if arena else 1)
