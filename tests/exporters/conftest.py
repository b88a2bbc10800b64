"""Small ONNX graphs for the tests of exporters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

try:
    import onnx
    import onnx_ir as ir
    import onnxruntime as ort
except ImportError:  # an installation without edgecnn[export,cpu] has nothing here to test
    collect_ignore_glob = ["*"]

Array = NDArray[Any]


@pytest.fixture(scope="session")
def parse() -> Callable[..., Any]:
    """`parse(text, opset=18, w=array, ...)`: a model from ONNX's text form, "g (float[N,3] x) => (float[N,2] y) {...}"."""

    def parse(text: str, *, opset: int = 18, **constants: Array) -> Any:
        proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]>\n{text}')
        for name, array in constants.items():
            proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        for index, node in enumerate(proto.graph.node):
            node.name = f"{node.op_type.lower()}_{index}"
        return ir.from_proto(onnx.shape_inference.infer_shapes(proto))

    return parse


@pytest.fixture(scope="session")
def run() -> Callable[..., Any]:
    """`run(model, x=array, ...)`: its outputs, in order, without any optimisation of the engine's own."""

    def run(model: Any, **feeds: Array) -> list[Array]:
        proto = ir.to_proto(model)
        onnx.checker.check_model(proto, full_check=True)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        outputs: list[Array] = session.run(None, feeds)
        return outputs

    return run


@pytest.fixture
def ops() -> Callable[[Any], list[str]]:
    """`ops(model)`: the operators of a model in order."""
    return lambda model: [node.op_type for node in model.graph]


@pytest.fixture(scope="session")
def images() -> NDArray[np.uint8]:
    """uint8 [96, 8, 8, 1]: smooth random pictures."""
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 256, (96, 4, 4, 1))
    return coarse.repeat(2, axis=1).repeat(2, axis=2).astype(np.uint8)


@pytest.fixture(scope="session")
def tiny(parse: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An fp32 file with its spec inside: 8 x 8 grayscale to 4 classes, random weights that it calls a file's."""
    from edgecnn.exporters.onnxfile import stamp, write_model
    from edgecnn.specs import ModelSpec, Preprocess, Step, TensorSpec

    rng = np.random.default_rng(3)

    def weights(*shape: int) -> Array:
        return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    model = parse(
        """tiny (float[N,1,8,8] input) => (float[N,4] logits) {
            c = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(input, w1, b1)
            r = Relu(c)
            d = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=16>(r, w2)
            e = Relu(d)
            s = Add(r, e)
            p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(s)
            f = Flatten(p)
            logits = Gemm<transB=1>(f, w3, b3)
        }""",
        w1=weights(16, 1, 3, 3),
        b1=weights(16, 1)[:, 0] * 0.1,
        w2=weights(16, 1, 3, 3),
        w3=weights(4, 256),
        b3=np.zeros(4, np.float32),
    )
    spec = ModelSpec(
        network="tiny",
        inputs=(TensorSpec(name="input", dtype="float32", shape=("N", 1, 8, 8)),),
        outputs=(TensorSpec(name="logits", dtype="float32", shape=("N", 4)),),
        preprocess=Preprocess(size=(8, 8), channels=1, fit="stretch", mean=(0.5,), std=(0.25,)),
        labels=("a", "b", "c", "d"),
        dataset="quarters",
        weights="tiny.safetensors",
    )
    stamp(model, spec, (Step(tool="edgecnn export", version="0", options={}),))
    path = tmp_path_factory.mktemp("tiny") / "tiny.onnx"
    write_model(model, path)
    return path


@pytest.fixture(scope="session")
def quantize_graph() -> Callable[..., Any]:
    """`quantize_graph(model, images, ...)`: the int8 form of a graph with one image input, and what was placed."""
    from edgecnn.data.dataset import Split
    from edgecnn.exporters.quantize import QuantizeConfig
    from edgecnn.exporters.quantize.calibrate import calibrate
    from edgecnn.exporters.quantize.emit import emit
    from edgecnn.exporters.quantize.placement import place
    from edgecnn.specs import Preprocess, TensorSpec

    def quantize_graph(model: Any, images: Any, **options: Any) -> tuple[Any, Any]:
        config, copy = QuantizeConfig(**options), model.clone()
        _, channels, height, width = copy.graph.inputs[0].shape
        placement = place(copy, form=config.form, keep_float=config.keep_float, min_channels=config.min_channels)
        ranges = calibrate(
            copy,
            placement.observed,
            source=TensorSpec(name=copy.graph.inputs[0].name, dtype="float32", shape=("N", channels, height, width)),
            preprocess=Preprocess(
                size=(height, width), channels=channels, fit="stretch", mean=(0.5,) * channels, std=(0.25,) * channels
            ),
            images=Split("calibration", images, np.zeros(len(images), np.int64), trained=True),
            config=config,
        )
        emit(copy, placement, ranges, config)
        return copy, placement

    return quantize_graph


@pytest.fixture
def fused(tmp_path: Path) -> Callable[..., dict[str, int]]:
    """`fused(model)`: operator -> nodes that the engine really runs, after its own optimisation.

    With `as_arm` it fuses signed activations too, as it does on Arm.
    """

    def fused(model: Any, *, as_arm: bool = False) -> dict[str, int]:
        options = ort.SessionOptions()
        options.add_session_config_entry("session.qdqisint8allowed", "1" if as_arm else "0")
        options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
        options.log_severity_level = 4  # it warns that the file is for this machine only
        content = ir.to_proto(model).SerializeToString()
        ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        optimised = ir.load(tmp_path / "optimised.onnx")
        return dict(Counter(node.op_type for node in optimised.graph))

    return fused
