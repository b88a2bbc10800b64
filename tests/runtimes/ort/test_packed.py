"""Optimised models whose weights are mapped: one file, whole or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.errors import BadInput
from edgecnn.onnxmodel.write import Op, model_file
from edgecnn.runtimes.ort.packed import packing, unpacked_graph
from edgecnn.runtimes.ort.session import create_session
from edgecnn.specs import TensorSpec

onnxruntime = pytest.importorskip("onnxruntime")

CPU = [("CPUExecutionProvider", {})]
MAPS = onnxruntime.__version__.split(".")[:2] != ["1", "20"]


def _model(path: Path, width: int) -> Path:
    weights = np.random.default_rng(1).standard_normal((8, width), np.float32)
    spec = TensorSpec(name="x", dtype="float32", shape=("N", 8))
    product = TensorSpec(name="y", dtype="float32", shape=("N", width))
    op = Op(op_type="MatMul", inputs=("x", "w"), output="y")
    path.write_bytes(model_file("product", [op], {"w": weights}, [spec], [product]))
    return path


def _packed(folder: Path, width: int) -> tuple[Any, Path]:
    """Return the session that packed a model, and the file under its later name."""
    chosen = onnxruntime.SessionOptions()
    with packing(onnxruntime, chosen, folder / ".kept", "kept"):
        session = create_session(onnxruntime, load_artifact(_model(folder / "model.onnx", width)), chosen, CPU)
    return session, (folder / ".kept").rename(folder / "kept")


@pytest.mark.parametrize("width", [4, 1024])
def test_answers_are_those_of_the_model(tmp_path: Path, width: int) -> None:
    """Of 4 columns the weights stay in the graph, 1024 are mapped."""
    made, path = _packed(tmp_path, width)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["kept", "model.onnx"]
    chosen = onnxruntime.SessionOptions()
    graph = unpacked_graph(chosen, path)
    assert (len(graph) < 8 * width * 4) == (width == 1024 and MAPS)
    again = create_session(onnxruntime, load_artifact(tmp_path / "model.onnx"), chosen, CPU, graph=graph)
    feeds = {"x": np.random.default_rng(2).standard_normal((3, 8), np.float32)}
    assert again.run(None, feeds)[0].tobytes() == made.run(None, feeds)[0].tobytes()


def test_what_is_mapped_stays_when_the_file_is_replaced(tmp_path: Path) -> None:
    _, path = _packed(tmp_path, 1024)
    chosen = onnxruntime.SessionOptions()
    graph = unpacked_graph(chosen, path)
    session = create_session(onnxruntime, load_artifact(tmp_path / "model.onnx"), chosen, CPU, graph=graph)
    feeds = {"x": np.ones((1, 8), np.float32)}
    before = session.run(None, feeds)[0]
    other = tmp_path / "other"
    other.write_bytes(bytes(path.stat().st_size))
    other.replace(path)
    assert session.run(None, feeds)[0].tobytes() == before.tobytes()
    path.unlink()
    assert session.run(None, feeds)[0].tobytes() == before.tobytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:10],
        lambda content: content[:-1],
        lambda content: content + b"x",
        lambda content: content[:-16] + (len(content)).to_bytes(8, "little") + content[-8:],
        lambda content: content[:-16] + bytes(8) + content[-8:],
    ],
)
def test_what_is_no_packed_file_is_said(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    _, path = _packed(tmp_path, 4)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BadInput, match="kept"):
        unpacked_graph(onnxruntime.SessionOptions(), path)


def test_a_file_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        unpacked_graph(onnxruntime.SessionOptions(), tmp_path / "none")


def test_what_fails_leaves_nothing_behind_and_what_was_killed_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / ".kept.parts").mkdir()
    (tmp_path / ".kept.parts/kept").write_bytes(b"half")
    with (
        pytest.raises(ZeroDivisionError),
        packing(onnxruntime, onnxruntime.SessionOptions(), tmp_path / ".kept", "kept"),
    ):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
