"""The dataflow of a network as a drawing has it: blocks in the order in which they run, and what each of them reads.

From the layer table: what only passes values on (batch norms, activations, copies, padding) is left out, layers that
follow each other without a branch share a box, and equal blocks that follow each other are folded into one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgecnn.zoo.pages.stages import WEIGHTED, convolution_text, stages_of

if TYPE_CHECKING:
    from edgecnn.zoo.layers import Layer

INPUT = "input"
"""Name of the first block, which is the network's input."""

_JOINS = {"add": "+", "mean of inputs": "mean", "concat": "concat", "multiply": "×"}
_SHORT = {"local response norm": "LRN", "channel shuffle": "shuffle"}
_SUMS = ("add", "mean of inputs")
_KEPT = (*WEIGHTED, *_JOINS, "channel shuffle", "max pool", "average pool", "local response norm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Layers that follow each other without a branch, or one that joins branches.

    Attributes:
        lines: a text per layer.
        joins: it adds, multiplies or concatenates.
        output_shape: without the batch.
        inside: indices of the boxes of the same block that it reads, ascending.
        outside: indices of the blocks that it reads, ascending.
    """

    lines: tuple[str, ...]
    joins: bool
    output_shape: tuple[int, ...]
    inside: tuple[int, ...] = ()
    outside: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowBlock:
    """A block, or several equal ones that follow each other.

    Attributes:
        name: path of the module; of several, the first and the last one.
        output_shape: of the last one, without the batch.
        boxes: what is inside, in the order in which it runs.
        count: how many equal blocks there are.
        reads: what the folded ones read: "" for the one before, else "the 2 before it" for example.
    """

    name: str
    output_shape: tuple[int, ...]
    boxes: tuple[Box, ...]
    count: int = 1
    reads: str = ""

    @property
    def sources(self) -> tuple[int, ...]:
        """Indices of the blocks that it reads, ascending."""
        return tuple(sorted({source for box in self.boxes for source in box.outside}))


def flow_of(layers: Sequence[Layer], input_shape: tuple[int, int, int]) -> tuple[FlowBlock, ...]:
    """Return the blocks of a network; the first one is its input, and every block reads earlier ones only.

    Args:
        layers: its layer table.
        input_shape: (channels, height, width) of one image.
    """
    layers = _with_drawn_kinds(layers)
    inputs = _without_passing(layers)
    image = Box(lines=("image",), joins=False, output_shape=input_shape)
    blocks = [FlowBlock(name=INPUT, output_shape=input_shape, boxes=(image,))]
    block_of = {-1: 0}
    for part in (part for stage in stages_of(layers) for part in stage.parts):
        inside = [index for index in range(part.first, part.last + 1) if index in inputs]
        if inside:
            block_of |= dict.fromkeys(inside, len(blocks))
            boxes = _boxes(layers, inside, inputs, block_of)
            shape = layers[part.last].output_shape
            blocks.append(FlowBlock(name=part.name, output_shape=shape, boxes=boxes))
    return _folded(blocks)


def _with_drawn_kinds(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Return the layers with the kinds that a drawing tells apart and a table of operations does not.

    A sum that only a division reads is a mean; a copy of (groups, channels of a group, height, width) is a channel shuffle,
    since nothing else has to move those values.
    """
    divided = {layer.inputs[0] for layer in layers if layer.kind == "div" and len(layer.inputs) == 1}
    users = Counter(index for layer in layers for index in layer.inputs)
    found = []
    for index, layer in enumerate(layers):
        if layer.kind == "add" and index in divided and users[index] == 1:
            found.append(replace(layer, kind="mean of inputs"))
        elif layer.kind == "copy" and len(layer.output_shape) == 4:
            found.append(replace(layer, kind="channel shuffle"))
        else:
            found.append(layer)
    return tuple(found)


def _without_passing(layers: Sequence[Layer]) -> dict[int, tuple[int, ...]]:
    """Return index -> indices that it reads, for the layers that a drawing shows; -1 is the network's input."""
    shown: dict[int, tuple[int, ...]] = {}
    stands_for: dict[int, tuple[int, ...]] = {-1: (-1,)}
    users = Counter(index for layer in layers for index in layer.inputs)
    for index, layer in enumerate(layers):
        read = tuple(sorted({source for before in layer.inputs for source in stands_for.get(before, ())}))
        if layer.kind not in _KEPT and len(read) < 2:
            stands_for[index] = read
            continue
        chained = [source for source in read if source >= 0 and _same_join(layers, source, index, users)]
        for source in chained:
            read = tuple(sorted({*read, *shown.pop(source)} - {source}))
        shown[index], stands_for[index] = read, (index,)
    return shown


def _same_join(layers: Sequence[Layer], source: int, index: int, users: Counter[int]) -> bool:
    """Tell whether one sum is only a part of the next one."""
    before, after = layers[source], layers[index]
    return (
        before.kind == "add"
        and after.kind in _SUMS
        and before.name == after.name
        and index - source == 1
        and users[source] == 1
    )


def _boxes(
    layers: Sequence[Layer], inside: Sequence[int], inputs: dict[int, tuple[int, ...]], block_of: dict[int, int]
) -> tuple[Box, ...]:
    users = Counter(source for index in inputs for source in inputs[index])
    box_of: dict[int, int] = {}
    boxes: list[Box] = []
    for index in inside:
        layer, read = layers[index], inputs[index]
        before = box_of.get(read[0]) if len(read) == 1 and users[read[0]] == 1 else None
        joins = layer.kind in _JOINS or len(read) > 1
        if before is not None and not joins and not boxes[before].joins:
            box_of[index] = before
            lines = (*boxes[before].lines, _line(layer))
            boxes[before] = replace(boxes[before], lines=lines, output_shape=layer.output_shape)
            continue
        box_of[index] = len(boxes)
        boxes.append(
            Box(
                lines=(_line(layer),),
                joins=joins,
                output_shape=layer.output_shape,
                inside=tuple(sorted({box_of[source] for source in read if source in box_of})),
                outside=tuple(sorted({block_of[source] for source in read if source not in box_of})),
            )
        )
    return tuple(boxes)


def _line(layer: Layer) -> str:
    if layer.kind in _JOINS:
        return _JOINS[layer.kind]
    if layer.kind in _SHORT:
        return _SHORT[layer.kind]
    stride = f" /{'x'.join(map(str, sorted({*layer.stride})))}" if layer.stride and max(layer.stride) > 1 else ""
    if layer.kind in WEIGHTED:
        text = convolution_text(layer)
        return f"{text}{stride}"
    if layer.output_shape[1:] == (1, 1):
        return f"global {layer.kind}"
    kernel = "x".join(map(str, layer.kernel)) if layer.kernel else ""
    return f"{layer.kind} {kernel}{stride}".strip()


def _folded(blocks: Sequence[FlowBlock]) -> tuple[FlowBlock, ...]:
    """Fold equal blocks that follow each other, and count the sources anew."""
    found: list[FlowBlock] = []
    becomes: dict[int, int] = {}
    distances: list[tuple[int, ...]] = []
    for index, block in enumerate(blocks):
        distance = tuple(index - source for source in block.sources)
        if found and _signature(found[-1]) == _signature(block) and 1 in distance:
            distances.append(distance)
            first = found[-1].name.partition(" .. ")[0]
            found[-1] = replace(
                found[-1],
                name=f"{first} .. {block.name}",
                output_shape=block.output_shape,
                count=found[-1].count + 1,
                reads=_reads(distances),
            )
        else:
            distances = []
            boxes = tuple(replace(box, outside=_renamed(box.outside, becomes)) for box in block.boxes)
            found.append(replace(block, boxes=boxes))
        becomes[index] = len(found) - 1
    return tuple(found)


def _renamed(sources: Sequence[int], becomes: dict[int, int]) -> tuple[int, ...]:
    return tuple(sorted({becomes[source] for source in sources}))


def _signature(block: FlowBlock) -> tuple[object, ...]:
    """Return what equal blocks have in common; what a concatenation grows to is not part of it."""
    return tuple(
        (box.lines, box.inside, len(box.outside), None if box.joins else box.output_shape, box.output_shape[1:])
        for box in block.boxes
    )


def _reads(distances: Sequence[tuple[int, ...]]) -> str:
    if {*distances} == {(1,)}:
        return ""
    most = max(map(len, distances))
    return f"each reads the {most} before it"
