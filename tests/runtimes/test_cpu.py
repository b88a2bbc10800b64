"""Backend cpu beyond the conformance suite."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.errors import BadInput, Contradiction, UnknownName
from edgecnn.runtimes import OpenOptions, backend_states, open_session
from edgecnn.runtimes.ortentries import ENGINE_KEYS, check_entry
from edgecnn.specs import Scalar
from edgecnn.testing.models import REFERENCE, TINY

onnxruntime = pytest.importorskip("onnxruntime")


def test_bound_buffers_and_fresh_arrays_give_the_same() -> None:
    with open_session(load_artifact(TINY), options=OpenOptions(threads=1)) as session:
        images = np.tile(np.load(REFERENCE)["input"], (40, 1, 1, 1))
        assert images[:100].nbytes < 1 << 16 < images.nbytes
        together = session.run({"input": images})["logits"]
        apart = np.concatenate([session.run({"input": images[i : i + 100]})["logits"] for i in range(0, 640, 100)])
        np.testing.assert_allclose(apart, together, rtol=1e-5, atol=1e-6)


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


def test_the_engine_knows_every_entry_that_is_passed_on() -> None:
    files = (Path(onnxruntime.__file__).parent / "capi").glob("*onnxruntime*.so*")
    text = b"".join(file.read_bytes() for file in files)
    missing = {key for key in ENGINE_KEYS if b"\0" + key.encode() + b"\0" not in text and "arm64" not in key}
    assert not missing


def test_without_the_engine_the_reason_is_the_pip_command(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "import importlib.util\n"
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'onnxruntime' else found(name, *rest)\n"
        "from edgecnn.runtimes import get_runtime\n"
        "try: get_runtime('cpu').check()\n"
        "except Exception as error: print(type(error).__name__, error.exit_code, error.hint)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "MissingDependency 3 pip install 'edgecnn[cpu]'"


def test_states_of_all_backends() -> None:
    states = backend_states()
    assert states["cpu"] is None
    assert states["null"] is None
