"""Inception-ResNet-v2: Inception modules as the residual branch of shortcuts.

Szegedy, Ioffe, Vanhoucke, Alemi, "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning",
2016, arXiv 1602.07261 (AAAI 2017).
Each module ends in a 1 x 1 without activation that brings it to the channels of the shortcut, and is scaled down by a
constant before it is added, without which wide residual networks died in training. Training goes faster than that of the
equally expensive Inception-v4.

Parameterised: width, input size, classes, input channels; dropout in training.
Differs: figure 15 of the paper has 5, 10 and 5 modules on 384, 1154 and 2048 channels behind the stem of Inception-v4, the
TensorFlow release, its published weights and this file 10, 20 and 10 on 320, 1088 and 2080 behind the stem of Inception-v3
and one plain module. What the paper marks "V" is not padded, which needs 75 pixels. Inputs under 96 pixels take the
small-image stem, padded and with the second pool as its only stride. Weights are named as in timm.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from edgecnn.zoo.families.blocks import GlobalAveragePool, initialise, make_divisible
from edgecnn.zoo.families.inception_v3 import basic_conv, check_form
from edgecnn.zoo.families.inception_v4 import Branches, Conv, halving


class ResidualInception(Branches):
    """Branches, a 1 x 1 with bias to the channels of the input, scaled and added to the input, ReLU.

    Args:
        channels: of input and output.
        branches: convolutions of each branch.
        width: share of the channels inside.
        scale: factor of the residual.
        relu: whether the sum goes through a ReLU.
    """

    def __init__(
        self, channels: int, branches: Sequence[Sequence[Conv]], *, width: float, scale: float, relu: bool = True
    ) -> None:
        super().__init__(channels, branches, width=width)
        self.conv2d = nn.Conv2d(self.out_channels, channels, 1)
        self.scale = scale
        self.relu: nn.Module = nn.ReLU(inplace=True) if relu else nn.Identity()
        self.out_channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, channels, H, W]."""
        residual = self.conv2d(super().forward(x))
        out: Tensor = self.relu(residual * self.scale + x)
        return out


# The TensorFlow release (models/research/slim/nets/inception_resnet_v2.py): Mixed_5b, Mixed_6a, Mixed_7a and the blocks.
_MIXED_5B = ([Conv(96)], [Conv(48), Conv(64, 5)], [Conv(64), Conv(96, 3), Conv(96, 3)])
_BLOCK35 = ([Conv(32)], [Conv(32), Conv(32, 3)], [Conv(32), Conv(48, 3), Conv(64, 3)])
_MIXED_6A = ([halving(384)], [Conv(256), Conv(256, 3), halving(384)])
_BLOCK17 = ([Conv(192)], [Conv(128), Conv(160, (1, 7)), Conv(192, (7, 1))])
_MIXED_7A = ([Conv(256), halving(384)], [Conv(256), halving(288)], [Conv(256), Conv(288, 3), halving(320)])
_BLOCK8 = ([Conv(192)], [Conv(192), Conv(224, (1, 3)), Conv(256, (3, 1))])


class InceptionResNetV2(nn.Module):
    """float32 [N, in_channels, S, S] -> logits float32 [N, classes].

    Args:
        width: share of the channels of every layer.
        small_image: padded stem, its second pool the only stride.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        dropout: probability before the classifier, in training.
    """

    def __init__(self, *, width: float, small_image: bool, classes: int, in_channels: int, dropout: float) -> None:
        super().__init__()
        a, b, c, d, last = (make_divisible(base * width) for base in (32, 64, 80, 192, 1536))
        stride = 1 if small_image else 2
        self.conv2d_1a = basic_conv(in_channels, a, 3, stride=stride, padded=small_image)
        self.conv2d_2a = basic_conv(a, a, 3, padded=small_image)
        self.conv2d_2b = basic_conv(a, b, 3)
        self.maxpool_3a: nn.Module = nn.Identity() if small_image else nn.MaxPool2d(3, stride=2)
        self.conv2d_3b = basic_conv(b, c, 1)
        self.conv2d_4a = basic_conv(c, d, 3, padded=small_image)
        self.maxpool_5a = nn.MaxPool2d(3, stride=2, padding=1 if small_image else 0)
        self.mixed_5b = Branches(d, _MIXED_5B, width=width, pooled=64)
        grid35 = self.mixed_5b.out_channels
        self.repeat = _repeat(10, grid35, _BLOCK35, width=width, scale=0.17)
        self.mixed_6a = Branches(grid35, _MIXED_6A, width=width, reduce=True)
        grid17 = self.mixed_6a.out_channels
        self.repeat_1 = _repeat(20, grid17, _BLOCK17, width=width, scale=0.1)
        self.mixed_7a = Branches(grid17, _MIXED_7A, width=width, reduce=True)
        grid8 = self.mixed_7a.out_channels
        self.repeat_2 = _repeat(9, grid8, _BLOCK8, width=width, scale=0.2)
        self.block8 = ResidualInception(grid8, _BLOCK8, width=width, scale=1.0, relu=False)
        self.conv2d_7b = basic_conv(grid8, last, 1)
        self.pool = GlobalAveragePool()
        self.dropout = nn.Dropout(dropout)
        self.classif = nn.Linear(last, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.maxpool_3a(self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(x))))
        x = self.maxpool_5a(self.conv2d_4a(self.conv2d_3b(x)))
        x = self.repeat(self.mixed_5b(x))
        x = self.repeat_1(self.mixed_6a(x))
        x = self.block8(self.repeat_2(self.mixed_7a(x)))
        out: Tensor = self.classif(self.dropout(self.pool(self.conv2d_7b(x))))
        return out


def _repeat(
    count: int, channels: int, branches: Sequence[Sequence[Conv]], *, width: float, scale: float
) -> nn.Sequential:
    return nn.Sequential(*(ResidualInception(channels, branches, width=width, scale=scale) for _ in range(count)))


def inception_resnet_v2(
    *, width: float = 1.0, classes: int = 1000, in_channels: int = 3, input_size: int = 299, dropout: float = 0.2
) -> InceptionResNetV2:
    """Build Inception-ResNet-v2: 55,843,464 parameters and 13.2 G multiply-adds at width 1.0 and 299 pixels.

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
    return InceptionResNetV2(
        width=width, small_image=input_size < 96, classes=classes, in_channels=in_channels, dropout=dropout
    )
