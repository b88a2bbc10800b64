"""TensorRT's own parser and builder take every bundled network, float and int8; needs no GPU, but tensorrt-rtx-cu13."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.trt_build


@pytest.fixture(scope="module")
def trt() -> Any:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx-cu13 is not installed")
    from edgecnn.runtimes.trt.package import load_trt

    return load_trt("tensorrt_rtx")


def build(trt: Any, path: Path) -> Any:
    """Build for batches of 1 to 8, as backend trt does."""
    from edgecnn.artifacts import load_artifact
    from edgecnn.runtimes import OpenOptions
    from edgecnn.runtimes.trt.builder import build_plan
    from edgecnn.runtimes.trt.options import build_options

    return build_plan(trt, path, build_options(load_artifact(path), OpenOptions(max_batch=8)))


def exported_files(name: str, folder: Path, quantize_graph: Any) -> tuple[Path, Path]:
    """Write a bundled network in float and in int8 for TensorRT."""
    import onnx_ir as ir

    from edgecnn.exporters.network import ExportOptions, trace
    from edgecnn.exporters.onnxfile import write_model
    from edgecnn.exporters.passes import run_passes
    from edgecnn.exporters.passes.int8 import prepare_for_int8
    from edgecnn.exporters.targets import find_target
    from edgecnn.zoo.registry import build as build_module
    from edgecnn.zoo.registry import bundled_form
    from edgecnn.zoo.weights import load_weights

    form = bundled_form(name)
    assert form is not None
    module = build_module(form)
    load_weights(module, form, "bundled")
    model = trace(module.eval(), form, ExportOptions())
    run_passes(model)
    model.ir_version = 8
    fp32_path = folder / f"{name}.onnx"
    write_model(model, fp32_path)
    prepare_for_int8(model, wanted=find_target("trt").form.rewrites)
    _, channels, height, width = model.graph.inputs[0].shape
    pictures = np.random.default_rng(0).integers(0, 256, (8, height, width, channels)).astype(np.uint8)
    int8, _ = quantize_graph(model, pictures, target="trt")
    assert isinstance(int8, ir.Model)
    int8.ir_version = 8
    int8_path = folder / f"{name}.int8.onnx"
    write_model(int8, int8_path)
    return fp32_path, int8_path


def bundled() -> list[str]:
    pytest.importorskip("torch")
    from edgecnn.zoo.registry import bundled_form, networks

    return [network.name for network in networks() if bundled_form(network.name) is not None]


@pytest.mark.parametrize("name", bundled())
def test_a_bundled_network_is_parsed_and_built(trt: Any, quantize_graph: Any, tmp_path: Path, name: str) -> None:
    from edgecnn.onnxmodel.graph import read_graph

    fp32_path, int8_path = exported_files(name, tmp_path, quantize_graph)
    fp32, int8 = build(trt, fp32_path), build(trt, int8_path)
    assert fp32.layers >= sum(node.op_type == "Conv" for node in read_graph(fp32_path).nodes)
    kinds = [node.op_type for node in read_graph(int8_path).nodes]
    assert kinds.count("QuantizeLinear") > 0
    # Those of the weights as well, and none of them was lost on the way into TensorRT's network.
    assert kinds.count("DequantizeLinear") > kinds.count("QuantizeLinear")
    assert int8.layers >= len([kind for kind in kinds if kind != "Constant"])
    assert fp32.plan
    assert int8.plan
    assert len(int8.plan) != len(fp32.plan)


def test_the_file_for_processors_is_refused(trt: Any, parse: Any, quantize_graph: Any, tmp_path: Path) -> None:
    from edgecnn.errors import BadInput
    from edgecnn.exporters.onnxfile import write_model

    weight = np.random.default_rng(0).standard_normal((16, 3, 3, 3)).astype(np.float32)
    model = parse(
        "g (float[N,3,8,8] x) => (float[N,16,6,6] y) { a = Conv(x, w, b) y = Relu(a) }", w=weight, b=weight[:, 0, 0, 0]
    )
    pictures = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3)).astype(np.uint8)
    write_model(quantize_graph(model, pictures, target="cpu-x86")[0], tmp_path / "x86.onnx")
    with pytest.raises(BadInput, match="--target trt"):
        build(trt, tmp_path / "x86.onnx")
