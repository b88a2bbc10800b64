"""Inception-v3: Inception modules with large convolutions split into small and one-sided ones.

Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception Architecture for Computer Vision", 2015,
arXiv 1512.00567 (CVPR 2016).
A 5 x 5 becomes two 3 x 3 and an n x n becomes 1 x n and n x 1, which see as much for less. Grids shrink in modules that
convolve and pool side by side, so that no layer is a bottleneck. In training a second classifier reads the 17 x 17 grid.

Parameterised: width, input size, classes, input channels; auxiliary classifier and dropout in training.
Differs: table 1 of the paper has a 3 x 3 to 80 channels, a 3 x 3 with stride to 192 and one more to 288 before the first
module, the TensorFlow release and all ports of its weights a 1 x 1 to 80, a 3 x 3 to 192 and a max pool, as here. The
27,161,264 parameters that torchvision states include the auxiliary classifier, which inference does not have. Average
pools count the padding, as in torchvision; the release leaves it out. Convolutions and pools are not padded where the paper
does not, which needs 75 pixels. Inputs under 96 pixels take the small-image stem, padded and with the second pool as its
only stride. Weights are named as in torchvision.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgecnn.zoo.families.blocks import GlobalAveragePool, initialise, make_divisible

MIN_WIDTH = 0.03125
MIN_INPUT = 13
"""Leaves a grid of 7 x 7 behind the small-image stem, 3 x 3 and 1 x 1 behind the unpadded reductions."""


class _Step(NamedTuple):
    """One convolution of a branch: output channels at width 1, kernel; `beside` it a second one over the same input."""

    channels: int
    kernel: int | tuple[int, int] = 1
    beside: tuple[int, int] | None = None


_Branches = Mapping[str, tuple[_Step, ...]]


def _grid35(pool: int) -> _Branches:
    """Figure 5 of the paper, with the 5 x 5 that the release kept in one branch."""
    return {
        "branch1x1": (_Step(64),),
        "branch5x5": (_Step(48), _Step(64, 5)),
        "branch3x3dbl": (_Step(64), _Step(96, 3), _Step(96, 3)),
        "branch_pool": (_Step(pool),),
    }


def _grid17(c: int) -> _Branches:
    """Figure 6 of the paper with n = 7."""
    return {
        "branch1x1": (_Step(192),),
        "branch7x7": (_Step(c), _Step(c, (1, 7)), _Step(192, (7, 1))),
        "branch7x7dbl": (_Step(c), _Step(c, (7, 1)), _Step(c, (1, 7)), _Step(c, (7, 1)), _Step(192, (1, 7))),
        "branch_pool": (_Step(192),),
    }


# Figure 7 of the paper.
_GRID8: _Branches = {
    "branch1x1": (_Step(320),),
    "branch3x3": (_Step(384), _Step(384, (1, 3), beside=(3, 1))),
    "branch3x3dbl": (_Step(448), _Step(384, 3), _Step(384, (1, 3), beside=(3, 1))),
    "branch_pool": (_Step(192),),
}
# Figure 10 of the paper: the last convolution of a branch strides, a max pool beside.
_REDUCE35: _Branches = {"branch3x3": (_Step(384, 3),), "branch3x3dbl": (_Step(64), _Step(96, 3), _Step(96, 3))}
_REDUCE17: _Branches = {
    "branch3x3": (_Step(192), _Step(320, 3)),
    "branch7x7x3": (_Step(192), _Step(192, (1, 7)), _Step(192, (7, 1)), _Step(192, 3)),
}
# Name, branches, whether it reduces the grid.
_MODULES: tuple[tuple[str, _Branches, bool], ...] = (
    ("Mixed_5b", _grid35(32), False),
    ("Mixed_5c", _grid35(64), False),
    ("Mixed_5d", _grid35(64), False),
    ("Mixed_6a", _REDUCE35, True),
    ("Mixed_6b", _grid17(128), False),
    ("Mixed_6c", _grid17(160), False),
    ("Mixed_6d", _grid17(160), False),
    ("Mixed_6e", _grid17(192), False),
    ("Mixed_7a", _REDUCE17, True),
    ("Mixed_7b", _GRID8, False),
    ("Mixed_7c", _GRID8, False),
)
_AUXILIARY_AFTER = "Mixed_6e"


def basic_conv(
    in_channels: int, out_channels: int, kernel: int | tuple[int, int], *, stride: int = 1, padded: bool = True
) -> nn.Sequential:
    """Convolution without bias, batch norm (epsilon 0.001) and ReLU; padded so that stride 1 keeps the size, or not at all.

    Maps float32 [N, in_channels, H, W] to [N, out_channels, H', W'].
    """
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (height // 2, width // 2) if padded else 0
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv"] = nn.Conv2d(in_channels, out_channels, (height, width), stride, padding, bias=False)
    layers["bn"] = nn.BatchNorm2d(out_channels, eps=0.001)
    layers["relu"] = nn.ReLU(inplace=True)
    return nn.Sequential(layers)


class Mixed(nn.Module):
    """Branches of convolutions over the same input, their outputs side by side.

    Args:
        in_channels: of the input.
        branches: name -> convolutions, in the order of the output; "branch_pool" reads a 3 x 3 average pool.
        width: share of the channels.
        reduce: the last convolution of each branch has stride 2 and no padding, and a max pool stands beside.
    """

    def __init__(self, in_channels: int, branches: _Branches, *, width: float, reduce: bool) -> None:
        super().__init__()
        self.names: list[list[list[str]]] = []
        self.out_channels = in_channels if reduce else 0
        self.average = nn.AvgPool2d(3, stride=1, padding=1)
        self.maximum = nn.MaxPool2d(3, stride=2) if reduce else None
        for branch, steps in branches.items():
            channels = in_channels
            names = []
            for number, step in enumerate(steps, start=1):
                kernels = [step.kernel] if step.beside is None else [step.kernel, step.beside]
                out_channels = make_divisible(step.channels * width)
                name = branch if len(steps) == 1 else f"{branch}_{number}"
                names.append([name] if len(kernels) == 1 else [name + letter for letter in "ab"])
                strides = reduce and number == len(steps)
                for each, kernel in zip(names[-1], kernels, strict=True):
                    conv = basic_conv(channels, out_channels, kernel, stride=1 + strides, padded=not strides)
                    self.add_module(each, conv)
                channels = out_channels * len(kernels)
            self.names.append(names)
            self.out_channels += channels

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, out_channels, H, W], or [N, out_channels, (H - 1) // 2, (W - 1) // 2] of a reduction."""
        outputs = [self._branch(x, names) for names in self.names]
        if self.maximum is not None:
            outputs.append(self.maximum(x))
        return torch.cat(outputs, 1)

    def _branch(self, x: Tensor, steps: list[list[str]]) -> Tensor:
        if steps == [["branch_pool"]]:
            x = self.average(x)
        for names in steps:
            outputs = [self.get_submodule(name)(x) for name in names]
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1)
        return x


class AuxiliaryClassifier(nn.Module):
    """The second classifier of section 4 of the paper: pool to 5 x 5, 1 x 1, 5 x 5, mean, linear layer."""

    def __init__(self, in_channels: int, classes: int, width: float) -> None:
        super().__init__()
        inner, outer = make_divisible(128 * width), make_divisible(768 * width)
        self.conv0 = basic_conv(in_channels, inner, 1)
        self.conv1 = basic_conv(inner, outer, 5, padded=False)
        self.pool = GlobalAveragePool()
        self.fc = nn.Linear(outer, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits float32 [N, classes]; grids under 17 x 17 are brought to 5 x 5 by an adaptive pool."""
        x = F.avg_pool2d(x, 5, stride=3) if x.shape[-1] >= 17 else F.adaptive_avg_pool2d(x, 5)
        out: Tensor = self.fc(self.pool(self.conv1(self.conv0(x))))
        return out


class InceptionV3(nn.Module):
    """float32 [N, in_channels, S, S] -> logits float32 [N, classes].

    With an auxiliary classifier a pair (logits, auxiliary logits) in training.

    Args:
        width: share of the channels of every layer.
        small_image: padded stem, its second pool the only stride.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        aux_heads: whether there is an auxiliary classifier.
        dropout: probability before the classifier, in training.
    """

    aux_weight = 0.4
    """Share of the auxiliary loss, as in the TensorFlow release."""

    def __init__(
        self, *, width: float, small_image: bool, classes: int, in_channels: int, aux_heads: bool, dropout: float
    ) -> None:
        super().__init__()
        a, b, c, d = (make_divisible(base * width) for base in (32, 64, 80, 192))
        stride = 1 if small_image else 2
        self.Conv2d_1a_3x3 = basic_conv(in_channels, a, 3, stride=stride, padded=small_image)
        self.Conv2d_2a_3x3 = basic_conv(a, a, 3, padded=small_image)
        self.Conv2d_2b_3x3 = basic_conv(a, b, 3)
        self.maxpool1: nn.Module = nn.Identity() if small_image else nn.MaxPool2d(3, stride=2)
        self.Conv2d_3b_1x1 = basic_conv(b, c, 1)
        self.Conv2d_4a_3x3 = basic_conv(c, d, 3, padded=small_image)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, padding=1 if small_image else 0)
        channels = d
        self.AuxLogits: AuxiliaryClassifier | None = None
        for name, branches, reduce in _MODULES:
            module = Mixed(channels, branches, width=width, reduce=reduce)
            self.add_module(name, module)
            channels = module.out_channels
            if aux_heads and name == _AUXILIARY_AFTER:
                self.AuxLogits = AuxiliaryClassifier(channels, classes, width)
        self.pool = GlobalAveragePool()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return the logits, in training with an auxiliary classifier also its logits."""
        x = self.maxpool1(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))))
        x = self.maxpool2(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
        auxiliary: Tensor | None = None
        for name, _, _ in _MODULES:
            x = self.get_submodule(name)(x)
            if self.training and self.AuxLogits is not None and name == _AUXILIARY_AFTER:
                auxiliary = self.AuxLogits(x)
        logits: Tensor = self.fc(self.dropout(self.pool(x)))
        return logits if auxiliary is None else (logits, auxiliary)


def inception_v3(
    *,
    width: float = 1.0,
    classes: int = 1000,
    in_channels: int = 3,
    input_size: int = 299,
    aux_heads: bool = False,
    dropout: float = 0.5,
) -> InceptionV3:
    """Build Inception-v3: 23,834,568 parameters and 5.71 G multiply-adds at width 1.0 and 299 pixels.

    Args:
        width: share of the channels of every layer, made multiples of 8.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image; under 96 the small-image stem.
        aux_heads: adds the auxiliary classifier, 3,326,696 parameters more, which only runs in training.
        dropout: in training, before the classifier.

    Raises:
        ValueError: a width under 0.03125 or an input under 13 pixels.
    """
    check_form(width, input_size)
    return InceptionV3(
        width=width,
        small_image=input_size < 96,
        classes=classes,
        in_channels=in_channels,
        aux_heads=aux_heads,
        dropout=dropout,
    )


def check_form(width: float, input_size: int) -> None:
    """Refuse a width that leaves every layer the least channels, and images that the reductions have nothing left of.

    Raises:
        ValueError: one of them.
    """
    if width < MIN_WIDTH:
        raise ValueError(f"width must be at least {MIN_WIDTH}")
    if input_size < MIN_INPUT:
        raise ValueError(f"the input must be at least {MIN_INPUT} x {MIN_INPUT} pixels")
