"""A backend is called ok when it has answered right, in a process of its own."""

from pathlib import Path

import numpy as np
import pytest

from edgecnn.doctor import proof
from edgecnn.runtimes import get_runtime
from edgecnn.runtimes.base import Array, Feeds, OpenOptions, Session
from edgecnn.specs import Artifact

CRASHING = """
import os, signal
class CrashingRuntime:
    name, formats = "crashing", ("onnx",)
    def check(self): os.kill(os.getpid(), signal.SIGSEGV)
    def open(self, artifact, options): raise AssertionError
"""


class _Wrong:
    """Backend cpu with a constant added to its answers."""

    name, formats = "wrong", ("onnx",)

    def check(self) -> None: ...

    def open(self, artifact: Artifact, options: OpenOptions) -> Session:
        inner = get_runtime("cpu").open(artifact, options)

        class Shifted(type(inner)):
            def _run(self, feeds: Feeds) -> dict[str, Array]:
                return {name: value + np.float32(0.5) for name, value in super()._run(feeds).items()}

        inner.__class__ = Shifted
        return inner


@pytest.mark.slow
def test_a_backend_that_works_is_proved() -> None:
    found = proof.prove("cpu")
    assert found.health == "ok"
    assert "CPUExecutionProvider" in found.message


def test_an_unknown_backend_is_unavailable() -> None:
    assert proof.try_backend("nosuch").health == "unavailable"


def test_wrong_answers_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "get_runtime", lambda name: _Wrong())
    found = proof.try_backend("wrong")
    assert found.health == "broken"
    assert "wrong answers" in found.message


def test_a_backend_that_crashes_takes_only_its_own_process_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "crashing.py").write_text(CRASHING)
    info = tmp_path / "crashing-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: crashing\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[edgecnn.runtimes]\ncrashing = crashing:CrashingRuntime\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = proof.prove("crashing")
    assert found.health == "broken"
    assert "SIGSEGV" in found.message
