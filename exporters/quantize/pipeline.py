"""From an fp32 file to an int8 file: check, calibrate, place, write, measure, rename into place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx_ir as ir

import edgecnn
from edgecnn.artifacts import load_artifact
from edgecnn.data.dataset import Split
from edgecnn.errors import BadInput, Contradiction, QuantizeError, first_line
from edgecnn.exporters.accuracy import input_batches, measure_accuracy, require_preprocess
from edgecnn.exporters.onnxfile import stamp, write_model
from edgecnn.exporters.passes import run_passes
from edgecnn.exporters.quantize.calibrate import calibrate, spread
from edgecnn.exporters.quantize.checks import check_bound, check_splits, hold_bound, load_fp32, why_not_measured
from edgecnn.exporters.quantize.config import QuantizeConfig
from edgecnn.exporters.quantize.emit import emit
from edgecnn.exporters.quantize.placement import place
from edgecnn.files import replacing
from edgecnn.runtimes import open_session
from edgecnn.runtimes.base import Array
from edgecnn.specs import Accuracy, Artifact, ModelSpec, Step

Progress = Callable[[str, int, int], None]
"""Called with the stage ("calibrate", "accuracy fp32", "accuracy int8"), images done and images in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeResult:
    """What came of a quantization.

    Attributes:
        artifact: the int8 file.
        fp32: accuracy of the source, None where it was not measured.
        int8: accuracy of the int8 file, None where it was not measured.
        not_measured: why not, empty where it was.
        quantized: operator -> nodes of the fp32 graph that run in int8, activations within a quantizer among them.
        left_float: operator -> nodes that stay float.
    """

    artifact: Artifact
    fp32: Accuracy | None = None
    int8: Accuracy | None = None
    not_measured: str = ""
    quantized: Mapping[str, int] = field(default_factory=dict)
    left_float: Mapping[str, int] = field(default_factory=dict)

    @property
    def drop(self) -> float | None:
        """Top-1 accuracy that was lost, percentage points; negative for a gain; None where it was not measured."""
        if self.fp32 is None or self.int8 is None:
            return None
        return round(100 * (self.fp32.value - self.int8.value), 6)


def quantize(
    source: Path,
    output: Path,
    *,
    calibration: Split,
    calibration_name: str = "",
    evaluation: Split | None = None,
    dataset: str = "",
    labels: tuple[str, ...] = (),
    config: QuantizeConfig | None = None,
    on_progress: Progress = lambda stage, done, total: None,
) -> QuantizeResult:
    """Write the int8 form of an fp32 file, with the accuracy of both inside.

    The new file is checked, run by the engine and measured before it is renamed into place; where anything fails, or
    accuracy falls by more than `config.max_drop`, there is no file.

    Args:
        source: an fp32 .onnx file with a ModelSpec that says how an image becomes the input.
        output: where the int8 file goes.
        calibration: training images that activations are observed on.
        calibration_name: name of the set that `calibration` belongs to, for the file's lineage.
        evaluation: labelled images that the accuracy of both files is measured on, None for no measurement.
        dataset: name of the set that `evaluation` belongs to.
        labels: class names of that set, in index order; accuracy does not apply to a model with other classes.
        config: how to quantize.
        on_progress: called after every batch with the stage, images done and images in all.

    Raises:
        BadInput: the source cannot be read, does not say how to prepare an image, or has too old an operator set.
        QuantizeError: the source is not fp32, or its activations or weights are not finite.
        Contradiction: calibration on evaluation images, or an accuracy bound where nothing can be measured.
        AccuracyError: accuracy fell below the bound.
    """
    config = config or QuantizeConfig()
    original = load_fp32(source)
    if output.resolve() == source.resolve():
        raise Contradiction(f"the int8 file would replace its source {source}", "choose another --output")
    check_splits(calibration, evaluation)
    reason = why_not_measured(original.spec, evaluation, labels)
    check_bound(config, reason)
    images = spread(calibration, config.calibration_images)
    fp32 = int8 = None
    with replacing(output) as temporary:
        temporary.touch()  # a folder that cannot be written to shows before the work, not after it
        _run_once(original, images)
        model, quantized, left_float = _quantize_graph(original, images, config, partial(on_progress, "calibrate"))
        lineage = (*original.lineage, _step(original, images, calibration_name, config, left_float))
        _write(model, temporary, original.spec, lineage)
        _check_outputs(_run_once(load_artifact(temporary), images))
        if evaluation is not None and not reason:
            measure = partial(measure_accuracy, split=evaluation, dataset=dataset)
            fp32 = measure(original, on_progress=partial(on_progress, "accuracy fp32"))
            int8 = measure(load_artifact(temporary), on_progress=partial(on_progress, "accuracy int8"))
            hold_bound(fp32, int8, config.max_drop)
            _write(model, temporary, _with_accuracy(original.spec, fp32, int8), lineage)
    return QuantizeResult(
        artifact=load_artifact(output),
        fp32=fp32,
        int8=int8,
        not_measured=reason,
        quantized=quantized,
        left_float=left_float,
    )


def _quantize_graph(
    original: Artifact, images: Split, config: QuantizeConfig, on_progress: Callable[[int, int], None]
) -> tuple[ir.Model, dict[str, int], dict[str, int]]:
    """Return the quantized graph, and how many nodes of each operator became int8 and stayed float."""
    model = _read_graph(original.path)
    run_passes(model)
    placement = place(model, min_channels=config.min_channels)
    if not placement.nodes:
        raise QuantizeError(f"{original.path} has no convolution or linear layer with constant weights")
    every = Counter(node.op_type for node in model.graph)
    quantized = Counter(node.op_type for node in (*placement.nodes, *placement.absorbed))
    ranges = calibrate(
        model,
        placement.observed,
        source=original.spec.inputs[0],
        preprocess=require_preprocess(original),
        images=images,
        config=config,
        on_progress=on_progress,
    )
    emit(model, placement, ranges, config)
    return model, dict(quantized), dict(every - quantized)


def _read_graph(path: Path) -> ir.Model:
    try:
        return ir.load(path)
    except Exception as error:
        raise BadInput(f"{path} is not a readable ONNX graph: {first_line(error)}", "export it again") from error


def _write(model: ir.Model, path: Path, spec: ModelSpec, lineage: tuple[Step, ...]) -> None:
    stamp(model, spec, lineage)
    write_model(model, path)


def _run_once(artifact: Artifact, images: Split) -> dict[str, Array]:
    """Return a file's outputs for one image, which shows that the engine reads it and that the preprocessing fits."""
    with open_session(artifact) as session:
        source = session.inputs[0]
        feed, _ = next(input_batches(source, require_preprocess(artifact), images.take(1), 1))
        return session.run({source.name: feed})


def _check_outputs(outputs: Mapping[str, Array]) -> None:
    for name, array in outputs.items():
        if not np.isfinite(array).all():
            raise QuantizeError(f"output {name} of the int8 model is not finite")


def _with_accuracy(spec: ModelSpec, *measured: Accuracy) -> ModelSpec:
    """Return the spec with these accuracies in place of older ones of the same kind."""
    kinds = {_kind(accuracy) for accuracy in measured}
    others = tuple(accuracy for accuracy in spec.accuracy if _kind(accuracy) not in kinds)
    return replace(spec, accuracy=(*others, *measured))


def _kind(accuracy: Accuracy) -> tuple[str, str, str, str]:
    return accuracy.metric, accuracy.dataset, accuracy.split, accuracy.precision


def _step(
    original: Artifact, images: Split, calibration_name: str, config: QuantizeConfig, left_float: Mapping[str, int]
) -> Step:
    options = {
        **asdict(config),
        "calibration_dataset": calibration_name,
        "calibration_split": images.name,
        "calibration_images": len(images),
        "left_float": ", ".join(f"{op_type} {count}" for op_type, count in sorted(left_float.items())),
    }
    return Step(
        tool="edgecnn quantize",
        version=edgecnn.__version__,
        options={"source_sha256": original.sha256, **options},
    )
