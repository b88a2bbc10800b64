"""The last steps of a converted file: it is written, run once, and told its accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgecnn.data.dataset import Split
from edgecnn.errors import QuantizeError
from edgecnn.exporters.accuracy import require_preprocess
from edgecnn.exporters.onnxfile import stamp, write_model
from edgecnn.exporters.quantize.calibration_images import prepared_batches
from edgecnn.exporters.resizing import put_resize_in
from edgecnn.runtimes import open_session
from edgecnn.runtimes.base import Array
from edgecnn.specs import Accuracy, Artifact, ModelSpec, Step


def write_stamped(model: ir.Model, path: Path, spec: ModelSpec, lineage: tuple[Step, ...]) -> None:
    """Write a graph with spec and lineage inside, and its resize in front where the spec says that it scales images.

    Raises:
        ExportError: the model is not valid ONNX, or too large for one file.
    """
    if spec.preprocess is not None and spec.preprocess.resize_in_graph:
        model = model.clone()
        put_resize_in(model, spec.preprocess)
    stamp(model, spec, lineage)
    write_model(model, path)


def run_once(artifact: Artifact, images: Split, backend: str = "cpu") -> dict[str, Array]:
    """Return a file's outputs for one image, which shows that the engine reads it and that the image fits."""
    with open_session(artifact, backend=backend) as session:
        source = session.inputs[0]
        feed, _ = next(prepared_batches(source, require_preprocess(artifact), images.take(1), 1))
        return session.run({source.name: feed})


def check_finite(outputs: Mapping[str, Array], precision: str) -> None:
    """Raise QuantizeError, naming the output, if one is not finite."""
    for name, array in outputs.items():
        if not np.isfinite(array).all():
            raise QuantizeError(f"output {name} of the {precision} model is not finite")


def with_accuracy(spec: ModelSpec, *measured: Accuracy) -> ModelSpec:
    """Return the spec with these accuracies in place of older ones of the same kind."""
    kinds = {_kind(accuracy) for accuracy in measured}
    others = tuple(accuracy for accuracy in spec.accuracy if _kind(accuracy) not in kinds)
    return replace(spec, accuracy=(*others, *measured))


def _kind(accuracy: Accuracy) -> tuple[str, str, str, str]:
    return accuracy.metric, accuracy.dataset, accuracy.split, accuracy.precision
