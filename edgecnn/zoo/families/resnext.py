"""ResNeXt: aggregated residual transformations.

Xie, Girshick, Dollar, Tu, He, "Aggregated Residual Transformations for Deep Neural Networks", 2016, arXiv 1611.05431 (CVPR
2017).
A bottleneck becomes many narrow branches of the same shape that are summed, which is the same as a grouped 3 x 3
convolution (figure 3c of the paper). At equal cost more branches (the cardinality) are better than more channels or layers.

Parameterised: depth, cardinality, width of a group, classes, input channels, input size. In training only: stochastic depth.
Differs: the small-image form has ReLU after the addition, as the authors' release, which they say is better than the
pre-activated blocks of the paper's first version. 32 x 8d at depth 101 is torchvision's, not the paper's. Inputs under 64
pixels take the small-image stem. Weights are named as in torchvision.
"""

from __future__ import annotations

from functools import partial

from edgecnn.zoo.families.residual import BOTTLENECK_DEPTHS, Bottleneck, depths_of, small_depths
from edgecnn.zoo.families.resnet import ResNet, plain_stem


def resnext(
    *,
    depth: int,
    cardinality: int = 32,
    group_width: int = 4,
    classes: int = 1000,
    in_channels: int = 3,
    input_size: int = 224,
    stochastic_depth: float = 0.0,
) -> ResNet:
    """Build an ImageNet form: 25,028,904 parameters and 4.23 G multiply-adds at depth 50, 32 x 4d and 224 pixels.

    Args:
        depth: 50, 101 or 152.
        cardinality: the paper's C, groups of a 3 x 3 convolution.
        group_width: the paper's d, channels of a group in the first stage.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image; under 64 the stem keeps the resolution.
        stochastic_depth: probability that training skips the last block, 0..1, falling linearly to 0 at the input.

    Raises:
        ValueError: another depth, no group, or a group without channels.
    """
    depths = depths_of(depth, BOTTLENECK_DEPTHS)
    stem = plain_stem(in_channels, 64, small_image=input_size < 64)
    block = partial(Bottleneck, cardinality=cardinality, group_width=group_width)
    return ResNet(block, depths, stem=stem, width=64, classes=classes, stochastic_depth=stochastic_depth)


def resnext_small(
    *,
    depth: int,
    cardinality: int = 8,
    group_width: int = 64,
    classes: int = 10,
    in_channels: int = 3,
    input_size: int = 32,
    stochastic_depth: float = 0.0,
) -> ResNet:
    """Build the small-image form of section 5.3: 34.4 M parameters at depth 29 and 8 x 64d.

    Args:
        depth: 9n + 2: 11, 20, 29, ...
        cardinality: the paper's C, groups of a 3 x 3 convolution.
        group_width: the paper's d, channels of a group in the first stage.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image; the last stage sees a quarter of it.
        stochastic_depth: probability that training skips the last block, 0..1, falling linearly to 0 at the input.

    Raises:
        ValueError: a depth that is not 9n + 2, no group, or a group without channels.
    """
    depths = small_depths(depth, layers=3)
    stem = plain_stem(in_channels, 64, small_image=True)
    block = partial(Bottleneck, cardinality=cardinality, group_width=group_width)
    return ResNet(block, depths, stem=stem, width=64, classes=classes, stochastic_depth=stochastic_depth)
