"""What must hold before a model is quantized, and after."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgecnn.artifacts import load_artifact
from edgecnn.data.dataset import Split
from edgecnn.errors import BadInput, Contradiction, QuantizeError, UnsupportedOp, first_line
from edgecnn.exporters.accuracy import require_preprocess
from edgecnn.exporters.passes.base import label
from edgecnn.exporters.passes.values import is_op
from edgecnn.exporters.quantize.config import QuantizeConfig
from edgecnn.exporters.scaling import check_resize_targets
from edgecnn.exporters.targets import Target, check_versions
from edgecnn.specs import Accuracy, Artifact
from edgecnn.units import bytes_text

MIN_OPSET = 13
"""DequantizeLinear takes one scale per channel from this operator set on."""


MAX_FILE_BYTES = (1 << 31) - 1
"""What one protobuf message can hold; a larger file is no model, or keeps its weights elsewhere."""

_FIXED_SIZE = ("trt",)
"""Targets whose engines are built for one shape but for the batch."""

_CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")


def load_fp32(path: Path) -> Artifact:
    """Return the artifact behind a path, fit to be quantized.

    Raises:
        BadInput: not a model file, of 2 GiB or more, weights in other files, no preprocessing in it, several inputs, or an
            operator set before 13.
        QuantizeError: the file is not fp32.
    """
    if path.is_file() and path.stat().st_size > MAX_FILE_BYTES:
        raise BadInput(
            f"{path}", expected="less than 2 GiB, what one ONNX file can hold", got=bytes_text(path.stat().st_size)
        )
    artifact = load_artifact(path)
    if artifact.precision == "int8":
        raise QuantizeError(f"{path} is quantized already", "give the fp32 file that it was made from")
    if artifact.precision != "fp32":
        raise QuantizeError(f"{path} is {artifact.precision}", "export it as fp32 and quantize that")
    require_preprocess(artifact)
    if len(artifact.spec.inputs) != 1:
        names = ", ".join(spec.name for spec in artifact.spec.inputs)
        raise BadInput(f"inputs of {path}", expected="one image", got=names or "none")
    if artifact.opset is None or artifact.opset < MIN_OPSET:
        raise BadInput(
            f"operator set of {path}",
            "export it again, --opset 18 for example",
            expected=f"{MIN_OPSET} or newer",
            got=str(artifact.opset),
        )
    return artifact


def read_graph(path: Path) -> ir.Model:
    """Return the graph of a file.

    Raises:
        BadInput: it is not a readable ONNX graph, or keeps data in other files.
    """
    try:
        model = ir.load(path)
    except Exception as error:
        raise BadInput(f"{path} is not a readable ONNX graph: {first_line(error)}", "export it again") from error
    for value in model.graph.initializers.values():
        _refuse_external(value.const_value, path)
    for node in model.graph.all_nodes():
        for attribute in node.attributes.values():
            _refuse_external(attribute.value, path)
    return model


def check_graph(model: ir.Model, path: Path) -> None:
    """Raise UnsupportedOp, naming the node, if a graph has other graphs inside; none of their tensors can be observed."""
    for node in model.graph:
        has_graph = any(
            one.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for one in node.attributes.values()
        )
        if has_graph or is_op(node, *_CONTROL_FLOW):
            raise UnsupportedOp(
                f"{path}: node {label(node)} of operator set {model.opset_imports.get('')} is control flow, which is not "
                "quantized",
                "export the model without conditions and loops, for one input shape",
            )


def check_targets(artifact: Artifact, targets: Sequence[Target]) -> None:
    """Raise Contradiction if one of the targets does not take such a file: its versions, or an image size that is open."""
    shape = artifact.spec.inputs[0].shape
    if artifact.spec.preprocess is not None and artifact.spec.preprocess.resize_in_graph:
        check_resize_targets(targets)
    for target in targets:
        check_versions(target, artifact.opset or 0, artifact.ir_version or 0)
        if target.name in _FIXED_SIZE and any(isinstance(side, str) for side in shape[1:]):
            raise Contradiction(
                f"target {target.name} takes files of one image size, and the input of {artifact.path} is {list(shape)}",
                "export it for one --input-size",
            )


def _refuse_external(data: object, path: Path) -> None:
    if isinstance(data, ir.ExternalTensor):
        raise BadInput(
            f"{path}: tensor {data.name} lies in another file, {data.location}",
            "save it as one file: onnx.save(onnx.load(SOURCE), TARGET)",
        )


def check_splits(calibration: Split, evaluation: Split | None) -> None:
    """Raise Contradiction if activations would be observed on images that accuracy is measured on."""
    if not calibration.trained:
        raise Contradiction(
            f"calibration on {calibration.name!r} images, which accuracy is measured on",
            "give images of the training part, --calibration NAME|FOLDER",
        )
    if evaluation is None:
        return
    hint = "give images of the training part, --calibration NAME|FOLDER"
    if _same_images(calibration, evaluation):
        raise Contradiction(f"calibration and evaluation are on the same {evaluation.name!r} images", hint)
    shared = {path.resolve() for path in calibration.files} & {path.resolve() for path in evaluation.files}
    if shared:
        raise Contradiction(
            f"{len(shared)} image{'s' * (len(shared) > 1)} would serve calibration and evaluation both, {min(shared)} "
            "for example",
            hint,
        )


def _same_images(one: Split, other: Split) -> bool:
    if isinstance(one.images, np.ndarray) and isinstance(other.images, np.ndarray):
        return np.shares_memory(one.images, other.images)
    return one.images is other.images


def check_bound(config: QuantizeConfig, reason: str) -> None:
    """Raise Contradiction if accuracy is to be held and cannot be measured, for that reason."""
    if reason and config.max_drop is not None:
        raise Contradiction(
            f"accuracy cannot be held within {config.max_drop:g} points: {reason}",
            "give --data with labelled images, or leave --max-drop away",
        )


def holds_bound(fp32: Accuracy, int8: Accuracy, max_drop: float) -> bool:
    """Tell whether accuracy fell by no more than so many percentage points."""
    # Both are counts over the same images; a hundredth of the weight of one image is rounding.
    return drop_points(fp32, int8) <= max_drop + 1 / fp32.images


def drop_points(fp32: Accuracy, int8: Accuracy) -> float:
    """Return how many percentage points accuracy fell by."""
    return 100 * (fp32.value - int8.value)
