"""ResNet: residual blocks.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015, arXiv 1512.03385 (CVPR 2016).
Layers learn the residual to an identity shortcut, so that a hundred layers train as easily as ten. Basic blocks (two
3 x 3) make the 18 and 34 layer forms and the small-image forms, bottlenecks (1 x 1, 3 x 3, 1 x 1) the deeper ones.

Parameterised: depth, where a bottleneck strides, classes, input channels.
Differs between the well-known implementations: the paper strides in the first 1 x 1 of a bottleneck, torchvision and most
others in the 3 x 3 (called v1.5, 6% more multiply-adds, about half a point more accurate). v1.5 is the default here, as
nearly all published weights are of that form; `stride_in="1x1"` is the paper's. Projection shortcuts (the paper's option B)
in the ImageNet forms, parameter-free ones (option A) in the small-image form, as in the paper. Weights are named as in
torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from edgecnn.zoo.blocks import GlobalAveragePool, initialise


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, shortcut: nn.Module, stride_in: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, width, ceil(H / stride), ceil(W / stride)]."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out)) + self.downsample(x)
        result: Tensor = self.relu(out)
        return result


class Bottleneck(nn.Module):
    """1 x 1 down, 3 x 3, 1 x 1 up beside a shortcut."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, shortcut: nn.Module, stride_in: str) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
        self.conv1 = nn.Conv2d(in_channels, width, 1, stride=first, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=second, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.downsample = shortcut
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, 4 * width, ceil(H / stride), ceil(W / stride)]."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out)) + self.downsample(x)
        result: Tensor = self.relu(out)
        return result


class PadShortcut(nn.Module):
    """Option A: subsample and pad the new channels with zeros; no parameters."""

    def __init__(self, stride: int, extra_channels: int) -> None:
        super().__init__()
        self.stride = stride
        self.extra_channels = extra_channels

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, C + extra_channels, ceil(H / stride), ceil(W / stride)]."""
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.extra_channels))


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    conv = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


def _padding(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    return PadShortcut(stride, out_channels - in_channels)


class ResNet(nn.Module):
    """float32 [N, in_channels, S, S] -> logits float32 [N, classes].

    Args:
        block: BasicBlock or Bottleneck.
        depths: blocks of each stage; the width doubles and the size halves from stage to stage.
        width: channels of the first stage.
        small_image: 3 x 3 stem without downsampling and option A shortcuts, section 4.2 of the paper.
        stride_in: "3x3" (v1.5) or "1x1" (paper), where a bottleneck strides.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        *,
        width: int,
        small_image: bool,
        stride_in: str,
        classes: int,
        in_channels: int,
    ) -> None:
        super().__init__()
        shortcut = _padding if small_image else _projection
        kernel, stride = (3, 1) if small_image else (7, 2)
        self.conv1 = nn.Conv2d(in_channels, width, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool: nn.Module = nn.Identity() if small_image else nn.MaxPool2d(3, 2, 1)
        channels = width
        for stage, depth in enumerate(depths):
            blocks: list[nn.Module] = []
            stage_width = width * 2**stage
            for index in range(depth):
                step = 2 if stage > 0 and index == 0 else 1
                out_channels = stage_width * block.expansion
                same = step == 1 and channels == out_channels
                side = nn.Identity() if same else shortcut(channels, out_channels, step)
                blocks.append(block(channels, stage_width, step, side, stride_in))
                channels = out_channels
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.stages = len(depths)
        self.pool = GlobalAveragePool()
        self.fc = nn.Linear(channels, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in range(self.stages):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        out: Tensor = self.fc(self.pool(x))
        return out


# Table 1 of the paper: block and blocks per stage by depth.
_IMAGENET: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}


def resnet(
    *, depth: int, classes: int = 1000, in_channels: int = 3, input_size: int = 224, stride_in: str = "3x3"
) -> ResNet:
    """Build an ImageNet ResNet: 25,557,032 parameters and 4.09 G multiply-adds at depth 50 and 224 pixels.

    Raises:
        ValueError: a depth that the paper does not list, or a `stride_in` other than "3x3" and "1x1".
    """
    if depth not in _IMAGENET:
        raise ValueError(f"depth must be one of {', '.join(map(str, _IMAGENET))}")
    if stride_in not in ("3x3", "1x1"):
        raise ValueError('stride_in must be "3x3" (v1.5) or "1x1" (paper)')
    block, depths = _IMAGENET[depth]
    return ResNet(
        block, depths, width=64, small_image=False, stride_in=stride_in, classes=classes, in_channels=in_channels
    )


def resnet_small(*, depth: int, classes: int = 10, in_channels: int = 3, input_size: int = 32) -> ResNet:
    """Build the small-image form of section 4.2: 6n + 2 layers, 16-32-64 channels, 0.27 M parameters at depth 20.

    Raises:
        ValueError: a depth that is not 6n + 2.
    """
    if depth < 8 or (depth - 2) % 6:
        raise ValueError("depth must be 6n + 2: 8, 14, 20, 32, 44, 56, 110, ...")
    return ResNet(
        BasicBlock,
        ((depth - 2) // 6,) * 3,
        width=16,
        small_image=True,
        stride_in="3x3",
        classes=classes,
        in_channels=in_channels,
    )
