"""Which concatenations, and which of their inputs, share one scale: decided by what a copy costs and what a shared step loses.

An engine copies an input of a concatenation byte by byte where its scale is that of the result, and looks every byte up in a
table where it is not. `placed.share_scales` gives the result's scale to what nothing but the concatenation reads, which loses
nothing: those values are rounded to it there anyway. Here the others are decided, once the ranges are known: tensors that
other nodes read as well, as in DenseNet, where a concatenation is an input of the next. They join, the largest first, where

1. the copy saves enough time (`saved_ns`), and
2. no tensor's quantization step becomes more than `MAX_GROWTH` times its own, the limit of what accuracy may pay, and
3. the common range clips no more than the activations that vanished into the quantizers did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.passes.centre_pixels import pixel_limits
from edgecnn.exporters.passes.values import dimensions, is_op, only_use
from edgecnn.exporters.quantize.operators import data_inputs
from edgecnn.exporters.quantize.placed import Placement
from edgecnn.exporters.quantize.ranges import Range
from edgecnn.exporters.quantize.scales import choose_quantizer
from edgecnn.exporters.targets import Form

MAX_GROWTH = 4.0
"""A tensor loses two bits of its eight at most, for those that read it itself; what reads the concatenation sees the step of
that in any case. On DenseNet-121 nothing is lost of the signal over the noise of the logits (22 dB for 1, 2, 4 and 16, random
weights), and all that can be saved is."""

LOOKUP_BYTE_NS = 0.2
COPY_BYTE_NS = 0.04
"""Of QLinearConcat in onnxruntime 1.31.1 on one core of an AMD Zen 5, 64 to 448 channels at 56 x 56 and 28 x 28."""

MIN_SAVED_NS = 1000.0
"""About what any node costs: less is not worth a coarser step."""


def settle_scales(placement: Placement, ranges: Mapping[str, Range]) -> dict[ir.Value, Range]:
    """Return the range that decides the scale of each quantized tensor; that of pixels is known beforehand.

    Args:
        placement: what is quantized, with the scales that are shared by structure.
        ranges: range of every observed tensor, by name.
    """
    limits = {str(value.name): pixel_limits(value) for value in placement.observed}
    ranges = {**ranges, **{name: Range(*found) for name, found in limits.items() if found is not None}}
    groups = {value: _Group((value,), ranges[str(value.name)]) for value in placement.observed}
    concats = [node for node in placement.nodes if is_op(node, "Concat")]
    copies = [(value, _result(node, placement)) for node in concats for value in dict.fromkeys(data_inputs(node))]
    # The dearest first: where steps may not grow further, what is looked up is then cheap.
    for value, result in sorted(copies, key=lambda copy: saved_ns(copy[0]), reverse=True):
        _try_to_join(value, result, placement, ranges, groups)
    return {value: groups[placement.scale_of[value]].range for value in placement.tensors}


def saved_ns(value: ir.Value) -> float:
    """Return nanoseconds that copying a tensor [N, ...] of one image saves over looking it up; infinite for unknown sizes."""
    shape = dimensions(value)
    if shape is None or any(size is None for size in shape[1:]):
        return np.inf
    return float(np.prod(shape[1:], dtype=np.int64)) * (LOOKUP_BYTE_NS - COPY_BYTE_NS)  # type: ignore[arg-type]


def growth(own: Range, common: Range, form: Form) -> float:
    """Return how many times as wide a tensor's quantization step becomes by a common range."""
    return float(choose_quantizer(common, form).scale) / float(choose_quantizer(own, form).scale)


@dataclass(frozen=True, slots=True)
class _Group:
    """Tensors that decide about scales, and the range that they have in common."""

    deciders: tuple[ir.Value, ...]
    range: Range


def _result(node: ir.Node, placement: Placement) -> ir.Value:
    """Return the quantized tensor that a concatenation gives, that of an activation behind it perhaps."""
    result = node.outputs[0]
    reader = only_use(result)
    return reader.outputs[0] if result not in placement.scale_of and reader is not None else result


def _try_to_join(
    value: ir.Value,
    result: ir.Value,
    placement: Placement,
    ranges: Mapping[str, Range],
    groups: dict[ir.Value, _Group],
) -> None:
    if value not in placement.scale_of or result not in placement.scale_of:
        return
    one, other = groups[placement.scale_of[value]], groups[placement.scale_of[result]]
    if one is other or saved_ns(value) < MIN_SAVED_NS:
        return
    common = Range(min(one.range.low, other.range.low), max(one.range.high, other.range.high))
    joined = _Group((*one.deciders, *other.deciders), common)
    if _keeps_steps(joined, placement, ranges) and _keeps_clips(joined, placement):
        groups.update(dict.fromkeys(joined.deciders, joined))


def _keeps_steps(group: _Group, placement: Placement, ranges: Mapping[str, Range]) -> bool:
    growths = (growth(ranges[str(member.name)], group.range, placement.form) for member in group.deciders)
    return all(found <= MAX_GROWTH for found in growths)


def _keeps_clips(group: _Group, placement: Placement) -> bool:
    """Tell whether what vanished behind a tensor of the group lets the whole range through."""
    deciders = set(group.deciders)
    return all(
        group.range.lies_in(clip)
        for value, clip in placement.clips.items()
        if placement.scale_of.get(value) in deciders
    )
