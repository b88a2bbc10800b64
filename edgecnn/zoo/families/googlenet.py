"""GoogLeNet: filters of several sizes side by side.

Szegedy et al., "Going Deeper with Convolutions", 2014, arXiv 1409.4842 (CVPR 2015).
An inception block looks at its input through 1 x 1, 3 x 3 and 5 x 5 convolutions and a pooling at once and concatenates what
they see; 1 x 1 convolutions before the costly ones keep 22 layers at a tenth of VGG's computation. Two auxiliary heads
feed gradients into the middle while it is trained.

Parameterised: norm, width, classes, input channels, input size.
Differs between the well-known implementations: norm "lrn" is the paper's and Caffe's form, with local response norm in the
stem; norm "bn" is torchvision's and TF-slim's, where every convolution has batch norm instead of a bias, the 5 x 5
convolutions are 3 x 3 and the last pooling is 2 x 2. The auxiliary heads (6,379,728 more parameters in the "lrn" form) pool
to 4 x 4, for which the paper takes 5 x 5 windows with stride 3. Inputs under 64 pixels take the small-image stem: 3 x 3 with
stride 1 instead of 7 x 7 with stride 2, and one pooling less. Weights are named as in torchvision.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgecnn.zoo.families.blocks import GlobalAveragePool, LocalResponseNorm, initialise, make_divisible

LEAST_WIDTH = 0.125
"""Leaves 8 of the first 64 channels."""

# Table 1 of the paper: 1 x 1, 3 x 3 reduce, 3 x 3, 5 x 5 reduce, 5 x 5, pool projection.
_INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
_AUX_AFTER = {"inception4a": "aux1", "inception4d": "aux2"}


class Unit(Protocol):
    """Makes a convolution with what belongs to it."""

    def __call__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Module:
        """Return a module [N, in_channels, H, W] -> [N, out_channels, ceil(H / stride), ceil(W / stride)]."""
        ...


def conv_unit(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, *, bias: bool, eps: float | None
) -> nn.Sequential:
    """Return convolution, batch norm and ReLU; without batch norm where `eps` is None."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv"] = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=bias)
    if eps is not None:
        layers["bn"] = nn.BatchNorm2d(out_channels, eps=eps)
    layers["relu"] = nn.ReLU(inplace=True)
    return nn.Sequential(layers)


class Inception(nn.Module):
    """Branches over the same input, concatenated: [N, C, H, W] -> [N, sum of the branches' channels, H', W'].

    The branches are named branch1, branch2, ... in the order of their channels.
    """

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        for number, branch in enumerate(branches, start=1):
            self.add_module(f"branch{number}", branch)

    def forward(self, x: Tensor) -> Tensor:
        """Return the channels of all branches."""
        return torch.cat([branch(x) for branch in self.children()], dim=1)


def inception(in_channels: int, widths: tuple[int, ...], unit: Unit, kernel: int) -> Inception:
    """Return the block of figure 2 (b) of the paper; `widths` as a row of table 1, `kernel` in place of 5 x 5."""
    first, reduce3, out3, reduce5, out5, projection = widths
    return Inception(
        unit(in_channels, first, 1),
        nn.Sequential(unit(in_channels, reduce3, 1), unit(reduce3, out3, 3)),
        nn.Sequential(unit(in_channels, reduce5, 1), unit(reduce5, out5, kernel)),
        nn.Sequential(nn.MaxPool2d(3, 1, padding=1), unit(in_channels, projection, 1)),
    )


class AuxiliaryHead(nn.Module):
    """4 x 4 average pooling, 1 x 1 convolution and two linear layers: [N, in_channels, H, W] -> logits [N, classes]."""

    def __init__(self, in_channels: int, width: float, classes: int, unit: Unit) -> None:
        super().__init__()
        channels, hidden = make_divisible(128 * width), make_divisible(1024 * width)
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.conv = unit(in_channels, channels, 1)
        self.fc1 = nn.Linear(channels * 16, hidden)
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = F.relu(self.fc1(self.conv(self.pool(x)).flatten(1)))
        out: Tensor = self.fc2(self.dropout(x))
        return out


class GoogLeNet(nn.Module):
    """float32 [N, in_channels, S, S] -> logits float32 [N, classes].

    Args:
        norm: "lrn" or "bn".
        width: share of the channels of every layer.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        small_image: stem without downsampling before its pooling.
        dropout: share of the features that training drops before the last layer.
        aux_heads: has auxiliary heads for training.

    Attributes:
        aux_weight: of each auxiliary loss beside that of the logits, section 5 of the paper.
    """

    def __init__(
        self,
        *,
        norm: str,
        width: float,
        classes: int,
        in_channels: int,
        small_image: bool,
        dropout: float,
        aux_heads: bool,
    ) -> None:
        super().__init__()
        bn = norm == "bn"
        unit: Unit = partial(conv_unit, bias=not bn, eps=0.001 if bn else None)
        stem, channels = make_divisible(64 * width), make_divisible(192 * width)
        self.conv1 = unit(in_channels, stem, 3 if small_image else 7, 1 if small_image else 2)
        self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.norm1 = nn.Identity() if bn else LocalResponseNorm()
        self.conv2 = unit(stem, stem, 1)
        self.conv3 = unit(stem, channels, 3)
        self.norm2 = nn.Identity() if bn else LocalResponseNorm()
        self.maxpool2 = nn.Identity() if small_image else nn.MaxPool2d(3, 2, ceil_mode=True)
        for name, base in _INCEPTIONS.items():
            if name == "4a":
                self.maxpool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
            elif name == "5a":
                self.maxpool4 = nn.MaxPool2d(2 if bn else 3, 2, ceil_mode=True)
            widths = tuple(make_divisible(value * width) for value in base)
            self.add_module(f"inception{name}", inception(channels, widths, unit, 3 if bn else 5))
            channels = widths[0] + widths[2] + widths[4] + widths[5]
            if aux_heads and f"inception{name}" in _AUX_AFTER:
                head = AuxiliaryHead(channels, width, classes, unit)
                self.add_module(_AUX_AFTER[f"inception{name}"], head)
        self.avgpool = GlobalAveragePool()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, classes)
        self.aux_weight = 0.3
        initialise(self)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the logits; in training with auxiliary heads, the logits and those of the two heads."""
        auxiliary: dict[str, Tensor] = {}
        for name, module in self.named_children():
            if not isinstance(module, AuxiliaryHead):
                x = module(x)
            elif self.training:
                auxiliary[name] = module(x)
        return (x, *auxiliary.values()) if auxiliary else x


def googlenet(
    *,
    norm: str = "lrn",
    width: float = 1.0,
    classes: int = 1000,
    in_channels: int = 3,
    input_size: int = 224,
    dropout: float = 0.4,
    aux_heads: bool = False,
) -> GoogLeNet:
    """Build GoogLeNet: 6,998,552 parameters and 1.583 G multiply-adds at 224 pixels; 6,624,904 and 1.498 G with norm "bn".

    Args:
        norm: "lrn" (paper) or "bn" (torchvision).
        width: share of the channels of every layer, rounded to multiples of 8.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image; under 64 the stem keeps the resolution.
        dropout: share of the features that training drops before the last layer.
        aux_heads: with auxiliary heads, which run in training only.

    Raises:
        ValueError: a norm that there is not, a width under 0.125, an input too small for the poolings.
    """
    if norm not in ("lrn", "bn"):
        raise ValueError('norm must be "lrn" (paper) or "bn" (torchvision)')
    if width < LEAST_WIDTH:
        raise ValueError(f"width must be at least {LEAST_WIDTH}, which leaves 8 of the first 64 channels")
    if input_size < 8:
        raise ValueError("googlenet needs images of at least 8 pixels")
    return GoogLeNet(
        norm=norm,
        width=width,
        classes=classes,
        in_channels=in_channels,
        small_image=input_size < 64,
        dropout=dropout,
        aux_heads=aux_heads,
    )
