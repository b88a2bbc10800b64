"""Which nodes can run in a 16-bit type, judged by the values that were observed, and why the others stay float32."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.halfprecision.kinds import Kind, fixed_inputs, has_half_form, is_float
from edgecnn.exporters.passes.values import attribute, constant, dimensions, is_op
from edgecnn.exporters.quantize.ranges import Range

HEADROOM = 4
"""Images that were not seen may give values so many times as great as those that were."""

_AVERAGING = ("GlobalAveragePool", "AveragePool", "ReduceMean")

_ADDING_SQUARES = ("ReduceSumSquare", "ReduceL2", "LpPool", "GlobalLpPool", "LpNormalization")

_NORMALIZING = ("LRN", "LayerNormalization", "InstanceNormalization", "GroupNormalization", "MeanVarianceNormalization")


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """A node that stays float32.

    Attributes:
        node: its name.
        op_type: its operator.
        reason: why.
    """

    node: str
    op_type: str
    reason: str


def choose_nodes(
    model: ir.Model, ranges: Mapping[str, Range], kind: Kind, keep_float: Collection[str] = ()
) -> tuple[frozenset[ir.Node], tuple[Blocked, ...]]:
    """Return the nodes that run in a 16-bit type, and those with float32 values that do not.

    A node does not where its operator has no such form, where a value that it reads, gives or adds up on the way comes within
    a factor of `HEADROOM` of the greatest number of the type, or where all values of a tensor or constant are so small that
    the type holds them with fewer digits.

    Args:
        model: the fp32 graph, its values typed.
        ranges: range of float32 activations, by name.
        kind: the type.
        keep_float: names of nodes that stay float32 in any case.
    """
    chosen: list[ir.Node] = []
    blocked: list[Blocked] = []
    for node in model.graph:
        if not any(is_float(value) for value in (*node.inputs, *node.outputs)):
            continue
        asked = "it was asked to" if node.name in keep_float else ""
        reason = asked or next(_reasons(node, ranges, kind), "")
        if reason:
            blocked.append(Blocked(node=str(node.name), op_type=node.op_type, reason=reason))
        else:
            chosen.append(node)
    return frozenset(chosen), tuple(blocked)


def float_values(model: ir.Model) -> tuple[ir.Value, ...]:
    """Return the float32 activations of a graph that can be observed: of one dimension at least, inputs first."""
    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    return tuple(value for value in values if is_float(value) and value.name and dimensions(value))


def _reasons(node: ir.Node, ranges: Mapping[str, Range], kind: Kind) -> Iterator[str]:
    """Yield why a node stays float32."""
    if not has_half_form(node, kind):
        yield f"operator {node.op_type} has no {kind.precision} form in this operator set"
    fixed = fixed_inputs(node)
    inputs = [value for index, value in enumerate(node.inputs) if value is not None and index not in fixed]
    for value in (*inputs, *node.outputs):
        if value.name and value.dtype is None:
            yield f"the type of {value.name} is not known"
        elif is_float(value):
            yield from _value_reasons(value, ranges, kind)
    inner = _inner(node, ranges)
    if inner * HEADROOM > kind.greatest:
        yield f"it adds up to {inner:.4g} on the way, the greatest {kind.precision} number is {kind.greatest:.4g}"


def _value_reasons(value: ir.Value, ranges: Mapping[str, Range], kind: Kind) -> Iterator[str]:
    array = constant(value)
    found = ranges.get(str(value.name))
    if array is not None:
        # Constants are known: no more than they are will come. Infinity is the same in every type.
        great, limit = float(np.abs(array[np.isfinite(array)]).max(initial=0.0)), kind.greatest
    elif found is not None:
        great, limit = max(-found.low, found.high), kind.greatest / HEADROOM
    else:
        yield f"the range of {value.name} is not known"
        return
    if not great <= limit:
        yield f"{value.name} reaches {great:.4g}, the greatest {kind.precision} number is {kind.greatest:.4g}"
    if 0 < great < kind.least_normal:
        yield f"{value.name} stays below {great:.2g}, where {kind.precision} loses digits"


def _inner(node: ir.Node, ranges: Mapping[str, Range]) -> float:
    """Return the greatest sum that a node forms on the way, as far as ranges tell; an engine may form it in 16 bits."""
    given, made = (_greatest(values[0], ranges) for values in (node.inputs, node.outputs))
    if is_op(node, *_AVERAGING):
        return made * _averaged(node)
    if is_op(node, *_ADDING_SQUARES):
        return max(given, made) ** 2
    if is_op(node, *_NORMALIZING):
        return given**2 * attribute(node, "size", 1)
    return 0.0


def _greatest(value: ir.Value | None, ranges: Mapping[str, Range]) -> float:
    found = ranges.get(str(value.name)) if value is not None else None
    return max(-found.low, found.high) if found else 0.0


def _averaged(node: ir.Node) -> int:
    """Return over how many values a node averages, 1 where that is not known."""
    if is_op(node, "AveragePool"):
        return int(np.prod(attribute(node, "kernel_shape", (1,))))
    before, after = dimensions(node.inputs[0]), dimensions(node.outputs[0])
    if before is None or after is None:
        return 1
    sizes = [int(np.prod([side or 1 for side in shape[1:]], initial=1)) for shape in (before, after)]
    return max(1, sizes[0] // max(1, sizes[1]))
