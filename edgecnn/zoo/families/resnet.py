"""ResNet: residual blocks.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015, arXiv 1512.03385 (CVPR 2016).
Layers learn the residual to an identity shortcut, so that a hundred layers train as easily as ten. Basic blocks (two
3 x 3) make the 18 and 34 layer forms and the small-image forms, bottlenecks (1 x 1, 3 x 3, 1 x 1) the deeper ones.

Parameterised: depth, where a bottleneck strides, the shortcut of the small-image forms, classes, input channels. In
training only: stochastic depth (Huang, Sun, Liu, Sedra, Weinberger, "Deep Networks with Stochastic Depth", 2016, arXiv
1603.09382), blocks that are skipped at random, the deeper the likelier; the network that is trained so is a plain ResNet.
Differs between the well-known implementations: the paper strides in the first 1 x 1 of a bottleneck, torchvision and most
others in the 3 x 3 (called v1.5, 6% more multiply-adds, about half a point more accurate). v1.5 is the default here, as
nearly all published weights are of that form; `stride_in="1x1"` is the paper's. Projection shortcuts (the paper's option B)
in the ImageNet forms, parameter-free ones (option A) in the small-image form, as in both papers; counts of 1,730,714
parameters for 110 layers are those of `shortcut="projection"`. Inputs under 64 pixels take the small-image stem, 3 x 3
without downsampling. Stochastic depth skips a block for single images where the paper does for a whole batch, and scales in
training what the paper scales in the test. Weights are named as in torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from edgecnn.zoo.families.blocks import GlobalAveragePool, initialise
from edgecnn.zoo.families.residual import (
    BASIC_DEPTHS,
    BOTTLENECK_DEPTHS,
    BasicBlock,
    BlockMaker,
    Bottleneck,
    Sides,
    check_stride_in,
    depths_of,
    make_stages,
    padding,
    projection,
    small_depths,
)

_SHORTCUTS = {"padding": padding, "projection": projection}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stem:
    """What comes before the first stage.

    Attributes:
        conv: first convolution; batch norm and ReLU follow it.
        channels: that it gives.
        pool: behind the ReLU.
    """

    conv: nn.Module
    channels: int
    pool: nn.Module


def plain_stem(in_channels: int, channels: int, *, small_image: bool) -> Stem:
    """Return the paper's stem: 7 x 7 / 2 and max pool 3 x 3 / 2, or for small images 3 x 3 without downsampling."""
    if small_image:
        conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        return Stem(conv=conv, channels=channels, pool=nn.Identity())
    conv = nn.Conv2d(in_channels, channels, 7, stride=2, padding=3, bias=False)
    return Stem(conv=conv, channels=channels, pool=nn.MaxPool2d(3, 2, 1))


class ResNet(nn.Module):
    """float32 [N, in_channels, S, S] -> logits float32 [N, classes].

    Args:
        block: makes the blocks.
        depths: blocks of each stage; from stage to stage the width doubles and the size halves.
        stem: what comes before the first stage.
        width: of the blocks of the first stage.
        classes: length of the logits.
        stochastic_depth: probability that training skips the last block, 0..1, falling linearly to 0 at the input.
        dropout: share of the pooled features that training drops, 0..1.
    """

    def __init__(
        self,
        block: BlockMaker,
        depths: Sequence[int],
        *,
        stem: Stem,
        width: int,
        classes: int,
        stochastic_depth: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.conv1 = stem.conv
        self.bn1 = nn.BatchNorm2d(stem.channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = stem.pool
        stages, channels = make_stages(
            block, depths, in_channels=stem.channels, width=width, stochastic_depth=stochastic_depth
        )
        self.stages = tuple(stages)
        for name, stage in stages.items():
            self.add_module(name, stage)
        self.pool = GlobalAveragePool()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        out: Tensor = self.fc(self.dropout(self.pool(x)))
        return out


def resnet(
    *,
    depth: int,
    stride_in: str = "3x3",
    classes: int = 1000,
    in_channels: int = 3,
    input_size: int = 224,
    stochastic_depth: float = 0.0,
) -> ResNet:
    """Build an ImageNet ResNet: 25,557,032 parameters and 4.09 G multiply-adds at depth 50 and 224 pixels.

    Args:
        depth: 18, 34, 50, 101 or 152.
        stride_in: "3x3" (v1.5) or "1x1" (paper), the convolution of a bottleneck that strides.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image; under 64 the stem keeps the resolution.
        stochastic_depth: probability that training skips the last block, 0..1, falling linearly to 0 at the input.

    Raises:
        ValueError: a depth that the paper does not list, or a `stride_in` other than "3x3" and "1x1".
    """
    depths = depths_of(depth, {**BASIC_DEPTHS, **BOTTLENECK_DEPTHS})
    check_stride_in(stride_in)
    block: BlockMaker = BasicBlock if depth in BASIC_DEPTHS else partial(Bottleneck, stride_in=stride_in)
    stem = plain_stem(in_channels, 64, small_image=input_size < 64)
    return ResNet(block, depths, stem=stem, width=64, classes=classes, stochastic_depth=stochastic_depth)


def resnet_small(
    *,
    depth: int,
    shortcut: str = "padding",
    classes: int = 10,
    in_channels: int = 3,
    input_size: int = 32,
    stochastic_depth: float = 0.0,
) -> ResNet:
    """Build the small-image form of section 4.2: 6n + 2 layers, 16-32-64 channels, 0.27 M parameters at depth 20.

    Args:
        depth: layers, 6n + 2.
        shortcut: "padding" (the paper's option A) or "projection" (B), where the shape changes.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image; the last stage sees a quarter of it.
        stochastic_depth: probability that training skips the last block, 0..1, falling linearly to 0 at the input.

    Raises:
        ValueError: a depth that is not 6n + 2, or an unknown shortcut.
    """
    if shortcut not in _SHORTCUTS:
        raise ValueError(f"shortcut must be {' or '.join(_SHORTCUTS)}")
    block = partial(BasicBlock, sides=Sides(shortcut=_SHORTCUTS[shortcut]))
    stem = plain_stem(in_channels, 16, small_image=True)
    return ResNet(block, small_depths(depth), stem=stem, width=16, classes=classes, stochastic_depth=stochastic_depth)
