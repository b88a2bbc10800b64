"""The stages of a network, as its paper's table has them: layers grouped by output size and by the modules they run in.

A module is taken apart as long as its layers work at three or more sizes. What is left are units: a block, a sequence of
blocks, or a single layer. Units that follow each other at the same output size make one stage; a sequence of blocks is a
stage of its own, with the poolings and activations around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgecnn.zoo.layers import Layer

WEIGHTED = ("conv", "depthwise", "linear")
"""Kinds of layers that papers count."""

# Kinds whose output size says nothing about the stage: padding makes a size that the layer behind it takes back.
_PASSING = ("pad",)
_SIZES_OF_A_STAGE = 2
_LISTED = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Layers that follow each other and belong together.

    Attributes:
        name: path of the module; of several, the first and the last one.
        first: index of its first layer.
        last: index of its last layer, included.
    """

    name: str
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A row of a paper's table.

    Attributes:
        name: path of the module; of several, the first and the last one.
        output_shape: without the batch, (channels, height, width) or (features,).
        blocks: how many blocks of two and more weighted layers; 0 where the layers stand alone.
        layers: how many convolutions and linear layers.
        content: what is computed, "3 x (1x1 64, 3x3 64, 1x1 256)" for example: the convolutions of the last block.
        params: trained values.
        macs: multiply-adds.
        activation_bytes: float32 outputs.
        params_share: of the whole network, 0..1.
        macs_share: of the whole network, 0..1.
        parts: its blocks, or the stage as one where the layers stand alone.
    """

    name: str
    output_shape: tuple[int, ...]
    blocks: int
    layers: int
    content: str
    params: int
    macs: int
    activation_bytes: int
    params_share: float
    macs_share: float
    parts: tuple[Block, ...]


Rows = tuple[tuple[int, "Layer"], ...]


@dataclass(frozen=True, slots=True)
class _Unit:
    path: str
    rows: Rows
    children: tuple[_Unit, ...] = ()

    @property
    def weighted(self) -> int:
        return sum(layer.kind in WEIGHTED for _, layer in self.rows)

    @property
    def size(self) -> tuple[int, ...]:
        return self.rows[-1][1].output_shape[1:]

    @property
    def is_block(self) -> bool:
        """Two and more weighted layers below the module, which are not all linear."""
        kinds = [layer.kind for _, layer in self.rows if layer.kind in WEIGHTED]
        return len(kinds) > 1 and {*kinds} != {"linear"} and _nested(self.path, self.rows)


def stages_of(layers: Sequence[Layer]) -> tuple[Stage, ...]:
    """Return the stages of a layer table, in the order in which they run."""
    stages = _merged(_units("", tuple(enumerate(layers))))
    params = sum(layer.params for layer in layers) or 1
    macs = sum(layer.macs for layer in layers) or 1
    return tuple(_stage(units, params, macs) for units in stages)


def convolution_text(layer: Layer) -> str:
    """Return a weighted layer in short: "3x3 64", "3x3 64 g32", "dw 3x3" or "fc 1000"."""
    if layer.kind == "linear":
        return f"fc {layer.output_shape[-1]}"
    kernel = "x".join(map(str, layer.kernel or ()))
    if layer.kind == "depthwise":
        return f"dw {kernel}"
    groups = f" g{layer.groups}" if (layer.groups or 1) > 1 else ""
    return f"{kernel} {layer.output_shape[0]}{groups}"


def _units(prefix: str, rows: Rows) -> list[_Unit]:
    """Take a module apart into units."""
    units = []
    for path, found in _split(prefix, rows):
        if len(_sizes(found)) > _SIZES_OF_A_STAGE and _nested(path, found) and not _joins(path, found):
            units += _units(path, found)
        else:
            units.append(_Unit(path, found, _sequence(path, found)))
    return units


def _split(prefix: str, rows: Rows) -> list[tuple[str, Rows]]:
    """Return (path, rows) of what runs directly below a path."""
    start = len(prefix) + 1 if prefix else 0
    runs = groupby(rows, key=lambda row: row[1].name[start:].partition(".")[0])
    return [(f"{prefix}.{token}".strip("."), tuple(found)) for token, found in runs]


def _nested(path: str, rows: Rows) -> bool:
    return any(layer.name.startswith(f"{path}.") for _, layer in rows)


def _sizes(rows: Rows) -> set[tuple[int, ...]]:
    sizes = {layer.output_shape[1:] for _, layer in rows if layer.kind not in _PASSING}
    return {size for size in sizes if len(size) > 1 and max(size) > 1}


def _joins(path: str, rows: Rows) -> bool:
    """Tell whether a module joins branches itself, which makes it a block."""
    return any(len(layer.inputs) > 1 and layer.name.rpartition(".")[0] == path for _, layer in rows)


def _sequence(path: str, rows: Rows) -> tuple[_Unit, ...]:
    """Return what a sequence of two or more blocks consists of, nothing when a module is a block or a layer itself."""
    if _joins(path, rows) or not _nested(path, rows):
        return ()
    children = tuple(_Unit(name, found) for name, found in _split(path, rows))
    if len(children) == 1:
        return _sequence(children[0].path, rows)
    return children if sum(child.is_block for child in children) > 1 else ()


def _merged(units: Sequence[_Unit]) -> list[list[_Unit]]:
    stages: list[list[_Unit]] = []
    for unit in units:
        before = stages[-1] if stages else []
        sequence = bool(unit.children) or any(other.children for other in before)
        apart = sequence and unit.weighted and any(other.weighted for other in before)
        if before and before[-1].size == unit.size and not apart:
            before.append(unit)
        else:
            stages.append([unit])
    return stages


def _stage(units: list[_Unit], params: int, macs: int) -> Stage:
    layers = [layer for unit in units for _, layer in unit.rows]
    inner = [part for unit in units for part in unit.children or (unit,)]
    blocks = [part for part in inner if part.is_block]
    return Stage(
        name=_name([unit.path for unit in units if unit.weighted] or [units[0].path]),
        output_shape=layers[-1].output_shape,
        blocks=len(blocks),
        layers=sum(layer.kind in WEIGHTED for layer in layers),
        content=_content(blocks, layers),
        params=sum(layer.params for layer in layers),
        macs=sum(layer.macs for layer in layers),
        activation_bytes=sum(layer.activation_bytes for layer in layers),
        params_share=sum(layer.params for layer in layers) / params,
        macs_share=sum(layer.macs for layer in layers) / macs,
        parts=_parts(inner),
    )


def _parts(units: Sequence[_Unit]) -> tuple[Block, ...]:
    """Return blocks one by one, and what stands between them together."""
    parts = []
    for _, group in groupby(enumerate(units), key=lambda item: item[0] + 1 if item[1].is_block else 0):
        found = [unit for _, unit in group]
        name = _name([unit.path for unit in found if unit.weighted] or [found[0].path])
        parts.append(Block(name=name, first=found[0].rows[0][0], last=found[-1].rows[-1][0]))
    return tuple(parts)


def _name(paths: Sequence[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{paths[0]} .. {paths[-1]}"


def _content(blocks: Sequence[_Unit], layers: Sequence[Layer]) -> str:
    """Return the convolutions that stand alone, then those of the last block."""
    inside = {id(layer) for block in blocks for _, layer in block.rows}
    texts = [_listed([layer for layer in layers if id(layer) not in inside])]
    if blocks:
        listed = _listed([layer for _, layer in blocks[-1].rows])
        texts.append(f"{len(blocks)} x ({listed})" if len(blocks) > 1 else listed)
    return ", ".join(filter(None, texts)) or layers[0].kind


def _listed(layers: Sequence[Layer]) -> str:
    texts = [convolution_text(layer) for layer in layers if layer.kind in WEIGHTED]
    runs = [(text, len(list(group))) for text, group in groupby(texts)]
    if len(runs) > _LISTED:
        return f"{len(texts)} convolutions"
    return ", ".join(text if count == 1 else f"{count} x {text}" for text, count in runs)
