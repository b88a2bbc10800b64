"""NiN: a small network in place of every filter.

Lin, Chen, Yan, "Network In Network", 2013, arXiv 1312.4400 (ICLR 2014).
An mlpconv block follows a convolution with two 1 x 1 convolutions, a perceptron that slides over the image; the last
block has one map per class and global averaging turns the maps into logits, so there is no fully connected layer.

Parameterised: width (CIFAR form), classes, input channels, input size.
Differs between the well-known implementations: the paper describes the CIFAR form; the authors' Caffe files average in
the second pooling, the paper's text, followed here, takes the maximum in all. The ImageNet form, `nin`, is known from
the authors' Caffe file alone. `bn_nin` is what Canziani et al. 2016 (arXiv 1605.07678) measured and do not describe: our
choice is the form of soumith/imagenet-multiGPU.torch (ninbn), whose published accuracy is that of their chart. It adds
batch norm, pads the stem and the poolings, and has 1024 maps and a linear layer at the end, hence 2.1 M parameters more.
In the ImageNet forms inputs under 64 pixels take the small-image stem: 5 x 5 and stride 1, as in the CIFAR form.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from edgecnn.zoo.families.alexnet import initialise_plain, scaled
from edgecnn.zoo.families.blocks import GlobalAveragePool, initialise


class MlpConv(nn.Sequential):
    """Convolution, then two 1 x 1 convolutions, each with ReLU (section 3.1 of the paper).

    Maps float32 [N, in_channels, H, W] to [N, channels[2], H', W'].

    Args:
        in_channels: of the input.
        channels: outputs of the three convolutions.
        kernel: of the first.
        stride: of the first.
        padding: of the first.
        batch_norm: behind each of the three.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        kernel: int,
        stride: int,
        padding: int,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        windows = ((kernel, stride, padding), (1, 1, 0), (1, 1, 0))
        for name, outputs, window in zip(("conv", "cccp1", "cccp2"), channels, windows, strict=True):
            self.add_module(name, nn.Conv2d(in_channels, outputs, *window))
            if batch_norm:
                self.add_module(f"{name}_bn", nn.BatchNorm2d(outputs, eps=1e-3))
            self.add_module(f"{name}_relu", nn.ReLU(inplace=True))
            in_channels = outputs


class NiN(nn.Module):
    """float32 [N, in_channels, S, S] -> logits float32 [N, classes].

    Args:
        blocks: mlpconv blocks; a 3 x 3 max pooling with stride 2 and dropout stands between two.
        head: map float32 [N, C, h, w] of the last block -> logits.
        padding: of the poolings; None rounds their size up instead.
        dropout: between which blocks, counted from the first, and which share training drops there.
    """

    def __init__(
        self, blocks: Sequence[MlpConv], head: nn.Module, *, padding: int | None, dropout: Sequence[float]
    ) -> None:
        super().__init__()
        self.features = nn.Sequential()
        for number, block in enumerate(blocks, start=1):
            self.features.add_module(f"block{number}", block)
            if number < len(blocks):
                self.features.add_module(f"pool{number}", nn.MaxPool2d(3, 2, padding or 0, ceil_mode=padding is None))
                self.features.add_module(f"drop{number}", nn.Dropout(dropout[number - 1]))
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits; without a linear layer at the end they are not negative, as the last ReLU stays."""
        out: Tensor = self.head(self.features(x))
        return out


def nin(*, classes: int = 1000, in_channels: int = 3, input_size: int = 224, dropout: float = 0.5) -> NiN:
    """Build the ImageNet form: 7,595,176 parameters and 1100.2 M multiply-adds at 224 pixels.

    Args:
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image, pixels.
        dropout: share of the inputs of the last block that training drops.

    Raises:
        ValueError: an input too small for the three poolings.
    """
    if input_size < 8:
        raise ValueError("nin needs images of at least 8 pixels")
    blocks = [
        MlpConv(in_channels, (96, 96, 96), *((5, 1, 2) if input_size < 64 else (11, 4, 0))),
        MlpConv(96, (256, 256, 256), 5, 1, 2),
        MlpConv(256, (384, 384, 384), 3, 1, 1),
        MlpConv(384, (1024, 1024, classes), 3, 1, 1),
    ]
    network = NiN(blocks, GlobalAveragePool(), padding=None, dropout=(0.0, 0.0, dropout))
    initialise_plain(network)
    return network


def bn_nin(*, classes: int = 1000, in_channels: int = 3, input_size: int = 224) -> NiN:
    """Build the ImageNet form with batch norm: 8,655,336 parameters and 1259.9 M multiply-adds at 224 pixels."""
    blocks = [
        MlpConv(in_channels, (96, 96, 96), *((5, 1, 2) if input_size < 64 else (11, 4, 5)), batch_norm=True),
        MlpConv(96, (256, 256, 256), 5, 1, 2, batch_norm=True),
        MlpConv(256, (384, 384, 384), 3, 1, 1, batch_norm=True),
        MlpConv(384, (1024, 1024, 1024), 3, 1, 1, batch_norm=True),
    ]
    head = nn.Sequential(GlobalAveragePool(), nn.Linear(1024, classes))
    network = NiN(blocks, head, padding=1, dropout=(0.0, 0.0, 0.0))
    initialise(network)
    return network


def nin_cifar(
    *,
    width: float = 1.0,
    classes: int = 10,
    in_channels: int = 3,
    input_size: int = 32,
    dropout: float = 0.5,
) -> NiN:
    """Build the paper's CIFAR form: 966,986 parameters and 222.5 M multiply-adds at width 1 and 32 pixels.

    Args:
        width: share of the channels of every layer but the last.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image, pixels.
        dropout: share of the inputs of the second and third block that training drops.

    Raises:
        ValueError: a width of 0 or less, or an input too small for the two poolings.
    """
    if input_size < 4:
        raise ValueError("nin_cifar needs images of at least 4 pixels")
    wide, middle, narrow = (scaled(channels, width) for channels in (192, 160, 96))
    blocks = [
        MlpConv(in_channels, (wide, middle, narrow), 5, 1, 2),
        MlpConv(narrow, (wide, wide, wide), 5, 1, 2),
        MlpConv(wide, (wide, wide, classes), 3, 1, 1),
    ]
    network = NiN(blocks, GlobalAveragePool(), padding=None, dropout=(dropout, dropout))
    initialise_plain(network)
    return network
