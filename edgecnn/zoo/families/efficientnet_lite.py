"""EfficientNet-Lite: compound scaling without squeeze-and-excitation.

Liu, "EfficientNet-Lite", 2020, tensorflow/tpu, after Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional
Neural Networks", 2019, ICML 2019, arXiv 1905.11946. Width, depth and resolution grow together from a searched base. For
integer hardware swish became ReLU6, squeeze-and-excitation was left out, and stem and head are not scaled.

Parameterised: variant (0 to 4), width, input size, classes, input channels.
Differs from the TensorFlow release: padding is symmetric and the epsilon of batch norm 1e-5, as in timm's own
efficientnet_lite0, whose names the weights have; the cost is the same. Files that were converted from TensorFlow (timm
tf_efficientnet_lite*) have the same names but pad at the right and bottom, so they do not give their logits here. The
release's tables count about 5% more multiply-adds than convolutions and the linear layer have. Variants 3 and 4 are 280 and
300 pixels in the release's code; timm evaluates them at 300 and 380. Inputs under 64 pixels take the small-image form: the
stem and the fourth stage (80 channels) have stride 1.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from edgecnn.zoo.families.blocks import DropPath, GlobalAveragePool, initialise, make_divisible

# Table 1 of the EfficientNet paper: kernel, stride, expansion, output channels and blocks of the seven stages.
_BODY = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_SMALL_IMAGE_STRIDES = (1, 2, 2, 1, 1, 2, 1)
# lite/efficientnet_lite_builder.py of the release: width, depth and dropout of each variant.
_VARIANTS = {0: (1.0, 1.0, 0.2), 1: (1.0, 1.1, 0.2), 2: (1.1, 1.2, 0.3), 3: (1.2, 1.4, 0.3), 4: (1.4, 1.8, 0.3)}


def _conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)


class Separable(nn.Module):
    """Depthwise, then linear 1 x 1: the block without expansion."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = _conv(in_channels, in_channels, kernel, stride, in_channels)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.act = nn.ReLU6(inplace=True)
        self.conv_pw = _conv(in_channels, out_channels, 1)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, out_channels, ceil(H / stride), ceil(W / stride)]."""
        out: Tensor = self.bn2(self.conv_pw(self.act(self.bn1(self.conv_dw(x)))))
        return x + out if self.residual else out


class InvertedResidual(nn.Module):
    """Expanding 1 x 1, depthwise, linear 1 x 1."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int, drop_path: float
    ) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.conv_pw = _conv(in_channels, hidden, 1)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv_dw = _conv(hidden, hidden, kernel, stride, hidden)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.conv_pwl = _conv(hidden, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.act = nn.ReLU6(inplace=True)
        self.residual = stride == 1 and in_channels == out_channels
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, out_channels, ceil(H / stride), ceil(W / stride)]."""
        out: Tensor = self.act(self.bn1(self.conv_pw(x)))
        out = self.bn3(self.conv_pwl(self.act(self.bn2(self.conv_dw(out)))))
        return x + self.drop_path(out) if self.residual else out


class EfficientNetLite(nn.Module):
    """float32 [N, in_channels, S, S] -> logits float32 [N, classes].

    Args:
        width: share of the channels of the body.
        depth: factor of the blocks of every stage but the first and the last, rounded up.
        small_image: fewer downsamplings, for inputs under 64 pixels.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        dropout: before the classifier, in training.
        drop_path: of the last block, in training; it rises linearly from 0 in the first.
    """

    def __init__(
        self,
        *,
        width: float,
        depth: float,
        small_image: bool,
        classes: int,
        in_channels: int,
        dropout: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.conv_stem = _conv(in_channels, 32, 3, stride=1 if small_image else 2)
        self.bn1 = nn.BatchNorm2d(32)
        self.act = nn.ReLU6(inplace=True)
        ends = (0, len(_BODY) - 1)
        counts = [row[4] if stage in ends else math.ceil(depth * row[4]) for stage, row in enumerate(_BODY)]
        stages, channels, done = [], 32, 0
        for stage, (kernel, stride, expansion, base, _) in enumerate(_BODY):
            out_channels, blocks = make_divisible(base * width), []
            for index in range(counts[stage]):
                step = (_SMALL_IMAGE_STRIDES[stage] if small_image else stride) if index == 0 else 1
                block: nn.Module
                if expansion == 1:
                    block = Separable(channels, out_channels, kernel, step)
                else:
                    dropped = drop_path * done / sum(counts)
                    block = InvertedResidual(channels, out_channels, kernel, step, expansion, dropped)
                blocks.append(block)
                channels, done = out_channels, done + 1
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = _conv(channels, 1280, 1)
        self.bn2 = nn.BatchNorm2d(1280)
        self.pool = GlobalAveragePool()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(1280, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.blocks(self.act(self.bn1(self.conv_stem(x))))
        x = self.act(self.bn2(self.conv_head(x)))
        out: Tensor = self.classifier(self.dropout(self.pool(x)))
        return out


def efficientnet_lite(
    *,
    variant: int,
    width: float = 1.0,
    classes: int = 1000,
    in_channels: int = 3,
    input_size: int = 224,
    dropout: float | None = None,
    drop_path: float = 0.0,
) -> EfficientNetLite:
    """Build EfficientNet-Lite: 4,652,008 parameters and 385.2 M multiply-adds for variant 0 at 224 pixels.

    Args:
        variant: 0 to 4.
        width: share of the variant's own channels in the body; stem and head keep theirs. Published is 1.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image; under 64 the small-image form is built.
        dropout: share of the features that training drops; None is the variant's own, 0.2 or 0.3.
        drop_path: share of images for which training skips the last block, less in blocks before it; the release has 0.2.

    Raises:
        ValueError: a variant that there is not, or a width that is not above 0.
    """
    if variant not in _VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(map(str, _VARIANTS))}")
    if width <= 0:
        raise ValueError("width must be above 0; published is 1")
    wider, deeper, dropped = _VARIANTS[variant]
    return EfficientNetLite(
        width=wider * width,
        depth=deeper,
        small_image=input_size < 64,
        classes=classes,
        in_channels=in_channels,
        dropout=dropped if dropout is None else dropout,
        drop_path=drop_path,
    )
