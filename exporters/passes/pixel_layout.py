"""How rows of pixels become groups of four bytes, and where the weights of a convolution stand in these."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgecnn.exporters.passes.values import Array

GROUP = 4
"""Bytes that the direct int8 kernels of ONNX Runtime (MlasConvSym) take as the channels of one pixel, at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How rows become groups.

    Attributes:
        channels: of a pixel, one byte each.
        across: stride along a row, in pixels.
        together: outputs of one row that are made at once.
        step: groups from one window to the next.
        window: groups that one window holds.
        offset: bytes of its first group that lie before its first pixel.
        left: bytes that are put before each row.
        right: bytes that are put behind it.
        top: rows that are put above.
        bottom: rows that are put below.
        groups: of a row with all that.
    """

    channels: int
    across: int
    together: int
    step: int
    window: int
    offset: int
    left: int
    right: int
    top: int
    bottom: int
    groups: int


def find_layout(
    *,
    size: tuple[int, int],
    channels: int,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    pads: tuple[int, ...],
    results: tuple[int, int],
) -> Layout | None:
    """Return how rows become groups for a convolution; None where its windows do not begin at the same byte of a group.

    Args:
        size: height and width of the image.
        channels: of a pixel.
        kernel: height and width.
        strides: down and across.
        pads: top, left, bottom, right.
        results: height and width of the output.
    """
    (height, width), (tall, wide), (down, across) = size, kernel, strides
    top, before = pads[:2]
    period = math.lcm(GROUP, across)
    together = period // across
    if results[1] % together:
        return None
    periods, step = results[1] // together, period * channels // GROUP
    left = -(-channels * before // GROUP) * GROUP
    offset = left - channels * before
    window = -(-(offset + channels * ((together - 1) * across + wide)) // GROUP)
    row = left + channels * width
    right = ((periods - 1) * step + window) * GROUP - row
    if right < 0:
        right = -row % GROUP
    groups = (row + right) // GROUP
    if (groups - window) // step + 1 != periods:
        return None
    return Layout(
        channels=channels,
        across=across,
        together=together,
        step=step,
        window=window,
        offset=offset,
        left=left,
        right=right,
        top=top,
        bottom=max(0, (results[0] - 1) * down + tall - top - height),
        groups=groups,
    )


def grouped_weights(integers: Array, layout: Layout) -> Array:
    """Return weights where the bytes of their window lie, once for each output that is made at once.

    Args:
        integers: int8 [outputs, channels or more, height, width].
        layout: of the rows.

    Returns:
        int8 [together x outputs, 4, height, groups].
    """
    outputs, _, tall, wide = integers.shape
    moved = np.zeros((layout.together, outputs, tall, layout.window * GROUP), np.int8)
    for place in range(layout.together):
        for column in range(wide):
            first = layout.offset + layout.channels * (place * layout.across + column)
            for channel in range(layout.channels):
                moved[place, :, :, first + channel] = integers[:, channel, :, column]
    groups = moved.reshape(layout.together * outputs, tall, layout.window, GROUP)
    return np.ascontiguousarray(groups.transpose(0, 3, 1, 2))


def beside_rows(beyond: Array, zero: int, layout: Layout) -> tuple[Array, Array]:
    """Return the bytes that are put before and behind each row.

    Args:
        beyond: uint8 [channels], what lies beyond the image.
        zero: what is put where no weight looks.
        layout: of the rows.
    """
    before = np.full(layout.left, zero, np.uint8)
    before[layout.offset :] = np.tile(beyond, (layout.left - layout.offset) // layout.channels)
    behind: Array = np.resize(beyond, layout.right) if layout.right else np.empty(0, np.uint8)
    return before, behind
