"""ShuffleNetV2: channel split instead of grouped convolutions.

Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", 2018, ECCV 2018, arXiv 1807.11164.
Speed follows memory access and not multiply-adds alone: equal widths, few groups, few branches and few elementwise
operations. So half of the channels passes a unit untouched, the other half runs through ungrouped convolutions, and both
are concatenated and shuffled.

Parameterised: width (the paper's four sizes), input size, classes, input channels.
Differs from the paper: the stage widths at 1.5 and 2 are those of table 5, 176 and 244; weights are named as in torchvision.
Inputs under 64 pixels take the small-image stem: stride 1 and no max pooling.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from edgecnn.zoo.families.blocks import GlobalAveragePool, conv_bn_layers, initialise

# Table 5 of the paper: output channels of stages 2, 3 and 4 and of the last convolution, by width.
_CHANNELS = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}
_STEM = 24
_UNITS = {"stage2": 4, "stage3": 8, "stage4": 4}


def _conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> Iterable[nn.Module]:
    return conv_bn_layers(in_channels, out_channels, kernel, stride=stride).values()


def _depthwise(channels: int, stride: int) -> Iterable[nn.Module]:
    return conv_bn_layers(channels, channels, 3, stride=stride, groups=channels, activation=None).values()


class SplitUnit(nn.Module):
    """Two halves, concatenated and shuffled (figure 3 c and d).

    With stride 1 the first half of the input passes as it is; with stride 2 all of the input goes through both branches.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.splits = stride == 1
        side = () if self.splits else (*_depthwise(in_channels, stride), *_conv(in_channels, half, 1))
        self.branch1 = nn.Sequential(*side)
        entry = half if self.splits else in_channels
        self.branch2 = nn.Sequential(*_conv(entry, half, 1), *_depthwise(half, stride), *_conv(half, half, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, out_channels, ceil(H / stride), ceil(W / stride)]."""
        first, second = x.chunk(2, dim=1) if self.splits else (x, x)
        out = torch.cat([self.branch1(first), self.branch2(second)], dim=1)
        _, channels, height, width = out.shape
        out = out.reshape(-1, 2, channels // 2, height, width)
        return out.transpose(1, 2).reshape(-1, channels, height, width)


class ShuffleNetV2(nn.Module):
    """float32 [N, in_channels, S, S] -> logits float32 [N, classes].

    Args:
        channels: of stages 2, 3 and 4 and of the last convolution.
        small_image: stem with stride 1 and without max pooling.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
    """

    def __init__(self, channels: Sequence[int], *, small_image: bool, classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(*_conv(in_channels, _STEM, 3, 1 if small_image else 2))
        self.maxpool: nn.Module = nn.Identity() if small_image else nn.MaxPool2d(3, 2, 1)
        before, last = _STEM, channels[-1]
        for (stage, count), width in zip(_UNITS.items(), channels[:-1], strict=True):
            units = [SplitUnit(before, width, 2)] + [SplitUnit(width, width, 1) for _ in range(count - 1)]
            self.add_module(stage, nn.Sequential(*units))
            before = width
        self.conv5 = nn.Sequential(*_conv(before, last, 1))
        self.pool = GlobalAveragePool()
        self.fc = nn.Linear(last, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.maxpool(self.conv1(x))
        for stage in _UNITS:
            x = self.get_submodule(stage)(x)
        out: Tensor = self.fc(self.pool(self.conv5(x)))
        return out


def shufflenet_v2(
    *, width: float = 1.0, classes: int = 1000, in_channels: int = 3, input_size: int = 224
) -> ShuffleNetV2:
    """Build ShuffleNetV2: 2,278,604 parameters and 144.9 M multiply-adds at width 1 and 224 pixels.

    Raises:
        ValueError: a width other than 0.5, 1, 1.5 and 2.
    """
    if width not in _CHANNELS:
        raise ValueError(f"width must be one of {', '.join(f'{known:g}' for known in _CHANNELS)}")
    return ShuffleNetV2(_CHANNELS[width], small_image=input_size < 64, classes=classes, in_channels=in_channels)
