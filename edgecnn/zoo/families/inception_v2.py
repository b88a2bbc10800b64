"""Inception v2 in its first form, BN-Inception: batch norm in GoogLeNet.

Ioffe, Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift", 2015, arXiv
1502.03167 (ICML 2015).
Normalising every convolution's output over the batch lets a network train with far larger steps: this one reaches
GoogLeNet's accuracy in a fourteenth of the steps. Its blocks have two 3 x 3 in place of a 5 x 5, and two blocks with stride 2
in place of poolings between the stages.

Parameterised: width, classes, input channels, input size.
Differs between the well-known implementations: blocks 4c and 4d give 608 channels here, as in the Caffe and PyTorch releases
(Cadene's, osmr's), and 576 in TF-slim, whose projections are narrower. The paper's first convolution is separable, with depth
multiplier 8; the releases except TF-slim have a full one, as here. Convolutions have a bias before their batch norm, as in
the releases; weights are named in the manner of torchvision's GoogLeNet. Inputs under 64 pixels take the small-image stem:
3 x 3 with stride 1 instead of 7 x 7 with stride 2, and one pooling less.
"""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from edgecnn.zoo.families.blocks import GlobalAveragePool, initialise, make_divisible
from edgecnn.zoo.families.googlenet import LEAST_WIDTH, Inception, Unit, conv_unit

# Figure 5 of the paper: 1 x 1, 3 x 3 reduce, 3 x 3, double 3 x 3 reduce, double 3 x 3, pool projection. The short rows are the
# blocks with stride 2, which have neither the first nor the last.
_INCEPTIONS: dict[str, tuple[int, ...]] = {
    "3a": (64, 64, 64, 64, 96, 32),
    "3b": (64, 64, 96, 64, 96, 64),
    "3c": (128, 160, 64, 96),
    "4a": (224, 64, 96, 96, 128, 128),
    "4b": (192, 96, 128, 96, 128, 128),
    "4c": (160, 128, 160, 128, 160, 128),
    "4d": (96, 128, 192, 160, 192, 128),
    "4e": (128, 192, 192, 256),
    "5a": (352, 192, 320, 160, 224, 128),
    "5b": (352, 192, 320, 192, 224, 128),
}


class HalvingPool(nn.Module):
    """3 x 3 max pooling with stride 2 of values that are not negative: [N, C, H, W] -> [N, C, ceil(H / 2), ceil(W / 2)].

    Rounds odd sizes up, as a padded convolution beside it does; a row and a column of zeros change no maximum.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return the maxima."""
        height, width = x.shape[2:]
        if height % 2 or width % 2:
            x = F.pad(x, (0, width % 2, 0, height % 2))
        out: Tensor = self.pool(x)
        return out


def _block(in_channels: int, widths: tuple[int, ...], unit: Unit, pool: nn.Module) -> tuple[Inception, int]:
    """Return a block that keeps the size, and its channels: 1 x 1, 3 x 3, double 3 x 3, and pooling with a projection."""
    first, reduce3, out3, reduce_double, out_double, projection = widths
    block = Inception(
        unit(in_channels, first, 1),
        nn.Sequential(unit(in_channels, reduce3, 1), unit(reduce3, out3, 3)),
        nn.Sequential(
            unit(in_channels, reduce_double, 1), unit(reduce_double, out_double, 3), unit(out_double, out_double, 3)
        ),
        nn.Sequential(pool, unit(in_channels, projection, 1)),
    )
    return block, first + out3 + out_double + projection


def _reduction(in_channels: int, widths: tuple[int, ...], unit: Unit) -> tuple[Inception, int]:
    """Return a block that halves the size, and its channels: 3 x 3, double 3 x 3 and the pooled input, each with stride 2."""
    reduce3, out3, reduce_double, out_double = widths
    block = Inception(
        nn.Sequential(unit(in_channels, reduce3, 1), unit(reduce3, out3, 3, 2)),
        nn.Sequential(
            unit(in_channels, reduce_double, 1), unit(reduce_double, out_double, 3), unit(out_double, out_double, 3, 2)
        ),
        HalvingPool(),
    )
    return block, out3 + out_double + in_channels


class InceptionV2(nn.Module):
    """float32 [N, in_channels, S, S] -> logits float32 [N, classes].

    Args:
        width: share of the channels of every layer.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        small_image: stem without downsampling before its pooling.
    """

    def __init__(self, *, width: float, classes: int, in_channels: int, small_image: bool) -> None:
        super().__init__()
        unit: Unit = partial(conv_unit, bias=True, eps=1e-5)
        stem, channels = make_divisible(64 * width), make_divisible(192 * width)
        self.conv1 = unit(in_channels, stem, 3 if small_image else 7, 1 if small_image else 2)
        self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = unit(stem, stem, 1)
        self.conv3 = unit(stem, channels, 3)
        self.maxpool2 = nn.Identity() if small_image else nn.MaxPool2d(3, 2, ceil_mode=True)
        for name, base in _INCEPTIONS.items():
            widths = tuple(make_divisible(value * width) for value in base)
            if len(widths) == 4:
                block, channels = _reduction(channels, widths, unit)
            else:
                pool = nn.MaxPool2d(3, 1, padding=1) if name == "5b" else nn.AvgPool2d(3, 1, padding=1)
                block, channels = _block(channels, widths, unit, pool)
            self.add_module(f"inception{name}", block)
        self.avgpool = GlobalAveragePool()
        self.fc = nn.Linear(channels, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        for layer in self.children():
            x = layer(x)
        return x


def inception_v2(
    *, width: float = 1.0, classes: int = 1000, in_channels: int = 3, input_size: int = 224
) -> InceptionV2:
    """Build BN-Inception: 11,295,240 parameters and 2.03 G multiply-adds at 224 pixels.

    Args:
        width: share of the channels of every layer, rounded to multiples of 8.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image; under 64 the stem keeps the resolution.

    Raises:
        ValueError: a width under 0.125, an input too small for the first pooling.
    """
    if width < LEAST_WIDTH:
        raise ValueError(f"width must be at least {LEAST_WIDTH}, which leaves 8 of the first 64 channels")
    if input_size < 2:
        raise ValueError("inception_v2 needs images of at least 2 pixels")
    return InceptionV2(width=width, classes=classes, in_channels=in_channels, small_image=input_size < 64)
