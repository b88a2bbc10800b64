"""States of all backends, whatever one of them does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecnn.errors import RuntimeUnavailable
from edgecnn.runtimes import PLUGINS, backend_states
from edgecnn.runtimes.states import BackendState, state_of, states_apart

Register = Callable[[str, str], None]


@pytest.fixture
def register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Register:
    """Add a backend from another package: its name, and the body of its `check`."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def add(name: str, body: str) -> None:
        (tmp_path / f"backend_{name}.py").write_text(
            f"import os, sys, time, ctypes\nclass Toy:\n    name = {name!r}\n    formats = ()\n"
            f"    def check(self):\n        {body}\n"
        )
        info = tmp_path / f"edgecnn_{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: edgecnn-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[edgecnn.runtimes]\n{name} = backend_{name}:Toy\n")

    return add


def asked(*names: str, timeout_s: float = 60.0) -> dict[str, BackendState]:
    return {one.name: one for one in states_apart(names, timeout_s=timeout_s)}


@pytest.mark.parametrize("hanging", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_crash_a_hang_and_an_exit_hurt_no_other(register: Register, hanging: bool) -> None:
    register("crashing", "ctypes.string_at(0)")
    register("leaving", "os._exit(3)")
    register("hanging", "time.sleep(600)" if hanging else "pass")
    states = asked("null", "crashing", "leaving", "hanging", "null", timeout_s=5 if hanging else 60)
    assert states["null"].state == "ok"
    assert {states[name].state for name in ("crashing", "leaving")} == {"broken"}
    assert "signal 11" in states["crashing"].reason
    assert "exit status 3" in states["leaving"].reason
    assert states["hanging"].state == ("broken" if hanging else "ok")
    assert "within 5 s" in states["hanging"].reason or not hanging


def test_what_a_backend_prints_is_no_answer(register: Register) -> None:
    register("loud", "print('hello'); os.write(1, b'world')")
    assert asked("loud")["loud"] == BackendState(name="loud", state="ok")


def test_broken_is_not_unavailable(register: Register) -> None:
    register(
        "honest", "from edgecnn.errors import RuntimeUnavailable; raise RuntimeUnavailable('no device', 'plug it in')"
    )
    register("careless", "raise KeyError('oops')")
    register("quitting", "sys.exit('bye')")
    register("unimportable", "pass\n1 +")
    states = asked("honest", "careless", "quitting", "unimportable")
    assert states["honest"] == BackendState(name="honest", state="unavailable", reason="no device", hint="plug it in")
    assert states["careless"].state == "broken"
    assert states["careless"].reason == "KeyError: 'oops'"
    assert states["quitting"].state == "broken"
    assert states["unimportable"].state == "broken"
    assert "cannot be imported: SyntaxError" in states["unimportable"].reason


def test_names_that_do_not_exist_are_broken_and_not_raised() -> None:
    def get_runtime(name: str) -> None:
        raise RuntimeUnavailable("gone")

    assert state_of("x", get_runtime).state == "broken"  # type: ignore[arg-type]
    assert asked("nonesuch")["nonesuch"].state == "broken"


@pytest.mark.slow
def test_all_backends_in_the_order_of_their_names(register: Register) -> None:
    register("extra", "pass")
    states = backend_states()
    assert [one.name for one in states][: len(PLUGINS.names())] == list(PLUGINS.names())
    assert {"cpu", "cuda", "ort-trt", "null", "extra"} <= {one.name for one in states}
    for one in states:
        assert (one.state == "ok") == (one.reason == "")


@pytest.mark.slow
def test_a_provider_package_that_crashes_is_named_and_the_rest_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "onnxruntime_ep_bad"
    module.mkdir()
    (module / "__init__.py").write_text(
        "import ctypes\nctypes.string_at(0)\ndef get_library_path(): ...\ndef get_ep_name(): ...\n"
    )
    info = tmp_path / "onnxruntime_ep_bad-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-ep-bad\nVersion: 1.0\n")
    (info / "RECORD").write_text("onnxruntime_ep_bad/__init__.py,,\n")
    states = {one.name: one for one in backend_states()}
    assert states["ort:*"].state == "broken"
    assert "signal 11" in states["ort:*"].reason
    assert states["null"].state == "ok"


def test_a_file_of_the_current_folder_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(tmp_path))])
    (null,) = states_apart(["null"])
    assert null.state == "ok", null
