"""Makes the models of this folder again: `python -m edgecnn.testing.models.make`. Needs the packages of edgecnn[export]."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.version_converter import convert_version

import edgecnn
from edgecnn.data.dataset import Split
from edgecnn.exporters.onnxfile import stamp, write_model
from edgecnn.exporters.quantize import QuantizeConfig, quantize
from edgecnn.preprocess import prepare
from edgecnn.runtimes.base import Array
from edgecnn.specs import ModelSpec, Preprocess, Step, TensorSpec
from edgecnn.testing.models import REFERENCE, TINY, TINY_BATCH1, TINY_INT8, TINY_TRT_INT8

LABELS = ("square", "disc", "cross")
PREPROCESS = Preprocess(size=(8, 8), channels=1, fit="stretch", mean=(0.25,), std=(0.5,))


def main() -> None:
    """Write all files of the folder."""
    _write(TINY, "N")
    _write(TINY_BATCH1, 1)
    images = np.random.default_rng(1).integers(0, 256, (64, 8, 8, 1), np.uint8)
    split = Split("calibration", images, np.zeros(64, np.int64), trained=True)
    for path, target in ((TINY_INT8, "cpu-x86"), (TINY_TRT_INT8, "trt")):
        config = QuantizeConfig(target=target, min_channels=1)
        quantize(TINY, path, calibration=split, evaluation=None, config=config)
    write_reference(prepare(images[:16], PREPROCESS))


def write_reference(inputs: Array) -> None:
    """Write what the ONNX reference implementation answers to some inputs."""
    np.savez_compressed(
        REFERENCE,
        input=inputs,
        logits=_evaluate(TINY, inputs),
        int8_logits=_evaluate(TINY_INT8, inputs),
        int8_step=_output_step(TINY_INT8),
        trt_int8_logits=_evaluate(TINY_TRT_INT8, inputs),
        trt_int8_step=_output_step(TINY_TRT_INT8),
    )


def _evaluate(path: Path, inputs: Array) -> Array:
    # The reference implementation has DequantizeLinear from operator set 19 on; on int8 its meaning is that of 18.
    model = convert_version(onnx.load(path), 19)
    (logits,) = ReferenceEvaluator(model).run(None, {"input": inputs})
    return np.asarray(logits, np.float32)


def _write(path: Path, batch: int | str) -> None:
    generator = np.random.default_rng(0)
    weights = {
        "conv1.weight": generator.normal(0, 0.5, (4, 1, 3, 3)),
        "conv1.bias": generator.normal(0, 0.1, 4),
        "conv2.weight": generator.normal(0, 0.3, (8, 4, 3, 3)),
        "conv2.bias": generator.normal(0, 0.1, 8),
        "fc.weight": generator.normal(0, 0.5, (3, 8)),
        "fc.bias": generator.normal(0, 0.1, 3),
    }
    nodes = [
        helper.make_node("Conv", ["input", "conv1.weight", "conv1.bias"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("MaxPool", ["r1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p1", "conv2.weight", "conv2.bias"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "fc.weight", "fc.bias"], ["logits"], transB=1),
    ]
    for node in nodes:
        node.name = node.output[0]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 3])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8))
    spec = ModelSpec(
        network="tiny",
        inputs=(TensorSpec(name="input", dtype="float32", shape=(batch, 1, 8, 8)),),
        outputs=(TensorSpec(name="logits", dtype="float32", shape=(batch, 3)),),
        preprocess=PREPROCESS,
        labels=LABELS,
        params=sum(value.size for value in weights.values()),
        weights="random",
        licence="Apache-2.0",
    )
    stamp(
        model,
        replace(spec, variant="" if batch == "N" else "batch1"),
        (Step(tool="made", version=edgecnn.__version__),),
    )
    write_model(model, path)


def _output_step(path: Path) -> np.float32:
    """Return the scale of the last DequantizeLinear on the way to the output."""
    graph = onnx.load(path).graph
    values = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    scales = [values[node.input[1]] for node in graph.node if node.op_type == "DequantizeLinear"]
    activations = [float(scale) for scale in scales if scale.ndim == 0 or scale.size == 1]
    return np.float32(activations[-1])


if __name__ == "__main__":
    main()
