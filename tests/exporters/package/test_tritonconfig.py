"""config.pbtxt: read by Triton's own definition, held against the graph by the rules of Triton's ONNX Runtime backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.errors import BadInput, Contradiction, UnknownName
from edgecnn.exporters.package.configfit import misfit
from edgecnn.exporters.package.pbtxt import read_text, write_text
from edgecnn.exporters.package.tritonconfig import triton_config
from edgecnn.exporters.package.tritonoptions import Instances, TritonOptions, parse_instances
from edgecnn.specs import Preprocess
from edgecnn.testing.models import TINY, TINY_BATCH1, TINY_INT8

Model = Callable[..., Path]
Parse = Callable[[str], Any]

# inference.DataType -> onnx.TensorProto.DataType, by ConvertToOnnxDataType of triton-inference-server/onnxruntime_backend.
TYPES = {
    "TYPE_FP32": 1,
    "TYPE_UINT8": 2,
    "TYPE_INT8": 3,
    "TYPE_INT64": 7,
    "TYPE_BOOL": 9,
    "TYPE_FP16": 10,
    "TYPE_BF16": 16,
}


def text_of(path: Path, **options: Any) -> str:
    return write_text(triton_config(load_artifact(path), "m", TritonOptions(**options)))


def check_against_graph(config: Any, path: Path, labels: int | None = None) -> None:
    """Hold a parsed configuration against the graph as CompareDimsSupported and ValidateIOShape do."""
    graph = onnx.load(path).graph
    for entries, values in ((config.input, graph.input), (config.output, graph.output)):
        assert [entry.name for entry in entries] == [value.name for value in values]
        for entry, value in zip(entries, values, strict=True):
            tensor = value.type.tensor_type
            assert TYPES[kind_name(entry)] == tensor.elem_type
            shape = [one.dim_value if one.HasField("dim_value") else -1 for one in tensor.shape.dim]
            dims = list(entry.reshape.shape) if entry.HasField("reshape") else list(entry.dims)
            assert ([-1, *dims] if config.max_batch_size > 0 else dims) == shape
            assert len(entry.dims) > 0
            assert all(size >= 1 or size == -1 for size in entry.dims)
    assert not config.HasField("dynamic_batching") or config.max_batch_size > 0
    if labels is not None:
        assert config.output[0].label_filename == "labels.txt"
        assert np.prod(config.output[0].dims) == labels


def run_warmup(config: Any, path: Path) -> list[tuple[int, ...]]:
    """Run what the server would run before the first request, and return the shapes of the first output."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    shapes = []
    for sample in config.model_warmup:
        feeds = {}
        for name, data in sample.inputs.items():
            batch = [sample.batch_size] if config.max_batch_size > 0 else []
            feeds[name] = np.zeros([*batch, *data.dims], {1: np.float32, 2: np.uint8}[TYPES[kind_name(data)]])
        shapes.append(session.run(None, feeds)[0].shape)
    return shapes


def kind_name(entry: Any) -> str:
    name: str = entry.DESCRIPTOR.file.enum_types_by_name["DataType"].values_by_number[entry.data_type].name
    return name


@pytest.mark.parametrize("path", [TINY, TINY_INT8])
def test_a_free_batch_is_put_together(parse_config: Parse, path: Path) -> None:
    config = parse_config(text_of(path))
    check_against_graph(config, path, labels=3)
    assert (config.name, config.backend, config.default_model_filename) == ("m", "onnxruntime", "model.onnx")
    assert config.max_batch_size == 8
    assert config.HasField("dynamic_batching")
    assert config.version_policy.latest.num_versions == 1
    assert run_warmup(config, path) == [(1, 3), (8, 3)]
    (group,) = config.instance_group
    kind = type(group).DESCRIPTOR.enum_types_by_name["Kind"].values_by_number[group.kind].name
    assert kind == ("KIND_CPU" if path == TINY_INT8 else "KIND_AUTO")


def test_a_fixed_batch_is_served_as_it_is(parse_config: Parse) -> None:
    config = parse_config(text_of(TINY_BATCH1))
    check_against_graph(config, TINY_BATCH1, labels=3)
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert list(config.input[0].dims) == [1, 1, 8, 8]
    assert run_warmup(config, TINY_BATCH1) == [(1, 3)]
    for options in ({"max_batch": 4}, {"preferred": (2,)}, {"max_delay_us": 5}, {"queue_size": 3}):
        with pytest.raises(Contradiction, match="free batch"):
            text_of(TINY_BATCH1, **options)
    assert parse_config(text_of(TINY_BATCH1, max_batch=0)).max_batch_size == 0


def test_a_max_batch_of_0_leaves_the_batch_to_the_client(parse_config: Parse) -> None:
    config = parse_config(text_of(TINY, max_batch=0))
    check_against_graph(config, TINY)
    assert list(config.input[0].dims) == [-1, 1, 8, 8]
    assert run_warmup(config, TINY) == [(1, 3)]


def test_every_option_arrives(parse_config: Parse) -> None:
    text = text_of(
        TINY,
        max_batch=16,
        preferred=(8, 4),
        max_delay_us=250,
        queue_size=64,
        queue_timeout_us=5000,
        timeout_action="delay",
        instances=(parse_instances("gpu:2@0,1"), Instances(kind="cpu", count=3)),
        threads=2,
        parameters={"enable_mem_arena": "0"},
        warmup="random",
        versions="1,3",
    )
    config = parse_config(text)
    check_against_graph(config, TINY, labels=3)
    batching = config.dynamic_batching
    assert (list(batching.preferred_batch_size), batching.max_queue_delay_microseconds) == ([4, 8], 250)
    policy = batching.default_queue_policy
    assert (policy.timeout_action, policy.default_timeout_microseconds, policy.max_queue_size) == (1, 5000, 64)
    assert [(one.kind, one.count, list(one.gpus)) for one in config.instance_group] == [(1, 2, [0, 1]), (2, 3, [])]
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    assert parameters == {"enable_mem_arena": "0", "intra_op_thread_count": "2"}
    assert [one.inputs["input"].random_data for one in config.model_warmup] == [True, True]
    assert list(config.version_policy.specific.versions) == [1, 3]


def test_accelerators_and_tensorrt(parse_config: Parse) -> None:
    config = parse_config(text_of(TINY, accelerator="openvino"))
    (one,) = config.optimization.execution_accelerators.cpu_execution_accelerator
    assert (one.name, config.instance_group[0].kind) == ("openvino", 2)

    config = parse_config(text_of(TINY, accelerator="tensorrt"))
    (one,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert (one.name, dict(one.parameters), config.instance_group[0].kind) == (
        "tensorrt",
        {"precision_mode": "FP32"},
        1,
    )

    config = parse_config(text_of(TINY, backend="tensorrt"))
    assert (config.backend, config.default_model_filename, config.instance_group[0].kind) == (
        "tensorrt",
        "model.plan",
        1,
    )
    check_against_graph(config, TINY, labels=3)

    for options in ({"backend": "tensorrt"}, {"accelerator": "tensorrt"}):
        with pytest.raises(Contradiction, match="quantized for cpu-x86"):
            text_of(TINY_INT8, **options)
    with pytest.raises(Contradiction, match="int8 is not for target cuda"):
        text_of(TINY_INT8, instances=(Instances(kind="gpu"),))


@pytest.mark.parametrize(
    ("inputs", "outputs", "node", "dims"),
    [
        ("uint8[N,8,8,3] x", "uint8[N,192] y", "y = Flatten(x)", ([8, 8, 3], [192])),
        ("float[N,3,H,W] x", "float[N,K] y", "y = Flatten(x)", ([3, -1, -1], [-1])),
        ("float[N,3] x", "int64[N] y", "y = ArgMax <axis=1, keepdims=0> (x)", ([3], [1])),
        ("float[N,3] x, float[N,2] z", "float[N,5] y", "y = Concat <axis=1> (x, z)", ([3], [5])),
        ("float16[N,3] x", "float16[N,3] y", "y = Relu(x)", ([3], [3])),
        ("bool[N,3] x", "bool[N,3] y", "y = Not(x)", ([3], [3])),
    ],
)
def test_foreign_graphs(
    parse_config: Parse, model: Model, inputs: str, outputs: str, node: str, dims: tuple[list[int], list[int]]
) -> None:
    path = model("foreign.onnx", inputs, outputs, node=node)
    config = parse_config(text_of(path))
    check_against_graph(config, path)
    assert (list(config.input[0].dims), list(config.output[0].dims)) == dims
    assert config.output[0].label_filename == ""
    assert len(config.model_warmup) == (0 if -1 in dims[0] else 2)


def test_a_preprocessing_fills_in_what_the_graph_leaves_open(parse_config: Parse, model: Model) -> None:
    path = model(
        "open.onnx",
        "float[N,3,H,W] x",
        "float[N,3,1,1] y",
        node="y = GlobalAveragePool(x)",
        preprocess=Preprocess(size=(10, 12), channels=3, mean=(0.5,) * 3, std=(0.5,) * 3),
    )
    config = parse_config(text_of(path))
    check_against_graph(config, path)
    assert run_warmup(config, path) == [(1, 3, 1, 1), (8, 3, 1, 1)]
    assert list(config.model_warmup[0].inputs["x"].dims) == [3, 10, 12]


def test_what_triton_has_no_name_for_is_refused(model: Model) -> None:
    with pytest.raises(BadInput, match="x: expected a type that Triton has, got type 8"):
        text_of(model("strings.onnx", "string[N,2] x", "string[N,2] y", node="y = Identity(x)"))
    with pytest.raises(BadInput, match="got a scalar"):
        text_of(model("scalar.onnx", "float[3] x", "float y", node="y = ReduceSum <keepdims=0> (x)"))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"backend": "tensorflow"}, UnknownName, "unknown backend 'tensorflow'"),
        ({"warmup": "ones"}, UnknownName, "unknown warm-up"),
        ({"max_batch": -1}, BadInput, "max batch: expected 0 to"),
        ({"threads": 0}, BadInput, "threads: expected 1"),
        ({"max_batch": 4, "preferred": (8,)}, BadInput, "expected 1 to the max batch, 4, got 8"),
        ({"batching": False, "preferred": (2,)}, Contradiction, "without dynamic batching"),
        ({"max_batch": 0, "max_delay_us": 9}, Contradiction, "with a max batch of 0"),
        ({"timeout_action": "delay"}, Contradiction, "without a queue timeout"),
        ({"backend": "tensorrt", "accelerator": "tensorrt"}, Contradiction, "accelerators are onnxruntime's"),
        ({"backend": "tensorrt", "threads": 2}, Contradiction, "threads"),
        ({"backend": "tensorrt", "instances": (Instances(kind="cpu"),)}, Contradiction, "processor with TensorRT"),
        ({"accelerator": "openvino", "instances": (Instances(kind="gpu"),)}, Contradiction, "GPU with accelerator"),
        ({"threads": 2, "parameters": {"intra_op_thread_count": "1"}}, Contradiction, "intra_op_thread_count"),
        ({"versions": "newest"}, BadInput, "latest:N, all or numbers"),
    ],
)
def test_wrong_options(options: Mapping[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        TritonOptions(**options)
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["", "tpu", "cpu:0", "cpu@0", "gpu@", "gpu:2@0,", "gpu:99999"])
def test_wrong_instances(text: str) -> None:
    with pytest.raises(BadInput, match="instances"):
        parse_instances(text)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"logits"', '"scores"', "output scores: the graph has logits"),
        ('"input"\n  data', '"pixels"\n  data', "input input of the graph is not in it"),
        ("TYPE_FP32", "TYPE_UINT8", "input input: it says TYPE_UINT8, the graph TYPE_FP32"),
        ("dims: [1, 8, 8]", "dims: [3, 8, 8]", "input input: it says [3, 8, 8], the graph [1, 8, 8]"),
        ("dims: [3]", "dims: [-1]", "output logits: it says [-1], the graph [3]"),
        ("max_batch_size: 8", "", "input input: it says [1, 8, 8], the graph [-1, 1, 8, 8]"),
        ("count: 1", "count: 2", ""),
    ],
)
def test_an_edited_configuration_is_held_against_the_graph(old: str, new: str, words: str) -> None:
    text = text_of(TINY)
    assert misfit(read_text(text, where="t"), load_artifact(TINY)) == ""
    assert old in text
    assert misfit(read_text(text.replace(old, new, 1), where="t"), load_artifact(TINY)) == words


def test_a_batching_configuration_does_not_fit_a_fixed_batch() -> None:
    fields = read_text(text_of(TINY), where="t")
    assert (
        misfit(fields, load_artifact(TINY_BATCH1)) == "input input: it says max_batch_size 8, the graph takes 1 images"
    )
    assert misfit({}, load_artifact(TINY_BATCH1)) == ""
