"""Inception-v4: the plain Inception network, made uniform and larger.

Szegedy, Ioffe, Vanhoucke, Alemi, "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning",
2016, arXiv 1602.07261 (AAAI 2017).
Freed from the partitions that older training needed, every grid repeats one module: four of A, seven of B, three of C, with
a reduction between. The stem too convolves and pools side by side.

Parameterised: width, input size, classes, input channels; dropout in training.
Differs: nothing from the TensorFlow release and its ports; figure 9 of the paper is drawn so. What the paper marks "V" is not
padded, which needs 75 pixels. Inputs under 96 pixels take the small-image stem, padded and with its last module as the only
stride. Weights are named as in timm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from edgecnn.zoo.families.blocks import GlobalAveragePool, initialise, make_divisible
from edgecnn.zoo.families.inception_v3 import basic_conv, check_form


class Conv(NamedTuple):
    """One convolution of a branch: output channels at width 1, kernel, stride, whether it is padded."""

    channels: int
    kernel: int | tuple[int, int] = 1
    stride: int = 1
    padded: bool = True


def halving(channels: int) -> Conv:
    """Return the 3 x 3 with stride 2 and no padding by which grids shrink."""
    return Conv(channels, 3, 2, padded=False)


class Branches(nn.Module):
    """Branches of convolutions over the same input, their outputs side by side, named branch0, branch1, ...

    Args:
        in_channels: of the input.
        branches: convolutions of each branch.
        width: share of the channels.
        pooled: channels behind a last branch with a 3 x 3 average pool that leaves the padding out; 0 for none.
        reduce: a 3 x 3 max pool with stride 2 is the last branch.
    """

    def __init__(
        self,
        in_channels: int,
        branches: Sequence[Sequence[Conv]],
        *,
        width: float,
        pooled: int = 0,
        reduce: bool = False,
    ) -> None:
        super().__init__()
        made = [chain(in_channels, branch, width) for branch in branches]
        self.out_channels = sum(make_divisible(branch[-1].channels * width) for branch in branches)
        if pooled:
            made.append(average_branch(in_channels, pooled, width))
            self.out_channels += make_divisible(pooled * width)
        if reduce:
            made.append(nn.MaxPool2d(3, stride=2))
            self.out_channels += in_channels
        for number, branch in enumerate(made):
            self.add_module(f"branch{number}", branch)
        self.count = len(made)

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, out_channels, H, W], or [N, out_channels, (H - 1) // 2, (W - 1) // 2] of a reduction."""
        return torch.cat([self.get_submodule(f"branch{number}")(x) for number in range(self.count)], 1)


def chain(in_channels: int, convs: Sequence[Conv], width: float) -> nn.Module:
    """Return convolutions one after the other; a single one stands for itself."""
    made: list[nn.Module] = []
    channels = in_channels
    for conv in convs:
        out_channels = make_divisible(conv.channels * width)
        made.append(basic_conv(channels, out_channels, conv.kernel, stride=conv.stride, padded=conv.padded))
        channels = out_channels
    return made[0] if len(made) == 1 else nn.Sequential(*made)


def average_branch(in_channels: int, channels: int, width: float) -> nn.Module:
    """Return a 3 x 3 average pool that leaves the padding out, and a 1 x 1."""
    pool = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return nn.Sequential(pool, chain(in_channels, [Conv(channels)], width))


class ConvPool(nn.Module):
    """A 3 x 3 convolution and a 3 x 3 max pool with the same stride, side by side (figure 3 of the paper).

    Args:
        in_channels: of the input.
        channels: of the convolution.
        pool_first: which comes first in the output.
        stride: of both.
        padded: whether both are padded.
    """

    def __init__(self, in_channels: int, channels: int, *, pool_first: bool, stride: int, padded: bool) -> None:
        super().__init__()
        self.conv = basic_conv(in_channels, channels, 3, stride=stride, padded=padded)
        self.maxpool = nn.MaxPool2d(3, stride, padding=1 if padded else 0)
        self.pool_first = pool_first
        self.out_channels = in_channels + channels

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, in_channels + channels, H', W']."""
        first, second = (self.maxpool, self.conv) if self.pool_first else (self.conv, self.maxpool)
        return torch.cat([first(x), second(x)], 1)


class InceptionC(nn.Module):
    """Figure 6 of the paper, for the 8 x 8 grid: two branches end in a 1 x 3 and a 3 x 1 side by side."""

    def __init__(self, in_channels: int, width: float) -> None:
        super().__init__()
        a, b, c, d = (make_divisible(base * width) for base in (256, 384, 448, 512))
        self.branch0 = basic_conv(in_channels, a, 1)
        self.branch1_0 = basic_conv(in_channels, b, 1)
        self.branch1_1a = basic_conv(b, a, (1, 3))
        self.branch1_1b = basic_conv(b, a, (3, 1))
        self.branch2_0 = basic_conv(in_channels, b, 1)
        self.branch2_1 = basic_conv(b, c, (3, 1))
        self.branch2_2 = basic_conv(c, d, (1, 3))
        self.branch2_3a = basic_conv(d, a, (1, 3))
        self.branch2_3b = basic_conv(d, a, (3, 1))
        self.branch3 = average_branch(in_channels, 256, width)
        self.out_channels = 6 * a

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, 1536 at width 1, H, W]."""
        one = self.branch1_0(x)
        two = self.branch2_2(self.branch2_1(self.branch2_0(x)))
        ends = (self.branch1_1a(one), self.branch1_1b(one), self.branch2_3a(two), self.branch2_3b(two))
        return torch.cat([self.branch0(x), *ends, self.branch3(x)], 1)


# Figures 4, 7 (k, l, m, n of table 1), 5 and 8 of the paper.
_A = ([Conv(96)], [Conv(64), Conv(96, 3)], [Conv(64), Conv(96, 3), Conv(96, 3)])
_REDUCTION_A = ([halving(384)], [Conv(192), Conv(224, 3), halving(256)])
_B = (
    [Conv(384)],
    [Conv(192), Conv(224, (1, 7)), Conv(256, (7, 1))],
    [Conv(192), Conv(192, (7, 1)), Conv(224, (1, 7)), Conv(224, (7, 1)), Conv(256, (1, 7))],
)
_REDUCTION_B = (
    [Conv(192), halving(192)],
    [Conv(256), Conv(256, (1, 7)), Conv(320, (7, 1)), halving(320)],
)


class InceptionV4(nn.Module):
    """float32 [N, in_channels, S, S] -> logits float32 [N, classes].

    Args:
        width: share of the channels of every layer.
        small_image: padded stem, its last module the only stride.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        dropout: probability before the classifier, in training.
    """

    def __init__(self, *, width: float, small_image: bool, classes: int, in_channels: int, dropout: float) -> None:
        super().__init__()
        features, channels = _stem(in_channels, width, small_image)
        for repeats, branches, pooled in ((4, _A, 96), (1, _REDUCTION_A, 0), (7, _B, 128), (1, _REDUCTION_B, 0)):
            for _ in range(repeats):
                module = Branches(channels, branches, width=width, pooled=pooled, reduce=not pooled)
                features.append(module)
                channels = module.out_channels
        for _ in range(3):
            last = InceptionC(channels, width)
            features.append(last)
            channels = last.out_channels
        self.features = nn.Sequential(*features)
        self.pool = GlobalAveragePool()
        self.dropout = nn.Dropout(dropout)
        self.last_linear = nn.Linear(channels, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        out: Tensor = self.last_linear(self.dropout(self.pool(self.features(x))))
        return out


def _stem(in_channels: int, width: float, small_image: bool) -> tuple[list[nn.Module], int]:
    """Return figure 3 of the paper, float32 [N, in_channels, 299, 299] -> [N, 384 at width 1, 35, 35], and its channels."""
    a, b, c = (make_divisible(base * width) for base in (32, 64, 96))
    stride = 1 if small_image else 2
    first = ConvPool(b, c, pool_first=True, stride=stride, padded=small_image)
    valid = Conv(96, 3, padded=small_image)
    second = Branches(
        first.out_channels,
        [[Conv(64), valid], [Conv(64), Conv(64, (1, 7)), Conv(64, (7, 1)), valid]],
        width=width,
    )
    third = ConvPool(second.out_channels, second.out_channels, pool_first=False, stride=2, padded=small_image)
    convs = [
        basic_conv(in_channels, a, 3, stride=stride, padded=small_image),
        basic_conv(a, a, 3, padded=small_image),
        basic_conv(a, b, 3),
    ]
    return [*convs, first, second, third], third.out_channels


def inception_v4(
    *, width: float = 1.0, classes: int = 1000, in_channels: int = 3, input_size: int = 299, dropout: float = 0.2
) -> InceptionV4:
    """Build Inception-v4: 42,679,816 parameters and 12.3 G multiply-adds at width 1.0 and 299 pixels.

    Args:
        width: share of the channels of every layer, made multiples of 8.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image; under 96 the small-image stem.
        dropout: in training, before the classifier; the paper keeps 0.8.

    Raises:
        ValueError: a width under 0.03125 or an input under 13 pixels.
    """
    check_form(width, input_size)
    return InceptionV4(
        width=width, small_image=input_size < 96, classes=classes, in_channels=in_channels, dropout=dropout
    )
