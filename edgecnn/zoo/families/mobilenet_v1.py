"""MobileNetV1: depthwise separable convolutions.

Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", 2017, arXiv 1704.04861.
A convolution is split into a depthwise 3 x 3 and a pointwise 1 x 1, which costs 8 to 9 times less than the full 3 x 3. Two
numbers trade accuracy for cost over the whole network: the width multiplier (alpha) and the resolution multiplier (rho,
given here as the input size).

Parameterised: width, activation (ReLU as in the paper, or clipped at 6 as in the TensorFlow release and timm), input size,
classes, input channels.
Differs from the TensorFlow release: ReLU is the default, padding is symmetric, and the classifier is a linear layer
instead of the equal 1 x 1 convolution. Inputs under 64 pixels take the small-image stem,
stride 1 instead of 2.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgecnn.zoo.families.blocks import GlobalAveragePool, conv_bn, initialise

# Table 1 of the paper: output channels and stride of the thirteen depthwise separable layers.
_BODY = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "relu6": nn.ReLU6}


class DepthwiseSeparable(nn.Module):
    """Depthwise 3 x 3, then pointwise 1 x 1, each with batch norm and ReLU (figure 3 of the paper)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.depthwise = conv_bn(in_channels, in_channels, 3, stride=stride, groups=in_channels, activation=activation)
        self.pointwise = conv_bn(in_channels, out_channels, 1, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, out_channels, ceil(H / stride), ceil(W / stride)]."""
        out: Tensor = self.pointwise(self.depthwise(x))
        return out


class MobileNetV1(nn.Module):
    """float32 [N, in_channels, S, S] -> logits float32 [N, classes]."""

    def __init__(
        self, *, width: float, activation: type[nn.Module], classes: int, in_channels: int, stem_stride: int
    ) -> None:
        super().__init__()
        channels = int(32 * width)
        self.stem = conv_bn(in_channels, channels, 3, stride=stem_stride, activation=activation)
        blocks = []
        for base, stride in _BODY:
            out_channels = int(base * width)
            blocks.append(DepthwiseSeparable(channels, out_channels, stride, activation))
            channels = out_channels
        self.blocks = nn.Sequential(*blocks)
        self.pool = GlobalAveragePool()
        self.classifier = nn.Linear(channels, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        out: Tensor = self.classifier(self.pool(self.blocks(self.stem(x))))
        return out


def mobilenet_v1(
    *,
    width: float = 1.0,
    activation: str = "relu",
    classes: int = 1000,
    in_channels: int = 3,
    input_size: int = 224,
) -> MobileNetV1:
    """Build MobileNetV1: 4,231,976 parameters and 568.7 M multiply-adds at width 1.0 and 224 pixels.

    Args:
        width: the paper's alpha, above 0; channels are rounded down. The paper uses 0.25, 0.5, 0.75 and 1.
        activation: "relu" as in the paper, or "relu6" as in the TensorFlow release and timm's mobilenetv1_100.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image; under 64 the stem keeps the resolution.

    Raises:
        ValueError: a width that leaves the stem without a channel, or an activation other than "relu" and "relu6".
    """
    if int(32 * width) < 1:
        raise ValueError("width must be at least 0.03125, which leaves one channel in the stem")
    if activation not in _ACTIVATIONS:
        raise ValueError(f"activation must be {' or '.join(_ACTIVATIONS)}")
    stem_stride = 1 if input_size < 64 else 2
    return MobileNetV1(
        width=width,
        activation=_ACTIVATIONS[activation],
        classes=classes,
        in_channels=in_channels,
        stem_stride=stem_stride,
    )
