"""ZFNet: AlexNet, corrected by looking at what its layers see.

Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", 2013, arXiv 1311.2901 (ECCV 2014).
A deconvolutional network shows which pixels a feature answers to; it revealed dead and aliased filters in AlexNet's
11 x 11 stem with stride 4. A 7 x 7 stem with stride 2 keeps more of the image, and the groups are gone.

Parameterised: width, classes, input channels, input size.
Differs between the well-known implementations: this is the network of the paper's figure 3, 96-256-384-384-256 channels;
surveys often give its last three convolutions 512-1024-512 channels, which is a wider variant in the paper's table 2.
The paper normalises contrast across the maps behind the first two poolings and gives no constants: AlexNet's are taken.
Re-implementations mostly leave that out, and differ in the padding that makes the paper's sizes 110, 55, 26, 13 and 6.
Inputs under 64 pixels take the small-image stem: 3 x 3, and stride 1 in the first two convolutions.
"""

from __future__ import annotations

from torch import nn

from edgecnn.zoo.families.alexnet import AlexNet, fully_connected, paper_norm, pooled, scaled


def zfnet(
    *,
    width: float = 1.0,
    classes: int = 1000,
    in_channels: int = 3,
    input_size: int = 224,
    dropout: float = 0.5,
) -> AlexNet:
    """Build ZFNet: 62,357,608 parameters and 1168.0 M multiply-adds at width 1 and 224 pixels.

    Args:
        width: share of the channels of every layer, the fully connected ones included.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image, pixels.
        dropout: share of the outputs of the first two fully connected layers that training drops.

    Raises:
        ValueError: a width of 0 or less, or an input too small for the three poolings.
    """
    if input_size < 9:
        raise ValueError("zfnet needs images of at least 9 pixels")
    small = input_size < 64
    first, second, third, fourth, fifth = (scaled(channels, width) for channels in (96, 256, 384, 384, 256))
    features = nn.Sequential()
    layers: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(in_channels, first, *((3, 1, 1) if small else (7, 2, 1))),
        "relu1": nn.ReLU(inplace=True),
        "pool1": nn.MaxPool2d(3, 2, 1),
        "norm1": paper_norm(),
        "conv2": nn.Conv2d(first, second, 5, *((1, 2) if small else (2, 0))),
        "relu2": nn.ReLU(inplace=True),
        "pool2": nn.MaxPool2d(3, 2, 1),
        "norm2": paper_norm(),
        "conv3": nn.Conv2d(second, third, 3, padding=1),
        "relu3": nn.ReLU(inplace=True),
        "conv4": nn.Conv2d(third, fourth, 3, padding=1),
        "relu4": nn.ReLU(inplace=True),
        "conv5": nn.Conv2d(fourth, fifth, 3, padding=1),
        "relu5": nn.ReLU(inplace=True),
        "pool5": nn.MaxPool2d(3, 2),
    }
    for name, layer in layers.items():
        features.add_module(name, layer)
    side = _side(input_size, small)
    return AlexNet(features, fully_connected(fifth * side * side, scaled(4096, width), classes, dropout=dropout))


def _side(input_size: int, small: bool) -> int:
    """Return the size of the last map, 6 at 224 pixels."""
    if small:
        return pooled(pooled(input_size, 2, padding=1), 1)
    size = pooled((input_size + 2 - 7) // 2 + 1, 1, padding=1)
    return pooled(pooled((size - 5) // 2 + 1, 1, padding=1), 1)
