"""VGG: depth from small filters.

Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014, arXiv 1409.1556 (ICLR 2015).
Stacks of 3 x 3 convolutions take the place of large filters: three of them see 7 x 7 pixels with 27 C^2 instead of 49 C^2
weights, and two more nonlinearities. Five groups of them, each before a max pooling, feed three fully connected layers, which
hold most of the weights.

Parameterised: configuration (A to E of table 1), norm (none, local response, batch), width, classes, input channels, input
size.
Differs between the well-known implementations: batch norm came after the paper (torchvision and others); the local response
norm of A-LRN has the numbers of Krizhevsky et al. 2012, which the paper refers to. The paper evaluates larger images densely;
here, as in torchvision, the last map is averaged to 7 x 7, which at 224 pixels it is. A VGG has no downsampling stem to take
away: under 64 pixels the five poolings leave a single position, and the head that reads it is as wide as the last convolution
(512) instead of eight times as wide (4096), as is usual for CIFAR. Weights are named as in torchvision.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgecnn.zoo.families.blocks import LocalResponseNorm, initialise, make_divisible

# Table 1 of the paper: convolutions in each of the five groups, and the kernel of a group's third one.
_DEPTHS = {"A": (1, 1, 2, 2, 2), "B": (2, 2, 2, 2, 2), "C": (2, 2, 3, 3, 3), "D": (2, 2, 3, 3, 3), "E": (2, 2, 4, 4, 4)}
_THIRD_KERNEL = {"C": 1}
_CHANNELS = (64, 128, 256, 512, 512)
_HIDDEN = 4096
_MAP = 7
_LEAST_WIDTH = 0.125


class AveragePoolTo(nn.AdaptiveAvgPool2d):
    """Means of `size` x `size` windows that cover a map of side x side values: [N, C, side, side] -> [N, C, size, size].

    The windows of a side that is no multiple of `size` are unequal and overlap. ONNX has no such pooling: an exported graph
    has two products with a constant matrix.
    """

    def __init__(self, size: int, side: int) -> None:
        super().__init__(size)
        shares = F.adaptive_avg_pool1d(torch.eye(side)[None], size)[0]
        self.register_buffer("shares", shares, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the means."""
        if torch.onnx.is_in_onnx_export():
            shares = self.get_buffer("shares")
            return torch.matmul(shares.T, torch.matmul(x, shares))
        return super().forward(x)


class VGG(nn.Module):
    """float32 [N, in_channels, S, S] -> logits float32 [N, classes].

    Args:
        config: letter of the column in table 1.
        norm: "none", "lrn" (after the first convolution) or "bn" (after every convolution).
        width: share of the channels of every layer.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image, from 32 on.
        dropout: share of the hidden values that training drops.
    """

    def __init__(
        self, *, config: str, norm: str, width: float, classes: int, in_channels: int, input_size: int, dropout: float
    ) -> None:
        super().__init__()
        channels = tuple(make_divisible(base * width) for base in _CHANNELS)
        self.features = nn.Sequential(*_features(config, norm, channels, in_channels))
        last, side = channels[-1], input_size // 2 ** len(channels)
        small = input_size < 64
        hidden = last if small else make_divisible(_HIDDEN * width)
        self.avgpool = nn.Identity() if small or side == _MAP else AveragePoolTo(_MAP, side)
        self.flatten = nn.Flatten(1)
        self.classifier = nn.Sequential(
            nn.Linear(last * (1 if small else _MAP * _MAP), hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )
        initialise(self)
        for layer in list(self.classifier)[:-1]:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        out: Tensor = self.classifier(self.flatten(self.avgpool(self.features(x))))
        return out


def _features(config: str, norm: str, channels: tuple[int, ...], in_channels: int) -> list[nn.Module]:
    """Return the convolutions and poolings; the size is halved, rounded down, once per group."""
    layers: list[nn.Module] = []
    for depth, out_channels in zip(_DEPTHS[config], channels, strict=True):
        for index in range(depth):
            kernel = _THIRD_KERNEL.get(config, 3) if index == 2 else 3
            layers.append(nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2))
            layers += [nn.BatchNorm2d(out_channels)] if norm == "bn" else []
            layers.append(nn.ReLU(inplace=True))
            if norm == "lrn" and len(layers) == 2:
                layers.append(LocalResponseNorm(size=5, alpha=5 * 1e-4, beta=0.75, k=2.0))
            in_channels = out_channels
        layers.append(nn.MaxPool2d(2))
    return layers


def vgg(
    *,
    config: str,
    norm: str = "none",
    width: float = 1.0,
    classes: int = 1000,
    in_channels: int = 3,
    input_size: int = 224,
    dropout: float = 0.5,
) -> VGG:
    """Build a VGG: 138,357,544 parameters and 15.47 G multiply-adds in configuration D at 224 pixels.

    Args:
        config: "A" (11 layers with weights), "B" (13), "C" (16, the third of a group 1 x 1), "D" (16) or "E" (19).
        norm: "none", "lrn" or "bn".
        width: share of the channels of every layer, hidden layers of the head included; rounded to multiples of 8.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image; under 64 the head is the small one.
        dropout: share of the hidden values of the head that training drops.

    Raises:
        ValueError: a configuration or norm that there is not, a width under 0.125, an input under 32 pixels.
    """
    if config not in _DEPTHS:
        raise ValueError(f"config must be one of {', '.join(_DEPTHS)}")
    if norm not in ("none", "lrn", "bn"):
        raise ValueError('norm must be "none", "lrn" or "bn"')
    if width < _LEAST_WIDTH:
        raise ValueError(f"width must be at least {_LEAST_WIDTH}, which leaves 8 of the first 64 channels")
    if input_size < 32:
        raise ValueError("a VGG needs images of at least 32 pixels: it halves them five times")
    return VGG(
        config=config,
        norm=norm,
        width=width,
        classes=classes,
        in_channels=in_channels,
        input_size=input_size,
        dropout=dropout,
    )
