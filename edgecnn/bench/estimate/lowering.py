"""What is known about a graph while it is turned into the steps of ONNX Runtime's CPU provider (`ortsteps`)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from edgecnn.bench.estimate.liveness import Made, Step
from edgecnn.onnxmodel.graph import OnnxGraph, OnnxNode
from edgecnn.onnxmodel.tensortypes import Types

FLOAT_BYTES = 4

_BLOCKED = "\n blocked"


def padded(channels: int, block: int) -> int:
    """Return the next multiple of a block."""
    return -(-channels // block) * block


@dataclass(slots=True)
class Lowering:
    """The steps of a graph, as far as they are known.

    Attributes:
        graph: of the file.
        types: of its tensors.
        block: channels in a block; 1 for an engine that does not block.
        threads: of one operator.
        uses: tensor -> the nodes that read it, once for each time.
        constants: tensors that are there after loading.
        steps: so far.
        same: tensor that no step makes -> the tensor in whose place it is computed.
        blocked: tensors that exist in blocks of channels.
        plain: tensors that exist as the file has them.
        last: tensors with channels last.
        weights: constant -> bytes of it as a kernel keeps it.
    """

    graph: OnnxGraph
    types: Types
    block: int
    threads: int
    uses: dict[str, list[OnnxNode]]
    constants: set[str]
    steps: list[Step] = field(default_factory=list)
    same: dict[str, str] = field(default_factory=dict)
    blocked: set[str] = field(default_factory=set)
    plain: set[str] = field(default_factory=set)
    last: set[str] = field(default_factory=set)
    weights: dict[str, int] = field(default_factory=dict)

    def root(self, name: str) -> str:
        """Return the tensor that is made in place of this one."""
        while name in self.same:
            name = self.same[name]
        return name

    def made(self, name: str, *, of: str = "") -> Made:
        """Return a tensor in the plain layout.

        Args:
            name: of the tensor that is made.
            of: the tensor whose type it has, if that is another one.
        """
        one = self.types.get(of or name)
        if one is None:
            return Made(name=name, size_bytes=0)
        turned = name in self.last and len(one.shape) == 4
        shape = (one.shape[0], *one.shape[2:], one.shape[1]) if turned else one.shape
        return Made(name=name, size_bytes=one.size_bytes or 0, shape=shape)

    def made_blocked(self, name: str) -> Made:
        """Return a tensor of four dimensions with its channels padded to whole blocks."""
        images, channels, *sizes = self.types[name].shape
        shape = (images, padded(channels, self.block), *sizes)
        return Made(name=name + _BLOCKED, size_bytes=FLOAT_BYTES * math.prod(shape), shape=shape)

    def keep(self, node: OnnxNode) -> None:
        """Note the constants of a node as the file has them, but for those that its kernel has in a form of its own."""
        for name in node.inputs:
            if name in self.constants and name not in self.weights and name in self.types:
                self.weights[name] = self.types[name].size_bytes or 0

    def plainly(self, name: str) -> str:
        """Return the plain form of a tensor, copied out of its blocks where need be."""
        name = self.root(name)
        if name in self.blocked and name not in self.plain:
            self.steps.append(Step(op_type="ReorderOutput", reads=(name + _BLOCKED,), makes=(self.made(name),)))
            self.plain.add(name)
        return name

    def in_blocks(self, name: str) -> str:
        """Return the blocked form of a tensor, copied into blocks where need be."""
        name = self.root(name)
        if name not in self.blocked:
            self.steps.append(Step(op_type="ReorderInput", reads=(name,), makes=(self.made_blocked(name),)))
            self.blocked.add(name)
        return name + _BLOCKED

    def is_float(self, name: str) -> bool:
        """Whether it is a tensor of float32 with channels and two further dimensions."""
        one = self.types.get(name)
        return one is not None and one.dtype == "float32" and len(one.shape) == 4

    def is_blocked(self, name: str) -> bool:
        """Whether it was made in blocks."""
        return self.root(name) in self.blocked

    def used_once(self, name: str) -> bool:
        """Whether one node reads it, and reads it once."""
        return len(self.uses.get(name, ())) == 1

    def maker(self, name: str) -> int | None:
        """Return the place of the step that makes a tensor in either form, None for none."""
        for place in range(len(self.steps) - 1, -1, -1):
            if any(made.name in (name, name + _BLOCKED) for made in self.steps[place].makes):
                return place
        return None


def lowering_of(graph: OnnxGraph, types: Types, inputs: Iterable[str], *, block: int, threads: int) -> Lowering:
    """Return a lowering without steps yet.

    Args:
        graph: of the file.
        types: of its tensors.
        inputs: names of those that the caller gives.
        block: see `Lowering`.
        threads: see `Lowering`.
    """
    uses: dict[str, list[OnnxNode]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            uses.setdefault(name, []).append(node)
    low = Lowering(graph=graph, types=types, block=block, threads=threads, uses=uses, constants=set(graph.constants))
    low.plain.update(inputs)
    return low
