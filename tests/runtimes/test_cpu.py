"""Backend cpu beyond the conformance suite."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.errors import BadInput, Contradiction, RuntimeUnavailable, UnknownName
from edgecnn.runtimes import OpenOptions, open_session
from edgecnn.runtimes.ort.entries import ENGINE_KEYS, NEWER_KEYS, check_entry
from edgecnn.specs import Scalar
from edgecnn.testing.models import TINY, read_reference

onnxruntime = pytest.importorskip("onnxruntime")

INSTALLED = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])


def test_bound_buffers_and_fresh_arrays_give_the_same() -> None:
    with open_session(load_artifact(TINY), options=OpenOptions(threads=1)) as session:
        images = np.tile(read_reference()["input"], (40, 1, 1, 1))
        assert images[:100].nbytes < 1 << 16 < images.nbytes
        together = session.run({"input": images})["logits"]
        apart = np.concatenate([session.run({"input": images[i : i + 100]})["logits"] for i in range(0, 640, 100)])
        np.testing.assert_allclose(apart, together, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(INSTALLED < (1, 24), reason="this engine does not tell where nodes run")
def test_nodes_are_counted_per_provider() -> None:
    with open_session(load_artifact(TINY)) as session:
        info = session.info()
    assert info.nodes is not None
    assert set(info.nodes) == {"CPUExecutionProvider"}
    assert 0 < info.nodes["CPUExecutionProvider"] <= 8


def test_options_reach_the_engine() -> None:
    options = OpenOptions(threads=2, spinning=False, arena=False, engine={"session.set_denormal_as_zero": True})
    with open_session(load_artifact(TINY), options=options) as session:
        info = session.info()
    assert info.threads == 2
    assert info.options["spinning"] is False
    assert info.options["session.set_denormal_as_zero"] is True
    with pytest.raises(BadInput):
        OpenOptions(threads=0)


@pytest.mark.parametrize(
    ("key", "value", "error", "text"),
    [
        ("fast", True, UnknownName, "unknown engine option of backend cpu 'fast'"),
        ("sesion.set_denormal_as_zero", True, UnknownName, "did you mean session.set_denormal_as_zero"),
        ("session.set_denormal_as_zeros", True, UnknownName, "did you mean session.set_denormal_as_zero"),
        ("session.intra_op.allow_spinning", 0, Contradiction, r"OpenOptions\(spinning=…\)"),
        ("session.intra_op_num_threads", 3, Contradiction, r"OpenOptions\(threads=…\)"),
        ("session.enable_cpu_mem_arena", False, Contradiction, r"OpenOptions\(arena=…\)"),
        ("session.dynamic_block_base", None, BadInput, "engine option session.dynamic_block_base"),
        ("session.dynamic_block_base", "9" * 1025, BadInput, "at most 1024 characters"),
        ("session.dynamic_block_base", True, BadInput, "a whole number of at least 0, got True"),
        ("session.intra_op.spin_duration_us", "long", BadInput, "a whole number of at least 0, got 'long'"),
        ("session.intra_op.spin_duration_us", -5, BadInput, "a whole number of at least 0, got -5"),
        ("session.enable_mem_pattern", "maybe", BadInput, "true or false"),
        ("session.optimized_model_filepath", "/tmp/x", Contradiction, r"OpenOptions\(cache=…\)"),
        ("session.intra_op_thread_affinities", "1;1;1;1;1", BadInput, "groups for"),
    ],
)
def test_engine_options_that_cannot_be_are_refused(
    key: str, value: Scalar, error: type[Exception], text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(error, match=text):
        open_session(load_artifact(TINY), options=OpenOptions(engine={key: value}))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_an_entry_for_arm_is_refused_elsewhere(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    with nullcontext() if machine == "aarch64" else pytest.raises(Contradiction, match="does nothing on x86_64"):
        check_entry("mlas.enable_gemm_fastmath_arm64_bfloat16", True)


@pytest.mark.parametrize("key", sorted(NEWER_KEYS))
def test_an_entry_of_a_newer_engine_is_refused_by_an_older_one(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    major, minor = NEWER_KEYS[key]
    with pytest.raises(RuntimeUnavailable, match=f"needs onnxruntime {major}.{minor} or newer, this is") as caught:
        check_entry(key, 1, version=f"{major}.{minor - 1}.2")
    assert caught.value.hint == f"pip install 'onnxruntime>={major}.{minor}', or leave it out"
    for version in (f"{major}.{minor}.0", f"{major}.{minor + 1}.0rc1", "2.0.0", ""):
        check_entry(key, 1, version=version)


@pytest.mark.skipif(INSTALLED < (1, 26), reason="this engine has no such entry")
def test_spinning_that_is_off_has_no_duration() -> None:
    options = OpenOptions(threads=1, spinning=False, engine={"session.intra_op.spin_duration_us": 100})
    with pytest.raises(Contradiction, match="exclude each other"):
        open_session(load_artifact(TINY), options=options)


@pytest.mark.parametrize(
    ("arena", "engine", "pattern"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"session.enable_mem_pattern": False}, False),
        (False, {"session.enable_mem_pattern": "1"}, True),
    ],
)
def test_memory_patterns_follow_the_arena_unless_said(arena: bool, engine: dict[str, Scalar], pattern: bool) -> None:
    options = OpenOptions(threads=1, arena=arena, engine=engine)
    with open_session(load_artifact(TINY), options=options) as session:
        assert session.info().options["mem_pattern"] is pattern
        assert session._session.get_session_options().enable_mem_pattern is pattern  # type: ignore[attr-defined]


def test_an_option_that_it_cannot_honour_is_refused() -> None:
    with pytest.raises(Contradiction, match="trust_engine"):
        open_session(load_artifact(TINY), options=OpenOptions(trust_engine=True))


def test_the_engine_knows_every_entry_that_is_passed_on() -> None:
    files = (Path(onnxruntime.__file__).parent / "capi").glob("*onnxruntime*.so*")
    text = b"".join(file.read_bytes() for file in files)
    older = {key for key, first in NEWER_KEYS.items() if first > INSTALLED}
    elsewhere = {key for key in ENGINE_KEYS if "arm64" in key or "kleidiai" in key}
    wanted = ENGINE_KEYS - older - elsewhere - {"session.enable_mem_pattern"}
    missing = {key for key in wanted if b"\0" + key.encode() + b"\0" not in text}
    assert not missing


def test_without_the_engine_the_reason_is_the_pip_command(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['onnxruntime'] = None\n"  # what makes an import fail as that of a package that is not there
        "from edgecnn.runtimes import get_runtime\n"
        "try: get_runtime('cpu').check()\n"
        "except Exception as error: print(type(error).__name__, error.exit_code, error.hint)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "MissingDependency 3 pip install 'edgecnn[cpu]'"
