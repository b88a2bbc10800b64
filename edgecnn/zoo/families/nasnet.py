"""NASNet-A: two cells that a search found on small images, stacked for any size of image.

Zoph, Vasudevan, Shlens, Le, "Learning Transferable Architectures for Scalable Image Recognition", 2017, arXiv 1707.07012
(CVPR 2018).
A recurrent controller searched two cells on CIFAR-10: a normal cell that keeps the size and a reduction cell that halves
it. Each combines five pairs of separable convolutions, poolings and identities of the two outputs before it; networks of
any size repeat the cells. A form is called N @ P: N normal cells in each of three stages, P channels before the classifier,
24 times the filters of the first stage.

Parameterised: cells (N), width, input size, classes, input channels.
Differs: everything that the paper leaves open is as in the authors' release (tensorflow/models, slim/nets/nasnet), padding
"SAME" included. There the first cell of the small-image form reads the stem's 96 channels as they are and projects each
branch by itself; here it projects them once, as all other cells do. timm counts the padding of strided average pools in the
mean; the release and Cadene's ports, and this, do not. The release's 564 M multiply-adds of the mobile form are those of
convolutions and linear layers; other sources count batch norm and poolings too and report 585 M. ImageNet forms take the
small-image stem below 64 pixels: one 3 x 3 with stride 1 and no reduction cells in the stem.
Weights are named as in timm's nasnetalarge.
"""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from edgecnn.zoo.families.blocks import GlobalAveragePool, initialise, make_divisible
from edgecnn.zoo.families.nasnet_cells import Cell, NormalCell, Prev, ReductionCell

# The release: weight of the auxiliary loss, and the channels of the auxiliary head.
_AUX_WEIGHT = 0.4
_AUX_CHANNELS = (128, 768)

# Small-image form, 6 @ 768: filters of the first stage, and channels of the stem per filter.
_CIFAR_FILTERS = 32
_STEM_MULTIPLIER = 3


class AuxiliaryHead(nn.Module):
    """A second classifier on the second stage, for training: [N, C, S, S] -> logits float32 [N, classes].

    Raises:
        ValueError: S under 5.
    """

    def __init__(self, channels: int, size: int, classes: int, eps: float) -> None:
        super().__init__()
        if size < 5:
            raise ValueError(f"the auxiliary head needs at least 5 x 5 pixels in the second stage, not {size} x {size}")
        narrow, wide = _AUX_CHANNELS
        self.pool = nn.AvgPool2d(5, 3)
        self.proj = nn.Conv2d(channels, narrow, 1, bias=False)
        self.aux_bn0 = nn.BatchNorm2d(narrow, eps=eps)
        self.conv = nn.Conv2d(narrow, wide, (size - 5) // 3 + 1, bias=False)
        self.aux_bn1 = nn.BatchNorm2d(wide, eps=eps)
        self.linear = nn.Linear(wide, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the auxiliary logits."""
        x = F.relu(self.aux_bn0(self.proj(self.pool(x))))
        out: Tensor = self.linear(F.relu(self.aux_bn1(self.conv(x))).flatten(1))
        return out


class NASNet(nn.Module):
    """float32 [N, in_channels, S, S] -> logits float32 [N, classes]; while training with an auxiliary head, both logits.

    Args:
        filters: channels of a state in the first stage, a multiple of 4; they double from stage to stage.
        cells: normal cells per stage.
        stem_channels: outputs of the first convolution.
        stem_cells: halve three times before the first stage, as for ImageNet.
        skip_reduction: after a reduction cell, the "output before the last" is that before the reduction cell's.
        dropout: before the classifier, 0..1.
        eps: of batch norm.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        drop_path: drop probability of the last cell at the end of the training, 0..1.
        aux_size: height and width of the second stage; None for no auxiliary head.

    Raises:
        ValueError: a drop_path outside 0..1.
    """

    aux_weight: float = _AUX_WEIGHT

    def __init__(
        self,
        *,
        filters: int,
        cells: int,
        stem_channels: int,
        stem_cells: bool,
        skip_reduction: bool,
        dropout: float,
        eps: float,
        classes: int,
        in_channels: int,
        drop_path: float,
        aux_size: int | None,
    ) -> None:
        super().__init__()
        if not 0 <= drop_path < 1:
            raise ValueError("drop_path must be at least 0 and below 1")
        self.skip_reduction, self.drop_path, self._eps = skip_reduction, drop_path, eps
        stem: OrderedDict[str, nn.Module] = OrderedDict()
        stride, padding = (2, 0) if stem_cells else (1, 1)
        stem["conv"] = nn.Conv2d(in_channels, stem_channels, 3, stride=stride, padding=padding, bias=False)
        stem["bn"] = nn.BatchNorm2d(stem_channels, eps=eps)
        self.conv0 = nn.Sequential(stem)
        # Channels and size, as a power of two, of the outputs so far.
        self._outputs = [(stem_channels, 0)] * 2
        self.steps: list[str] = []
        if stem_cells:
            self._add("cell_stem_0", ReductionCell, filters // 4)
            self._add("cell_stem_1", ReductionCell, filters // 2)
        for stage in range(3):
            if stage:
                self._add(f"reduction_cell_{stage - 1}", ReductionCell, filters * 2**stage)
            for index in range(cells):
                self._add(f"cell_{stage * cells + index}", NormalCell, filters * 2**stage)
        channels = self._outputs[-1][0]
        self.aux_after = f"cell_{2 * cells - 1}"
        self.aux = AuxiliaryHead(channels // 2, aux_size, classes, eps) if aux_size is not None else None
        self.global_pool = GlobalAveragePool()
        self.dropout = nn.Dropout(dropout)
        self.last_linear = nn.Linear(channels, classes)
        initialise(self)
        self.set_progress(1.0)

    def set_progress(self, share: float) -> None:
        """Set how much of the training is over, 0..1: drop-path rises with it, and with the depth (ScheduledDropPath).

        Without a call the probabilities are those at the end of the training.
        """
        for index, name in enumerate(self.steps, start=1):
            cell = self.get_submodule(name)
            assert isinstance(cell, Cell)
            cell.drop_path.probability = self.drop_path * share * index / len(self.steps)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return the logits; with an auxiliary head and in training, the logits and the auxiliary logits."""
        x = F.relu(self.conv0(x))
        outputs, auxiliary = [x, x], None
        for index, name in enumerate(self.steps):
            outputs.append(F.relu(self.get_submodule(name)(outputs[-1], outputs[self._before(index)])))
            if self.aux is not None and self.training and name == self.aux_after:
                auxiliary = self.aux(outputs[-1])
        logits: Tensor = self.last_linear(self.dropout(self.global_pool(outputs[-1])))
        return logits if auxiliary is None else (logits, auxiliary)

    def _before(self, index: int) -> int:
        """Return which output a step takes beside the last one, counted from the end."""
        after_reduction = index > 0 and self.steps[index - 1].startswith("reduction")
        return -3 if self.skip_reduction and after_reduction else -2

    def _add(self, name: str, kind: type[NormalCell] | type[ReductionCell], filters: int) -> None:
        """Add the cell that follows the outputs so far."""
        self.steps.append(name)
        channels, size = self._outputs[-1]
        prev_channels, prev_size = self._outputs[self._before(len(self.steps) - 1)]
        prev: Prev = "raw" if name == "cell_stem_0" else "same" if prev_size == size else "half"
        self.add_module(name, kind(channels, prev_channels, filters, prev, self._eps))
        self._outputs.append((filters * kind.states_out, size + (kind is ReductionCell)))


def nasnet_cifar(
    *,
    cells: int = 6,
    width: float = 1.0,
    classes: int = 10,
    in_channels: int = 3,
    input_size: int = 32,
    drop_path: float = 0.0,
    aux_heads: bool = False,
) -> NASNet:
    """Build the small-image NASNet-A, 6 @ 768: 3.3 M parameters.

    Args:
        cells: normal cells in each of the three stages, the paper's N.
        width: share of the paper's 32 filters, rounded to a multiple of 4; at least one 4.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image.
        drop_path: probability of the last cell's paths to be dropped at the end of the training; 0.4 in the paper.
        aux_heads: with the auxiliary head of training.

    Raises:
        ValueError: no cells, a width of 0 or below, or an image too small for the auxiliary head.
    """
    if cells < 1:
        raise ValueError("cells must be at least 1")
    if width <= 0:
        raise ValueError("width must be above 0")
    filters = make_divisible(_CIFAR_FILTERS * width, 4)
    return NASNet(
        filters=filters,
        cells=cells,
        stem_channels=_STEM_MULTIPLIER * filters,
        stem_cells=False,
        skip_reduction=False,
        dropout=0.0,
        eps=1e-5,
        classes=classes,
        in_channels=in_channels,
        drop_path=drop_path,
        aux_size=-(-input_size // 2) if aux_heads else None,
    )


def nasnet_imagenet(
    *,
    filters: int,
    cells: int,
    stem_channels: int,
    skip_reduction: bool,
    classes: int = 1000,
    in_channels: int = 3,
    input_size: int = 224,
    dropout: float = 0.5,
    drop_path: float = 0.0,
    aux_heads: bool = False,
) -> NASNet:
    """Build an ImageNet NASNet-A: 5,289,978 parameters as 4 @ 1056 (44 filters), 88,753,150 as 6 @ 4032 (168 filters).

    Args:
        filters: channels of a state in the first stage, a multiple of 4.
        cells: normal cells in each of the three stages, the paper's N.
        stem_channels: outputs of the first convolution.
        skip_reduction: the wiring after reduction cells, see `NASNet`.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image; under 64 the stem keeps the resolution.
        dropout: before the classifier, in training.
        drop_path: probability of the last cell's paths to be dropped at the end of the training; 0.3 in the release.
        aux_heads: with the auxiliary head of training.

    Raises:
        ValueError: filters that do not divide by 4, or an image too small for the auxiliary head.
    """
    if filters < 4 or filters % 4:
        raise ValueError("filters must be a multiple of 4")
    stem_cells = input_size >= 64
    first = (input_size - 1) // 2 if stem_cells else input_size
    return NASNet(
        filters=filters,
        cells=cells,
        stem_channels=stem_channels,
        stem_cells=stem_cells,
        skip_reduction=skip_reduction,
        dropout=dropout,
        eps=1e-3,
        classes=classes,
        in_channels=in_channels,
        drop_path=drop_path,
        aux_size=-(-first // (8 if stem_cells else 2)) if aux_heads else None,
    )
