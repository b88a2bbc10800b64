"""MobileNetV2: inverted residuals with linear bottlenecks.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018, CVPR 2018, arXiv 1801.04381.
A block expands a thin tensor sixfold, filters it with a depthwise 3 x 3 and projects it back to a thin one without a
nonlinearity, which would lose information there; the shortcut joins the thin ends.

Parameterised: width, input size, classes, input channels.
Differs from the TensorFlow release: padding is symmetric, and the epsilon of batch norm is 1e-5; weights are named as in
torchvision. Inputs under 64 pixels take the small-image form: the stem and the fourth stage (64 channels) have stride 1
instead of 2, so that 32 pixels end at 4 x 4. The last convolution keeps its 1280 channels at widths under 1, as in the paper.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgecnn.zoo.families.blocks import GlobalAveragePool, conv_bn_layers, initialise, make_divisible

# Table 2 of the paper: expansion, output channels, blocks and stride of the seven stages.
_BODY = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_SMALL_IMAGE_STRIDES = (1, 2, 2, 1, 1, 2, 1)


def conv_bn_relu6(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution without bias, batch norm and ReLU6, at the indices 0, 1 and 2; stride 1 keeps the size."""
    layers = conv_bn_layers(in_channels, out_channels, kernel, stride=stride, groups=groups, activation=nn.ReLU6)
    return nn.Sequential(*layers.values())


class InvertedResidual(nn.Module):
    """1 x 1 to `expansion` times the channels, depthwise 3 x 3, linear 1 x 1 (figure 4 of the paper)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        layers = [conv_bn_relu6(in_channels, hidden, 1)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *layers,
            conv_bn_relu6(hidden, hidden, 3, stride=stride, groups=hidden),
            nn.Conv2d(hidden, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, out_channels, ceil(H / stride), ceil(W / stride)]."""
        out: Tensor = self.conv(x)
        return x + out if self.residual else out


class MobileNetV2(nn.Module):
    """float32 [N, in_channels, S, S] -> logits float32 [N, classes]."""

    def __init__(self, *, width: float, small_image: bool, classes: int, in_channels: int, dropout: float) -> None:
        super().__init__()
        channels = make_divisible(32 * width)
        layers: list[nn.Module] = [conv_bn_relu6(in_channels, channels, 3, stride=1 if small_image else 2)]
        for stage, (expansion, base, count, stride) in enumerate(_BODY):
            out_channels = make_divisible(base * width)
            first = _SMALL_IMAGE_STRIDES[stage] if small_image else stride
            for index in range(count):
                layers.append(InvertedResidual(channels, out_channels, first if index == 0 else 1, expansion))
                channels = out_channels
        last = make_divisible(1280 * max(1.0, width))
        self.features = nn.Sequential(*layers, conv_bn_relu6(channels, last, 1))
        self.pool = GlobalAveragePool()
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, classes))
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        out: Tensor = self.classifier(self.pool(self.features(x)))
        return out


def mobilenet_v2(
    *,
    width: float = 1.0,
    classes: int = 1000,
    in_channels: int = 3,
    input_size: int = 224,
    dropout: float = 0.2,
) -> MobileNetV2:
    """Build MobileNetV2: 3,504,872 parameters and 300.8 M multiply-adds at width 1.0 and 224 pixels.

    Args:
        width: share of the channels of every layer, rounded to multiples of 8; the paper uses 0.35 to 1.4.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image; under 64 the small-image form is built.
        dropout: share of the features that training drops before the classifier.

    Raises:
        ValueError: a width that is not above 0.
    """
    if width <= 0:
        raise ValueError("width must be above 0; the paper uses 0.35, 0.5, 0.75, 1, 1.3 and 1.4")
    return MobileNetV2(
        width=width, small_image=input_size < 64, classes=classes, in_channels=in_channels, dropout=dropout
    )
