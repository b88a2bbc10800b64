"""What torch's single operations are called in a layer table, and what their windows cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What an operation slides over its input, and what that costs; None where it has no window.

    Attributes:
        kernel: height and width.
        stride: height and width.
        groups: of a convolution.
        macs: multiply-adds for one image.
    """

    kernel: tuple[int, ...] | None = None
    stride: tuple[int, ...] | None = None
    groups: int | None = None
    macs: int = 0


@dataclass(frozen=True, slots=True)
class Operation:
    """A kind of layer, and how its window and cost follow from the arguments and the result.

    Attributes:
        kind: "conv", "linear", "max pool", ...
        window: (arguments, result) -> window.
    """

    kind: str
    window: Callable[[tuple[Any, ...], Tensor], Window]


def _no_window(args: tuple[Any, ...], result: Tensor) -> Window:
    return Window()


def _convolution(args: tuple[Any, ...], result: Tensor) -> Window:
    """Read (input, weight, bias, stride, padding, dilation, transposed, output_padding, groups)."""
    image, weight, stride, transposed, groups = args[0], args[1], args[3], args[6], args[8]
    positions = math.prod(image.shape[2:] if transposed else result.shape[2:])
    return Window(kernel=tuple(weight.shape[2:]), stride=tuple(stride), groups=groups, macs=weight.numel() * positions)


def _linear(args: tuple[Any, ...], result: Tensor) -> Window:
    """Read ([bias,] rows [N, inputs], weight [inputs, outputs])."""
    rows, weight = args[-2:]
    return Window(macs=rows.shape[0] * weight.numel())


def _pool(args: tuple[Any, ...], result: Tensor) -> Window:
    """Read (input, kernel, stride, ...); without a stride the kernel is the stride."""
    kernel = tuple(args[1])
    return Window(kernel=kernel, stride=tuple(args[2]) if len(args) > 2 and args[2] else kernel)


def _whole(args: tuple[Any, ...], result: Tensor) -> Window:
    """Read (input, ...): the window is all of it."""
    size = tuple(args[0].shape[2:]) or None
    return Window(kernel=size, stride=size)


# Kinds by the start of the ATen name, the first match counts; other operations keep their ATen name.
_OPERATIONS = {
    "convolution": Operation("conv", _convolution),
    "addmm": Operation("linear", _linear),
    "mm": Operation("linear", _linear),
    "native_batch_norm": Operation("batch norm", _no_window),
    "_native_batch_norm": Operation("batch norm", _no_window),
    "max_pool": Operation("max pool", _pool),
    "avg_pool": Operation("average pool", _pool),
    "_adaptive_avg_pool": Operation("average pool", _no_window),
    "mean": Operation("average pool", _whole),
    "cat": Operation("concat", _no_window),
    "constant_pad": Operation("pad", _no_window),
    "hardtanh": Operation("clip", _no_window),
    "clone": Operation("copy", _no_window),
    "mul": Operation("multiply", _no_window),
}


def operation_of(func: Any) -> Operation:
    """Return the operation that an ATen function is; one that is not in the table is named by ATen."""
    name: str = func.overloadpacket.__name__
    known = next((operation for start, operation in _OPERATIONS.items() if name.startswith(start)), None)
    return known or Operation(name.strip("_").replace("_", " "), _no_window)
