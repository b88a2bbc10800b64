"""The end that every foreign network comes to: written, compared with what it was made from, measured, put into place."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from edgecnn.artifacts import load_artifact
from edgecnn.data import Dataset
from edgecnn.errors import BadInput
from edgecnn.exporters.accuracy import check_classes, measure_accuracy
from edgecnn.exporters.onnxfile import stamp, write_model
from edgecnn.exporters.passes.values import unique_name
from edgecnn.files import replacing
from edgecnn.specs import Artifact, ModelSpec, Step

Say = Callable[[str], None]

LOGITS = "logits"
"""How the scores before softmax are called in every file of edgecnn."""


def write_checked(
    model: ir.Model,
    spec: ModelSpec,
    lineage: Sequence[Step],
    output: Path,
    *,
    check: Callable[[Artifact], None],
    evaluation: Dataset | None = None,
    on_step: Say = lambda step: None,
) -> Artifact:
    """Write a model as one file, and return it once it was compared and, where there are images for it, measured.

    Args:
        model: the graph.
        spec: what goes into the file about it.
        lineage: likewise.
        output: where the file goes.
        check: raises where the file, which lies elsewhere by then, is not what it was made from.
        evaluation: labelled images for its accuracy.
        on_step: called with a word for each step.

    Raises:
        BadInput: the images are of other classes than the model's.
    """
    if evaluation is not None:
        check_classes(spec, evaluation)
    with replacing(output) as temporary:
        stamp(model, spec, lineage)
        write_model(model, temporary)
        on_step("compare")
        check(load_artifact(temporary, checksum=False))
        if evaluation is not None:
            on_step("measure accuracy")
            split = evaluation.split("test")
            accuracy = measure_accuracy(load_artifact(temporary, checksum=False), split, dataset=evaluation.name)
            stamp(model, replace(spec, accuracy=(accuracy,)), lineage)
            write_model(model, temporary)
    return load_artifact(output)


def require_scores(shape: Sequence[int | str], where: str) -> int:
    """Return how many classes an output of this shape has.

    Raises:
        BadInput: it is not [N, classes], apart from sizes of 1.
    """
    inner = [size for size in shape[1:] if size != 1] or list(shape[1:2])
    if len(shape) < 2 or len(inner) != 1 or not isinstance(inner[0], int):
        raise BadInput(
            f"output of {where}",
            "edgecnn is for classifiers",
            expected="one score per image and class, [N, classes]",
            got=f"[{', '.join(map(str, shape))}]",
        )
    return inner[0]


def flatten_scores(model: ir.Model, *, renamed: bool) -> None:
    """Make the output [N, classes] where it has further dimensions, of size 1, in place; it is then called "logits".

    Args:
        model: with one output, whose shape is known.
        renamed: call it so in any case, for it is no longer what the file's output was.
    """
    graph = model.graph
    (output,) = graph.outputs
    assert output.shape is not None
    if len(output.shape) > 2:
        node = ir.node("Flatten", [output], attributes={"axis": 1}, name="flatten_scores")
        shape = output.shape
        output = node.outputs[0]
        output.dtype = ir.DataType.FLOAT
        inner = [int(size) for size in shape[1:] if isinstance(size, int)]
        output.shape = ir.Shape([shape[0], math.prod(inner)])
        graph.append(node)
        graph.outputs[0] = output
        renamed = True
    if renamed and output.name != LOGITS:
        output.name = unique_name(graph, LOGITS)
