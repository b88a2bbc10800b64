"""LeNet-5: the first convolutional network in wide use.

LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998, Proceedings of the IEEE.
Two convolutions with subsampling feed three fully connected layers; weight sharing makes it small enough for 1998.

Parameterised: form (original or relu), classes and input channels.
Differs from the 1998 original, as all modern forms do: C3 sees all six maps (the original connects a sparse subset, 1,516
instead of 2,416 parameters), subsampling has no trainable coefficients, and the output is linear instead of radial basis
functions. Kept from the original: the 32 x 32 input, tanh, average pooling and the 6-16-120-84 widths. The form "relu" is
the one that is often taught under the same name: ReLU and max pooling.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn


class LeNet5(nn.Module):
    """float32 [N, in_channels, 32, 32] -> logits float32 [N, classes].

    Args:
        activation: makes the layer behind every layer with weights but the last.
        pool: makes the layer that halves height and width, from its window.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
    """

    def __init__(
        self,
        activation: Callable[[], nn.Module],
        pool: Callable[[int], nn.Module],
        *,
        classes: int,
        in_channels: int,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            OrderedDict(
                c1=nn.Conv2d(in_channels, 6, 5),
                act1=activation(),
                s2=pool(2),
                c3=nn.Conv2d(6, 16, 5),
                act3=activation(),
                s4=pool(2),
            )
        )
        self.classifier = nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(1),
                c5=nn.Linear(16 * 5 * 5, 120),
                act5=activation(),
                f6=nn.Linear(120, 84),
                act6=activation(),
                output=nn.Linear(84, classes),
            )
        )
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(layer.weight)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        out: Tensor = self.classifier(self.features(x))
        return out


def lenet5(*, form: str = "original", classes: int = 10, in_channels: int = 1, input_size: int = 32) -> LeNet5:
    """Build LeNet-5: 61,706 parameters and 0.417 M multiply-adds with 10 classes and one channel.

    Args:
        form: "original" (tanh, average pooling) or "relu" (ReLU, max pooling); the weights have the same names.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image, pixels.

    Raises:
        ValueError: an unknown form, or an input that is not 32 pixels wide, the only size its first linear layer fits.
    """
    if form not in ("original", "relu"):
        raise ValueError('form must be "original" (tanh, average pooling) or "relu" (ReLU, max pooling)')
    if input_size != 32:
        raise ValueError("lenet5 reads 32 x 32 images only")
    if form == "relu":
        return LeNet5(nn.ReLU, nn.MaxPool2d, classes=classes, in_channels=in_channels)
    return LeNet5(nn.Tanh, nn.AvgPool2d, classes=classes, in_channels=in_channels)
