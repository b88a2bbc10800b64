"""SENet: squeeze and excitation.

Hu, Shen, Albanie, Sun, Wu, "Squeeze-and-Excitation Networks", 2017, arXiv 1709.01507 (CVPR 2018).
Every residual block looks at the means of its channels over the whole image and scales the channels by factors between 0 and
1 that two small layers make of them. That costs next to no multiply-adds and brings ResNet-50 near ResNet-101.

Parameterised: depth, cardinality and width of a group, the reduction ratio r, where a bottleneck strides, the pooling of the
stem, the width of the small-image forms, classes, input channels, input size. In training only: stochastic depth, and in
SENet-154 the dropout before the classifier.
Differs between the well-known implementations: the authors' Caffe models pool in the stem without padding and round up
(`pool="ceil"`), and their SE-ResNets stride in the 1 x 1 as the first ResNet (`stride_in="1x1"`); timm's later ones have
torchvision's stem and stride in the 3 x 3, which are the defaults here except in SENet-154. The small-image forms are
ResNet's with squeeze and excitation in every block. Inputs under 64 pixels take the small-image stem. Weights are named as
in timm's SE-ResNets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from edgecnn.zoo.families.blocks import SqueezeExcite, make_divisible
from edgecnn.zoo.families.residual import (
    BOTTLENECK_DEPTHS,
    BasicBlock,
    Bottleneck,
    Residual,
    Sides,
    check_stride_in,
    depths_of,
    padding,
    projection,
    small_depths,
)
from edgecnn.zoo.families.resnet import ResNet, Stem, plain_stem

_POOLS = {"padded": partial(nn.MaxPool2d, 3, 2, padding=1), "ceil": partial(nn.MaxPool2d, 3, 2, ceil_mode=True)}


class SENet154Block(Residual):
    """1 x 1, 3 x 3 in 64 groups, 1 x 1: [N, in_channels, H, W] -> [N, 4 * width, H / stride, W / stride].

    SENet-154's: the channels of ResNeXt-152 64 x 4d, those of the first 1 x 1 halved (the paper's appendix).
    """

    def __init__(self, in_channels: int, width: int, stride: int, *, drop_path: float = 0.0, sides: Sides) -> None:
        super().__init__(in_channels, 4 * width, stride, drop_path=drop_path, sides=sides)
        self.conv1 = nn.Conv2d(in_channels, 2 * width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(2 * width)
        self.conv2 = nn.Conv2d(2 * width, 4 * width, 3, stride=stride, padding=1, groups=64, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * width)
        self.conv3 = nn.Conv2d(4 * width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)

    def branch(self, x: Tensor) -> Tensor:
        """Return the residual."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        result: Tensor = self.bn3(self.conv3(out))
        return result


def seresnet(
    *,
    depth: int,
    cardinality: int = 1,
    group_width: int = 64,
    reduction: int = 16,
    stride_in: str = "3x3",
    pool: str = "padded",
    classes: int = 1000,
    in_channels: int = 3,
    input_size: int = 224,
    stochastic_depth: float = 0.0,
) -> ResNet:
    """Build SE-ResNet or SE-ResNeXt: 28,088,024 parameters at depth 50, 3.86 G multiply-adds with the authors' stride.

    Args:
        depth: 50, 101 or 152.
        cardinality: groups of a 3 x 3 convolution; 32 with a group width of 4 is SE-ResNeXt's.
        group_width: channels of a group in the first stage.
        reduction: the paper's r, channels per channel of the layer between the two that make the factors.
        stride_in: "3x3" or "1x1" (the authors' SE-ResNets), the convolution of a bottleneck that strides.
        pool: "padded", or "ceil" (the authors' stem), without padding and rounded up.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image; under 64 the stem keeps the resolution.
        stochastic_depth: probability that training skips the last block, 0..1, falling linearly to 0 at the input.

    Raises:
        ValueError: another depth, `stride_in` or pool, or a number under 1.
    """
    depths = depths_of(depth, BOTTLENECK_DEPTHS)
    check_stride_in(stride_in)
    if pool not in _POOLS:
        raise ValueError(f"pool must be {' or '.join(_POOLS)}")
    block = partial(
        Bottleneck,
        stride_in=stride_in,
        cardinality=cardinality,
        group_width=group_width,
        sides=Sides(attention=_attention(reduction)),
    )
    small = input_size < 64
    stem = plain_stem(in_channels, 64, small_image=small)
    if not small:
        stem = replace(stem, pool=_POOLS[pool]())
    return ResNet(block, depths, stem=stem, width=64, classes=classes, stochastic_depth=stochastic_depth)


def senet154(
    *,
    reduction: int = 16,
    classes: int = 1000,
    in_channels: int = 3,
    input_size: int = 224,
    dropout: float = 0.2,
    stochastic_depth: float = 0.0,
) -> ResNet:
    """Build SENet-154, the winner of ILSVRC 2017: 115,088,984 parameters and 20.7 G multiply-adds at 224 pixels.

    Args:
        reduction: the paper's r, channels per channel of the layer between the two that make the factors.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image; under 64 the stem keeps the resolution.
        dropout: share of the pooled features that training drops, 0..1.
        stochastic_depth: probability that training skips the last block, 0..1, falling linearly to 0 at the input.

    Raises:
        ValueError: a reduction under 1.
    """
    return ResNet(
        partial(SENet154Block, sides=Sides(shortcut=_wide_projection, attention=_attention(reduction))),
        BOTTLENECK_DEPTHS[152],
        stem=_deep_stem(in_channels, small_image=input_size < 64),
        width=64,
        classes=classes,
        stochastic_depth=stochastic_depth,
        dropout=dropout,
    )


def seresnet_small(
    *,
    depth: int,
    width: float = 1.0,
    reduction: int = 16,
    classes: int = 10,
    in_channels: int = 3,
    input_size: int = 32,
    stochastic_depth: float = 0.0,
) -> ResNet:
    """Build the small-image form: ResNet's 6n + 2 layers of 16-32-64 channels, 0.27 M parameters at depth 20.

    Args:
        depth: layers, 6n + 2.
        width: share of the channels; those of the first stage are a multiple of 4.
        reduction: the paper's r, channels per channel of the layer between the two that make the factors.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image; the last stage sees a quarter of it.
        stochastic_depth: probability that training skips the last block, 0..1, falling linearly to 0 at the input.

    Raises:
        ValueError: a depth that is not 6n + 2, or a width or reduction too small.
    """
    if width < 0.125:
        raise ValueError("width must be at least 0.125, which leaves 4 channels in the first stage")
    channels = make_divisible(16 * width, 4)
    return ResNet(
        partial(BasicBlock, sides=Sides(shortcut=padding, attention=_attention(reduction))),
        small_depths(depth),
        stem=plain_stem(in_channels, channels, small_image=True),
        width=channels,
        classes=classes,
        stochastic_depth=stochastic_depth,
    )


def _attention(reduction: int) -> Callable[[int], nn.Module]:
    if reduction < 1:
        raise ValueError("reduction must be at least 1")

    def make(channels: int) -> nn.Module:
        return SqueezeExcite(channels, max(1, channels // reduction))

    return make


def _wide_projection(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Return SENet-154's shortcut: 3 x 3 where it strides."""
    if stride == 1:
        return projection(in_channels, out_channels, stride)
    conv = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


def _deep_stem(in_channels: int, *, small_image: bool) -> Stem:
    """Return SENet-154's stem: three 3 x 3 convolutions instead of the 7 x 7."""
    conv = nn.Sequential(
        nn.Conv2d(in_channels, 64, 3, stride=1 if small_image else 2, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.Conv2d(64, 64, 3, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.Conv2d(64, 128, 3, padding=1, bias=False),
    )
    return Stem(conv=conv, channels=128, pool=nn.Identity() if small_image else _POOLS["ceil"]())
