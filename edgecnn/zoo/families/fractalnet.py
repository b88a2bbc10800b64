"""FractalNet: depth without shortcuts.

Larsson, Maire, Shakhnarovich, "FractalNet: Ultra-Deep Neural Networks without Residuals", 2016, arXiv 1605.07648 (ICLR 2017).
A block is a truncated fractal, f_1 = conv and f_(c+1)(z) = mean of conv(z) and f_c(f_c(z)): columns of 1, 2, 4, ...
convolutions side by side that meet in joins, the element-wise mean of what arrives. In training drop-path removes inputs of
joins (local) or all columns but one (global), so that every column is a network of its own; inference runs the whole.

Parameterised: width, classes, input channels, input size; drop-path and dropout in training.
Differs: the small-image form is that of the authors' generator (gustavla/fractalnet), convolutions with bias and batch norm
without scale and shift; columns are pooled before the last join of a block, as the paper does. The paper's table gives it
38.6 M parameters, the generator's graph has 33.7 M. The global column is drawn per image here, per mini-batch in the paper.
The paper gives the ImageNet form four blocks of four columns, 128-256-512-1024 filters, and no count. Ours: its ends are
those of ResNet-34, its units those of the small-image form, and the last block is not pooled; inputs under 64 pixels take
a 3 x 3 stem of stride 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgecnn.zoo.families.blocks import GlobalAveragePool, make_divisible

_GLOBAL_SHARE = 0.5  # section 3: half of the samples are local, half global
_LOCAL = -1


class ConvUnit(nn.Module):
    """Convolution with bias, dropout, batch norm without scale and shift, ReLU: the authors' unit."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2)
        self.dropout = nn.Dropout(dropout)
        self.bn = nn.BatchNorm2d(out_channels, affine=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, out_channels, ceil(H / stride), ceil(W / stride)]."""
        out: Tensor = self.relu(self.bn(self.dropout(self.conv(x))))
        return out


class Join(nn.Module):
    """Mean of the columns that meet; with drop-path in training, of those that are kept.

    Args:
        drop_path: share of the inputs that a local sample drops, 0..1.
    """

    def __init__(self, drop_path: float) -> None:
        super().__init__()
        self.drop_path = drop_path

    def forward(self, inputs: Sequence[Tensor], columns: Sequence[int], chosen: Tensor | None) -> Tensor:
        """Return the mean, float32 of the shape of one input.

        Args:
            inputs: one tensor [N, C, H, W] per column.
            columns: the numbers of these columns.
            chosen: int64 [N], the column of each image, -1 where joins are sampled locally; None for the whole network.
        """
        total = inputs[0]
        if chosen is None:
            for value in inputs[1:]:
                total = total + value
            return total / len(inputs)
        shares = self._shares(columns, chosen).to(total.dtype)[..., None, None, None]
        total = total * shares[0]
        for value, share in zip(inputs[1:], shares[1:], strict=True):
            total = total + value * share
        return total

    def _shares(self, columns: Sequence[int], chosen: Tensor) -> Tensor:
        """Return float32 [columns, N], 0 where dropped; those of an image sum to 1."""
        size = (len(columns), chosen.shape[0])
        kept = torch.rand(size, device=chosen.device) >= self.drop_path
        survivor = torch.randint(len(columns), size[1:], device=chosen.device)
        kept[survivor, torch.arange(size[1], device=chosen.device)] |= ~kept.any(0)
        own = torch.tensor(list(columns), device=chosen.device)[:, None] == chosen
        kept = torch.where((chosen != _LOCAL) & own.any(0), own, kept).float()
        return kept / kept.sum(0)


class FractalBlock(nn.Module):
    """Columns of 1, 2, 4, ... units (column 0 the shallowest) and the joins between them (figure 1 of the paper)."""

    def __init__(
        self, in_channels: int, out_channels: int, *, columns: int, pool: bool, dropout: float, drop_path: float
    ) -> None:
        super().__init__()
        self.columns = nn.ModuleList()
        for column in range(columns):
            inputs = [in_channels] + [out_channels] * (2**column - 1)
            self.columns.append(nn.ModuleList(ConvUnit(size, out_channels, dropout=dropout) for size in inputs))
        self.pool: nn.Module = nn.MaxPool2d(2) if pool else nn.Identity()
        self.join = Join(drop_path)

    def forward(self, x: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Return float32 [N, out_channels, H // 2, W // 2], without pooling [N, out_channels, H, W]."""
        values = [x] * len(self.columns)
        length = 2 ** (len(self.columns) - 1)
        for step in range(1, length + 1):
            # Column c has a unit at every (length / 2^c)th step of the deepest; the columns that have one meet after it.
            running = [column for column in range(len(self.columns)) if step % (length >> column) == 0]
            for column in running:
                units = self.columns[column]
                assert isinstance(units, nn.ModuleList)
                values[column] = units[step // (length >> column) - 1](values[column])
            if step == length:
                values = [self.pool(value) for value in values]
            if len(running) > 1:
                joined = self.join([values[column] for column in running], running, chosen)
                values[running[0] :] = [joined] * len(running)
        return values[0]


class FractalNet(nn.Module):
    """float32 [N, in_channels, S, S] -> logits float32 [N, classes].

    Args:
        stem: what comes before the blocks.
        in_channels: that the blocks read.
        filters: channels of each block.
        columns: of every block; the deepest path of a block has 2^(columns - 1) convolutions.
        pool_last: whether the last block halves the size as the others do.
        classes: length of the logits.
        dropout: of the last block in training, 0..1; it rises from 0 block by block. 0.4 in the paper.
        drop_path: share of a join's inputs dropped in training, 0..1, in the half of the images that do not take one
            column through the whole network; 0 turns both off. 0.15 in the paper.

    Raises:
        ValueError: a dropout or drop_path outside 0..1.
    """

    def __init__(
        self,
        stem: nn.Module,
        *,
        in_channels: int,
        filters: Sequence[int],
        columns: int,
        pool_last: bool,
        classes: int,
        dropout: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        if not (0 <= dropout < 1 and 0 <= drop_path < 1):
            raise ValueError("dropout and drop_path must be at least 0 and below 1")
        self.drop_path = drop_path
        self.number_of_columns = columns
        self.stem = stem
        self.blocks = nn.ModuleList()
        last = len(filters) - 1
        for index, width in enumerate(filters):
            block = FractalBlock(
                in_channels,
                width,
                columns=columns,
                pool=pool_last or index < last,
                dropout=dropout * index / max(last, 1),
                drop_path=drop_path,
            )
            self.blocks.append(block)
            in_channels = width
        self.pool = GlobalAveragePool()
        self.classifier = nn.Linear(in_channels, classes)
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(layer.weight)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        chosen = self._sample(x) if self.training and self.drop_path > 0 else None
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, chosen)
        out: Tensor = self.classifier(self.pool(x))
        return out

    def _sample(self, x: Tensor) -> Tensor:
        """Return int64 [N]: the only column of an image, or -1 where its joins are sampled one by one."""
        images = x.shape[0]
        column = torch.randint(self.number_of_columns, (images,), device=x.device)
        whole = torch.rand(images, device=x.device) < _GLOBAL_SHARE
        return torch.where(whole, column, _LOCAL)


def _narrowed(filters: Sequence[int], width: float) -> list[int]:
    if not width >= 0.125:
        raise ValueError("width must be at least 0.125, which leaves eight channels in the first block of 64")
    return [make_divisible(channels * width) for channels in filters]


def fractalnet_cifar(
    *,
    width: float = 1.0,
    classes: int = 10,
    in_channels: int = 3,
    input_size: int = 32,
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> FractalNet:
    """Build the 20 layer small-image form: 33,714,314 parameters and 845.2 M multiply-adds at width 1 and 32 pixels.

    Args:
        width: share of the channels of every layer, rounded to eights; at least 0.125.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image, at least 32: five poolings.
        dropout: see FractalNet; training only.
        drop_path: see FractalNet; training only.

    Raises:
        ValueError: a width below 0.125, an input under 32 pixels, or a dropout or drop_path outside 0..1.
    """
    if input_size < 32:
        raise ValueError("fractalnet_cifar needs images of at least 32 pixels")
    return FractalNet(
        nn.Identity(),
        in_channels=in_channels,
        filters=_narrowed((64, 128, 256, 512, 512), width),
        columns=3,
        pool_last=True,
        classes=classes,
        dropout=dropout,
        drop_path=drop_path,
    )


def fractalnet34(
    *,
    width: float = 1.0,
    classes: int = 1000,
    in_channels: int = 3,
    input_size: int = 224,
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> FractalNet:
    """Build the 34 layer ImageNet form: 164,002,152 parameters and 24.16 G multiply-adds at width 1 and 224 pixels.

    Args:
        width: share of the channels of every layer, rounded to eights; at least 0.125.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image, at least 8; under 64 the stem is 3 x 3 and keeps the resolution.
        dropout: see FractalNet; training only.
        drop_path: see FractalNet; training only.

    Raises:
        ValueError: a width below 0.125, an input under 8 pixels, or a dropout or drop_path outside 0..1.
    """
    if input_size < 8:
        raise ValueError("fractalnet34 needs images of at least 8 pixels")
    stem_channels, *filters = _narrowed((64, 128, 256, 512, 1024), width)
    small = input_size < 64
    stem = nn.Sequential(
        ConvUnit(in_channels, stem_channels, 3 if small else 7, 1 if small else 2),
        nn.Identity() if small else nn.MaxPool2d(3, 2, 1),
    )
    return FractalNet(
        stem,
        in_channels=stem_channels,
        filters=filters,
        columns=4,
        pool_last=False,
        classes=classes,
        dropout=dropout,
        drop_path=drop_path,
    )
