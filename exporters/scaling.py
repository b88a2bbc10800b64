"""What is known of files that scale images themselves without looking into their graphs: targets, inputs, the spec inside."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from edgecnn.errors import Contradiction
from edgecnn.exporters.targets import Target
from edgecnn.specs import ModelSpec

HEIGHT, WIDTH = "height", "width"
"""The open dimensions of an input that is scaled in the graph."""

RESIZE_TARGETS = ("cpu-x86", "cpu-arm")
"""Targets whose engine scales as Pillow does. OpenVINO reads the antialiased Resize and leaves the antialiasing out, TensorRT
has none (onnx-tensorrt, docs/operators.md), and the kernel of CUDA is not held against Pillow."""


def check_resize_targets(targets: Iterable[Target]) -> None:
    """Raise Contradiction if an engine of the targets does not scale as Pillow does."""
    for target in targets:
        if target.name not in RESIZE_TARGETS:
            raise Contradiction(
                f"--resize in-graph for target {target.name}, whose engine does not scale with antialiasing as the published "
                "accuracies were measured",
                f"scale outside: leave --resize out; it is for {' and '.join(RESIZE_TARGETS)}",
            )


def resized_input(spec: ModelSpec) -> ModelSpec:
    """Return what a file that takes pixels says of itself once a resize is put before its graph."""
    assert spec.preprocess is not None
    source = spec.inputs[0]
    shape = (source.shape[0], HEIGHT, WIDTH, spec.preprocess.channels)
    return replace(
        spec, inputs=(replace(source, shape=shape),), preprocess=replace(spec.preprocess, resize_in_graph=True)
    )


def framed_input(spec: ModelSpec) -> ModelSpec:
    """Return what a file says of itself once its resize is taken out of its graph; any other spec as it is."""
    preprocess = spec.preprocess
    if preprocess is None or not preprocess.resize_in_graph:
        return spec
    source = spec.inputs[0]
    shape = (source.shape[0], *preprocess.size, preprocess.channels)
    return replace(spec, inputs=(replace(source, shape=shape),), preprocess=replace(preprocess, resize_in_graph=False))
