"""Xception: an Inception network of depthwise separable convolutions only.

Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", 2016, arXiv 1610.02357 (CVPR 2017).
An Inception module taken to its end maps correlations between channels and within space apart, which is a depthwise
3 x 3 and a pointwise 1 x 1. Fourteen modules of them, linear shortcuts around all but the ends: an entry flow that
shrinks the image, eight equal blocks in the middle flow, an exit flow.

Parameterised: width, input size, classes, input channels.
Differs between the well-known implementations: Keras, where the weights come from, pads as TensorFlow does and adds 1e-3
in batch norm; the PyTorch ports (timm legacy_xception) pad evenly and add 1e-5, as here. The 22,910,480 parameters that
Keras states include 54,528 running statistics. Inputs under 64 pixels take the small-image form: no stride in the stem and
in the third block, so that the middle flow works at a quarter of the image's size instead of a sixteenth. Narrowed forms
keep at least 16 channels. Weights are named as in timm.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgecnn.zoo.families.blocks import GlobalAveragePool, initialise, make_divisible

MIN_WIDTH = 0.03125

_MIDDLE_BLOCKS = 8


class SeparableConv2d(nn.Module):
    """Depthwise 3 x 3, then pointwise 1 x 1, nothing between them (section 4.7 of the paper: better so).

    float32 [N, in_channels, H, W] -> [N, out_channels, H, W].
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False)
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, out_channels, H, W]."""
        out: Tensor = self.pointwise(self.conv1(x))
        return out


class Block(nn.Module):
    """ReLU, separable convolution and batch norm for each width in turn, a max pool where it strides, and a shortcut.

    Args:
        in_channels: of the input.
        widths: output channels of the separable convolutions.
        stride: 1 or 2.
        relu_first: False leaves the first ReLU out, for an input that comes from one.
    """

    def __init__(self, in_channels: int, widths: tuple[int, ...], stride: int = 1, relu_first: bool = True) -> None:
        super().__init__()
        rep: list[nn.Module] = []
        channels = in_channels
        for width in widths:
            # The first ReLU must leave the input alone: the shortcut reads it.
            rep += [nn.ReLU(inplace=bool(rep)), SeparableConv2d(channels, width), nn.BatchNorm2d(width)]
            channels = width
        rep = rep if relu_first else rep[1:]
        if stride > 1:
            rep.append(nn.MaxPool2d(3, stride, 1))
        self.rep = nn.Sequential(*rep)
        self.skip: nn.Module = nn.Identity()
        self.skipbn: nn.Module = nn.Identity()
        if stride > 1 or channels != in_channels:
            self.skip = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)
            self.skipbn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, widths[-1], ceil(H / stride), ceil(W / stride)]."""
        out: Tensor = self.rep(x) + self.skipbn(self.skip(x))
        return out


class Xception(nn.Module):
    """float32 [N, in_channels, S, S] -> logits float32 [N, classes].

    Args:
        width: share of the channels of every layer.
        small_image: stem and third block without stride, stem padded.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        dropout: probability before the classifier, in training.
    """

    def __init__(self, *, width: float, small_image: bool, classes: int, in_channels: int, dropout: float) -> None:
        super().__init__()
        stem, stem_out, first, second, middle, last, wide, wider = (
            make_divisible(base * width, least=16) for base in (32, 64, 128, 256, 728, 1024, 1536, 2048)
        )
        stride, padding = (1, 1) if small_image else (2, 0)
        self.conv1 = nn.Conv2d(in_channels, stem, 3, stride=stride, padding=padding, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.conv2 = nn.Conv2d(stem, stem_out, 3, padding=padding, bias=False)
        self.bn2 = nn.BatchNorm2d(stem_out)
        self.relu = nn.ReLU(inplace=True)
        blocks = [
            Block(stem_out, (first, first), 2, relu_first=False),
            Block(first, (second, second), 2),
            Block(second, (middle, middle), stride),
            *(Block(middle, (middle,) * 3) for _ in range(_MIDDLE_BLOCKS)),
            Block(middle, (middle, last), 2),
        ]
        for number, block in enumerate(blocks, start=1):
            self.add_module(f"block{number}", block)
        self.blocks = len(blocks)
        self.conv3 = SeparableConv2d(last, wide)
        self.bn3 = nn.BatchNorm2d(wide)
        self.conv4 = SeparableConv2d(wide, wider)
        self.bn4 = nn.BatchNorm2d(wider)
        self.pool = GlobalAveragePool()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(wider, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        for number in range(1, self.blocks + 1):
            x = self.get_submodule(f"block{number}")(x)
        x = self.relu(self.bn3(self.conv3(x)))
        x = self.relu(self.bn4(self.conv4(x)))
        out: Tensor = self.fc(self.dropout(self.pool(x)))
        return out


def xception(
    *, width: float = 1.0, classes: int = 1000, in_channels: int = 3, input_size: int = 299, dropout: float = 0.0
) -> Xception:
    """Build Xception: 22,855,952 parameters and 8.4 G multiply-adds at width 1.0 and 299 pixels.

    Args:
        width: share of the channels of every layer; made multiples of 8, and at least 16.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image; under 64 the small-image form.
        dropout: in training, before the classifier; the paper has 0.5 on ImageNet.

    Raises:
        ValueError: a width so small that every layer would have the least channels.
    """
    if width < MIN_WIDTH:
        raise ValueError(f"width must be at least {MIN_WIDTH}")
    return Xception(width=width, small_image=input_size < 64, classes=classes, in_channels=in_channels, dropout=dropout)
