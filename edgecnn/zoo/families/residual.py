"""Residual blocks, their shortcuts and stages: what ResNet, Wide ResNet, ResNeXt and SENet share."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from edgecnn.zoo.families.blocks import DropPath

# He et al. 2015, table 1: blocks per stage by depth, of two 3 x 3 convolutions and of bottlenecks.
BASIC_DEPTHS: Mapping[int, Sequence[int]] = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
BOTTLENECK_DEPTHS: Mapping[int, Sequence[int]] = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class PadShortcut(nn.Module):
    """Option A of He et al. 2015: subsample and pad the new channels with zeros; no parameters."""

    def __init__(self, stride: int, extra_channels: int) -> None:
        super().__init__()
        self.stride = stride
        self.extra_channels = extra_channels

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, C + extra_channels, ceil(H / stride), ceil(W / stride)]."""
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.extra_channels))


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Return option B of He et al. 2015: a 1 x 1 convolution and batch norm."""
    conv = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


def padding(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Return option A of He et al. 2015."""
    return PadShortcut(stride, out_channels - in_channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """What stands beside and behind the convolutions of a block.

    Attributes:
        shortcut: in channels, out channels, stride -> the shortcut where the shape changes.
        attention: channels -> what the residual passes before the addition (squeeze and excitation); None for nothing.
    """

    shortcut: Callable[[int, int, int], nn.Module] = projection
    attention: Callable[[int], nn.Module] | None = None


PLAIN = Sides()
"""Projection shortcuts and nothing else."""


class Block(nn.Module):
    """A block that knows how many channels it gives."""

    def __init__(self, out_channels: int, drop_path: float) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.relu = nn.ReLU(inplace=True)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()


class Residual(Block):
    """ReLU(branch(x) + shortcut(x)); a subclass gives the branch.

    Args:
        in_channels: of the input.
        out_channels: of branch and shortcut.
        stride: of branch and shortcut.
        drop_path: probability that training skips the branch for an image.
        sides: what stands beside and behind the branch.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, *, drop_path: float, sides: Sides) -> None:
        super().__init__(out_channels, drop_path)
        same = stride == 1 and in_channels == out_channels
        self.downsample = nn.Identity() if same else sides.shortcut(in_channels, out_channels, stride)
        self.se = sides.attention(out_channels) if sides.attention else nn.Identity()

    def branch(self, x: Tensor) -> Tensor:
        """Return the residual, float32 [N, out_channels, ceil(H / stride), ceil(W / stride)]."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, out_channels, ceil(H / stride), ceil(W / stride)]."""
        out: Tensor = self.relu(self.drop_path(self.se(self.branch(x))) + self.downsample(x))
        return out


class BasicBlock(Residual):
    """Two 3 x 3 convolutions beside a shortcut: [N, in_channels, H, W] -> [N, width, H / stride, W / stride]."""

    def __init__(
        self, in_channels: int, width: int, stride: int, *, drop_path: float = 0.0, sides: Sides = PLAIN
    ) -> None:
        super().__init__(in_channels, width, stride, drop_path=drop_path, sides=sides)
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def branch(self, x: Tensor) -> Tensor:
        """Return the residual."""
        out: Tensor = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return out


class Bottleneck(Residual):
    """1 x 1 down, 3 x 3, 1 x 1 up beside a shortcut: [N, in_channels, H, W] -> [N, 4 * width, H / stride, W / stride].

    Args:
        in_channels: of the input.
        width: a quarter of the channels that come out.
        stride: of the block.
        stride_in: "3x3" or "1x1", the convolution that strides.
        cardinality: groups of the 3 x 3 convolution.
        group_width: channels of a group where `width` is 64 (ResNeXt's d); 64 in the plain bottleneck.
        drop_path: probability that training skips the branch for an image.
        sides: what stands beside and behind the branch.

    Raises:
        ValueError: no group, or a group without channels.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        *,
        stride_in: str = "3x3",
        cardinality: int = 1,
        group_width: int = 64,
        drop_path: float = 0.0,
        sides: Sides = PLAIN,
    ) -> None:
        if min(cardinality, group_width) < 1:
            raise ValueError("cardinality and group_width must be at least 1")
        out_channels = 4 * width
        super().__init__(in_channels, out_channels, stride, drop_path=drop_path, sides=sides)
        inner = width * group_width // 64 * cardinality
        first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
        self.conv1 = nn.Conv2d(in_channels, inner, 1, stride=first, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=second, padding=1, groups=cardinality, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)

    def branch(self, x: Tensor) -> Tensor:
        """Return the residual."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        result: Tensor = self.bn3(self.conv3(out))
        return result


class BlockMaker(Protocol):
    """A class of blocks, or a partial of one."""

    def __call__(self, in_channels: int, width: int, stride: int, *, drop_path: float) -> Block:
        """Return a block; `width` is what its stage has, before a bottleneck's expansion."""


def make_stages(
    block: BlockMaker, depths: Sequence[int], *, in_channels: int, width: int, stochastic_depth: float
) -> tuple[OrderedDict[str, nn.Module], int]:
    """Return the stages by name, layer1 and so on, and the channels of the last.

    Args:
        block: makes the blocks.
        depths: blocks of each stage; from stage to stage the width doubles and the size halves.
        in_channels: of the input.
        width: of the blocks of the first stage.
        stochastic_depth: probability that training skips the last block, 0..1; it rises linearly with the depth of the
            block from 0 at the input (Huang et al. 2016, section 3).
    """
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    channels, number = in_channels, 0
    for stage, depth in enumerate(depths):
        blocks: list[nn.Module] = []
        for index in range(depth):
            number += 1
            stride = 2 if stage > 0 and index == 0 else 1
            drop_path = stochastic_depth * number / sum(depths)
            made = block(channels, width * 2**stage, stride, drop_path=drop_path)
            blocks.append(made)
            channels = made.out_channels
        stages[f"layer{stage + 1}"] = nn.Sequential(*blocks)
    return stages, channels


def depths_of(depth: int, known: Mapping[int, Sequence[int]]) -> Sequence[int]:
    """Return the blocks of each stage of an ImageNet form.

    Raises:
        ValueError: a depth that is not known.
    """
    if depth not in known:
        raise ValueError(f"depth must be one of {', '.join(map(str, known))}")
    return known[depth]


def small_depths(depth: int, *, layers: int = 2, rest: int = 2) -> Sequence[int]:
    """Return the blocks of each of the three stages of a small-image form.

    Args:
        depth: convolutions and linear layers.
        layers: of a block.
        rest: layers outside of the stages, and of shortcuts where a paper counts them.

    Raises:
        ValueError: a depth that leaves a part of a block over, or no block.
    """
    step = 3 * layers
    if depth < step + rest or (depth - rest) % step:
        examples = ", ".join(str(rest + step * blocks) for blocks in (1, 2, 3, 4))
        raise ValueError(f"depth must be {step}n + {rest}: {examples}, ...")
    return ((depth - rest) // step,) * 3


def check_stride_in(stride_in: str) -> None:
    """Check the name of the convolution that strides in a bottleneck.

    Raises:
        ValueError: neither "3x3" nor "1x1".
    """
    if stride_in not in ("3x3", "1x1"):
        raise ValueError('stride_in must be "3x3" or "1x1"')
