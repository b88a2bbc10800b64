"""The image that goes into a foreign graph and the scores that come out of it."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from edgecnn.errors import BadInput, UnsupportedOp
from edgecnn.exporters.passes.values import TO_CHANNELS_FIRST

_COLOURS = (1, 3)

SOFTMAX, ARGMAX = "Softmax", "ArgMax"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInput:
    """The one input of a graph.

    Attributes:
        name: in the graph.
        batch: fixed number of images, None for any.
        shape: (channels, height, width).
        channels_last: whether the file itself takes [N, height, width, channels].
    """

    name: str
    batch: int | None
    shape: tuple[int, int, int]
    channels_last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the scores are in the file.

    Attributes:
        scores: name of the tensor that becomes the output.
        removed: operator that came after it and is left out, "Softmax" or "ArgMax"; empty for none.
        output: name of the file's first output, which is that of the removed operator or the scores.
        ignored: the file's further outputs.
    """

    scores: str
    removed: str
    output: str
    ignored: tuple[str, ...] = ()


def image_input(graph: onnx.GraphProto, asked: tuple[int, int, int] | None, where: str) -> ImageInput:
    """Return the image that a graph takes.

    Args:
        graph: without initialisers among its inputs.
        asked: (channels, height, width) as the user has it, which sizes that the file leaves open are set to.
        where: what the model is called in messages.

    Raises:
        BadInput: not one float32 image, a size that is open, or another than was asked for.
        UnsupportedOp: a sequence or optional input.
    """
    if len(graph.input) != 1:
        names = ", ".join(one.name for one in graph.input) or "none"
        raise BadInput(f"inputs of {where}", expected="one image", got=names)
    (value,) = graph.input
    sizes = _sizes(value, where)
    if value.type.tensor_type.elem_type != TensorProto.FLOAT:
        got = TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
        raise BadInput(f"input {value.name} of {where}", "export it with float32 inputs", expected="float32", got=got)
    if sizes is not None and len(sizes) != 4:
        raise BadInput(f"input {value.name} of {where}", expected="[N, channels, height, width]", got=_shown(sizes))
    batch, *rest = sizes or (None, None, None, None)
    last = _is_channels_last(rest, asked)
    if last:
        rest = [rest[2], rest[0], rest[1]]
    shape = _settled(rest, asked, f"input {value.name} of {where}")
    return ImageInput(name=value.name, batch=batch, shape=shape, channels_last=last)


def set_input(graph: onnx.GraphProto, image: ImageInput, where: str) -> None:
    """Give the graph's input its sizes; one of [N, height, width, channels] becomes [N, channels, height, width].

    Raises:
        BadInput: the graph computes on channels that come last.
    """
    if image.channels_last:
        _drop_transposes(graph, image.name, where)
    del graph.input[:]
    shape = ("N" if image.batch is None else image.batch, *image.shape)
    graph.input.append(helper.make_tensor_value_info(image.name, TensorProto.FLOAT, shape))


def find_head(graph: onnx.GraphProto, where: str) -> Head:
    """Return which tensor has the scores.

    A file of edgecnn gives scores before softmax, and its readers make probabilities of them: a Softmax or ArgMax that ends
    the graph is left out.

    Raises:
        BadInput: there is no output.
        UnsupportedOp: a sequence or optional output.
    """
    if not graph.output:
        raise BadInput(f"outputs of {where}", expected="the scores of a classifier", got="none")
    for value in graph.output:
        _require_tensor(value, where)
    output, *ignored = (value.name for value in graph.output)
    maker = {node.output[0]: node for node in graph.node if node.output}
    scores, removed = output, ""
    while (node := maker.get(scores)) is not None and node.op_type in (SOFTMAX, ARGMAX, "Identity"):
        if removed and node.op_type != "Identity":
            break
        removed = removed if node.op_type == "Identity" else node.op_type
        scores = node.input[0]
    if not removed or scores not in maker:
        scores, removed = output, ""
    return Head(scores=scores, removed=removed, output=output, ignored=tuple(ignored))


def set_output(graph: onnx.GraphProto, head: Head) -> None:
    """Let the graph end with the scores."""
    del graph.output[:]
    graph.output.append(onnx.ValueInfoProto(name=head.scores))
    graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    if head.removed:
        needed = _needed(graph, head.scores)
        kept = [node for node in graph.node if needed & {*node.output}]
        del graph.node[:]
        graph.node.extend(kept)


def _needed(graph: onnx.GraphProto, name: str) -> set[str]:
    needed = {name}
    for node in reversed(graph.node):
        if needed & {*node.output}:
            needed.update(node.input)
    return needed


def _require_tensor(value: onnx.ValueInfoProto, where: str) -> None:
    kind = value.type.WhichOneof("value")
    if kind not in ("tensor_type", None):
        raise UnsupportedOp(f"{where}: {value.name} is a {kind.removesuffix('_type')}, not a tensor")


def _sizes(value: onnx.ValueInfoProto, where: str) -> tuple[int | None, ...] | None:
    """Return the sizes of a tensor with None for open ones, None where not even the rank is said."""
    _require_tensor(value, where)
    if not value.type.tensor_type.HasField("shape"):
        return None
    dims = value.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in dims)


def _is_channels_last(rest: list[int | None], asked: tuple[int, int, int] | None) -> bool:
    first, _, last = rest
    if asked is not None and first != last:
        return last == asked[0] and first != asked[0] and first in (None, asked[1])
    return last in _COLOURS and first not in (*_COLOURS, None)


def _settled(rest: list[int | None], asked: tuple[int, int, int] | None, where: str) -> tuple[int, int, int]:
    if asked is None and None in rest:
        raise BadInput(
            where,
            "say which: --input-shape 3,224,224 for example",
            expected="a fixed size of the image",
            got=_shown((None, *rest)),
        )
    settled = rest if asked is None else [size or want for size, want in zip(rest, asked, strict=True)]
    if asked is not None and tuple(settled) != asked:
        raise BadInput(where, "leave --input-shape out", expected=",".join(map(str, asked)), got=_shown((None, *rest)))
    channels, height, width = (int(size or 0) for size in settled)
    return channels, height, width


def _shown(sizes: tuple[int | None, ...]) -> str:
    return f"[{', '.join('?' if size is None else str(size) for size in sizes)}]"


def _drop_transposes(graph: onnx.GraphProto, name: str, where: str) -> None:
    readers = [node for node in graph.node if name in node.input]
    for node in readers:
        perm = next((tuple(one.ints) for one in node.attribute if one.name == "perm"), ())
        if node.op_type != "Transpose" or perm != TO_CHANNELS_FIRST:
            raise BadInput(
                f"input {name} of {where}",
                "export it with channels first (tf2onnx: --inputs-as-nchw)",
                expected="[N, channels, height, width]",
                got="channels last",
            )
    renamed = {node.output[0]: name for node in readers}
    kept = [node for node in graph.node if node not in readers]
    for node in kept:
        for index, source in enumerate(node.input):
            node.input[index] = renamed.get(source, source)
    del graph.node[:]
    graph.node.extend(kept)
