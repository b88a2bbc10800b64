"""Model files of any shape, and Triton's own definition of its configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

try:
    import onnx
    import onnx_ir as ir
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
except ImportError:  # an installation without edgecnn[export] has nothing here to test
    collect_ignore_glob = ["*"]

from edgecnn.specs import Accuracy, ModelSpec, Preprocess, Step, TensorSpec

Model = Callable[..., Path]

DEFINITION = Path(__file__).with_name("model_config.binpb")


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """`model("a.onnx", "float[N,1,8,8] x", "float[N,4] y", node="...")`: a file that is not run, with or without a spec."""

    def make(
        name: str,
        inputs: str = "float[N,1,8,8] x",
        outputs: str = "float[N,64] y",
        *,
        node: str = "y = Flatten(x)",
        target: str = "",
        **spec: Any,
    ) -> Path:
        proto = onnx.parser.parse_model(
            f'<ir_version: 8, opset_import: ["": 18]>\ng ({inputs}) => ({outputs}) {{ {node} }}'
        )
        path = tmp_path / "sources" / name
        path.parent.mkdir(exist_ok=True)
        if not (spec or target):
            onnx.save(proto, path)
            return path
        from edgecnn.exporters.onnxfile import stamp, write_model

        graph = ir.from_proto(proto)
        tensors = {"inputs": _tensors(graph.graph.inputs), "outputs": _tensors(graph.graph.outputs)}
        lineage = (Step(tool="edgecnn quantize", version="0", options={"target": target}),) if target else ()
        stamp(graph, ModelSpec(network="made", **tensors, **spec), lineage)
        write_model(graph, path)
        return path

    return make


def _tensors(values: Any) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            name=one.name,
            dtype="float32",
            shape=tuple(size if isinstance(size, int) else str(size.value) for size in one.shape),
        )
        for one in values
    )


@pytest.fixture
def knowing(model: Model) -> Path:
    """A file of 8 x 8 grayscale and 64 classes that knows all about itself."""
    return model(
        "knowing.onnx",
        preprocess=Preprocess(size=(8, 8), channels=1, fit="pad", crop_fraction=0.75, mean=(0.5,), std=(0.25,)),
        labels=tuple(f"class {index}" for index in range(64)),
        dataset="quarters",
        accuracy=(
            Accuracy(
                metric="top1",
                value=0.875,
                dataset="quarters",
                split="test",
                images=1234,
                precision="fp32",
                backend="cpu",
            ),
        ),
        weights="made.safetensors",
        licence="CC0-1.0",
    )


@pytest.fixture(scope="session", params=["recorded", "tritonclient"])
def config_class(request: pytest.FixtureRequest) -> Any:
    """Triton's ModelConfig."""
    if request.param == "tritonclient":
        # Without grpc, tritonclient.grpc raises a RuntimeError, which importorskip does not take for a missing package.
        pytest.importorskip("grpc", reason="pip install tritonclient[grpc]")
        return pytest.importorskip(
            "tritonclient.grpc", reason="pip install tritonclient[grpc]"
        ).model_config_pb2.ModelConfig
    pool = descriptor_pool.DescriptorPool()
    pool.Add(descriptor_pb2.FileDescriptorProto.FromString(DEFINITION.read_bytes()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))


@pytest.fixture(scope="session")
def parse_config(config_class: Any) -> Callable[[str], Any]:
    """`parse_config(text)`: a configuration as Triton reads it; raises for what its definition does not have."""
    return lambda text: text_format.Parse(text, config_class())
