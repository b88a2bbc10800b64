"""Pixels in the graph: the file takes uint8 [N, height, width, channels] and normalises them itself, or scales them as well.

(pixel / 255 - mean) / std is written as pixel - 255 mean, on which zero padding is exact, and 1 / (255 std) in the weights of
the convolutions that read the image. Where something else reads it, that factor is a product of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import onnx_ir as ir

from edgecnn.errors import BadInput, Contradiction
from edgecnn.exporters.passes import DropUnused
from edgecnn.exporters.passes.base import check_well_formed
from edgecnn.exporters.passes.values import (
    TO_CHANNELS_FIRST,
    Array,
    add_constant,
    attribute,
    constant,
    insert_before,
    is_op,
    set_constant,
    unique_name,
)
from edgecnn.exporters.resizing import check_resize, put_resize_in
from edgecnn.exporters.scaling import check_resize_targets, framed_input, resized_input
from edgecnn.exporters.targets import Target
from edgecnn.preprocess import frame, normalise
from edgecnn.specs import Artifact, ModelSpec, Preprocess, TensorSpec

Placing = Literal["outside", "in-graph"]
PLACINGS: tuple[str, ...] = get_args(Placing)
"""Where normalisation is done, and scaling: by the caller (`edgecnn.preprocess`), or by the file."""

_FLOAT_FIRST = ("trt",)
"""Targets that take bytes into nothing but a Cast: TensorRT ("kUINT8" in its API reference, DataType)."""


def check_placing(preprocess: Placing, resize: Placing, targets: Sequence[Target] = ()) -> None:
    """Raise unless both are one of `PLACINGS` that go together, and the targets take such a file.

    Raises:
        BadInput: another word.
        Contradiction: a file is to scale images and not to normalise them, or a target's engine does not scale as ours.
    """
    for name, given in (("preprocess", preprocess), ("resize", resize)):
        if given not in PLACINGS:
            raise BadInput(name, expected=" or ".join(PLACINGS), got=str(given))
    if resize == "in-graph":
        if preprocess != "in-graph":
            raise Contradiction(
                "--resize in-graph without --preprocess in-graph", "give both: a file that scales images takes pixels"
            )
        check_resize_targets(targets)


def put_pixels_in(
    model: ir.Model, spec: ModelSpec, *, targets: Sequence[Target] = (), resize: Placing = "outside"
) -> ModelSpec:
    """Let a graph take pixels, in place, and return what the file then says of itself.

    Args:
        model: one float32 image [N, channels, height, width] as its input.
        spec: of the model.
        targets: what the file is for.
        resize: who scales and cuts images: the caller, or the file, which then takes them in any size.

    Raises:
        Contradiction: it is not known how pixels become the input.
        ParityError: the engine here does not scale images as edgecnn does.
    """
    if spec.preprocess is None:
        raise Contradiction(
            "--preprocess in-graph for a network without normalisation",
            "give --mean and --std, of pixels on the 0..1 scale",
        )
    float_first = bool(_float_first(targets))
    preprocess = take_pixels(model, spec.preprocess, float_first=float_first)
    source = model.graph.inputs[0]
    batch = spec.inputs[0].shape[0]
    pixels = TensorSpec(name=str(source.name), dtype="uint8", shape=(batch, *preprocess.size, preprocess.channels))
    found = replace(spec, inputs=(pixels,), preprocess=preprocess)
    if resize == "outside":
        return found
    put_resize_in(model, preprocess)
    check_resize(preprocess, model.opset_imports[""])
    return resized_input(found)


def check_pixels(model: ir.Model, path: Path, *, targets: Sequence[Target]) -> None:
    """Raise Contradiction if a graph moves the bytes that it takes, and a target wants them turned into floats first."""
    image, names = model.graph.inputs[0], _float_first(targets)
    if names and image.dtype == ir.DataType.UINT8 and not all(is_op(use.node, "Cast") for use in image.uses()):
        raise Contradiction(
            f"{path} moves its pixels as bytes, and target {names[0]} takes bytes into nothing but a Cast",
            f"export it for that target: edgecnn export NETWORK --preprocess in-graph --target {','.join(names)}",
        )


def _float_first(targets: Sequence[Target]) -> tuple[str, ...]:
    return tuple(target.name for target in targets if target.name in _FLOAT_FIRST)


def take_pixels(model: ir.Model, preprocess: Preprocess, *, float_first: bool = False) -> Preprocess:
    """Replace a graph's float image by its pixels, in place, and return the preprocessing that is left to the caller.

    Args:
        model: its first input is float32 [N, channels, height, width].
        preprocess: how an image becomes that.
        float_first: turn bytes into floats before they are moved; it is faster to move bytes.

    Raises:
        BadInput: the graph takes pixels already, or another image than the preprocessing makes.
    """
    if preprocess.in_graph:
        raise BadInput("preprocessing", expected="a graph that takes float32 images", got="one that takes pixels")
    graph = model.graph
    image = graph.inputs[0]
    _check_image(image, preprocess)
    readers = tuple(image.uses())
    name = str(image.name)
    pixels = _new_input(graph, image, preprocess)
    centred = _centred(graph, pixels, image, preprocess, float_first=float_first)
    factors = 1 / (255 * np.asarray(preprocess.std, np.float64))
    if image.is_graph_output() or not all(use.idx == 0 and _can_scale(use.node) for use in readers):
        centred = _product(graph, centred, factors)
    else:
        for node in dict.fromkeys(use.node for use in readers):
            _scale_weights(node, factors)
    image.replace_all_uses_with(centred, replace_graph_outputs=True)
    pixels.name = name
    DropUnused()(model)
    check_well_formed(model, "with its pixels taken in")
    return replace(preprocess, layout="NHWC", in_graph=True)


def random_feeds(generator: np.random.Generator, artifact: Artifact, batch: int) -> tuple[Array, Array]:
    """Return random inputs of a file and the float images that its network computes on.

    These are any bytes, of the network's size, and what becomes of them where the file takes pixels; otherwise both are the
    same standard normal float32 [batch, channels, height, width].
    """
    spec = framed_input(artifact.spec)
    shape = (batch, *(int(size) for size in spec.inputs[0].shape[1:]))
    takes_pixels = spec.preprocess is not None and spec.preprocess.in_graph
    feed = generator.integers(0, 256, shape, np.uint8) if takes_pixels else generator.standard_normal(shape, np.float32)
    return feed, images_of(feed, spec.preprocess)


def images_of(feed: Array, preprocess: Preprocess | None) -> Array:
    """Return the float images [N, channels, height, width] that a network computes on for an input of its file."""
    if preprocess is None or not preprocess.in_graph:
        return feed
    if preprocess.resize_in_graph:
        feed = np.stack([frame(image, preprocess) for image in feed])
    return normalise(feed, preprocess)


def _check_image(image: ir.Value, preprocess: Preprocess) -> None:
    wanted = (preprocess.channels, *preprocess.size)
    shape = tuple(image.shape or ())
    if image.dtype != ir.DataType.FLOAT or shape[1:] != wanted:
        got = f"{image.dtype} [{', '.join(map(str, shape))}]".lower()
        raise BadInput(f"input {image.name}", expected=f"float [N, {', '.join(map(str, wanted))}]", got=got)


def _new_input(graph: ir.Graph, image: ir.Value, preprocess: Preprocess) -> ir.Value:
    """Return the graph's new input in place of an image, whose name it will have."""
    assert image.shape is not None
    shape = ir.Shape([image.shape[0], *preprocess.size, preprocess.channels])
    pixels = ir.Value(name=image.name, shape=shape, type=ir.TensorType(ir.DataType.UINT8))
    image.name = unique_name(graph, f"{image.name}_float")
    graph.inputs[0] = pixels
    return pixels


def _centred(
    graph: ir.Graph, pixels: ir.Value, image: ir.Value, preprocess: Preprocess, *, float_first: bool
) -> ir.Value:
    """Return pixel - 255 mean, float32 [N, channels, height, width]."""
    steps = ("Cast", "Transpose") if float_first else ("Transpose", "Cast")
    value = pixels
    for op_type in steps:
        value = _cast(graph, value) if op_type == "Cast" else _transpose(graph, value, image)
    means = 255 * np.asarray(preprocess.mean, np.float64)
    return _with_channels(graph, "Sub", value, means, "pixels_mean") if means.any() else value


def _cast(graph: ir.Graph, value: ir.Value) -> ir.Value:
    cast = _new(graph, "Cast", [value], {"to": ir.DataType.FLOAT.value}, like=value)
    cast.type = ir.TensorType(ir.DataType.FLOAT)
    return cast


def _transpose(graph: ir.Graph, value: ir.Value, image: ir.Value) -> ir.Value:
    moved = _new(graph, "Transpose", [value], {"perm": TO_CHANNELS_FIRST}, like=value)
    moved.shape = image.shape
    return moved


def _product(graph: ir.Graph, value: ir.Value, factors: Array) -> ir.Value:
    return _with_channels(graph, "Mul", value, factors, "pixels_factor")


def _with_channels(graph: ir.Graph, op_type: str, value: ir.Value, each: Array, wish: str) -> ir.Value:
    array = each.astype(np.float32).reshape(1, -1, 1, 1)
    return _new(graph, op_type, [value, add_constant(graph, wish, array)], {}, like=value)


def _new(
    graph: ir.Graph, op_type: str, inputs: list[ir.Value], attributes: dict[str, Any], *, like: ir.Value
) -> ir.Value:
    """Return the result of a new node before all that reads the image."""
    producer = like.producer()
    wish = f"pixels_{op_type.lower()}"
    if producer is None:
        return insert_before(graph[0], op_type, inputs, attributes, wish=wish)
    node = ir.node(op_type, inputs, attributes, name=unique_name(graph, wish))
    result = node.outputs[0]
    result.name, result.type, result.shape = node.name, like.type, like.shape
    graph.insert_after(producer, node)
    return result


def _can_scale(node: ir.Node) -> bool:
    """Tell whether a factor per input channel can go into a node's weights."""
    if not is_op(node, "Conv") or attribute(node, "group", 1) != 1:
        return False
    weight = constant(node.inputs[1])
    return weight is not None and weight.dtype == np.float32


def _scale_weights(node: ir.Node, factors: Array) -> None:
    weight = constant(node.inputs[1])
    assert weight is not None
    set_constant(node, 1, (weight * factors.reshape(-1, *[1] * (weight.ndim - 2))).astype(np.float32))
