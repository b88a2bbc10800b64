"""Which steps an engine with blocks of channels makes of small graphs, and what they take: worked out on paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from edgecnn.bench.estimate.liveness import Step, peak_bytes
from edgecnn.bench.estimate.lowering import Lowering, lowering_of
from edgecnn.bench.estimate.ortint8 import packed_bytes, steps_of, symmetric
from edgecnn.bench.estimate.ortsteps import conv_workspace, fits_blocks
from edgecnn.onnxmodel.graph import Attribute, OnnxConstant, OnnxGraph, OnnxNode
from edgecnn.onnxmodel.shapes import TensorType, infer_types

SAME: Mapping[str, Attribute] = {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1)}


def _node(op_type: str, inputs: str, output: str, **attributes: Attribute) -> OnnxNode:
    return OnnxNode(
        name=output, op_type=op_type, domain="", inputs=tuple(inputs.split()), outputs=(output,), attributes=attributes
    )


def _lowered(
    nodes: Sequence[OnnxNode], channels: int = 3, batch: int = 1, block: int = 16, **weights: tuple[int, ...]
) -> tuple[Lowering, list[Step]]:
    """Lower a graph on images of 8 x 8; weights that begin with "q" are int8, "z" is a zero point and "s" a scale."""
    dtypes = {"q": "int8", "z": "uint8"}
    constants = {
        name: OnnxConstant(dtype=dtypes.get(name[0], "float32"), shape=shape, values=None)
        for name, shape in {**weights, "s": (), "z": ()}.items()
    }
    graph = OnnxGraph(nodes=tuple(nodes), constants=constants)
    inputs = {"x": TensorType("float32", (batch, channels, 8, 8))}
    low = lowering_of(graph, infer_types(graph, inputs), inputs, block=block, threads=1)
    return low, steps_of(low)


def _kinds(steps: Sequence[Step]) -> list[str]:
    return [step.op_type for step in steps]


def test_channels_are_padded_to_whole_blocks_and_copied_back_for_who_wants_them_plain() -> None:
    """Six channels of 64 pixels take 16 * 64 floats in blocks and 6 * 64 plain, at a time; the next takes the plain ones."""
    nodes = [_node("Conv", "x w", "a", **SAME), _node("Tanh", "a", "b"), _node("LRN", "b", "c", size=3)]
    low, steps = _lowered(nodes, w=(6, 3, 3, 3))
    assert _kinds(steps) == ["with activation", "ReorderOutput", "LRN"]
    squares, scale, plain = 4 * 8 * 64, 4 * 6 * 64, 4 * 6 * 64
    assert peak_bytes(steps) == max(4 * 16 * 64 + plain, 2 * plain + squares + scale)
    assert low.weights["w"] == 4 * 16 * 3 * 9


def test_a_stack_of_convolutions_stays_in_blocks() -> None:
    nodes = [_node("Conv", "x w", "a", **SAME), _node("Conv", "a v", "b", **SAME), _node("GlobalAveragePool", "b", "c")]
    low, steps = _lowered(nodes, w=(20, 3, 3, 3), v=(32, 20, 3, 3))
    assert _kinds(steps) == ["Conv", "Conv", "GlobalAveragePool"]
    assert peak_bytes(steps) == 2 * 4 * 32 * 64
    assert low.weights["v"] == 4 * 32 * 32 * 9


def test_a_sum_is_computed_over_the_shortcut() -> None:
    nodes = [
        _node("Conv", "x w", "a", **SAME),
        _node("Conv", "a v", "b", **SAME),
        _node("Add", "b a", "c"),
        _node("Relu", "c", "d"),
        _node("Conv", "d u", "e", **SAME),
    ]
    _, steps = _lowered(nodes, w=(16, 3, 3, 3), v=(16, 16, 3, 3), u=(16, 16, 3, 3))
    assert _kinds(steps) == ["Conv", "with activation", "Conv"]
    assert steps[1].over == (steps[0].makes[0].name,)
    assert peak_bytes(steps) == 2 * 4 * 16 * 64


def test_without_blocks_there_are_no_copies() -> None:
    nodes = [
        _node("Conv", "x w", "a", **SAME),
        _node("Relu", "a", "b"),
        _node("MaxPool", "b", "c", kernel_shape=(2, 2)),
    ]
    _, steps = _lowered(nodes, block=1, w=(6, 3, 3, 3))
    assert _kinds(steps) == ["with activation", "MaxPool"]


@pytest.mark.parametrize(
    ("group", "outer", "inner", "fits"),
    [
        (1, 6, 3, True),
        (1, 16, 20, True),
        (1, 16, 21, False),
        (8, 8, 1, True),
        (30, 30, 1, False),
        (2, 64, 16, True),
        (2, 64, 20, False),
    ],
)
def test_which_convolutions_run_in_blocks(group: int, outer: int, inner: int, *, fits: bool) -> None:
    assert fits_blocks(group, outer, inner, block=16) is fits


def test_windows_of_a_plain_convolution() -> None:
    image, weight = TensorType("float32", (1, 21, 8, 8)), TensorType("float32", (16, 21, 3, 3))
    wide, small = TensorType("float32", (1, 16, 8, 8)), TensorType("float32", (1, 16, 3, 3))
    # More pixels than filters: a segment for each thread; fewer: all windows; several images: all windows of each thread.
    assert conv_workspace(1, weight, image, wide, threads=1) == 128 * 128
    assert conv_workspace(1, weight, image, small, threads=1) == 9 * 21 * 9
    many = TensorType("float32", (4, 21, 40, 40))
    assert conv_workspace(1, weight, many, TensorType("float32", (4, 16, 40, 40)), threads=2) == 2 * 1600 * 21 * 9
    point = TensorType("float32", (16, 21, 1, 1))
    assert conv_workspace(1, point, image, wide, threads=1) == 0


def _int8(outer: int, inner: int, *, batch: int) -> list[Step]:
    nodes = [
        _node("QuantizeLinear", "x s z", "xq"),
        _node("DequantizeLinear", "xq s z", "xd"),
        _node("DequantizeLinear", "qw s", "w"),
        _node("Conv", "xd w", "a", **SAME),
        _node("Relu", "a", "b"),
        _node("QuantizeLinear", "b s z", "bq"),
        _node("DequantizeLinear", "bq s z", "bd"),
        _node("Flatten", "bd", "y"),
    ]
    return _lowered(nodes, channels=inner, batch=batch, qw=(outer, inner, 3, 3))[1]


@pytest.mark.parametrize("batch", [1, 4])
def test_a_symmetric_convolution_points_at_the_windows_of_all_images(batch: int) -> None:
    steps = _int8(16, 4, batch=batch)
    assert _kinds(steps)[:3] == ["QuantizeLinear", "Transpose", "QLinearConv"]
    assert steps[2].scratch == (batch * 8 * 9 * 64,)
    assert steps[2].makes[0].size_bytes == batch * 16 * 64


def test_any_other_writes_out_the_windows_and_sums_of_one_image() -> None:
    assert _int8(8, 3, batch=4)[2].scratch == (4 * 8 * 64, 3 * 9 * 64)


def test_which_convolutions_are_symmetric_and_what_matrices_take() -> None:
    assert [symmetric(1, 16, 4), symmetric(1, 8, 4), symmetric(1, 20, 4), symmetric(1, 16, 3)] == [
        True,
        False,
        False,
        False,
    ]
    assert [symmetric(16, 16, 1), symmetric(24, 24, 1), symmetric(2, 32, 16)] == [True, False, False]
    assert packed_bytes(10, 6) == 16 * 8 + 4 * 16
