from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.errors import BadInput
from edgecnn.runtimes.trt.engine_file import note_path, read_note, write_engine
from edgecnn.testing.models import TINY

KEY = {"gpu": "NVIDIA H200", "version": "11.4.0.106", "build": {"tf32": False}}


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.engine"
    write_engine(path, b"plan", load_artifact(TINY), KEY)
    return path


def test_an_engine_comes_back_with_what_its_model_said(engine: Path) -> None:
    found, model = load_artifact(engine), load_artifact(TINY)
    assert engine.read_bytes() == b"plan"
    assert found.format == "engine"
    assert found.spec == model.spec
    assert found.precision == model.precision
    assert found.size_bytes == 4
    note = read_note(engine)
    assert note is not None
    assert note.key == KEY
    assert note.model == "tiny.onnx"
    assert sorted(path.name for path in engine.parent.iterdir()) == ["tiny.engine", "tiny.engine.json"]


def test_an_engine_without_the_file_beside_it_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "foreign.plan"
    path.write_bytes(b"plan")
    found = load_artifact(path)
    assert (found.format, found.spec.network, found.spec.inputs) == ("engine", "foreign", ())
    assert read_note(path) is None


def test_another_engine_under_its_name_is_noticed(engine: Path) -> None:
    engine.write_bytes(b"nalp")
    with pytest.raises(BadInput, match="is of another engine"):
        load_artifact(engine)


@pytest.mark.parametrize("change", ["{", "[]", "{}", '{"key": 1}'])
def test_damage_beside_it_is_bad_input(engine: Path, change: str) -> None:
    note_path(engine).write_text(change)
    with pytest.raises(BadInput, match=r"tiny\.engine\.json"):
        load_artifact(engine)


@pytest.mark.parametrize(("key", "value"), [("precision", "int3"), ("spec", {}), ("key", None), ("spec", "x")])
def test_wrong_values_beside_it_are_bad_input(engine: Path, key: str, value: object) -> None:
    note_path(engine).write_text(json.dumps({**json.loads(note_path(engine).read_text()), key: value}))
    with pytest.raises(BadInput, match=r"tiny\.engine\.json"):
        load_artifact(engine)


def test_the_model_is_looked_for_beside_it_alone(engine: Path) -> None:
    data = json.loads(note_path(engine).read_text())
    note_path(engine).write_text(json.dumps({**data, "model": "../../etc/x.onnx"}))
    note = read_note(engine)
    assert note is not None
    assert note.model == "x.onnx"


def test_missing_and_empty_engines_and_other_names(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        load_artifact(tmp_path / "none.engine")
    (tmp_path / "empty.engine").write_bytes(b"")
    with pytest.raises(BadInput, match="is empty"):
        load_artifact(tmp_path / "empty.engine")
    with pytest.raises(BadInput, match=r"\.engine or \.plan"):
        write_engine(tmp_path / "x.bin", b"plan", load_artifact(TINY), {})
    assert not (tmp_path / "x.bin").exists()
