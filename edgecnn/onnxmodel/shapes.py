"""Types and shapes of the tensors of a graph for given input shapes, without the onnx package and without an engine.

Covers what classifiers are made of, as the ONNX specification (docs/Operators.md) defines it. A tensor behind an operator
that is not known here has what the file itself says about it, or is left out: unknown is never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecnn.onnxmodel.formrules import FORM_RULES
from edgecnn.onnxmodel.graph import OnnxGraph, OnnxNode
from edgecnn.onnxmodel.layerrules import LAYER_RULES
from edgecnn.onnxmodel.tensortypes import ITEM_BYTES, Rule, TensorType, Types, Values

__all__ = ["ITEM_BYTES", "TensorType", "Types", "infer_types"]

_RULES: Mapping[str, Rule] = {**LAYER_RULES, **FORM_RULES}


def infer_types(graph: OnnxGraph, inputs: Mapping[str, TensorType]) -> Types:
    """Return name -> type of every tensor that can be told, constants and inputs included.

    Args:
        graph: in an order in which inputs come before their use, as ONNX asks for.
        inputs: of the graph, with the shapes that it is run with.
    """
    types: Types = {name: TensorType(one.dtype, one.shape) for name, one in graph.constants.items()}
    values: Values = {
        name: np.asarray(one.values).reshape(one.shape)
        for name, one in graph.constants.items()
        if one.values is not None and one.dtype in ("int64", "int32")
    }
    types.update(inputs)
    symbols = _symbols(graph, inputs)
    for node in graph.nodes:
        rule = _RULES.get(node.op_type)
        found = _apply(rule, node, types, values) if rule else ()
        for place, name in enumerate(node.outputs):
            one = found[place] if place < len(found) else None
            one = one or _declared(graph, name, symbols)
            if name and one is not None and name not in types:
                types[name] = one
    return types


def _apply(rule: Rule, node: OnnxNode, types: Types, values: Values) -> Sequence[TensorType | None]:
    try:
        return rule(node, [types.get(name) for name in node.inputs], values)
    except (LookupError, TypeError, ValueError, ZeroDivisionError):
        # A file that breaks the specification has unknown shapes.
        return ()


def _symbols(graph: OnnxGraph, inputs: Mapping[str, TensorType]) -> dict[str, int]:
    """Return what the file's symbolic dimensions stand for in this run."""
    pairs = [
        (said, size)
        for name, one in inputs.items()
        if name in graph.tensors
        for said, size in zip(graph.tensors[name].shape, one.shape, strict=False)
    ]
    return {said: size for said, size in pairs if isinstance(said, str)}


def _declared(graph: OnnxGraph, name: str, symbols: Mapping[str, int]) -> TensorType | None:
    spec = graph.tensors.get(name)
    if spec is None:
        return None
    sizes = [symbols.get(size) if isinstance(size, str) else size for size in spec.shape]
    known = tuple(size for size in sizes if size is not None)
    return TensorType(spec.dtype, known) if len(known) == len(sizes) else None
