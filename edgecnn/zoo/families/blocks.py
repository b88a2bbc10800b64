"""Building blocks that several families share."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_bn_layers(
    in_channels: int,
    out_channels: int,
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.ReLU,
    eps: float = 1e-5,
    momentum: float = 0.1,
) -> OrderedDict[str, nn.Module]:
    """Return convolution without bias, batch norm and an activation as "conv", "bn" and "relu"; the last unless None.

    Padded so that stride 1 keeps the size: [N, in_channels, H, W] to [N, out_channels, ceil(H / stride), ceil(W / stride)].
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv"] = nn.Conv2d(
        in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False
    )
    layers["bn"] = nn.BatchNorm2d(out_channels, eps=eps, momentum=momentum)
    if activation is not None:
        layers["relu"] = activation(inplace=True)
    return layers


def conv_bn(
    in_channels: int,
    out_channels: int,
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.ReLU,
    eps: float = 1e-5,
) -> nn.Sequential:
    """Return the `conv_bn_layers` one after the other, under their names."""
    layers = conv_bn_layers(
        in_channels, out_channels, kernel, stride=stride, groups=groups, activation=activation, eps=eps
    )
    return nn.Sequential(layers)


def initialise(module: nn.Module) -> None:
    """Set fresh weights in place: He et al. 2015 (eq. 10, fan out) for convolutions, N(0, 0.01) for linear layers."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0.0, 0.01)
            nn.init.zeros_(layer.bias)


class GlobalAveragePool(nn.Module):
    """Mean over height and width: [N, C, H, W] -> [N, C]."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the channel means, float32 [N, C]."""
        out: Tensor = self.flatten(self.pool(x))
        return out


class LocalResponseNorm(nn.Module):
    """Krizhevsky et al. 2012, section 3.3: each value over (k + alpha / size * sum of squares in `size` channels) ** beta.

    Shape and dtype stay. `alpha` is divided by the size, as Caffe and torch do; the paper's own alpha is `alpha / size`
    here. One node, LRN, in an exported graph.
    """

    def __init__(self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised values, float32 of the same shape."""
        if torch.onnx.is_in_onnx_export():
            out: Tensor = torch.onnx.ops.symbolic(
                "LRN",
                (x,),
                {"size": self.size, "alpha": self.alpha, "beta": self.beta, "bias": self.k},
                dtype=x.dtype,
                shape=x.shape,
                version=13,
            )
            return out
        return F.local_response_norm(x, self.size, self.alpha, self.beta, self.k)


class SqueezeExcite(nn.Module):
    """Hu et al. 2017, section 3: channel means -> 1 x 1, ReLU, 1 x 1 -> gate -> one factor per channel.

    Args:
        channels: of the input.
        squeezed: channels between the two 1 x 1 convolutions.
        gate: what limits the factors; a sigmoid in the paper, a hard sigmoid in MobileNetV3.
    """

    def __init__(self, channels: int, squeezed: int, gate: nn.Module | None = None) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.gate = gate or nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, channels, H, W]."""
        scale: Tensor = self.gate(self.fc2(self.relu(self.fc1(self.avgpool(x)))))
        return x * scale


class DropPath(nn.Module):
    """Drops the whole input of single images in training, as stochastic depth does (Huang et al. 2016); nothing in inference.

    What stays is divided by the share that stays, so that the expected value is the input.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        if not 0 <= probability < 1:
            raise ValueError("a drop probability must be at least 0 and below 1")
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 of the same shape."""
        if not self.training or self.probability == 0:
            return x
        kept = torch.rand((x.shape[0],) + (1,) * (x.ndim - 1), device=x.device) >= self.probability
        return x * kept / (1 - self.probability)


def make_divisible(value: float, divisor: int = 8, least: int | None = None) -> int:
    """Return the multiple of `divisor` nearest to `value`, not below `least` and not under 90% of it.

    The rounding of channels in Sandler et al. 2018 and Howard et al. 2019 (tensorflow/models, slim/nets/mobilenet).
    """
    rounded = max(divisor if least is None else least, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded
