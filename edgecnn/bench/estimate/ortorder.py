"""The order in which ONNX Runtime runs the nodes of a graph.

It searches in depth from the answer towards the inputs, and of several inputs takes the one with the greatest number first
(microsoft/onnxruntime, onnxruntime/core/graph/graph.cc, ReverseDFSFrom). Its optimizers go through the file's graph in that
order and number the nodes that they put in place of others from there on. Where branches meet, which of them runs first
decides what is alive at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from edgecnn.bench.estimate.liveness import Step
from edgecnn.onnxmodel.graph import OnnxNode

KEPT = frozenset(
    {"Add", "Sum", "Mul", "Concat", "Slice", "Pad", "Relu", "BatchNormalization"}
    | {"MaxPool", "AveragePool", "GlobalAveragePool"}
)
"""Operators of the file that stay the nodes that they are."""


def ordered_nodes(nodes: Sequence[OnnxNode]) -> list[OnnxNode]:
    """Return nodes in the order in which optimizers see them.

    Args:
        nodes: in the file's order, which numbers them.
    """
    maker = {name: place for place, node in enumerate(nodes) for name in node.outputs if name}
    before = [{maker[name] for name in node.inputs if name in maker} for node in nodes]
    return [nodes[place] for place in reverse_depth_first(before, range(len(nodes)))]


def ordered_steps(steps: Sequence[Step], *, kept: AbstractSet[str] = KEPT) -> list[Step]:
    """Return steps in the order in which they run, or in which the next optimizer sees them.

    Copies between layouts are numbered last of all. Their numbers among each other follow from addresses in the engine's
    memory, and are taken as the order of their use here.

    Args:
        steps: made of nodes in the order of `ordered_nodes`.
        kept: operators that still are nodes of the file; all others are new ones.
    """
    maker = {made.name: place for place, step in enumerate(steps) for made in step.makes}
    before = [{maker[name] for name in step.reads if name in maker} for step in steps]
    by_number = sorted(range(len(steps)), key=lambda place: (_age(steps[place], kept), place))
    numbers = [0] * len(steps)
    for number, place in enumerate(by_number):
        numbers[place] = number
    return [steps[place] for place in reverse_depth_first(before, numbers)]


def reverse_depth_first(before: Sequence[AbstractSet[int]], numbers: Sequence[int]) -> list[int]:
    """Return places in an order in which each comes after those before it.

    Args:
        before: place -> the places that it needs.
        numbers: place -> its number; of what a place needs, the greatest number comes first.
    """
    needed = {place for places in before for place in places}
    stack = [(place, False) for place in range(len(before)) if place not in needed]
    ordered: list[int] = []
    seen: set[int] = set()
    while stack:
        place, ready = stack.pop()
        if ready:
            ordered.append(place)
        elif place not in seen:
            seen.add(place)
            stack.append((place, True))
            stack.extend((one, False) for one in sorted(before[place] - seen, key=numbers.__getitem__))
    return ordered


def _age(step: Step, kept: AbstractSet[str]) -> int:
    if step.op_type.startswith("Reorder"):
        return 2
    return 0 if step.op_type in kept else 1
