"""DenseNet: every layer reads all layers before it.

Huang, Liu, van der Maaten, Weinberger, "Densely Connected Convolutional Networks", 2016, arXiv 1608.06993 (CVPR 2017).
Inside a block a layer takes the concatenated maps of all earlier layers and adds a few of its own (the growth rate), so
that features are reused instead of learned again and gradients have a short way. A 1 x 1 bottleneck (B) limits what the
3 x 3 reads, and transitions between blocks halve the channels (compression, C).

Parameterised: depth, growth rate (small-image form), classes, input channels, input size.
Differs between the well-known implementations: none in the graph; weights are named as in torchvision, whose released
files have an older spelling (`norm.1` for `norm1`) that the catalogue renames. The small-image form is the paper's
DenseNet-BC of section 3.4: three blocks, a 3 x 3 stem of twice the growth rate without norm, no dropout. The ImageNet forms
have that stem's window and stride, and keep its norm, for inputs under 64 pixels. By its own table (6, 12, 64, 48 layers)
the paper's DenseNet-264 has 265 layers with weights.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgecnn.zoo.families.blocks import GlobalAveragePool, initialise

_BOTTLENECK = 4  # section 3: the 1 x 1 gives four times the growth rate


class DenseLayer(nn.Module):
    """BN-ReLU-1 x 1 to 4 * growth channels, BN-ReLU-3 x 3 to growth channels, joined to the input (DenseNet-B)."""

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        width = _BOTTLENECK * growth
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, in_channels + growth, H, W], the input first."""
        new = self.conv1(self.relu1(self.norm1(x)))
        new = self.conv2(self.relu2(self.norm2(new)))
        return torch.cat([x, new], dim=1)


def _transition(in_channels: int, out_channels: int) -> nn.Sequential:
    """BN-ReLU-1 x 1, then 2 x 2 average pooling: [N, in_channels, H, W] -> [N, out_channels, H // 2, W // 2]."""
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(in_channels),
            relu=nn.ReLU(inplace=True),
            conv=nn.Conv2d(in_channels, out_channels, 1, bias=False),
            pool=nn.AvgPool2d(2, 2),
        )
    )


class DenseNet(nn.Module):
    """float32 [N, in_channels, S, S] -> logits float32 [N, classes].

    Args:
        stem: the layers before the first block, by name.
        channels: that the stem gives.
        depths: layers of each dense block; a transition that halves channels and size stands between two blocks.
        growth: channels that a layer adds, k in the paper.
        classes: length of the logits.
    """

    def __init__(
        self, stem: OrderedDict[str, nn.Module], *, channels: int, depths: Sequence[int], growth: int, classes: int
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(stem)
        for block, depth in enumerate(depths, start=1):
            layers: OrderedDict[str, nn.Module] = OrderedDict(
                (f"denselayer{index + 1}", DenseLayer(channels + index * growth, growth)) for index in range(depth)
            )
            self.features.add_module(f"denseblock{block}", nn.Sequential(layers))
            channels += depth * growth
            if block < len(depths):
                self.features.add_module(f"transition{block}", _transition(channels, channels // 2))
                channels //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(channels))
        self.relu = nn.ReLU(inplace=True)
        self.pool = GlobalAveragePool()
        self.classifier = nn.Linear(channels, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        out: Tensor = self.classifier(self.pool(self.relu(self.features(x))))
        return out


def _small_conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)


# Table 1 of the paper: layers of each dense block by the number in the name; k = 32 in all.
_IMAGENET = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32), 264: (6, 12, 64, 48)}


def densenet(*, depth: int, classes: int = 1000, in_channels: int = 3, input_size: int = 224) -> DenseNet:
    """Build an ImageNet DenseNet-BC, k = 32: 7,978,856 parameters and 2.83 G multiply-adds at depth 121 and 224 pixels.

    Args:
        depth: 121, 169, 201 or 264.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image; under 64 the stem keeps the resolution.

    Raises:
        ValueError: a depth that the paper does not list, or an input too small for the three transitions.
    """
    if depth not in _IMAGENET:
        raise ValueError(f"depth must be one of {', '.join(map(str, _IMAGENET))}")
    if input_size < 8:
        raise ValueError("densenet needs images of at least 8 pixels")
    small = input_size < 64
    stem: OrderedDict[str, nn.Module] = OrderedDict(
        conv0=_small_conv(in_channels, 64) if small else nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False),
        norm0=nn.BatchNorm2d(64),
        relu0=nn.ReLU(inplace=True),
        pool0=nn.Identity() if small else nn.MaxPool2d(3, 2, 1),
    )
    return DenseNet(stem, channels=64, depths=_IMAGENET[depth], growth=32, classes=classes)


def densenet_bc(
    *, depth: int = 100, growth: int = 12, classes: int = 10, in_channels: int = 3, input_size: int = 32
) -> DenseNet:
    """Build the small-image DenseNet-BC: 769,162 parameters at depth 100 and k = 12, 10 classes.

    Args:
        depth: 6n + 4: three blocks of n bottleneck layers, stem, two transitions and classifier.
        growth: channels that a layer adds, k in the paper.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image.

    Raises:
        ValueError: a depth that is not 6n + 4, a growth below 1, or an input too small for the two transitions.
    """
    if depth < 10 or (depth - 4) % 6:
        raise ValueError("depth must be 6n + 4: 10, 16, 22, 28, 34, 40, ..., 100, ...")
    if growth < 1:
        raise ValueError("growth must be at least 1")
    if input_size < 4:
        raise ValueError("densenet_bc needs images of at least 4 pixels")
    stem: OrderedDict[str, nn.Module] = OrderedDict(conv0=_small_conv(in_channels, 2 * growth))
    return DenseNet(stem, channels=2 * growth, depths=((depth - 4) // 6,) * 3, growth=growth, classes=classes)
