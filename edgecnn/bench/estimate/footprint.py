"""How much memory a model needs, estimated from its graph.

Nothing is asked of the engine. For backend cpu the terms are:

- weights: each constant in the form that its kernel packs it into, blocks and padding included (`ortsteps`,
  `ortint8`); the file's own copy is given back when a kernel has packed it
  (onnxruntime/core/framework/session_state.cc, PrepackConstantInitializedTensors).
- activations: what is alive at a time (`liveness`) of the steps that the engine makes of the graph, each with its
  kernel's workspace. The inputs belong to the caller and do not count.
- session: what the engine keeps besides, nodes, names, types, kernels and plans. Not told by shapes: `SESSION_BYTES`,
  `NODE_BYTES` and `MATRIX_BYTES`.
- every allocation of a page and more in whole pages, as it is measured (`edgecnn.bench.allocations`).

What a process pays once, with its first session, is no part of it: registries of operators and kernels, and the engine's code.

For other backends weights and activations are those of the graph, in the plain layout, with what every engine fuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from edgecnn.bench.allocations import mapped_bytes
from edgecnn.bench.estimate.liveness import peak_bytes
from edgecnn.bench.estimate.lowering import lowering_of
from edgecnn.bench.estimate.ortint8 import steps_of
from edgecnn.bench.inputs import fitted_shape
from edgecnn.devices.cpuinfo import cpu_arch, cpu_features, cpuinfo
from edgecnn.errors import BadInput
from edgecnn.onnxmodel.graph import OnnxGraph, read_graph
from edgecnn.onnxmodel.shapes import TensorType, infer_types
from edgecnn.results import Footprint
from edgecnn.specs import Artifact, sized_inputs

SESSION_BYTES, NODE_BYTES, MATRIX_BYTES = 72 * 1024, 9 * 1024, 8 * 1024
"""What a session of ONNX Runtime holds by itself, for each node of the file, and for each matrix or filter of float32, which is
copied while it is packed and leaves holes in the heap: least squares of what 58 files of the zoo, half of them int8, held
beyond their packed weights (version 1.31 on x86-64)."""

_CPU = "cpu"
_NOTE_CPU = "as ONNX Runtime's CPU provider lays it out; without what the first session of a process costs"
_NOTE_OTHER = "without the engine's workspace and its own layout of weights"


def footprint_of(
    artifact: Artifact, *, batch: int, backend: str = _CPU, threads: int = 1, root: Path = Path("/")
) -> Footprint | None:
    """Return the estimate for a file; None for what is no ONNX graph or cannot be read.

    Args:
        artifact: the model.
        batch: images per run.
        backend: that runs it.
        threads: of one operator.
        root: folder that stands for "/", for the processor.
    """
    if artifact.format != "onnx":
        return None
    try:
        graph = read_graph(artifact.path)
        sized = sized_inputs(artifact.spec.inputs, artifact.spec.preprocess)
        inputs = {spec.name: TensorType(spec.dtype, fitted_shape(spec, batch=batch)) for spec in sized}
    except BadInput:
        return None
    if backend != _CPU:
        return footprint(graph, inputs, note=_NOTE_OTHER)
    found = footprint(graph, inputs, block=channel_block(root), threads=threads, rounded=mapped_bytes, note=_NOTE_CPU)
    return replace(found, session_bytes=session_bytes(graph))


def footprint(
    graph: OnnxGraph,
    inputs: Mapping[str, TensorType],
    *,
    block: int = 1,
    threads: int = 0,
    rounded: Callable[[int], int] = int,
    note: str = "",
) -> Footprint:
    """Return the estimate for a graph.

    Args:
        graph: nodes in an order in which inputs come before their use.
        inputs: of the graph, with the shapes that it is run with.
        block: channels in a block of the engine, see `channel_block`.
        threads: of one operator; 0 where the engine's workspace is not to count.
        rounded: size that is asked for -> size that the allocator takes.
        note: of the estimate.
    """
    types = infer_types(graph, inputs)
    unknown = [
        node
        for node in graph.nodes
        if node.op_type != "Constant" and any(name and name not in types for name in node.outputs[:1])
    ]
    if unknown:
        kinds = ", ".join(sorted({node.op_type for node in unknown}))
        weights = sum(TensorType(one.dtype, one.shape).size_bytes or 0 for one in graph.constants.values())
        return Footprint(weights_bytes=weights, note=f"shapes behind {kinds} cannot be told")
    lowering = lowering_of(graph, types, inputs, block=block, threads=threads)
    steps = steps_of(lowering)
    if not threads:
        steps = [replace(step, scratch=()) for step in steps]
    return Footprint(
        weights_bytes=sum(map(rounded, lowering.weights.values())),
        activations_bytes=peak_bytes(steps, rounded),
        note=note,
    )


def session_bytes(graph: OnnxGraph) -> int:
    """Return the estimate of what a session of ONNX Runtime holds besides weights, see `SESSION_BYTES`."""
    matrices = sum(len(one.shape) > 1 and one.dtype == "float32" for one in graph.constants.values())
    return SESSION_BYTES + NODE_BYTES * len(graph.nodes) + MATRIX_BYTES * matrices


def channel_block(root: Path = Path("/")) -> int:
    """Return how many channels of float32 the engine keeps together on this processor; 1 where it does not.

    MlasNchwcGetBlockSize (onnxruntime/core/mlas/lib/platform.cpp): 16 with AVX-512F, 8 on other x86-64. On 64-bit Arm the
    layout depends on how the engine was built; it is taken as not there.

    Args:
        root: folder that stands for "/".
    """
    blocks = cpuinfo(root)
    if cpu_arch(blocks) != "x86_64":
        return 1
    return 16 if "avx512f" in cpu_features(blocks) else 8
