"""AlexNet: the network that started deep vision.

Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", NIPS 2012; the single
tower: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014, arXiv 1404.5997.
Five convolutions with ReLU and overlapping max pooling feed three fully connected layers, which hold 96% of the
parameters. The original ran on two GPUs: its second, fourth and fifth convolution see half of the channels each.

Parameterised: width (single tower), classes, input channels, input size.
Differs between the well-known implementations: `alexnet` is the single tower as torchvision has it (64-192-384-256-256
channels, no response normalisation) and names its weights; the 2014 paper has 384 channels in the fourth convolution.
`alexnet_grouped` is the network of 2012 with the paper's constants of normalisation (the Caffe release has k = 1 and a
fifth of alpha), at the 227 pixels at which the paper's feature sizes come out; it writes 224. `alexnet_ungrouped` has the
same widths without groups and, as the re-implementations that quote 62.4 M parameters, without normalisation. Surveys
that state 46 M parameters mean this form at 224 pixels, without the last layer. Both name their layers as Caffe does.
`bn_alexnet` is what Canziani et al. 2016 (arXiv 1605.07678) measured and do not describe. Our choice is the form of
soumith/imagenet-multiGPU.torch (alexnetowtbn), whose published accuracy is that of their chart: batch norm behind all
layers but the last, biases kept.
The first fully connected layer reads the map as it is; torchvision averages maps that are not 6 x 6 to 6 x 6, which
224 pixels do not need. Inputs under 64 pixels (the 2012 forms: under 67, where no map would be left) take the
small-image stem: 5 x 5 and stride 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgecnn.zoo.families.blocks import LocalResponseNorm, make_divisible

_HIDDEN = 4096


class AlexNet(nn.Module):
    """float32 [N, in_channels, S, S] -> logits float32 [N, classes].

    Args:
        features: image -> map float32 [N, C, s, s].
        classifier: vector float32 [N, C * s * s] -> logits.
    """

    def __init__(self, features: nn.Sequential, classifier: nn.Sequential) -> None:
        super().__init__()
        self.features = features
        self.classifier = classifier
        initialise_plain(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        out: Tensor = self.classifier(torch.flatten(self.features(x), 1))
        return out


def initialise_plain(module: nn.Module) -> None:
    """Set fresh weights in place for networks without batch norm: He et al. 2015 (eq. 10, fan in), biases zero.

    The paper's N(0, 0.01) with biases of one needs its learning rates, which were lowered by hand.
    """
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)


def fully_connected(inputs: int, hidden: int, classes: int, *, dropout: float) -> nn.Sequential:
    """Return fc6, fc7 and fc8, float32 [N, inputs] -> logits [N, classes], with the Caffe release's names and places."""
    layers = nn.Sequential()
    for number, width in ((6, inputs), (7, hidden)):
        layers.add_module(f"fc{number}", nn.Linear(width, hidden))
        layers.add_module(f"relu{number}", nn.ReLU(inplace=True))
        layers.add_module(f"drop{number}", nn.Dropout(dropout))
    layers.add_module("fc8", nn.Linear(hidden, classes))
    return layers


def paper_norm() -> LocalResponseNorm:
    """Return section 3.3's normalisation: k = 2, n = 5, alpha = 1e-4 (there not divided by n), beta = 0.75."""
    return LocalResponseNorm(size=5, alpha=5e-4, beta=0.75, k=2.0)


def pooled(size: int, times: int, padding: int = 0) -> int:
    """Return the size of a map after poolings of 3 x 3 with stride 2, 0 when nothing is left."""
    for _ in range(times):
        size = (size + 2 * padding - 3) // 2 + 1
    return max(size, 0)


def scaled(channels: int, width: float) -> int:
    """Return channels times width, a multiple of 8 unless the width is 1.

    Raises:
        ValueError: a width of 0 or less.
    """
    if width <= 0:
        raise ValueError("width must be above 0")
    return channels if width == 1 else make_divisible(channels * width)


def alexnet(
    *,
    width: float = 1.0,
    batch_norm: bool = False,
    classes: int = 1000,
    in_channels: int = 3,
    input_size: int = 224,
    dropout: float = 0.5,
) -> AlexNet:
    """Build the single tower: 61,100,840 parameters and 714.2 M multiply-adds at width 1 and 224 pixels.

    Args:
        width: share of the channels of every layer, the fully connected ones included.
        batch_norm: behind every convolution and the first two fully connected layers.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image, pixels.
        dropout: share of the inputs of the first two fully connected layers that training drops.

    Raises:
        ValueError: a width of 0 or less, or an input too small for the three poolings.
    """
    if input_size < 15:
        raise ValueError("the single tower of alexnet needs images of at least 15 pixels")
    small = input_size < 64
    stem = (5, 1, 2) if small else (11, 4, 2)
    side = pooled(input_size if small else (input_size + 4 - 11) // 4 + 1, 3)
    first, second, third, fourth, fifth = (scaled(channels, width) for channels in (64, 192, 384, 256, 256))
    features = nn.Sequential(
        *_conv(in_channels, first, *stem, batch_norm),
        nn.MaxPool2d(3, 2),
        *_conv(first, second, 5, 1, 2, batch_norm),
        nn.MaxPool2d(3, 2),
        *_conv(second, third, 3, 1, 1, batch_norm),
        *_conv(third, fourth, 3, 1, 1, batch_norm),
        *_conv(fourth, fifth, 3, 1, 1, batch_norm),
        nn.MaxPool2d(3, 2),
    )
    hidden = scaled(_HIDDEN, width)
    classifier = nn.Sequential(
        nn.Dropout(dropout),
        *_linear(fifth * side * side, hidden, batch_norm),
        nn.Dropout(dropout),
        *_linear(hidden, hidden, batch_norm),
        nn.Linear(hidden, classes),
    )
    return AlexNet(features, classifier)


def _conv(inputs: int, outputs: int, kernel: int, stride: int, padding: int, batch_norm: bool) -> list[nn.Module]:
    norm: list[nn.Module] = [nn.BatchNorm2d(outputs, eps=1e-3)] if batch_norm else []
    return [nn.Conv2d(inputs, outputs, kernel, stride, padding), *norm, nn.ReLU(inplace=True)]


def _linear(inputs: int, outputs: int, batch_norm: bool) -> list[nn.Module]:
    norm: list[nn.Module] = [nn.BatchNorm1d(outputs, eps=1e-3)] if batch_norm else []
    return [nn.Linear(inputs, outputs), *norm, nn.ReLU(inplace=True)]


def alexnet_2012(
    *,
    groups: int = 2,
    normalised: bool = True,
    classes: int = 1000,
    in_channels: int = 3,
    input_size: int = 227,
    dropout: float = 0.5,
) -> AlexNet:
    """Build the network of 2012: 60,965,224 parameters and 724.4 M multiply-adds with two groups at 227 pixels.

    Args:
        groups: of the second, fourth and fifth convolution, one per GPU.
        normalised: response normalisation behind the first two convolutions.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image, pixels.
        dropout: share of the outputs of the first two fully connected layers that training drops.

    Raises:
        ValueError: groups that do not divide the channels, or an input too small for the three poolings.
    """
    if groups < 1 or 96 % groups or 256 % groups:
        raise ValueError("groups must divide the 96, 256 and 384 channels: 1, 2, 4, 8, 16 or 32")
    if input_size < 15:
        raise ValueError("alexnet needs images of at least 15 pixels")
    small = input_size < 67
    features = nn.Sequential()
    features.add_module("conv1", nn.Conv2d(in_channels, 96, *((5, 1, 2) if small else (11, 4))))
    channels = 96
    for number, outputs, kernel, parts in (
        (2, 256, 5, groups),
        (3, 384, 3, 1),
        (4, 384, 3, groups),
        (5, 256, 3, groups),
    ):
        _activate(features, number - 1, normalised)
        conv = nn.Conv2d(channels, outputs, kernel, padding=kernel // 2, groups=parts)
        features.add_module(f"conv{number}", conv)
        channels = outputs
    _activate(features, 5, normalised)
    side = pooled(input_size if small else (input_size - 11) // 4 + 1, 3)
    return AlexNet(features, fully_connected(256 * side * side, _HIDDEN, classes, dropout=dropout))


def _activate(features: nn.Sequential, number: int, normalised: bool) -> None:
    """Append what follows a convolution: ReLU, normalisation behind the first two, pooling behind 1, 2 and 5."""
    features.add_module(f"relu{number}", nn.ReLU(inplace=True))
    if normalised and number in (1, 2):
        features.add_module(f"norm{number}", paper_norm())
    if number in (1, 2, 5):
        features.add_module(f"pool{number}", nn.MaxPool2d(3, 2))
