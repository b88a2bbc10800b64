"""ShuffleNetV1: grouped pointwise convolutions with channel shuffle.

Zhang et al., "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices", 2017, CVPR 2018,
arXiv 1707.01083. Pointwise convolutions hold most of the cost of a separable network, so they are grouped as well; between
the two of a unit the channels are shuffled, so that every group sees all groups of the layer before.

Parameterised: groups, width (the paper's scale), input size, classes, input channels.
Differs from the paper: nothing where the groups divide the channels, as they do at width 1 for all groups, and at 0.5 and
0.25 for 1 and 3. The paper has results for the others too, and does not say how it rounds: here stem and bottlenecks go up
to the next multiple of the groups, which gives the stem of 16 of the authors' release (megvii-model/ShuffleNet-Series) at
0.5 and 8 groups. Counts that are derived with a rounded quotient belong to no network. The stem has 24 channels at 1.5, which
gives the paper's 292 M multiply-adds; 36 would be 300 M. The release shuffles in the transposed order and its classifier
has no bias. Inputs under 64 pixels take the small-image stem: stride 1 and no max pooling.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgecnn.zoo.families.blocks import GlobalAveragePool, conv_bn, initialise

# Table 1 of the paper: output channels of stage 2 by the number of groups; they double from stage to stage.
_CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
_STEM = 24
_UNITS = {"stage2": 4, "stage3": 8, "stage4": 4}


class ChannelShuffle(nn.Module):
    """Channel i * C / groups + j goes to j * groups + i (section 3.1): float32 [N, C, H, W] of the same shape."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Return the shuffled channels."""
        _, channels, height, width = x.shape
        x = x.reshape(-1, self.groups, channels // self.groups, height, width)
        return x.transpose(1, 2).reshape(-1, channels, height, width)


class ShuffleUnit(nn.Module):
    """Grouped 1 x 1, shuffle, depthwise 3 x 3, grouped 1 x 1; beside it the identity or average pooling (figure 2).

    Args:
        in_channels: of the input.
        out_channels: of the output; a unit with stride 2 concatenates the pooled input and the rest.
        groups: of both pointwise convolutions.
        stride: 1 adds the input, 2 halves the resolution.
        first: the first unit of stage 2, whose first pointwise convolution has too few inputs to be grouped.
    """

    def __init__(self, in_channels: int, out_channels: int, groups: int, stride: int, *, first: bool = False) -> None:
        super().__init__()
        bottleneck = _up(out_channels // 4, groups)
        self.reduce = conv_bn(in_channels, bottleneck, 1, groups=1 if first else groups)
        self.shuffle = ChannelShuffle(groups) if groups > 1 else nn.Identity()
        self.depthwise = conv_bn(bottleneck, bottleneck, 3, stride=stride, groups=bottleneck, activation=None)
        branch = out_channels - in_channels if stride == 2 else out_channels
        self.expand = conv_bn(bottleneck, branch, 1, groups=groups, activation=None)
        self.shortcut: nn.Module = nn.AvgPool2d(3, 2, 1) if stride == 2 else nn.Identity()
        self.joins = stride == 2
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, out_channels, ceil(H / stride), ceil(W / stride)]."""
        side: Tensor = self.shortcut(x)
        x = self.expand(self.depthwise(self.shuffle(self.reduce(x))))
        out: Tensor = self.relu(torch.cat([side, x], dim=1) if self.joins else side + x)
        return out


class ShuffleNetV1(nn.Module):
    """float32 [N, in_channels, S, S] -> logits float32 [N, classes].

    Args:
        stem: channels of the first convolution.
        channels: of stage 2; they double from stage to stage.
        groups: of the pointwise convolutions.
        small_image: stem with stride 1 and without max pooling.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
    """

    def __init__(
        self, stem: int, channels: int, *, groups: int, small_image: bool, classes: int, in_channels: int
    ) -> None:
        super().__init__()
        self.stem = conv_bn(in_channels, stem, 3, stride=1 if small_image else 2)
        self.maxpool: nn.Module = nn.Identity() if small_image else nn.MaxPool2d(3, 2, 1)
        before = stem
        for stage, count in _UNITS.items():
            units = [ShuffleUnit(before, channels, groups, 2, first=before == stem)]
            units += [ShuffleUnit(channels, channels, groups, 1) for _ in range(count - 1)]
            self.add_module(stage, nn.Sequential(*units))
            before, channels = channels, 2 * channels
        self.pool = GlobalAveragePool()
        self.classifier = nn.Linear(before, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.maxpool(self.stem(x))
        for stage in _UNITS:
            x = self.get_submodule(stage)(x)
        out: Tensor = self.classifier(self.pool(x))
        return out


def shufflenet_v1(
    *, width: float = 1.0, groups: int = 3, classes: int = 1000, in_channels: int = 3, input_size: int = 224
) -> ShuffleNetV1:
    """Build ShuffleNetV1: 1,865,728 parameters and 137.5 M multiply-adds at width 1 and 3 groups, 224 pixels.

    Args:
        width: the paper's scale s, share of the channels of every layer; it uses 0.25, 0.5, 1, 1.5 and 2.
        groups: of the pointwise convolutions: 1, 2, 3, 4 or 8; more groups have more channels at the same cost.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image; under 64 the stem keeps the resolution.

    Raises:
        ValueError: a number of groups that the paper does not list, or a width that leaves the stem without a channel.
    """
    if groups not in _CHANNELS:
        raise ValueError(f"groups must be one of {', '.join(map(str, _CHANNELS))}")
    stem = int(_STEM * (int(width) if width > 1 else width))
    if stem < 1:
        raise ValueError("width must be at least 1/24, which leaves one channel in the stem")
    return ShuffleNetV1(
        _up(stem, groups),
        _up(int(_CHANNELS[groups] * width), groups),
        groups=groups,
        small_image=input_size < 64,
        classes=classes,
        in_channels=in_channels,
    )


def _up(channels: int, groups: int) -> int:
    """Return the least multiple of the groups that is not below `channels`, at least one per group."""
    return max(1, -(-channels // groups)) * groups
