"""The tables that surveys print of a whole family: its members side by side, by stage, by width and input size, by branch.

Which ones there are is data, in surveys.toml; every figure comes from the layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgecnn.jsonform import from_json
from edgecnn.specs import Scalar
from edgecnn.toml import read_toml
from edgecnn.zoo.network import Form, Totals
from edgecnn.zoo.pages.stages import WEIGHTED, Stage, stages_of
from edgecnn.zoo.pages.surveys import SURVEYS
from edgecnn.zoo.registry import make_form

if TYPE_CHECKING:
    from edgecnn.zoo.layers import Layer

LayersOf = Callable[[Form], "Sequence[Layer]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A column of a family's table.

    Attributes:
        title: head of the column.
        variant: the form.
        params: trained values.
        macs: multiply-adds for one image.
    """

    title: str
    variant: str
    params: int
    macs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of a family's table.

    Attributes:
        name: of the stage, in the paper's words where surveys.toml has them.
        size: height and width of the output; empty for a vector.
        cells: one text per member; "-" where a member has no such stage.
    """

    name: str
    size: tuple[int, ...]
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyTable:
    """The members of a family by stage.

    Attributes:
        title: of the table.
        members: the columns.
        rows: the stages.
    """

    title: str
    members: tuple[Member, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRow:
    """One width at every input size.

    Attributes:
        width: share of the channels.
        params: trained values; the same at every input size.
        macs: multiply-adds at each input size of the grid.
    """

    width: float
    params: int
    macs: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A network by width and input size.

    Attributes:
        title: of the table.
        input_sizes: the columns, pixels.
        rows: the widths.
    """

    title: str
    input_sizes: tuple[int, ...]
    rows: tuple[GridRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """What the branches of one module cost.

    Attributes:
        name: path of the module.
        output_shape: (channels, height, width).
        macs: multiply-adds of each branch, in the order of the table's branches.
        total: multiply-adds of the module.
        naive: multiply-adds if the windows of every branch read the module's whole input, without the 1x1 convolutions
            before them.
    """

    name: str
    output_shape: tuple[int, ...]
    macs: tuple[int, ...]
    total: int
    naive: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchTable:
    """The modules of a network by branch.

    Attributes:
        title: of the table.
        branches: the columns.
        modules: the rows.
    """

    title: str
    branches: tuple[str, ...]
    modules: tuple[Module, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    network: str
    options: Mapping[str, Scalar] = field(default_factory=dict)
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    title: str
    cell: Literal["blocks", "channels", "content"]
    columns: tuple[_Column, ...]
    rows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grid:
    title: str
    widths: tuple[float, ...]
    input_sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Branches:
    title: str
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tables:
    tables: Mapping[str, _Table] = field(default_factory=dict)
    grids: Mapping[str, _Grid] = field(default_factory=dict)
    branches: Mapping[str, _Branches] = field(default_factory=dict)


def family_table(network: str, layers_of: LayersOf) -> FamilyTable | None:
    """Return the table that a network is a column of, None when surveys have none."""
    tables = _tables(SURVEYS).tables.values()
    table = next((table for table in tables if any(column.network == network for column in table.columns)), None)
    if table is None:
        return None
    forms = [make_form(column.network, **dict[str, Any](column.options)) for column in table.columns]
    walked = [layers_of(form) for form in forms]
    stages = list(zip_longest(*map(stages_of, walked)))
    return FamilyTable(
        title=table.title,
        members=tuple(
            _member(column.title or form.title, form, layers)
            for column, form, layers in zip(table.columns, forms, walked, strict=True)
        ),
        rows=tuple(
            _row(table.rows[index] if index < len(table.rows) else "", found, table.cell)
            for index, found in enumerate(stages)
        ),
    )


def grid(network: str, sizes_of: Callable[[Form], Totals]) -> Grid | None:
    """Return a network's table by width and input size, None when surveys have none."""
    asked = _tables(SURVEYS).grids.get(network)
    if asked is None:
        return None
    rows = []
    for width in asked.widths:
        found = [sizes_of(make_form(network, width=width, input_size=size)) for size in asked.input_sizes]
        rows.append(GridRow(width=width, params=found[0].params, macs=tuple(sizes.macs for sizes in found)))
    return Grid(title=asked.title, input_sizes=asked.input_sizes, rows=tuple(rows))


def branch_table(network: str, layers: Sequence[Layer]) -> BranchTable | None:
    """Return the costs of the branches in a network's modules, None when surveys have none."""
    asked = _tables(SURVEYS).branches.get(network)
    if asked is None:
        return None
    names = dict.fromkeys(layer.name.rpartition(".")[0] for layer in layers if layer.kind == "concat")
    modules = tuple(_module(name, layers, tuple(asked.columns)) for name in names)
    return BranchTable(title=asked.title, branches=tuple(asked.columns.values()), modules=modules)


def _member(title: str, form: Form, layers: Sequence[Layer]) -> Member:
    params, macs = sum(layer.params for layer in layers), sum(layer.macs for layer in layers)
    return Member(title=title, variant=form.title, params=params, macs=macs)


def _row(name: str, stages: Sequence[Stage | None], cell: str) -> Row:
    first = next(stage for stage in stages if stage is not None)
    size = first.output_shape[1:]
    return Row(name=name or first.name, size=size, cells=tuple(_cell(stage, cell) for stage in stages))


def _cell(stage: Stage | None, cell: str) -> str:
    if stage is None:
        return "-"
    if cell == "channels":
        return str(stage.output_shape[0])
    if cell == "blocks" and stage.blocks:
        return f"{stage.blocks} blocks" if stage.blocks > 1 else "1 block"
    return stage.content


def _module(name: str, layers: Sequence[Layer], branches: Sequence[str]) -> Module:
    inside = [layer for layer in layers if layer.name.startswith(f"{name}.")]
    weighted = [[layer for layer in inside if _below(layer, f"{name}.{branch}", WEIGHTED)] for branch in branches]
    macs = tuple(sum(layer.macs for layer in found) for found in weighted)
    # The first branch is a convolution on the module's input, whose channels follow from its cost.
    first = weighted[0][0]
    positions = first.output_shape[1] * first.output_shape[2]
    channels = first.macs // (positions * first.output_shape[0] * _area(first))
    windows = [found[-1] for branch, found in zip(branches, weighted, strict=True) if not _pools(name, branch, inside)]
    return Module(
        name=name,
        output_shape=inside[-1].output_shape,
        macs=macs,
        total=sum(macs),
        naive=sum(positions * channels * layer.output_shape[0] * _area(layer) for layer in windows),
    )


def _below(layer: Layer, path: str, kinds: Sequence[str]) -> bool:
    return layer.kind in kinds and (layer.name == path or layer.name.startswith(f"{path}."))


def _pools(name: str, branch: str, inside: Sequence[Layer]) -> bool:
    return any(_below(layer, f"{name}.{branch}", ("max pool", "average pool")) for layer in inside)


def _area(layer: Layer) -> int:
    height, width = layer.kernel or (1, 1)
    return height * width


@lru_cache(maxsize=4)
def _tables(path: Path) -> _Tables:
    document = read_toml(path)
    document.pop("claims", None)
    return from_json(_Tables, document, where=path.name)
