from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecnn.artifacts import file_sha256, load_artifact
from edgecnn.errors import BadInput
from edgecnn.jsonform import to_json
from edgecnn.specs import LINEAGE_KEY, SPEC_KEY, Accuracy, ModelSpec, Preprocess, Step, TensorSpec

SPEC = ModelSpec(
    network="mobilenet_v1",
    variant="0.25_32",
    inputs=(TensorSpec(name="x", dtype="float32", shape=("N", 3)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=("N", 3)),),
    preprocess=Preprocess(size=(32, 32), channels=1, fit="pad", mean=(0.286,), std=(0.353,)),
    labels=("shirt", "Größe", "鞋"),
    dataset="fashion-mnist",
    accuracy=(
        Accuracy(
            metric="top1",
            value=0.93,
            dataset="fashion-mnist",
            split="test",
            images=10_000,
            precision="fp32",
            backend="cpu",
        ),
    ),
    params=215_642,
    macs=7_000_000,
)
LINEAGE = (
    Step(tool="edgecnn export", version="0.1.0", options={"opset": 18, "fold": True}),
    Step(tool="edgecnn quantize", version="0.1.0", options={"scale": 0.5, "data": None}),
)


def _write(
    path: Path,
    metadata: dict[str, str] | None = None,
    *,
    ops: tuple[str, ...] = ("Relu",),
    weights: tuple[int, ...] = (TensorProto.FLOAT,),
    shape: tuple[int | str | None, ...] = ("N", 3),
    domain: str = "",
) -> Path:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    tensors = [onnx.TensorProto(name=f"w{i}", data_type=dtype, dims=[0]) for i, dtype in enumerate(weights)]
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"]) for op in ops], "g", [value], [result], tensors)
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid(domain, 18)])
    helper.set_model_props(model, metadata or {})
    path.write_bytes(model.SerializeToString())
    return path


def _spec_with(**changes: Any) -> str:
    return json.dumps({**to_json(SPEC), **changes})


def test_a_file_of_edgecnn_tells_all_about_itself(tmp_path: Path) -> None:
    metadata = {SPEC_KEY: json.dumps(to_json(SPEC)), LINEAGE_KEY: json.dumps(to_json(LINEAGE))}
    path = _write(tmp_path / "m.onnx", metadata)
    artifact = load_artifact(str(path))
    assert artifact.spec == SPEC
    assert artifact.spec.title == "mobilenet_v1_0.25_32"
    assert artifact.lineage == LINEAGE
    assert (artifact.path, artifact.format, artifact.precision) == (path, "onnx", "fp32")
    assert (artifact.opset, artifact.ir_version) == (18, 9)
    assert artifact.size_bytes == len(path.read_bytes())
    assert artifact.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_foreign_file_gets_inputs_and_outputs_from_its_graph(tmp_path: Path) -> None:
    artifact = load_artifact(_write(tmp_path / "some net.onnx"), checksum=False)
    tensor = TensorSpec(name="x", dtype="float32", shape=("N", 3))
    assert artifact.spec == ModelSpec(network="some net", inputs=(tensor,), outputs=(replace(tensor, name="y"),))
    assert artifact.lineage == ()
    assert artifact.sha256 is None


def test_inputs_and_outputs_are_the_graphs_whatever_the_metadata_say(tmp_path: Path) -> None:
    other = {"name": "image", "dtype": "uint8", "shape": ["N", 1, 32, 32]}
    spec = load_artifact(_write(tmp_path / "m.onnx", {SPEC_KEY: _spec_with(inputs=[other], outputs=[other])})).spec
    assert spec == SPEC


@pytest.mark.parametrize(
    ("shape", "names", "good"),
    [
        (("N", 3), 3, True),
        (("N", 3), 0, True),
        (("N", 3), 2, False),
        (("N", 3), 4, False),
        ((1, 3, 1, 1), 3, True),
        (("N", 3, 2), 3, False),
        (("N", "C"), 7, True),
        (("N", None), 7, True),
    ],
)
def test_there_are_as_many_labels_as_classes(
    tmp_path: Path, shape: tuple[int | str | None, ...], names: int, good: bool
) -> None:
    labels = [f"class {index}" for index in range(names)]
    path = _write(tmp_path / "m.onnx", {SPEC_KEY: _spec_with(labels=labels)}, shape=shape)
    if good:
        assert load_artifact(path).spec.labels == tuple(labels)
    else:
        with pytest.raises(BadInput, match=rf"{SPEC_KEY}.labels: expected \d names, got {names}"):
            load_artifact(path)


def test_weights_in_other_files_are_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "m.onnx")
    model = onnx.load(path)
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((512, 512), np.float32), "big"))
    onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=0)
    assert path.stat().st_size < 1000
    with pytest.raises(BadInput, match="weights lie in other files") as caught:
        load_artifact(path)
    assert "one file" in caught.value.hint
    onnx.save(onnx.load(path), tmp_path / "whole.onnx")
    assert load_artifact(tmp_path / "whole.onnx").size_bytes > 1 << 20


def test_without_the_default_operator_set_there_is_no_opset(tmp_path: Path) -> None:
    assert load_artifact(_write(tmp_path / "m.onnx", domain="com.microsoft")).opset is None


def test_keys_of_a_newer_edgecnn_are_passed_over(tmp_path: Path) -> None:
    text = _spec_with(colour="blue", preprocess={**to_json(SPEC.preprocess), "gamma": 2.2})
    assert load_artifact(_write(tmp_path / "m.onnx", {SPEC_KEY: text})).spec == SPEC


@pytest.mark.parametrize(
    ("ops", "weights", "precision"),
    [
        (("Conv",), (TensorProto.FLOAT,), "fp32"),
        (("Conv",), (), "fp32"),
        (("Conv", "QuantizeLinear"), (TensorProto.FLOAT, TensorProto.INT8), "int8"),
        (("QLinearConv",), (TensorProto.INT8,), "int8"),
        (("Conv",), (TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.INT64), "fp16"),
        (("Conv",), (TensorProto.BFLOAT16,), "bf16"),
    ],
)
def test_precision(tmp_path: Path, ops: tuple[str, ...], weights: tuple[int, ...], precision: str) -> None:
    assert load_artifact(_write(tmp_path / "m.onnx", ops=ops, weights=weights)).precision == precision


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", f"{SPEC_KEY} is not JSON: "),
        ("[" * 100_000, f"{SPEC_KEY} is not JSON: "),
        ("[]", f"{SPEC_KEY}: expected an object, got list"),
        ("{}", f"{SPEC_KEY}.network is missing"),
        (_spec_with(labels="shirt"), f"{SPEC_KEY}.labels: expected a list, got str 'shirt'"),
        (_spec_with(params=1.5), f"{SPEC_KEY}.params: expected int, got float '1.5'"),
        (_spec_with(preprocess={"size": [32]}), f"{SPEC_KEY}.preprocess.size: expected 2 values, got 1"),
    ],
)
def test_damaged_spec_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = _write(tmp_path / "m.onnx", {SPEC_KEY: text})
    with pytest.raises(BadInput) as caught:
        load_artifact(path)
    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": [0, 32]}, "preprocess.size: expected at least 1 pixel, got (0, 32)"),
        ({"channels": 2}, "preprocess.channels: expected 1 or 3, got 2"),
        ({"crop_fraction": 0.0}, "preprocess.crop_fraction: expected above 0 and at most 1, got 0.0"),
        ({"crop_fraction": 1.5}, "preprocess.crop_fraction: expected above 0 and at most 1, got 1.5"),
        ({"mean": [0.1, 0.2, 0.3]}, "preprocess.mean: expected 1 values, got (0.1, 0.2, 0.3)"),
        ({"std": []}, "preprocess.std: expected 1 values above 0, got ()"),
        ({"std": [0.0]}, "preprocess.std: expected 1 values above 0, got (0.0,)"),
        ({"layout": "NHWC"}, "preprocess.layout: expected NHWC with in_graph only, got NHWC"),
        ({"in_graph": True}, "preprocess.layout: expected NHWC with in_graph only, got NCHW"),
    ],
)
def test_preprocessing_that_cannot_be_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = _write(tmp_path / "m.onnx", {SPEC_KEY: _spec_with(preprocess={**to_json(SPEC.preprocess), **changes})})
    with pytest.raises(BadInput) as caught:
        load_artifact(path)
    assert caught.value.message == f"{path}: {SPEC_KEY}.{message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", f"{LINEAGE_KEY}: expected a list, got dict"),
        ('[{"tool": "x"}]', f"{LINEAGE_KEY}.version is missing"),
        ("nothing", f"{LINEAGE_KEY} is not JSON: "),
    ],
)
def test_damaged_lineage_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = _write(tmp_path / "m.onnx", {LINEAGE_KEY: text})
    with pytest.raises(BadInput) as caught:
        load_artifact(path)
    assert caught.value.message.startswith(f"{path}: {message}")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is a folder"):
        load_artifact(tmp_path)


@pytest.mark.parametrize("suffix", [".onnx", ".engine"])
def test_a_pipe_is_refused_and_not_waited_for(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"pipe{suffix}"
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)  # else a test that fails would wait for ever
    try:
        with pytest.raises(BadInput, match="is no plain file"):
            load_artifact(path)
    finally:
        os.close(writer)


def test_a_name_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(BadInput, match="cannot be read: File name too long"):
        load_artifact("a" * 5000 + ".onnx")


def test_checksum_of_a_file_of_several_blocks(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    (tmp_path / "f").write_bytes(data)
    assert len(data) > 2 << 20
    assert file_sha256(tmp_path / "f") == hashlib.sha256(data).hexdigest()
