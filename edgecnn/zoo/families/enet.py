"""ENet as a classifier: bottlenecks that downsample early, with dilated and asymmetric convolutions.

Paszke, Chaurasia, Kim, Culurciello, "ENet: A Deep Neural Network Architecture for Real-Time Semantic Segmentation", 2016,
arXiv 1606.02147.
The image shrinks eightfold in the first layers, so that nearly all work is done on few pixels; dilated 3 x 3 and
asymmetric 5 x 1, 1 x 5 convolutions widen what a pixel sees without more downsampling. Canziani, Paszke, Culurciello 2016
(arXiv 1605.07678, from version 3) measured an "ENet for ImageNet" beside thirteen other classifiers.

Parameterised: width, input size, classes, input channels.
Published: the encoder, table 1 of the ENet paper (initial block, bottlenecks 1.0 to 3.8), and the authors' code of it
(e-lab/ENet-training, train/models/encoder.lua), which is followed here down to biases, batch norm and dropout. Not
published: how the classifier that was measured ends, its width, parameters and operations. Our reading: global average
pooling and a linear layer in place of the decoder. No published accuracy is claimed for this form.
Differs: inputs under 64 pixels keep their size in the initial block, whose second branch is then the image itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgecnn.zoo.families.blocks import GlobalAveragePool, initialise, make_divisible

# Batch norm's epsilon in the authors' code.
_EPS = 1e-3

# Channels of the initial block and of stages 1 and 2; stage 3 goes on with those of stage 2.
_CHANNELS = (16, 64, 128)

_PLAIN = (("dilated", 1),)

# Middle convolution of the bottlenecks of stages 2 and 3, table 1: ("dilated", rate) or ("asymmetric", kernel).
_MIDDLES = (
    ("dilated", 1),
    ("dilated", 2),
    ("asymmetric", 5),
    ("dilated", 4),
    ("dilated", 1),
    ("dilated", 8),
    ("asymmetric", 5),
    ("dilated", 16),
)

# Stage 1 is regularised less: dropout 0.01 instead of 0.1.
_FIRST_STAGE_DROPOUT = 0.1


class InitialBlock(nn.Module):
    """Figure 2a: a 3 x 3 convolution beside a 2 x 2 max pool of the image, concatenated."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels - in_channels, 3, stride=stride, padding=1)
        self.pool = nn.MaxPool2d(2, ceil_mode=True) if stride == 2 else nn.Identity()
        self.bn = nn.BatchNorm2d(out_channels, eps=_EPS)
        self.prelu = nn.PReLU(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, out_channels, ceil(H / stride), ceil(W / stride)]."""
        out: Tensor = self.prelu(self.bn(torch.cat((self.conv(x), self.pool(x)), 1)))
        return out


def _middle(channels: int, kind: str, number: int) -> nn.Module:
    if kind == "dilated":
        return nn.Conv2d(channels, channels, 3, padding=number, dilation=number)
    row = nn.Conv2d(channels, channels, (1, number), padding=(0, number // 2), bias=False)
    return nn.Sequential(row, nn.Conv2d(channels, channels, (number, 1), padding=(number // 2, 0)))


class Bottleneck(nn.Module):
    """Figure 2b: project to a quarter, a middle convolution, expand, beside a shortcut without parameters.

    Downsampling projects with a 2 x 2 convolution of stride 2 and puts a 2 x 2 max pool into the shortcut; new channels
    of the shortcut are zero.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kind: str, number: int, *, downsample: bool, dropout: float
    ) -> None:
        super().__init__()
        internal, step = out_channels // 4, 2 if downsample else 1
        self.extra_channels = out_channels - in_channels
        self.pool = nn.MaxPool2d(2) if downsample else nn.Identity()
        self.reduce = nn.Conv2d(in_channels, internal, step, stride=step, bias=False)
        self.bn1 = nn.BatchNorm2d(internal, eps=_EPS)
        self.prelu1 = nn.PReLU(internal)
        self.middle = _middle(internal, kind, number)
        self.bn2 = nn.BatchNorm2d(internal, eps=_EPS)
        self.prelu2 = nn.PReLU(internal)
        self.expand = nn.Conv2d(internal, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels, eps=_EPS)
        self.dropout = nn.Dropout2d(dropout)
        self.prelu = nn.PReLU(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, out_channels, H, W], or half the size."""
        shortcut = self.pool(x)
        if self.extra_channels:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, self.extra_channels))
        x = self.prelu1(self.bn1(self.reduce(x)))
        x = self.prelu2(self.bn2(self.middle(x)))
        out: Tensor = self.prelu(self.dropout(self.bn3(self.expand(x))) + shortcut)
        return out


class ENet(nn.Module):
    """float32 [N, in_channels, S, S] -> logits float32 [N, classes]."""

    def __init__(self, *, width: float, classes: int, in_channels: int, stem_stride: int, dropout: float) -> None:
        super().__init__()
        first, second, third = (make_divisible(channels * width) for channels in _CHANNELS)
        self.initial = InitialBlock(in_channels, first, stem_stride)
        early = dropout * _FIRST_STAGE_DROPOUT
        self.stage1 = nn.Sequential(_downsampling(first, second, early), *_stage(second, _PLAIN * 4, early))
        self.stage2 = nn.Sequential(_downsampling(second, third, dropout), *_stage(third, _MIDDLES, dropout))
        self.stage3 = nn.Sequential(*_stage(third, _MIDDLES, dropout))
        self.pool = GlobalAveragePool()
        self.classifier = nn.Linear(third, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.stage3(self.stage2(self.stage1(self.initial(x))))
        out: Tensor = self.classifier(self.pool(x))
        return out


def _downsampling(in_channels: int, out_channels: int, dropout: float) -> Bottleneck:
    return Bottleneck(in_channels, out_channels, *_PLAIN[0], downsample=True, dropout=dropout)


def _stage(channels: int, middles: Iterable[tuple[str, int]], dropout: float) -> Iterator[Bottleneck]:
    for kind, number in middles:
        yield Bottleneck(channels, channels, kind, number, downsample=False, dropout=dropout)


def enet(
    *, width: float = 1.0, classes: int = 1000, in_channels: int = 3, input_size: int = 224, dropout: float = 0.1
) -> ENet:
    """Build the ENet classifier.

    Args:
        width: share of the channels of every layer, rounded to multiples of 8.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image, at least 4; under 64 the initial block keeps the resolution.
        dropout: share of the channels dropped in each bottleneck while training; a tenth of it in the first stage.

    Raises:
        ValueError: a width of 0 or below, or an image that is too small.
    """
    if width <= 0:
        raise ValueError("width must be above 0")
    if input_size < 4:
        raise ValueError("the image must have at least 4 x 4 pixels")
    stem_stride = 1 if input_size < 64 else 2
    return ENet(width=width, classes=classes, in_channels=in_channels, stem_stride=stem_stride, dropout=dropout)
