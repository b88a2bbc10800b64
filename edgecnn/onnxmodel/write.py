"""Writing a small .onnx model without the onnx package: what calibrating a machine needs, where only an engine is installed.

Message and field numbers: onnx/onnx.proto of the ONNX specification. The same arguments give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.onnxmodel.graph import Attribute
from edgecnn.onnxmodel.header import DTYPES
from edgecnn.onnxmodel.protowire import length_field, number_field
from edgecnn.specs import TensorSpec

_NUMBERS = {name: number for number, name in DTYPES.items()}

# Of the format and of the operator set: old enough for every engine that edgecnn supports.
_IR_VERSION, _OPSET = 8, 13

# AttributeProto.AttributeType.
_INT, _STRING, _INTS = 2, 3, 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One operator to be written.

    Attributes:
        op_type: of the default domain.
        inputs: names.
        output: its name, and that of the node.
        attributes: whole numbers, lists of them, or texts.
    """

    op_type: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


def model_file(
    name: str,
    ops: Sequence[Op],
    constants: Mapping[str, NDArray[Any]],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
) -> bytes:
    """Return the content of an .onnx file.

    Args:
        name: of the graph.
        ops: in the order of execution.
        constants: name -> values.
        inputs: of the graph.
        outputs: of the graph.
    """
    graph = b"".join(
        (
            *(length_field(1, _node(op)) for op in ops),
            length_field(2, name.encode()),
            *(length_field(5, _tensor(key, values)) for key, values in constants.items()),
            *(length_field(11, _value_info(spec)) for spec in inputs),
            *(length_field(12, _value_info(spec)) for spec in outputs),
        )
    )
    opset = number_field(2, _OPSET)
    return number_field(1, _IR_VERSION) + length_field(2, b"edgecnn") + length_field(7, graph) + length_field(8, opset)


def _node(op: Op) -> bytes:
    return b"".join(
        (
            *(length_field(1, name.encode()) for name in op.inputs),
            length_field(2, op.output.encode()),
            length_field(3, op.output.encode()),
            length_field(4, op.op_type.encode()),
            *(length_field(5, _attribute(name, value)) for name, value in op.attributes.items()),
        )
    )


def _attribute(name: str, value: Attribute) -> bytes:
    head = length_field(1, name.encode())
    if isinstance(value, int):
        return head + number_field(3, value) + number_field(20, _INT)
    if isinstance(value, str):
        return head + length_field(4, value.encode()) + number_field(20, _STRING)
    return head + b"".join(number_field(8, one) for one in value) + number_field(20, _INTS)


def _tensor(name: str, values: NDArray[Any]) -> bytes:
    sizes = b"".join(number_field(1, size) for size in values.shape)
    raw = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
    kind = number_field(2, _NUMBERS[values.dtype.name])
    return sizes + kind + length_field(8, name.encode()) + length_field(9, raw)


def _value_info(spec: TensorSpec) -> bytes:
    sizes = b"".join(
        length_field(1, number_field(1, size) if isinstance(size, int) else length_field(2, size.encode()))
        for size in spec.shape
    )
    tensor = number_field(1, _NUMBERS[spec.dtype]) + length_field(2, sizes)
    return length_field(1, spec.name.encode()) + length_field(2, length_field(1, tensor))
