"""MobileNetV3: inverted residuals found by search, with squeeze-and-excitation and h-swish.

Howard et al., "Searching for MobileNetV3", 2019, ICCV 2019, arXiv 1905.02244.
A platform-aware search chose kernel, expansion and squeeze-and-excitation of every block; the costly ends were then cut by
hand (a stem of 16, and the last 1 x 1 behind the global pooling), and sigmoid and swish replaced by piecewise linear ones.

Parameterised: size (large, small), width, minimalistic (no squeeze-and-excitation, no h-swish, no 5 x 5), input size,
classes, input channels.
Differs from the TensorFlow release: padding is symmetric; weights, and the rounding of the squeezed channels, are as in
torchvision. The release's tables give 66 M multiply-adds and 2.9 M parameters for small, numbers of the first version of
the paper; the final form has 57 M and 2.5 M (the minimalistic small 52 M instead of the 65 M there). At other widths than 1
the release is followed, and not torchvision: a block expands its scaled input by the same factor, and the last layer keeps
its channels below width 1. Inputs under 64 pixels take the small-image form: the stem and the last but one downsampling
have stride 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor, nn

from edgecnn.zoo.families.blocks import (
    GlobalAveragePool,
    SqueezeExcite,
    conv_bn_layers,
    initialise,
    make_divisible,
)


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """A row of tables 1 and 2 of the paper, in the order of its columns; channels at width 1."""

    kernel: int
    expanded: int
    channels: int
    squeeze: bool
    hard_swish: bool
    stride: int


_LARGE = (
    Bottleneck(3, 16, 16, False, False, 1),
    Bottleneck(3, 64, 24, False, False, 2),
    Bottleneck(3, 72, 24, False, False, 1),
    Bottleneck(5, 72, 40, True, False, 2),
    Bottleneck(5, 120, 40, True, False, 1),
    Bottleneck(5, 120, 40, True, False, 1),
    Bottleneck(3, 240, 80, False, True, 2),
    Bottleneck(3, 200, 80, False, True, 1),
    Bottleneck(3, 184, 80, False, True, 1),
    Bottleneck(3, 184, 80, False, True, 1),
    Bottleneck(3, 480, 112, True, True, 1),
    Bottleneck(3, 672, 112, True, True, 1),
    Bottleneck(5, 672, 160, True, True, 2),
    Bottleneck(5, 960, 160, True, True, 1),
    Bottleneck(5, 960, 160, True, True, 1),
)
_SMALL = (
    Bottleneck(3, 16, 16, True, False, 2),
    Bottleneck(3, 72, 24, False, False, 2),
    Bottleneck(3, 88, 24, False, False, 1),
    Bottleneck(5, 96, 40, True, True, 2),
    Bottleneck(5, 240, 40, True, True, 1),
    Bottleneck(5, 240, 40, True, True, 1),
    Bottleneck(5, 120, 48, True, True, 1),
    Bottleneck(5, 144, 48, True, True, 1),
    Bottleneck(5, 288, 96, True, True, 2),
    Bottleneck(5, 576, 96, True, True, 1),
    Bottleneck(5, 576, 96, True, True, 1),
)
# Rows of the body, and channels of the last layer but the classifier.
_SIZES = {"large": (_LARGE, 1280), "small": (_SMALL, 1024)}
_STEM = 16


def _conv(
    in_channels: int,
    out_channels: int,
    kernel: int,
    activation: type[nn.Module] | None,
    stride: int = 1,
    groups: int = 1,
) -> nn.Sequential:
    """Convolution, batch norm (epsilon and momentum of the paper's release) and activation at indices 0, 1 and 2."""
    layers = conv_bn_layers(
        in_channels,
        out_channels,
        kernel,
        stride=stride,
        groups=groups,
        activation=activation,
        eps=0.001,
        momentum=0.01,
    )
    return nn.Sequential(*layers.values())


class InvertedResidual(nn.Module):
    """Expanding 1 x 1, depthwise, squeeze-and-excitation, linear 1 x 1 (figure 4 of the paper).

    Args:
        in_channels: of the input.
        row: the block's row, its channels already scaled.
    """

    def __init__(self, in_channels: int, row: Bottleneck) -> None:
        super().__init__()
        activation: type[nn.Module] = nn.Hardswish if row.hard_swish else nn.ReLU
        layers: list[nn.Module] = []
        if row.expanded != in_channels:
            layers.append(_conv(in_channels, row.expanded, 1, activation))
        layers.append(_conv(row.expanded, row.expanded, row.kernel, activation, row.stride, groups=row.expanded))
        if row.squeeze:
            layers.append(SqueezeExcite(row.expanded, make_divisible(row.expanded // 4), nn.Hardsigmoid()))
        self.block = nn.Sequential(*layers, _conv(row.expanded, row.channels, 1, None))
        self.residual = row.stride == 1 and in_channels == row.channels

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, row.channels, ceil(H / stride), ceil(W / stride)]."""
        out: Tensor = self.block(x)
        return x + out if self.residual else out


class MobileNetV3(nn.Module):
    """float32 [N, in_channels, S, S] -> logits float32 [N, classes].

    Args:
        rows: the body, its channels already scaled.
        stem: channels of the first convolution.
        last: features that the classifier sees.
        hard_swish: activation of the stem, the last convolution and the last layer; ReLU without.
        stem_stride: 2, or 1 for small images.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        dropout: before the classifier, in training.
    """

    def __init__(
        self,
        rows: tuple[Bottleneck, ...],
        *,
        stem: int,
        last: int,
        hard_swish: bool,
        stem_stride: int,
        classes: int,
        in_channels: int,
        dropout: float,
    ) -> None:
        super().__init__()
        activation: type[nn.Module] = nn.Hardswish if hard_swish else nn.ReLU
        layers: list[nn.Module] = [_conv(in_channels, stem, 3, activation, stem_stride)]
        channels = stem
        for row in rows:
            layers.append(InvertedResidual(channels, row))
            channels = row.channels
        self.features = nn.Sequential(*layers, _conv(channels, 6 * channels, 1, activation))
        self.pool = GlobalAveragePool()
        self.classifier = nn.Sequential(
            nn.Linear(6 * channels, last), activation(inplace=True), nn.Dropout(dropout), nn.Linear(last, classes)
        )
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        out: Tensor = self.classifier(self.pool(self.features(x)))
        return out


def mobilenet_v3(
    *,
    size: str,
    width: float = 1.0,
    minimalistic: bool = False,
    classes: int = 1000,
    in_channels: int = 3,
    input_size: int = 224,
    dropout: float = 0.2,
) -> MobileNetV3:
    """Build MobileNetV3: 5,483,032 parameters and 216.6 M multiply-adds for large at width 1 and 224 pixels.

    Args:
        size: "large" or "small", tables 1 and 2 of the paper.
        width: share of the channels of every layer, rounded to multiples of 8; published are 0.75 and 1.
        minimalistic: 3 x 3 kernels, ReLU and no squeeze-and-excitation, for hardware that lacks the others.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image; under 64 the small-image form is built.
        dropout: share of the features that training drops before the classifier.

    Raises:
        ValueError: another size, or a width that is not above 0.
    """
    if size not in _SIZES:
        raise ValueError(f"size must be {' or '.join(_SIZES)}")
    if width <= 0:
        raise ValueError("width must be above 0; published are 0.75 and 1")
    body, last = _SIZES[size]
    rows = _scaled(body, width, minimalistic)
    return MobileNetV3(
        _keeping_resolution(rows) if input_size < 64 else rows,
        stem=make_divisible(_STEM * width),
        last=make_divisible(last * max(1.0, width)),
        hard_swish=not minimalistic,
        stem_stride=1 if input_size < 64 else 2,
        classes=classes,
        in_channels=in_channels,
        dropout=dropout,
    )


def _scaled(rows: tuple[Bottleneck, ...], width: float, minimalistic: bool) -> tuple[Bottleneck, ...]:
    """Return the rows at a width: a block expands its own scaled input by the factor that it has at width 1."""
    scaled, before = [], _STEM
    for row in rows:
        expanded = make_divisible(make_divisible(before * width) * row.expanded / before)
        scaled.append(
            Bottleneck(
                3 if minimalistic else row.kernel,
                expanded,
                make_divisible(row.channels * width),
                row.squeeze and not minimalistic,
                row.hard_swish and not minimalistic,
                row.stride,
            )
        )
        before = row.channels
    return tuple(scaled)


def _keeping_resolution(rows: tuple[Bottleneck, ...]) -> tuple[Bottleneck, ...]:
    """Return the rows with stride 1 where the last but one downsampling was."""
    kept = [index for index, row in enumerate(rows) if row.stride == 2][-2]
    return tuple(replace(row, stride=1) if index == kept else row for index, row in enumerate(rows))
