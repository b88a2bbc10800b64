"""A model's config.pbtxt: what Triton is told about it, made from the graph and the options.

Fields: Triton's model_config.proto; what a server makes of them: https://github.com/triton-inference-server/server,
docs/user_guide/model_configuration.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgecnn.errors import BadInput, Contradiction
from edgecnn.exporters.package.pbtxt import Message, Word
from edgecnn.exporters.package.source import (
    LABELS,
    check_pixels_for_trt,
    check_scaling,
    has_free_batch,
    item_shape,
    stated_targets,
)
from edgecnn.exporters.package.tritonoptions import (
    DEFAULT_MAX_BATCH,
    Instances,
    Kind,
    TritonOptions,
    parse_versions,
)
from edgecnn.exporters.targets import find_target
from edgecnn.specs import Artifact, TensorSpec

DATA_TYPES = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "uint16": "TYPE_UINT16",
    "uint32": "TYPE_UINT32",
    "int8": "TYPE_INT8",
    "int16": "TYPE_INT16",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
    "bfloat16": "TYPE_BF16",
}
"""numpy name -> entry of Triton's DataType."""

MODEL_FILES = {"onnxruntime": "model.onnx", "tensorrt": "model.plan"}
"""Backend -> the file that it opens in a version's folder."""

_CPU_TARGETS = {"cpu-x86", "cpu-arm", "openvino"}
_GPU_TARGETS = {"trt", "cuda"}


def triton_config(artifact: Artifact, name: str, options: TritonOptions) -> Message:
    """Return the message of a model's config.pbtxt.

    Args:
        artifact: the file that is served.
        name: of the model, which is also the name of its folder.
        options: how it is served.

    Raises:
        BadInput: a tensor without dimensions or of a type that Triton does not have, or a size that TensorRT has to know.
        Contradiction: a batch larger than the file's, or a file that was not made for what is to run it.
    """
    max_batch = max_batch_of(artifact, options)
    check_precision(artifact, options)
    batching = options.batching and max_batch > 0
    groups = options.instances or (Instances(kind=default_kind(artifact, options)),)
    message: dict[str, object] = {
        "name": name,
        "backend": options.backend,
        "default_model_filename": MODEL_FILES[options.backend],
        "max_batch_size": max_batch,
        "input": [_tensor(artifact, one, max_batch) for one in artifact.spec.inputs],
        "output": _outputs(artifact, max_batch),
        "version_policy": parse_versions(options.versions),
        "instance_group": [_group(group) for group in groups],
    }
    if batching:
        message["dynamic_batching"] = _dynamic_batching(options)
    if options.accelerator is not None:
        message["optimization"] = {"execution_accelerators": _accelerator(artifact, options)}
    if samples := _warmup(artifact, options, max_batch):
        message["model_warmup"] = samples
    parameters = dict(options.parameters)
    if options.threads is not None:
        parameters["intra_op_thread_count"] = str(options.threads)
    if parameters:
        message["parameters"] = [{"key": key, "value": {"string_value": text}} for key, text in parameters.items()]
    return message


def max_batch_of(artifact: Artifact, options: TritonOptions) -> int:
    """Return max_batch_size: 0 where the graph fixes the batch, which the server takes as it is.

    Raises:
        Contradiction: requests are to be put together, and the graph takes a fixed number of images.
    """
    if has_free_batch(artifact):
        return DEFAULT_MAX_BATCH if options.max_batch is None else options.max_batch
    asked = {
        f"a max batch of {options.max_batch}": bool(options.max_batch),
        "preferred batch sizes": bool(options.preferred),
        "a batching delay": bool(options.max_delay_us),
        "a queue policy": options.queue_size is not None or options.queue_timeout_us is not None,
    }
    for what in (what for what, given in asked.items() if given):
        raise Contradiction(
            f"{what} for {artifact.path}, whose inputs or outputs do not all begin with a free batch",
            "leave it out, or export the model without --batch",
        )
    return 0


def default_kind(artifact: Artifact, options: TritonOptions) -> Kind:
    """Return where a file runs if nobody says: where it was made for, else wherever the server sees fit."""
    targets = set(stated_targets(artifact))
    if options.backend == "tensorrt" or options.accelerator == "tensorrt":
        return "gpu"
    preprocess = artifact.spec.preprocess
    if preprocess is not None and preprocess.resize_in_graph:
        return "cpu"
    if options.accelerator == "openvino" or targets & _CPU_TARGETS:
        return "cpu"
    return "gpu" if targets & _GPU_TARGETS else "auto"


def check_precision(artifact: Artifact, options: TritonOptions) -> None:
    """Raise Contradiction if the file is of a form that what is to run it refuses or runs slowly.

    TensorRT takes int8 in its own form alone: zero points of 0 and float biases.
    """
    stated = stated_targets(artifact)
    tensorrt = options.backend == "tensorrt" or options.accelerator == "tensorrt"
    elsewhere = options.accelerator or options.backend.replace("onnxruntime", "")
    on_gpu = any(group.kind == "gpu" for group in options.instances)
    check_scaling(artifact, elsewhere or "a GPU", scales=not elsewhere and not on_gpu)
    if tensorrt:
        find_target("trt").require(artifact.precision)
        check_pixels_for_trt(artifact)
    elif on_gpu:
        find_target("cuda").require(artifact.precision)
    if tensorrt and artifact.precision == "int8" and stated and "trt" not in stated:
        raise Contradiction(
            f"{artifact.path} was quantized for {', '.join(stated)}, whose form TensorRT refuses",
            "edgecnn quantize MODEL --target trt",
        )


def _tensor(artifact: Artifact, tensor: TensorSpec, max_batch: int) -> dict[str, object]:
    if tensor.dtype not in DATA_TYPES:
        raise BadInput(f"{artifact.path}: {tensor.name}", expected="a type that Triton has", got=tensor.dtype)
    dims = dims_of(tensor, max_batch)
    entry: dict[str, object] = {"name": tensor.name, "data_type": Word(DATA_TYPES[tensor.dtype])}
    if dims:
        return {**entry, "dims": dims}
    if not max_batch:
        raise BadInput(f"{artifact.path}: {tensor.name}", expected="at least one dimension", got="a scalar")
    # One number an image: Triton wants a dimension, the engine has none.
    return {**entry, "dims": [1], "reshape": {"shape": []}}


def dims_of(tensor: TensorSpec, max_batch: int) -> list[int]:
    """Return the field dims: without the batch where there is one, -1 for a dimension that the graph leaves open."""
    shape = tensor.shape[1:] if max_batch else tensor.shape
    return [size if isinstance(size, int) else -1 for size in shape]


def _outputs(artifact: Artifact, max_batch: int) -> list[dict[str, object]]:
    outputs = [_tensor(artifact, one, max_batch) for one in artifact.spec.outputs]
    labels = artifact.spec.labels
    if labels and outputs and _scores(artifact.spec.outputs[0]) == len(labels):
        outputs[0]["label_filename"] = LABELS
    return outputs


def _scores(tensor: TensorSpec) -> int:
    """Return how many numbers an image has in an output, 0 where the graph leaves it open."""
    fixed = [size for size in tensor.shape[1:] if isinstance(size, int)]
    return math.prod(fixed) if fixed and len(fixed) == len(tensor.shape) - 1 else 0


def _group(group: Instances) -> dict[str, object]:
    entry: dict[str, object] = {"kind": Word(f"KIND_{group.kind.upper()}"), "count": group.count}
    if group.gpus:
        entry["gpus"] = list(group.gpus)
    return entry


def _dynamic_batching(options: TritonOptions) -> dict[str, object]:
    message: dict[str, object] = {}
    if options.preferred:
        message["preferred_batch_size"] = sorted(options.preferred)
    message["max_queue_delay_microseconds"] = options.max_delay_us
    policy: dict[str, object] = {}
    if options.queue_timeout_us is not None:
        policy["timeout_action"] = Word(options.timeout_action.upper())
        policy["default_timeout_microseconds"] = options.queue_timeout_us
    if options.queue_size is not None:
        policy["max_queue_size"] = options.queue_size
    if policy:
        message["default_queue_policy"] = policy
    return message


def _accelerator(artifact: Artifact, options: TritonOptions) -> dict[str, object]:
    if options.accelerator == "openvino":
        return {"cpu_execution_accelerator": [{"name": "openvino"}]}
    precision = {"int8": "INT8", "fp16": "FP16", "bf16": "BF16"}.get(artifact.precision, "FP32")
    mode = {"key": "precision_mode", "value": precision}
    return {"gpu_execution_accelerator": [{"name": "tensorrt", "parameters": [mode]}]}


def _warmup(artifact: Artifact, options: TritonOptions, max_batch: int) -> list[dict[str, object]]:
    """Return one run of a single request and one of the largest batch; none where a size is unknown."""
    if options.warmup == "none":
        return []
    inputs = []
    for tensor in artifact.spec.inputs:
        shape = item_shape(artifact, tensor, batched=max_batch > 0)
        if not shape or -1 in shape:
            return []
        value = {
            "data_type": Word(DATA_TYPES[tensor.dtype]),
            "dims": list(shape),
            f"{options.warmup}_data": True,
        }
        inputs.append({"key": tensor.name, "value": value})
    sizes: Sequence[int] = (1,) if max_batch <= 1 else (1, max_batch)
    return [{"name": f"batch_{size}", "batch_size": size, "inputs": inputs} for size in sizes]
