"""Clips and shifts between quantizers: the first works on the bytes themselves, the second is another zero point.

These run on a quantized graph, after the quantizers are in it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.passes.base import Pass
from edgecnn.exporters.passes.values import Array, add_constant, constant, is_op, only_use

_READS_ANY_SCALE = ("Add", "Clip", "Mul")
"""Operators that take the scale of their inputs from the dequantizer, and have no constants that depend on it."""


class ClipInInt8(Pass):
    """Turns DequantizeLinear, Clip, QuantizeLinear of one scale into a Clip of bytes; exact, as rounding keeps the order."""

    name = "clip-in-int8"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        return sum(_clip_bytes(node) for node in tuple(model.graph) if is_op(node, "Clip")) > 0


class ShiftInInt8(Pass):
    """Turns DequantizeLinear, Add of one constant, QuantizeLinear, DequantizeLinear into one DequantizeLinear.

    x + c is x with the zero point moved by c / scale. Where that is not a whole number, the scale of x grows until it is, so
    that its range still covers what was seen; more exact than before, for x + c is not rounded again.
    Requires: x is read by sums, products and clips only, and the quantizer of x + c clips nothing that was meant to be clipped:
    an activation that is to vanish into it stands before it still.
    """

    name = "shift-in-int8"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        return sum(_shift(node) for node in tuple(model.graph) if is_op(node, "Add")) > 0


def _clip_bytes(clip: ir.Node) -> bool:
    before, after = _maker(clip.inputs[0]), only_use(clip.outputs[0])
    if not is_op(before, "DequantizeLinear") or not is_op(after, "QuantizeLinear") or len(clip.inputs) != 3:
        return False
    assert before is not None and after is not None and isinstance(clip.graph, ir.Graph)
    limits = [constant(value) for value in clip.inputs[1:]]
    parameters = parameters_of(before)
    if (
        parameters is None
        or any(limit is None for limit in limits)
        or not same_parameters(parameters, parameters_of(after))
    ):
        return False
    scale, zero = parameters
    clip.replace_input_with(0, before.inputs[0])
    for index, limit in enumerate(limits, 1):
        assert limit is not None
        level = quantize_level(float(limit), float(scale), zero)
        clip.replace_input_with(index, add_constant(clip.graph, f"{clip.inputs[index].name}_byte", level))  # type: ignore[union-attr]
    clip.outputs[0].type = after.outputs[0].type
    after.outputs[0].replace_all_uses_with(clip.outputs[0])
    clip.graph.remove(after, safe=True)
    return True


def quantize_level(number: float, scale: float, zero: Array) -> Array:
    """Return the byte of a number, of the type and shape of the zero point."""
    limits = np.iinfo(zero.dtype)
    return np.asarray(np.clip(np.rint(number / scale) + int(zero), limits.min, limits.max), zero.dtype)


def _shift(add: ir.Node) -> bool:
    pair = _operand_and_constant(add)
    after = only_use(add.outputs[0])
    if pair is None or not is_op(after, "QuantizeLinear"):
        return False
    assert after is not None
    before, amount = pair
    again = [use.node for use in after.outputs[0].uses()]
    parameters = parameters_of(before)
    if parameters is None or not all(is_op(node, "DequantizeLinear") for node in again) or amount == 0.0:
        return False
    scale, zero = parameters
    steps = int(abs(amount) / float(scale))
    moved = int(zero) - int(np.sign(amount)) * steps
    limits = np.iinfo(zero.dtype)
    if steps == 0 or not limits.min <= moved <= limits.max or not _may_rescale(before):
        return False
    _rescale(before, np.asarray(abs(amount) / steps, np.float32))
    _read_shifted(before, again, np.asarray(moved, zero.dtype))
    return True


def _read_shifted(before: ir.Node, readers: list[ir.Node], zero: Array) -> None:
    """Let the dequantizers behind a shift read the bytes before it, with another zero point."""
    graph = before.graph
    assert isinstance(graph, ir.Graph)
    moved = add_constant(graph, f"{before.outputs[0].name}_shifted_zero_point", zero)
    for reader in readers:
        for index, value in enumerate((before.inputs[0], before.inputs[1], moved)):
            reader.replace_input_with(index, value)


def _operand_and_constant(add: ir.Node) -> tuple[ir.Node, float] | None:
    """Return the dequantizer of the one operand and the number that the other is, or None."""
    for value, other in (add.inputs, tuple(reversed(add.inputs))):
        before, number = _maker(value), _number(other)
        if before is not None and is_op(before, "DequantizeLinear") and number is not None:
            return (before, number) if _number(value) is None else None
    return None


def _number(value: ir.Value | None) -> float | None:
    """Return the number that a value always is, dequantized if need be; None for several, and for what is computed."""
    found = constant(value)
    maker = _maker(value)
    if found is None and maker is not None and is_op(maker, "DequantizeLinear"):
        integers, parameters = constant(maker.inputs[0]), parameters_of(maker)
        if integers is None or parameters is None:
            return None
        found = (integers.astype(np.float64) - parameters[1]) * parameters[0]
    return float(found.reshape(())) if found is not None and found.size == 1 else None


def _may_rescale(dequantize: ir.Node) -> bool:
    """Tell whether all that knows this scale are quantizers of tensors that nothing with constants of its own reads."""
    scale = dequantize.inputs[1]
    assert scale is not None
    readers = [use.node for use in scale.uses()]
    return all(is_op(node, "QuantizeLinear", "DequantizeLinear") for node in readers) and all(
        is_op(reader, *_READS_ANY_SCALE) for node in readers for reader in _float_readers(node)
    )


def _float_readers(node: ir.Node) -> Iterator[ir.Node]:
    if is_op(node, "DequantizeLinear"):
        yield from (use.node for use in node.outputs[0].uses())


def _rescale(dequantize: ir.Node, scale: Array) -> None:
    """Give every quantizer of this scale another one."""
    old = dequantize.inputs[1]
    assert old is not None and isinstance(dequantize.graph, ir.Graph)
    old.replace_all_uses_with(add_constant(dequantize.graph, f"{old.name}_whole", scale))


def parameters_of(node: ir.Node | None) -> tuple[Array, Array] | None:
    """Return constant scale and zero point of a quantizer for a whole tensor, neither left to its default."""
    if node is None or len(node.inputs) != 3:
        return None
    scale, zero = (constant(value) for value in node.inputs[1:])
    return None if scale is None or zero is None or scale.size != 1 else (scale, zero)


def same_parameters(first: tuple[Array, Array], second: tuple[Array, Array] | None) -> bool:
    """Tell whether two quantizers have equal scales and zero points."""
    return second is not None and first[0] == second[0] and first[1] == second[1]


def _maker(value: ir.Value | None) -> ir.Node | None:
    return value.producer() if value is not None else None
