"""Scaling and cutting in the graph: put in front of a file that takes pixels, taken out again, and held against our own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgecnn.errors import ParityError
from edgecnn.exporters.passes import DropUnused
from edgecnn.exporters.passes.base import check_well_formed
from edgecnn.exporters.passes.values import unique_name
from edgecnn.exporters.resizegraph import resize_graph
from edgecnn.exporters.scaling import HEIGHT, WIDTH
from edgecnn.preprocess import frame
from edgecnn.runtimes import get_runtime
from edgecnn.specs import Preprocess

MOST_STEPS = 2
"""By how much a pixel scaled in the graph may differ from one scaled outside, of 255: coordinates are float32 there, so that a
sum next to a half is rounded to the other side, once after each of two passes."""

_MARK = "resize_in_graph"
"""Name of the last node of the resize, by which it is found again."""

_TRIED = ((3, 2), (1, 2), (5, 3), (2, 3))
"""Height and width of the pictures of a check, over the network's: larger and smaller ones, upright and lying."""


def put_resize_in(model: ir.Model, preprocess: Preprocess) -> Preprocess:
    """Let a graph that takes pixels take them in any size, in place, and return the preprocessing that is left to the caller.

    Args:
        model: its first input is uint8 [N, height, width, channels] of the network's size.
        preprocess: how an image gets that size; `in_graph`.
    """
    graph = model.graph
    frames = graph.inputs[0]
    part = resize_graph(preprocess, model.opset_imports[""])
    pixels, made = part.graph.inputs[0], part.graph.outputs[0]
    assert frames.shape is not None
    source = ir.Value(
        name=frames.name,
        shape=ir.Shape([frames.shape[0], HEIGHT, WIDTH, preprocess.channels]),
        type=ir.TensorType(ir.DataType.UINT8),
    )
    pixels.replace_all_uses_with(source)
    frames.name = unique_name(graph, f"{frames.name}_frames")
    graph.inputs[0] = source
    result = _move_nodes(part.graph, graph, last=made)
    result.shape, result.type = frames.shape, frames.type
    frames.replace_all_uses_with(result, replace_graph_outputs=True)
    result.name = frames.name
    DropUnused()(model)
    check_well_formed(model, "with its resize put in")
    return replace(preprocess, resize_in_graph=True)


def take_resize_out(model: ir.Model) -> bool:
    """Let a graph take pixels of the network's size again, in place, and return whether it took them in any size."""
    graph = model.graph
    last = next((node for node in graph if node.name == _MARK), None)
    if last is None:
        return False
    made, source = last.outputs[0], graph.inputs[0]
    frames = ir.Value(name=source.name, shape=made.shape, type=made.type)
    source.name = unique_name(graph, f"{source.name}_unscaled")
    made.replace_all_uses_with(frames, replace_graph_outputs=True)
    graph.inputs[0] = frames
    # Without readers left, the whole of the resize goes; DropUnused would first ask who makes what it reads.
    RemoveUnusedNodesPass()(model)
    check_well_formed(model, "with its resize taken out")
    return True


def check_resize(preprocess: Preprocess, opset: int, *, seed: int = 0) -> int:
    """Return by how many steps of 255 a pixel scaled in the graph differs at most from one scaled outside.

    Pictures of several sizes go through both, in the engine of backend `cpu`.

    Args:
        preprocess: how an image gets the network's size.
        opset: operator set of the graph.
        seed: of the pictures.

    Raises:
        ParityError: it is more than `MOST_STEPS`.
    """
    outside = replace(preprocess, resize_in_graph=False)
    session = _open(resize_graph(preprocess, opset))
    generator = np.random.default_rng(seed)
    worst, where = 0, ""
    for share in _TRIED:
        height, width = (max(1, side * part // 2) for side, part in zip(preprocess.size, share, strict=True))
        picture = generator.integers(0, 256, (height, width, preprocess.channels), np.uint8)
        found = session.run(None, {"pixels": picture[None]})[0][0]
        steps = int(np.abs(found.astype(np.int16) - frame(picture, outside)).max())
        if steps > worst:
            worst, where = steps, f"a picture of {height} x {width}"
    if worst > MOST_STEPS:
        raise ParityError(
            "pixels scaled by this engine and by edgecnn", max_abs=worst, tolerance=float(MOST_STEPS), worst=where
        )
    return worst


def _open(model: ir.Model) -> Any:
    """Return the engine's own session."""
    get_runtime("cpu").check()
    import onnxruntime  # noqa: PLC0415 (only after the check, which says how to install it)

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    content = ir.to_proto(model).SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _move_nodes(part: ir.Graph, graph: ir.Graph, *, last: ir.Value) -> ir.Value:
    """Move the nodes and constants of a part before those of a graph, under names of their own, and return its result."""
    end = last.producer()
    assert end is not None
    nodes = list(part)
    constants = list(part.initializers.values())
    part.outputs.clear()
    part.inputs.clear()
    part.initializers.clear()
    part.remove(nodes)
    for value in constants:
        value.name = unique_name(graph, f"resize_{value.name}")
        if value.const_value is not None:
            value.const_value.name = value.name
        graph.register_initializer(value)
    first = graph[0] if len(graph) else None
    if first is None:
        graph.extend(nodes)
    else:
        graph.insert_before(first, nodes)
    for node in nodes:
        wish = node.outputs[0].name
        node.outputs[0].name = None
        node.name = node.outputs[0].name = unique_name(graph, f"resize_{wish}")
    end.name = _MARK
    return last
