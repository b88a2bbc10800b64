"""SqueezeNet: fire modules.

Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size", 2016, arXiv 1602.07360.
A fire module squeezes the channels with 1 x 1 convolutions before it expands them with a mix of 1 x 1 and 3 x 3 ones, and
downsampling comes late; there is no fully connected layer. Form 1.0 is the paper's; form 1.1 (the authors' repository,
forresti/SqueezeNet) has a 3 x 3 stem and earlier pooling: 2.4 times less computation at the same accuracy.

Parameterised: classes, input channels, input size.
Differs from the Caffe release: nothing in the graph; weights are named as in torchvision. Deep Compression (Han et al. 2015)
of form 1.0 keeps its graph: 0.66 MB with 8 bits, 0.47 MB with 6. Inputs under 64 pixels take the small-image stem: stride 1
instead of 2, with padding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgecnn.zoo.families.blocks import GlobalAveragePool


class Fire(nn.Module):
    """Squeeze 1 x 1, then expand 1 x 1 beside expand 3 x 3, concatenated (figure 1 of the paper)."""

    def __init__(self, in_channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(in_channels, squeeze, 1)
        self.squeeze_activation = nn.ReLU(inplace=True)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand1x1_activation = nn.ReLU(inplace=True)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)
        self.expand3x3_activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, 2 * expand, H, W]."""
        x = self.squeeze_activation(self.squeeze(x))
        return torch.cat(
            [self.expand1x1_activation(self.expand1x1(x)), self.expand3x3_activation(self.expand3x3(x))], dim=1
        )


class SqueezeNet(nn.Module):
    """float32 [N, in_channels, S, S] -> logits float32 [N, classes]."""

    def __init__(self, features: nn.Sequential, *, classes: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = features
        final = nn.Conv2d(512, classes, 1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), final, nn.ReLU(inplace=True), GlobalAveragePool())
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                if layer is final:
                    nn.init.normal_(layer.weight, 0.0, 0.01)
                else:
                    nn.init.kaiming_uniform_(layer.weight)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (not negative: the paper's last ReLU stays)."""
        out: Tensor = self.classifier(self.features(x))
        return out


def _stem(in_channels: int, channels: int, kernel: int, input_size: int) -> list[nn.Module]:
    if input_size < 17:
        raise ValueError("squeezenet needs images of at least 17 pixels")
    small = input_size < 64
    padding = kernel // 2 if small else 0
    conv = nn.Conv2d(in_channels, channels, kernel, stride=1 if small else 2, padding=padding)
    return [conv, nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, ceil_mode=True)]


def squeezenet1_0(*, classes: int = 1000, in_channels: int = 3, input_size: int = 224) -> SqueezeNet:
    """Build SqueezeNet 1.0, the paper's: 1,248,424 parameters and 818.9 M multiply-adds with 1000 classes at 224 pixels.

    Raises:
        ValueError: an input too small for the three poolings.
    """
    features = nn.Sequential(
        *_stem(in_channels, 96, 7, input_size),
        Fire(96, 16, 64),
        Fire(128, 16, 64),
        Fire(128, 32, 128),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(256, 32, 128),
        Fire(256, 48, 192),
        Fire(384, 48, 192),
        Fire(384, 64, 256),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(512, 64, 256),
    )
    return SqueezeNet(features, classes=classes)


def squeezenet1_1(*, classes: int = 1000, in_channels: int = 3, input_size: int = 224) -> SqueezeNet:
    """Build SqueezeNet 1.1: 1,235,496 parameters and 349.2 M multiply-adds with 1000 classes at 224 pixels.

    Raises:
        ValueError: an input too small for the three poolings.
    """
    features = nn.Sequential(
        *_stem(in_channels, 64, 3, input_size),
        Fire(64, 16, 64),
        Fire(128, 16, 64),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(128, 32, 128),
        Fire(256, 32, 128),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(256, 48, 192),
        Fire(384, 48, 192),
        Fire(384, 64, 256),
        Fire(512, 64, 256),
    )
    return SqueezeNet(features, classes=classes)
