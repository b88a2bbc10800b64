"""The two cells of NASNet-A, and the padded layers that they are made of (Zoph et al. 2017, figure 4 and appendix A.4).

Padding is TensorFlow's "SAME": a stride of 2 halves any size, rounded up, and the odd pixel of padding lies at the bottom
and right.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgecnn.zoo.families.blocks import DropPath, conv_bn

Prev = Literal["raw", "same", "half"]
"""How a cell takes the output of the cell before the last: as it is, projected, or projected at half the size."""


class SameConv2d(nn.Conv2d):
    """Convolution without bias that pads so that stride s gives ceil(H / s), the odd pixel at the bottom and right."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, out_channels, ceil(H / stride), ceil(W / stride)]."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        rows, columns = (max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[-2:])
        padding = (rows // 2, columns // 2)
        if rows % 2 or columns % 2:
            x = F.pad(x, (columns // 2, -(-columns // 2), rows // 2, -(-rows // 2)))
            padding = (0, 0)
        return F.conv2d(x, self.weight, None, self.stride, padding, self.dilation, self.groups)


class HalvingPool(nn.Module):
    """3 x 3 pool with stride 2, padded as `SameConv2d`; padding is no part of the maximum or the mean."""

    def __init__(self, kind: Literal["max", "average"]) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, C, ceil(H / 2), ceil(W / 2)]."""
        # Odd sizes need one pixel on either side, even ones one at the end: that one the ceil mode reaches over.
        padding = (x.shape[-2] % 2, x.shape[-1] % 2)
        if self.kind == "max":
            return F.max_pool2d(x, 3, 2, padding, ceil_mode=True)
        return F.avg_pool2d(x, 3, 2, padding, ceil_mode=True, count_include_pad=False)


class SeparableConv2d(nn.Module):
    """Depthwise k x k, then 1 x 1, with nothing between."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.depthwise_conv2d = SameConv2d(in_channels, in_channels, kernel, stride=stride, groups=in_channels)
        self.pointwise_conv2d = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, out_channels, ceil(H / stride), ceil(W / stride)]."""
        out: Tensor = self.pointwise_conv2d(self.depthwise_conv2d(x))
        return out


class Branch(nn.Module):
    """The search space's separable convolution: ReLU, separable convolution, batch norm, applied twice (appendix A.4).

    Its input has been through the first ReLU already, which other branches share.
    """

    def __init__(self, in_channels: int, filters: int, kernel: int, *, stride: int = 1, eps: float) -> None:
        super().__init__()
        self.separable_1 = SeparableConv2d(in_channels, filters, kernel, stride)
        self.bn_sep_1 = nn.BatchNorm2d(filters, eps=eps)
        self.separable_2 = SeparableConv2d(filters, filters, kernel, 1)
        self.bn_sep_2 = nn.BatchNorm2d(filters, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, filters, ceil(H / stride), ceil(W / stride)]."""
        x = F.relu(self.bn_sep_1(self.separable_1(x)), inplace=True)
        out: Tensor = self.bn_sep_2(self.separable_2(x))
        return out


class Cell(nn.Module):
    """What both cells begin with: the last output and the one before it, each as `filters` channels of one size.

    Both come through a ReLU, which all that reads them has in front.

    Args:
        in_channels: of the last output.
        prev_channels: of the output before it.
        filters: channels of every state in the cell.
        prev: how the output before the last is taken.
        eps: of batch norm.
    """

    def __init__(self, in_channels: int, prev_channels: int, filters: int, prev: Prev, eps: float) -> None:
        super().__init__()
        self.prev = prev
        self.drop_path = DropPath(0.0)
        self.conv_1x1 = conv_bn(in_channels, filters, 1, activation=None, eps=eps)
        if prev == "same":
            self.conv_prev_1x1 = conv_bn(prev_channels, filters, 1, activation=None, eps=eps)
        if prev == "half":
            for name in ("path_1", "path_2"):
                stride = 2 if name == "path_1" else 1
                conv = nn.Conv2d(prev_channels, filters // 2, 1, stride=stride, bias=False)
                self.add_module(name, nn.Sequential(OrderedDict(conv=conv)))
            self.final_path_bn = nn.BatchNorm2d(filters, eps=eps)

    def states(self, x: Tensor, prev: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two states that the cell combines, float32 [N, filters, H, W]; "raw" leaves `prev` as it is."""
        last = self.conv_1x1(x)
        if self.prev == "raw":
            return last, prev
        return last, self.conv_prev_1x1(prev) if self.prev == "same" else self._halved(prev)

    def _halved(self, x: Tensor) -> Tensor:
        """Take every second pixel for one half of the channels, and those one further down and right for the other."""
        height, width = x.shape[-2:]
        shifted = F.pad(x[:, :, 1::2, 1::2], (0, width % 2, 0, height % 2))
        halves = (self.get_submodule("path_1")(x), self.get_submodule("path_2")(shifted))
        out: Tensor = self.final_path_bn(torch.cat(halves, 1))
        return out


class NormalCell(Cell):
    """Figure 4, left: keeps the size; six states of `filters` channels make the output."""

    states_out = 6

    def __init__(self, in_channels: int, prev_channels: int, filters: int, prev: Prev, eps: float) -> None:
        super().__init__(in_channels, prev_channels, filters, prev, eps)
        self.comb_iter_0_left = Branch(filters, filters, 5, eps=eps)
        self.comb_iter_0_right = Branch(filters, filters, 3, eps=eps)
        self.comb_iter_1_left = Branch(filters, filters, 5, eps=eps)
        self.comb_iter_1_right = Branch(filters, filters, 3, eps=eps)
        self.average = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        self.comb_iter_4_left = Branch(filters, filters, 3, eps=eps)

    def forward(self, x: Tensor, prev: Tensor) -> Tensor:
        """Return float32 [N, 6 * filters, H, W] of the last output and the one before it."""
        last, prev = self.states(x, prev)
        positive_last, positive_prev = F.relu(last), F.relu(prev)
        drop, average = self.drop_path, self.average(prev)
        combined = (
            drop(self.comb_iter_0_left(positive_last)) + drop(self.comb_iter_0_right(positive_prev)),
            drop(self.comb_iter_1_left(positive_prev)) + drop(self.comb_iter_1_right(positive_prev)),
            drop(self.average(last)) + prev,
            drop(average) + drop(average),
            drop(self.comb_iter_4_left(positive_last)) + last,
        )
        return torch.cat((prev, *combined), 1)


class ReductionCell(Cell):
    """Figure 4, right: halves the size; four states of `filters` channels make the output."""

    states_out = 4

    def __init__(self, in_channels: int, prev_channels: int, filters: int, prev: Prev, eps: float) -> None:
        super().__init__(in_channels, prev_channels, filters, prev, eps)
        side = prev_channels if prev == "raw" else filters
        self.comb_iter_0_left = Branch(filters, filters, 5, stride=2, eps=eps)
        self.comb_iter_0_right = Branch(side, filters, 7, stride=2, eps=eps)
        self.maximum = HalvingPool("max")
        self.comb_iter_1_right = Branch(side, filters, 7, stride=2, eps=eps)
        self.halving_average = HalvingPool("average")
        self.comb_iter_2_right = Branch(side, filters, 5, stride=2, eps=eps)
        self.average = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        self.comb_iter_4_left = Branch(filters, filters, 3, eps=eps)

    def forward(self, x: Tensor, prev: Tensor) -> Tensor:
        """Return float32 [N, 4 * filters, ceil(H / 2), ceil(W / 2)] of the last output and the one before it."""
        last, prev = self.states(x, prev)
        drop, maximum, positive = self.drop_path, self.maximum(last), F.relu(prev)
        first = drop(self.comb_iter_0_left(F.relu(last))) + drop(self.comb_iter_0_right(positive))
        second = drop(maximum) + drop(self.comb_iter_1_right(positive))
        combined = (
            second,
            drop(self.halving_average(last)) + drop(self.comb_iter_2_right(positive)),
            drop(self.average(first)) + second,
            drop(self.comb_iter_4_left(F.relu(first))) + drop(maximum),
        )
        return torch.cat(combined, 1)
