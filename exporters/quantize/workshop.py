"""Where int8 graphs of one model are made: graph and ranges are prepared once, each recipe is a variation of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from edgecnn.errors import QuantizeError, UnknownName
from edgecnn.exporters.macs import int8_share, layer_macs
from edgecnn.exporters.passes import DEFAULT_PASSES, DropUnused, run_passes
from edgecnn.exporters.passes.base import label
from edgecnn.exporters.passes.centre_pixels import CentrePixels
from edgecnn.exporters.passes.int8 import prepare_for_int8
from edgecnn.exporters.passes.values import constant, is_op, unique_name
from edgecnn.exporters.pixels import check_pixels
from edgecnn.exporters.quantize.bias_correction import correct_biases, weight_errors
from edgecnn.exporters.quantize.calibrate import Calibrator
from edgecnn.exporters.quantize.calibration_cache import RangeTable
from edgecnn.exporters.quantize.checks import check_graph, read_graph
from edgecnn.exporters.quantize.config import Method, QuantizeConfig
from edgecnn.exporters.quantize.emit import emit
from edgecnn.exporters.quantize.equalize import EqualizeWeights
from edgecnn.exporters.quantize.operators import data_inputs
from edgecnn.exporters.quantize.placed import Placement
from edgecnn.exporters.quantize.placement import place
from edgecnn.exporters.quantize.recipe import Recipe
from edgecnn.exporters.resizing import take_resize_out
from edgecnn.runtimes.base import Array

Progress = Callable[[str, int, int], None]

NARROW_SHARE = 0.1
"""Of the multiply-adds that may stay float because narrow layers are faster so."""

_NEAREST = 5
"""Names that an error lists of the hundreds that a graph has."""

CORRECTION_IMAGES = 256
"""Images over which the mean error of a layer is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """An int8 graph and what is in it.

    Attributes:
        model: the graph.
        recipe: what it was made by.
        quantized: operator -> nodes that run in int8, activations within a quantizer among them.
        left_float: operator -> nodes that stay float.
        float_between: operator -> those of them on the way from one int8 node to another.
        int8_share: share of the multiply-adds in int8, 0..1; None where sizes are not known beforehand.
        constant: nodes whose result never changed on the calibration images; they are held exactly.
    """

    model: ir.Model
    recipe: Recipe
    quantized: Mapping[str, int]
    left_float: Mapping[str, int]
    float_between: Mapping[str, int]
    int8_share: float | None
    constant: tuple[str, ...]


class Workshop:
    """Makes int8 graphs of one fp32 file.

    Args:
        path: the file.
        config: how to quantize.
        calibrator: finds ranges.
        on_progress: called with the stage "calibrate", images done and images in all.

    Raises:
        QuantizeError: nothing in the graph can be quantized.
        UnknownName: a node that is to stay float is not in the graph.

    Attributes:
        graph: the fp32 graph that is quantized, after all rewrites.
        passes: names of the rewrites that changed something.
        min_channels: convolutions of more than one pixel with fewer output channels stay float.
        from_cache: whether all ranges so far were in the cache.
    """

    def __init__(
        self,
        path: Path,
        config: QuantizeConfig,
        calibrator: Calibrator,
        on_progress: Progress = lambda stage, done, total: None,
    ) -> None:
        self._config = config
        self._calibrator = calibrator
        self._on_progress = on_progress
        self.graph, self.passes = _prepare(path, config)
        self.from_cache = True
        self.min_channels = _affordable(self.graph, config)
        self.passes += _centre(self.graph, config, self.min_channels)
        self._tables: dict[tuple[bool, bool, Method], RangeTable] = {}
        if not self.place(self.graph).nodes:
            raise QuantizeError(
                f"{path} has no convolution or linear layer with constant weights that could run in int8"
            )

    @cached_property
    def equalized(self) -> ir.Model | None:
        """The graph with equalized weights; None where no layers follow each other in a way that allows it."""
        model = self.graph.clone()
        changed = EqualizeWeights()(model)
        DropUnused()(model)
        return model if changed else None

    def place(self, model: ir.Model, recipe: Recipe | None = None) -> Placement:
        """Return what is quantized of a graph."""
        floats = {*self._config.keep_float, *(recipe.keep_float if recipe else ())}
        return place(model, form=self._config.form, keep_float=floats, min_channels=self.min_channels)

    def base(self, recipe: Recipe) -> ir.Model:
        """Return the fp32 graph that a recipe starts from; not a copy."""
        graph = self.equalized if recipe.equalized else self.graph
        assert graph is not None
        return graph

    def table(self, recipe: Recipe, *, methods: tuple[Method, ...] = (), every: bool = False) -> RangeTable:
        """Return the ranges that a recipe needs.

        Args:
            recipe: which graph and method.
            methods: further methods to find ranges by in the same run.
            every: of all tensors that the graph needs with any choice of nodes left float.
        """
        wide = every or bool(recipe.keep_float)
        if (recipe.equalized, wide, recipe.method) not in self._tables:
            model = self.base(recipe)
            placement = self.place(model)
            tables = self._calibrator.tables(
                model,
                _around(placement) if wide else placement.observed,
                tuple(dict.fromkeys((recipe.method, *methods))),
                lambda done, total: self._on_progress("calibrate", done, total),
            )
            self.from_cache &= self._calibrator.from_cache
            self._tables.update({(recipe.equalized, wide, method): table for method, table in tables.items()})
        return self._tables[recipe.equalized, wide, recipe.method]

    def build(self, recipe: Recipe) -> Built:
        """Return the int8 graph that a recipe gives.

        Raises:
            QuantizeError: activations or weights are not finite, or no node is left to quantize.
        """
        table = self.table(recipe)
        model = self.base(recipe).clone()
        placement = self.place(model, recipe)
        if not placement.nodes:
            raise QuantizeError("no node is left to quantize", "let fewer nodes stay float")
        if recipe.corrected:
            errors = weight_errors(placement, table.ranges, self._config)
            correct_biases(model, errors, self._means)
        inside = {*placement.nodes, *placement.absorbed}
        outside = [node for node in model.graph if node not in inside]
        quantized = Counter(node.op_type for node in inside)
        share = int8_share(layer_macs(model), inside)
        constant = tuple(
            label(node) for node in model.graph if any(value.name in table.constant for value in node.outputs)
        )
        between = dict(Counter(node.op_type for node in _between(model, inside)))
        emit(model, placement, table.ranges, self._config)
        return Built(
            model=model,
            recipe=recipe,
            quantized=dict(quantized),
            left_float=dict(Counter(node.op_type for node in outside if _is_float(node))),
            float_between=between,
            int8_share=share,
            constant=constant,
        )

    def _means(self, graph: ir.Model, tensors: Sequence[ir.Value]) -> Mapping[str, Array]:
        return self._calibrator.mean_outputs(graph, tensors, CORRECTION_IMAGES)


def _between(model: ir.Model, inside: Collection[ir.Node]) -> list[ir.Node]:
    """Return the float nodes on a way from one int8 node to another that meets no further one."""
    behind: set[ir.Node] = set()
    ahead: set[ir.Node] = set()
    floats = [node for node in model.graph if node not in inside]
    for node in floats:
        if any(source in inside or source in behind for source in node.predecessors()):
            behind.add(node)
    for node in reversed(floats):
        if any(reader in inside or reader in ahead for reader in node.successors()):
            ahead.add(node)
    return [node for node in floats if node in behind and node in ahead]


def _prepare(path: Path, config: QuantizeConfig) -> tuple[ir.Model, tuple[str, ...]]:
    """Return the fp32 graph as it is quantized, and the rewrites that changed it."""
    model = read_graph(path)
    check_graph(model, path)
    take_resize_out(model)  # it is put back where a file is written
    check_pixels(model, path, targets=config.targets)
    if any(value.shape is None for node in model.graph for value in node.outputs):
        ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
    applied = run_passes(model, [step for step in DEFAULT_PASSES if step.name not in config.without_passes])
    applied += prepare_for_int8(model, wanted=config.form.rewrites, off=config.without_passes)
    name_nodes(model)
    check_node_names(model, config.keep_float)
    return model, applied


def _centre(model: ir.Model, config: QuantizeConfig, min_channels: int) -> tuple[str, ...]:
    """Let the first layer read the bytes of an image, where that is the form of the target, and return what changed."""
    form = config.form
    takes_bytes = form.activation == "uint8" and not form.symmetric
    if not takes_bytes or CentrePixels.name not in form.rewrites or CentrePixels.name in config.without_passes:
        return ()
    changed = run_passes(model, [CentrePixels(min_channels)])
    DropUnused()(model)
    return changed


def _is_float(node: ir.Node) -> bool:
    """Tell whether a node is still there and computes on floats; what brings pixels to the first layer moves bytes."""
    return node.graph is not None and node.outputs[0].dtype != ir.DataType.UINT8


def _affordable(model: ir.Model, config: QuantizeConfig) -> int:
    """Return the least channels of a convolution that runs in int8: what was asked for, or what the target wants.

    The target's figure is about speed. It gives way where more than a tenth of the multiply-adds would stay float by it.
    """
    asked = config.form.min_channels if config.min_channels is None else config.min_channels
    if config.min_channels is not None:
        return asked
    macs = layer_macs(model)
    channels = {
        len(weight) for node in macs if is_op(node, "Conv") and (weight := constant(node.inputs[1])) is not None
    }
    for least in (asked, *sorted((count for count in channels if count < asked), reverse=True)):
        placement = place(model, form=config.form, keep_float=config.keep_float, min_channels=least)
        share = int8_share(macs, set(placement.nodes))
        if share is None or share >= 1 - NARROW_SHARE:
            return least
    return asked


def name_nodes(model: ir.Model) -> None:
    """Give every node a name of its own: reports and options speak of nodes by it."""
    taken: set[str] = set()
    for node in model.graph:
        if not node.name or node.name in taken:
            node.name = unique_name(model.graph, f"{node.op_type}_{node.outputs[0].name}")
        taken.add(str(node.name))


def check_node_names(model: ir.Model, asked: Sequence[str]) -> None:
    """Raise UnknownName if a name is not that of a node."""
    names = {str(node.name) for node in model.graph}
    for name in asked:
        if name not in names:
            raise UnknownName("node", name, get_close_matches(name, names, n=_NEAREST, cutoff=0))


def _around(placement: Placement) -> tuple[ir.Value, ...]:
    """Return the tensors that can carry a quantizer however many nodes stay float, in graph order."""
    nodes = (*placement.nodes, *placement.absorbed)
    every = [value for node in nodes for value in (*data_inputs(node), node.outputs[0])]
    return tuple(dict.fromkeys((*placement.observed, *every)))
