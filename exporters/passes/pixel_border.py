"""Rows of bytes with constants around them, in a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.passes.values import Array, add_constant, insert_before


class Border:
    """Puts constants around the rows of a batch of any size.

    Args:
        node: before which it puts the nodes that this takes.
        pixels: what has the batch in front, [N, ...].
    """

    def __init__(self, node: ir.Node, pixels: ir.Value) -> None:
        self._node = node
        self._pixels = pixels
        self._count: ir.Value | None = None

    def put_around(self, rows: ir.Value, before: Array, behind: Array, *, axis: int) -> ir.Value:
        """Return [N, rows, bytes] with constant [rows, bytes] on both sides along an axis; empty ones are left out."""
        assert rows.shape is not None
        first, last = (self._block(part, rows.shape[0]) if part.size else None for part in (before, behind))
        parts = [part for part in (first, rows, last) if part is not None]
        if len(parts) == 1:
            return rows
        shape = list(rows.shape)
        shape[axis] = sum(int(part.shape[axis]) for part in parts)  # type: ignore[index, arg-type, misc]
        return insert_before(self._node, "Concat", parts, {"axis": axis}, wish="pixels_border", shape=ir.Shape(shape))

    def _block(self, content: Array, batch: Any) -> ir.Value:
        """Return bytes [rows, bytes] once for each image."""
        graph = self._node.graph
        assert isinstance(graph, ir.Graph)
        shape = ir.Shape([batch, *content.shape])
        if isinstance(batch, int):
            block = np.ascontiguousarray(np.broadcast_to(content, (batch, *content.shape)))
            return add_constant(graph, "pixels_beyond", block)
        once = add_constant(graph, "pixels_beyond", content[None])
        sizes = add_constant(graph, "pixels_beyond_size", np.asarray(content.shape, np.int64))
        wanted = insert_before(
            self._node, "Concat", [self._batch(), sizes], {"axis": 0}, wish="pixels_beyond_shape", shape=ir.Shape([3])
        )
        return insert_before(self._node, "Expand", [once, wanted], wish="pixels_beyond_all", shape=shape)

    def _batch(self) -> ir.Value:
        """Return how many images there are, int64 [1]."""
        if self._count is None:
            attributes = {"start": 0, "end": 1}
            self._count = insert_before(
                self._node, "Shape", [self._pixels], attributes, wish="pixels_batch", shape=ir.Shape([1])
            )
            self._count.type = ir.TensorType(ir.DataType.INT64)
        return self._count


def reshaped(node: ir.Node, value: ir.Value, shape: Sequence[int]) -> ir.Value:
    """Return a value of a batch in another shape, before a node."""
    assert isinstance(node.graph, ir.Graph) and value.shape is not None
    wanted = add_constant(node.graph, "pixels_rows_shape", np.asarray([0, *shape], np.int64))
    return insert_before(node, "Reshape", [value, wanted], wish="pixels_rows", shape=ir.Shape([value.shape[0], *shape]))
