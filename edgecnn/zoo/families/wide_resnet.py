"""Wide ResNet: fewer layers, more channels.

Zagoruyko, Komodakis, "Wide Residual Networks", 2016, arXiv 1605.07146 (BMVC 2016).
Widening the convolutions of a residual block makes better use of parameters and of parallel hardware than adding blocks: 16
wide layers reach a thousand thin ones, and 50 beat 152. Dropout between the convolutions of a block helps wide ones.

Parameterised: depth, the widening factor k of the small-image forms, classes, input channels, input size. In training only:
dropout in the blocks of the small-image forms, stochastic depth.
Differs: the small-image forms have the pre-activated blocks of the authors' code; the paper's depth counts the
shortcut convolutions too (6n + 4). The ImageNet forms widen the inner channels of the bottleneck only, and stride in the
3 x 3, as in the authors' release and torchvision, whose names the weights have. Inputs under 64 pixels take the small-image
stem.
"""

from __future__ import annotations

from functools import partial

from edgecnn.zoo.families.preact_resnet import PreActBasic, PreActResNet
from edgecnn.zoo.families.residual import BOTTLENECK_DEPTHS, Bottleneck, depths_of, small_depths
from edgecnn.zoo.families.resnet import ResNet, plain_stem


def wide_resnet(
    *,
    depth: int,
    widen: int = 2,
    classes: int = 1000,
    in_channels: int = 3,
    input_size: int = 224,
    stochastic_depth: float = 0.0,
) -> ResNet:
    """Build the ImageNet form: 68,883,240 parameters and 11.4 G multiply-adds at depth 50 and 224 pixels.

    Args:
        depth: 50, 101 or 152.
        widen: the paper's k, by which the inner channels of a bottleneck grow.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image; under 64 the stem keeps the resolution.
        stochastic_depth: probability that training skips the last block, 0..1, falling linearly to 0 at the input.

    Raises:
        ValueError: another depth, or k under 1.
    """
    depths = depths_of(depth, BOTTLENECK_DEPTHS)
    block = partial(Bottleneck, group_width=64 * _checked(widen))
    stem = plain_stem(in_channels, 64, small_image=input_size < 64)
    return ResNet(block, depths, stem=stem, width=64, classes=classes, stochastic_depth=stochastic_depth)


def wide_resnet_small(
    *,
    depth: int,
    widen: int = 10,
    classes: int = 10,
    in_channels: int = 3,
    input_size: int = 32,
    dropout: float = 0.0,
    stochastic_depth: float = 0.0,
) -> PreActResNet:
    """Build the small-image form WRN-depth-k: 36.5 M parameters and 5.2 G multiply-adds at depth 28, k 10, 32 pixels.

    Args:
        depth: 6n + 4: 10, 16, 22, 28, 40, ...
        widen: the paper's k; the stages have 16k, 32k and 64k channels.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image; the last stage sees a quarter of it.
        dropout: share of the values between the two convolutions of a block that training drops; the paper uses 0.3.
        stochastic_depth: probability that training skips the last block, 0..1, falling linearly to 0 at the input.

    Raises:
        ValueError: a depth that is not 6n + 4, or k under 1.
    """
    return PreActResNet(
        partial(PreActBasic, dropout=dropout),
        small_depths(depth, rest=4),
        stem=plain_stem(in_channels, 16, small_image=True),
        activate_stem=False,
        width=16 * _checked(widen),
        classes=classes,
        stochastic_depth=stochastic_depth,
    )


def _checked(widen: int) -> int:
    if widen < 1:
        raise ValueError("widen must be at least 1")
    return widen
