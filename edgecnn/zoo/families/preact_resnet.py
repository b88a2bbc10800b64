"""Pre-activation ResNet: batch norm and ReLU before the convolutions.

He, Zhang, Ren, Sun, "Identity Mappings in Deep Residual Networks", 2016, arXiv 1603.05027 (ECCV 2016).
When nothing stands on the shortcut, not even the ReLU after the addition, signals pass unchanged between any two blocks, so
that even a thousand layers train. Activation therefore moves before the convolutions, and one follows the last block.

Parameterised: depth, where a bottleneck strides, classes, input channels, input size. In training only: stochastic depth.
Differs between the well-known implementations: the authors' code strides in the first 1 x 1 of a bottleneck (the default
here), the Facebook implementation behind the paper's ResNet-200 in the 3 x 3. Where the shape changes the shortcut is a bare
1 x 1 convolution of the activated input, as in that code. The ImageNet forms have batch norm and ReLU in the stem and again
in the first block, as in the models that are published with parameter counts (timm's resnetv2 has none in the stem). In the
small-image forms both paths of the first block start behind its activation, as the paper's appendix says. Inputs under 64
pixels take the small-image stem.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial

from torch import Tensor, nn

from edgecnn.zoo.families.blocks import GlobalAveragePool, initialise
from edgecnn.zoo.families.residual import (
    BASIC_DEPTHS,
    BOTTLENECK_DEPTHS,
    Block,
    BlockMaker,
    check_stride_in,
    depths_of,
    make_stages,
    small_depths,
)
from edgecnn.zoo.families.resnet import Stem, plain_stem

_DEPTHS: Mapping[int, Sequence[int]] = {**BASIC_DEPTHS, **BOTTLENECK_DEPTHS, 200: (3, 24, 36, 3)}


class PreAct(Block):
    """branch(a) + shortcut, with a = ReLU(BN(x)); a subclass gives the branch.

    The shortcut is x, or a convolution of a where the shape changes.

    Args:
        in_channels: of the input.
        out_channels: of branch and shortcut.
        stride: of branch and shortcut.
        drop_path: probability that training skips the branch for an image.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, *, drop_path: float) -> None:
        super().__init__(out_channels, drop_path)
        same = stride == 1 and in_channels == out_channels
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.downsample = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
        self.shared_activation = not same

    def branch(self, x: Tensor) -> Tensor:
        """Return the residual of the activated input, float32 [N, out_channels, ceil(H / stride), ceil(W / stride)]."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, out_channels, ceil(H / stride), ceil(W / stride)]."""
        active = self.relu(self.bn1(x))
        shortcut = self.downsample(active if self.shared_activation else x)
        out: Tensor = self.drop_path(self.branch(active)) + shortcut
        return out


class PreActBasic(PreAct):
    """Two 3 x 3 convolutions: [N, in_channels, H, W] -> [N, width, H / stride, W / stride].

    Args:
        in_channels: of the input.
        width: of both convolutions.
        stride: of the first.
        drop_path: probability that training skips the branch for an image.
        dropout: share of the second convolution's input that training drops (Wide ResNet).
    """

    def __init__(
        self, in_channels: int, width: int, stride: int, *, drop_path: float = 0.0, dropout: float = 0.0
    ) -> None:
        super().__init__(in_channels, width, stride, drop_path=drop_path)
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)

    def branch(self, x: Tensor) -> Tensor:
        """Return the residual."""
        out: Tensor = self.conv2(self.dropout(self.relu(self.bn2(self.conv1(x)))))
        return out


class PreActBottleneck(PreAct):
    """1 x 1 down, 3 x 3, 1 x 1 up: [N, in_channels, H, W] -> [N, 4 * width, H / stride, W / stride]."""

    def __init__(
        self, in_channels: int, width: int, stride: int, *, stride_in: str = "1x1", drop_path: float = 0.0
    ) -> None:
        super().__init__(in_channels, 4 * width, stride, drop_path=drop_path)
        first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
        self.conv1 = nn.Conv2d(in_channels, width, 1, stride=first, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=second, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)

    def branch(self, x: Tensor) -> Tensor:
        """Return the residual."""
        out = self.conv2(self.relu(self.bn2(self.conv1(x))))
        result: Tensor = self.conv3(self.relu(self.bn3(out)))
        return result


class PreActResNet(nn.Module):
    """float32 [N, in_channels, S, S] -> logits float32 [N, classes].

    Args:
        block: makes the blocks, pre-activated ones.
        depths: blocks of each stage; from stage to stage the width doubles and the size halves.
        stem: what comes before the first stage.
        activate_stem: batch norm and ReLU behind the first convolution; without them the first block activates for both
            of its paths if `share_first` says so.
        width: of the blocks of the first stage.
        classes: length of the logits.
        share_first: the first block's shortcut starts behind its activation whether or not the shape changes.
        stochastic_depth: probability that training skips the last block, 0..1, falling linearly to 0 at the input.
    """

    def __init__(
        self,
        block: BlockMaker,
        depths: Sequence[int],
        *,
        stem: Stem,
        activate_stem: bool,
        width: int,
        classes: int,
        share_first: bool = False,
        stochastic_depth: float = 0.0,
    ) -> None:
        super().__init__()
        first: OrderedDict[str, nn.Module] = OrderedDict(conv=stem.conv)
        if activate_stem:
            first.update(bn=nn.BatchNorm2d(stem.channels), relu=nn.ReLU(inplace=True))
        self.stem = nn.Sequential(OrderedDict(first, pool=stem.pool))
        stages, channels = make_stages(
            block, depths, in_channels=stem.channels, width=width, stochastic_depth=stochastic_depth
        )
        self.layers = nn.Sequential(stages)
        opening = self.get_submodule("layers.layer1.0")
        if share_first and isinstance(opening, PreAct):
            opening.shared_activation = True
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.pool = GlobalAveragePool()
        self.fc = nn.Linear(channels, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.relu(self.bn(self.layers(self.stem(x))))
        out: Tensor = self.fc(self.pool(x))
        return out


def preact_resnet(
    *,
    depth: int,
    stride_in: str = "1x1",
    classes: int = 1000,
    in_channels: int = 3,
    input_size: int = 224,
    stochastic_depth: float = 0.0,
) -> PreActResNet:
    """Build an ImageNet form: 25,549,480 parameters and 3.86 G multiply-adds at depth 50 and 224 pixels.

    Args:
        depth: 18, 34, 50, 101, 152 or 200.
        stride_in: "1x1" (authors' code) or "3x3", the convolution of a bottleneck that strides.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image; under 64 the stem keeps the resolution.
        stochastic_depth: probability that training skips the last block, 0..1, falling linearly to 0 at the input.

    Raises:
        ValueError: another depth, or a `stride_in` other than "1x1" and "3x3".
    """
    depths = depths_of(depth, _DEPTHS)
    check_stride_in(stride_in)
    return PreActResNet(
        PreActBasic if depth in BASIC_DEPTHS else partial(PreActBottleneck, stride_in=stride_in),
        depths,
        stem=plain_stem(in_channels, 64, small_image=input_size < 64),
        activate_stem=True,
        width=64,
        classes=classes,
        stochastic_depth=stochastic_depth,
    )


def preact_resnet_small(
    *,
    depth: int,
    bottleneck: bool = False,
    classes: int = 10,
    in_channels: int = 3,
    input_size: int = 32,
    stochastic_depth: float = 0.0,
) -> PreActResNet:
    """Build a small-image form with 16-32-64 channels, times 4 with bottlenecks: 1.73 M parameters at depth 110.

    Args:
        depth: 6n + 2, with bottlenecks 9n + 2.
        bottleneck: blocks of three convolutions, as in the paper's forms of 164 and 1001 layers.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image; the last stage sees a quarter of it.
        stochastic_depth: probability that training skips the last block, 0..1, falling linearly to 0 at the input.

    Raises:
        ValueError: another depth.
    """
    return PreActResNet(
        PreActBottleneck if bottleneck else PreActBasic,
        small_depths(depth, layers=3 if bottleneck else 2),
        stem=plain_stem(in_channels, 16, small_image=True),
        activate_stem=False,
        width=16,
        classes=classes,
        share_first=True,
        stochastic_depth=stochastic_depth,
    )
