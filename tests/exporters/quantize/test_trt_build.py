"""TensorRT's own parser and builder take the int8 file of every bundled network; needs no GPU, but tensorrt-rtx-cu13."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.trt_build


@pytest.fixture(scope="module")
def trt() -> Any:
    return pytest.importorskip("tensorrt_rtx")


@pytest.fixture(scope="module")
def logger(trt: Any) -> Any:
    return trt.Logger(trt.Logger.ERROR)


def build(trt: Any, logger: Any, path: Path) -> Any:
    """Return TensorRT's network and the engine, both None where a step fails; the parser's errors are raised."""
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(path)):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        raise AssertionError("; ".join(f"{error.node_name()}: {error.desc()}" for error in errors))
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    source = network.get_input(0)
    item = tuple(source.shape)[1:]
    profile.set_shape(source.name, (1, *item), (1, *item), (8, *item))
    config.add_optimization_profile(profile)
    return network, builder.build_serialized_network(network, config)


def quantized_file(name: str, folder: Path, quantize_graph: Any) -> Path:
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
    prepare_for_int8(model, wanted=find_target("trt").form.rewrites)
    _, channels, height, width = model.graph.inputs[0].shape
    pictures = np.random.default_rng(0).integers(0, 256, (8, height, width, channels)).astype(np.uint8)
    int8, _ = quantize_graph(model, pictures, target="trt")
    assert isinstance(int8, ir.Model)
    int8.ir_version = 8
    path = folder / f"{name}.onnx"
    write_model(int8, path)
    return path


def bundled() -> list[str]:
    pytest.importorskip("torch")
    from edgecnn.zoo.registry import bundled_form, networks

    return [network.name for network in networks() if bundled_form(network.name) is not None]


@pytest.mark.parametrize("name", bundled())
def test_a_bundled_network_is_parsed_and_built(
    trt: Any, logger: Any, quantize_graph: Any, tmp_path: Path, name: str
) -> None:
    network, plan = build(trt, logger, quantized_file(name, tmp_path, quantize_graph))
    assert plan is not None
    kinds = [network.get_layer(index).type for index in range(network.num_layers)]
    assert kinds.count(trt.LayerType.QUANTIZE) > 0
    assert kinds.count(trt.LayerType.DEQUANTIZE) > kinds.count(trt.LayerType.QUANTIZE)  # those of the weights as well


def test_the_file_for_processors_is_refused(
    trt: Any, logger: Any, parse: Any, quantize_graph: Any, tmp_path: Path
) -> None:
    from edgecnn.exporters.onnxfile import write_model

    weight = np.random.default_rng(0).standard_normal((16, 3, 3, 3)).astype(np.float32)
    model = parse(
        "g (float[N,3,8,8] x) => (float[N,16,6,6] y) { a = Conv(x, w, b) y = Relu(a) }", w=weight, b=weight[:, 0, 0, 0]
    )
    pictures = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3)).astype(np.uint8)
    write_model(quantize_graph(model, pictures, target="cpu-x86")[0], tmp_path / "x86.onnx")
    with pytest.raises(AssertionError):
        build(trt, logger, tmp_path / "x86.onnx")
