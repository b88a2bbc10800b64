"""Building blocks that several families share."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn


def conv_bn(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1, relu: bool = True
) -> nn.Sequential:
    """Convolution without bias, batch norm and (optionally) ReLU; padded so that stride 1 keeps the size.

    Maps float32 [N, in_channels, H, W] to [N, out_channels, ceil(H / stride), ceil(W / stride)].
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv"] = nn.Conv2d(
        in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False
    )
    layers["bn"] = nn.BatchNorm2d(out_channels)
    if relu:
        layers["relu"] = nn.ReLU(inplace=True)
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
