"""Which tensor of an int8 or 16-bit graph takes the place of which of its fp32 graph.

Tensors are matched by name. A quantizer leaves "x_dequantized" for the "x" of the fp32 graph, see
`edgecnn.exporters.quantize.emit`; a 16-bit graph keeps the names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.macs import layer_macs
from edgecnn.exporters.passes.values import constant, is_op, only_use
from edgecnn.exporters.quantize.operators import CARRYING, clip_range
from edgecnn.exporters.quantize.ranges import Range
from edgecnn.runtimes.base import Array

Precision = Literal["int8", "fp16", "bf16", "fp32"]

_PRECISIONS: Mapping[ir.DataType | None, Precision] = {
    ir.DataType.FLOAT: "fp32",
    ir.DataType.FLOAT16: "fp16",
    ir.DataType.BFLOAT16: "bf16",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A tensor of the reference and what takes its place.

    Attributes:
        tensor: its name in the reference.
        mine: what takes its place.
        theirs: the tensor.
        nodes: of the reference, that make it from the last tensor that has a counterpart.
        macs_share: of these nodes, 0..1; None where that is not known.
        is_output: whether the reference gives it to its caller; no rewrite may change such a one.
        clipped: what an activation further behind lets through, where the counterpart's quantizer clips for it already.
    """

    tensor: str
    mine: ir.Value
    theirs: ir.Value
    nodes: tuple[ir.Node, ...]
    macs_share: float | None
    is_output: bool
    clipped: Range | None

    @property
    def precision(self) -> Precision:
        """What the counterpart is held in."""
        return "int8" if is_op(self.mine.producer(), "DequantizeLinear") else _PRECISIONS[self.mine.dtype]

    def clip(self, array: Array) -> Array:
        """Return values of the reference as the counterpart's quantizer clips them."""
        return array if self.clipped is None else np.clip(array, self.clipped.low, self.clipped.high)


def match_tensors(model: ir.Model, reference: ir.Model) -> tuple[list[Pair], int]:
    """Return the tensors that both have, in the order of the reference, and how many of its tensors the other has not."""
    values = {str(value.name): value for node in model.graph for value in node.outputs}
    macs = layer_macs(reference)
    total = sum(macs.values())
    chains: dict[ir.Node, list[ir.Node]] = {}
    pairs, missing = [], 0
    for node in reference.graph:
        nodes = [*chains.pop(node, []), node]
        theirs = node.outputs[0]
        mine = _counterpart(values, str(theirs.name))
        if theirs.dtype != ir.DataType.FLOAT:
            continue
        if mine is None:
            missing += str(theirs.name) not in values
            reader = only_use(theirs)
            if reader is not None:
                chains.setdefault(reader, []).extend(nodes)
            continue
        share = sum(macs.get(one, 0) for one in nodes) / total if total else None
        pairs.append(
            Pair(
                tensor=str(theirs.name),
                mine=mine,
                theirs=theirs,
                nodes=tuple(nodes),
                macs_share=share,
                is_output=theirs.is_graph_output(),
                clipped=_clipped(mine, theirs, values),
            )
        )
    return pairs, missing


def _counterpart(values: Mapping[str, ir.Value], name: str) -> ir.Value | None:
    """Return what takes the place of a tensor: what its quantizer gives, or else the tensor itself.

    It does not where the activation right behind it joined its quantizer, which then carries that one's name: the two are one
    layer.
    """
    dequantized = values.get(f"{name}_dequantized")
    if dequantized is not None and is_op(dequantized.producer(), "DequantizeLinear"):
        return dequantized
    value = values.get(name)
    if value is None or value.dtype not in _PRECISIONS:
        return None
    joined = any(is_op(use.node, "QuantizeLinear") for use in value.uses())
    return None if joined else value


def _clipped(mine: ir.Value, theirs: ir.Value, values: Mapping[str, ir.Value]) -> Range | None:
    """Return what an activation behind concatenations and the like lets through, where the quantizer before them clips for it.

    It does where its least number is zero, and the activation is gone.
    """
    if not _starts_at_zero(mine.producer()):
        return None
    reader = only_use(theirs)
    while reader is not None and is_op(reader, "Concat", *CARRYING):
        reader = only_use(reader.outputs[0])
    gone = reader is not None and reader.outputs[0].name not in values
    return clip_range(reader) if reader is not None and gone else None


def _starts_at_zero(dequantize: ir.Node | None) -> bool:
    if dequantize is None or not is_op(dequantize, "DequantizeLinear") or len(dequantize.inputs) < 3:
        return False
    zero_point = constant(dequantize.inputs[2])
    return zero_point is not None and bool((zero_point == np.iinfo(zero_point.dtype).min).all())
