"""The two 16-bit floating-point types, and which operators exist in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from edgecnn.errors import BadInput
from edgecnn.exporters.passes.values import attribute, is_op
from edgecnn.specs import Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A 16-bit floating-point type.

    Attributes:
        precision: "fp16" or "bf16".
        dtype: in a graph.
        greatest: the greatest finite value.
        least_normal: the least magnitude with all digits; smaller ones lose them, bit by bit.
        least_opset: operator set from which on convolutions take it.
    """

    precision: Precision
    dtype: ir.DataType
    greatest: float
    least_normal: float
    least_opset: int


FP16 = Kind(
    precision="fp16",
    dtype=ir.DataType.FLOAT16,
    greatest=(2 - 2**-10) * 2.0**15,
    least_normal=2.0**-14,
    least_opset=1,
)
"""IEEE 754 binary16: 11 digits, up to 65504."""

BF16 = Kind(
    precision="bf16",
    dtype=ir.DataType.BFLOAT16,
    greatest=(2 - 2**-7) * 2.0**127,
    least_normal=2.0**-126,
    least_opset=22,
)
"""The upper half of a float32: 8 digits, the range of float32."""


def find_kind(precision: Precision) -> Kind:
    """Return the type of that name.

    Raises:
        BadInput: it is not a 16-bit one.
    """
    for kind in (FP16, BF16):
        if kind.precision == precision:
            return kind
    raise BadInput("precision", expected="fp16 or bf16", got=precision)


def has_half_form(node: ir.Node, kind: Kind) -> bool:
    """Tell whether a node computes the same in that type, by the ONNX specification of its operator.

    Everything that it reads or gives in float32 may then be of that type, but for `fixed_inputs`.
    """
    if is_op(node, "Cast"):
        return attribute(node, "to", 0) == ir.DataType.FLOAT
    schema = _schema(node)
    if schema is None or any(name in node.attributes for name in ("dtype", "value", "value_float", "value_floats")):
        return False
    fixed = fixed_inputs(node)
    inputs = [index for index, value in enumerate(node.inputs) if is_float(value) and index not in fixed]
    outputs = [index for index, value in enumerate(node.outputs) if is_float(value)]
    return all(_allows(schema, schema.inputs, index, kind) for index in inputs) and all(
        _allows(schema, schema.outputs, index, kind) for index in outputs
    )


def fixed_inputs(node: ir.Node) -> frozenset[int]:
    """Return which inputs are float32 whatever the type of the node, the scales of a Resize for example."""
    schema = _schema(node)
    if schema is None:
        return frozenset()
    return frozenset(
        index for index in range(len(node.inputs)) if _formal(schema.inputs, index).type_str == "tensor(float)"
    )


def is_float(value: ir.Value | None) -> bool:
    """Tell whether a value is float32."""
    return value is not None and value.dtype == ir.DataType.FLOAT


def _schema(node: ir.Node) -> onnx.defs.OpSchema | None:
    domain = "" if node.domain == "ai.onnx" else node.domain
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    version = graph.opset_imports.get(domain)
    if version is None or not onnx.defs.has(node.op_type, version, domain):
        return None
    return onnx.defs.get_schema(node.op_type, version, domain)


def _formal(parameters: Sequence[onnx.defs.OpSchema.FormalParameter], index: int) -> onnx.defs.OpSchema.FormalParameter:
    """Return the declaration of an input or output; the last one may stand for all that follow."""
    return parameters[min(index, len(parameters) - 1)]


def _allows(
    schema: onnx.defs.OpSchema, parameters: Sequence[onnx.defs.OpSchema.FormalParameter], index: int, kind: Kind
) -> bool:
    wanted = f"tensor({kind.dtype.name.lower()})"
    declared = _formal(parameters, index).type_str
    types = {one.type_param_str: one.allowed_type_strs for one in schema.type_constraints}
    return wanted in types.get(declared, [declared])
