"""From an fp32 file to a 16-bit one: check, observe, choose, write, run, measure, rename into place."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

import edgecnn
from edgecnn.artifacts import load_artifact
from edgecnn.data.dataset import Split
from edgecnn.errors import AccuracyError, Contradiction, QuantizeError
from edgecnn.exporters.accuracy import measure_accuracy, require_preprocess
from edgecnn.exporters.halfprecision.blocklist import choose_nodes, float_values
from edgecnn.exporters.halfprecision.graph import convert_nodes, raise_opset
from edgecnn.exporters.halfprecision.kinds import Kind, find_kind, is_float
from edgecnn.exporters.halfprecision.result import HalfResult
from edgecnn.exporters.halfprecision.running import choose_backend, compare_with_source
from edgecnn.exporters.macs import int8_share, layer_macs
from edgecnn.exporters.passes import DEFAULT_PASSES, run_passes
from edgecnn.exporters.passes.catalog import check_pass_names
from edgecnn.exporters.pixels import check_pixels
from edgecnn.exporters.quantize.calibrate import Calibrator
from edgecnn.exporters.quantize.calibration_images import Images
from edgecnn.exporters.quantize.checks import (
    check_bound,
    check_graph,
    drop_points,
    holds_bound,
    read_graph,
)
from edgecnn.exporters.quantize.config import QuantizeConfig
from edgecnn.exporters.quantize.conversion import Conversion, Note, Progress, Request, convert_file
from edgecnn.exporters.quantize.finish import run_once, with_accuracy, write_stamped
from edgecnn.exporters.quantize.workshop import check_node_names, name_nodes
from edgecnn.exporters.resizing import take_resize_out
from edgecnn.exporters.scaling import framed_input
from edgecnn.exporters.targets import check_versions
from edgecnn.specs import Accuracy, Precision, Step


def convert_precision(
    source: Path,
    output: Path,
    *,
    precision: Precision,
    calibration: Images,
    calibration_name: str = "",
    evaluation: Split | None = None,
    dataset: str = "",
    labels: tuple[str, ...] = (),
    config: QuantizeConfig | None = None,
    cache: Path | None = None,
    on_progress: Progress = lambda stage, done, total: None,
    on_note: Note = lambda line: None,
) -> HalfResult:
    """Write the fp16 or bf16 form of an fp32 file, with the accuracy of both inside.

    Weights and inner tensors are of that type, input and output stay float32. A node whose values come too close to the
    end of the type, or that has no such form, stays float32 between casts, see `edgecnn.exporters.halfprecision.blocklist`.
    The new file is checked, run and measured before it is renamed into place; where anything fails there is no file.

    Args:
        source: an fp32 .onnx file with a ModelSpec that says how an image becomes the input.
        output: where the new file goes.
        precision: "fp16" or "bf16".
        calibration: images that values are observed on, as `edgecnn.exporters.quantize.quantize` takes them.
        calibration_name: name of the set that `calibration` belongs to, for the file's lineage.
        evaluation: labelled images that the accuracy of both files is measured on, None for no measurement.
        dataset: name of the set that `evaluation` belongs to.
        labels: class names of that set, in index order; accuracy does not apply to a model with other classes.
        config: targets, calibration images, accuracy bound, nodes that stay float and rewrites that do not run.
        cache: folder where ranges are looked up and kept, None for nowhere.
        on_progress: called after every batch with the stage, what is done and what there is in all.
        on_note: called with one line for the user.

    Raises:
        BadInput: the source cannot be read, or does not say how to prepare an image; there is no calibration image.
        QuantizeError: the source is not fp32, its activations are not finite, or no layer fits into the type.
        UnsupportedOp: the source has control flow.
        Contradiction: a target does not take such a file, calibration on evaluation images, or an accuracy bound where
            nothing can be measured.
        AccuracyError: the file does not hold the bound.
    """
    kind = find_kind(precision)
    config = config or QuantizeConfig(precision=precision)
    _check_config(config, precision)
    asked = Request(
        source=source,
        output=output,
        precision=precision,
        calibration=calibration,
        calibration_name=calibration_name,
        evaluation=evaluation,
        dataset=dataset,
        labels=labels,
        config=config,
        cache=cache,
        on_progress=on_progress,
        on_note=on_note,
    )
    return replace(convert_file(partial(_Halving, kind=kind), asked), artifact=load_artifact(output))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Halving(Conversion[HalfResult]):
    """One conversion to 16 bits, its input checked.

    Attributes:
        kind: the type.
    """

    kind: Kind

    def write(self, path: Path) -> HalfResult:
        """Write the file and return what came of it."""
        run_once(self.original, self.images)
        model, result = self._convert()
        spec, lineage = self.original.spec, (*self.original.lineage, self._step(model, result))
        write_stamped(model, path, spec, lineage)
        artifact = load_artifact(path)
        if artifact.precision != self.kind.precision:
            raise QuantizeError(f"{self.original.path} has no weights that could be {self.kind.precision}")
        backend = choose_backend(artifact, self.images, self.config.targets[0], self.on_note)
        result = replace(result, artifact=artifact, backend=backend, not_measured=self.reason)
        if backend is None:
            return self._unmeasured(result)
        result = replace(result, parity=compare_with_source(artifact, self.original, self.images, backend))
        if self.evaluation is None:
            return result
        measure = partial(measure_accuracy, split=self.evaluation, dataset=self.dataset, backend=backend)
        fp32 = measure(self.original, on_progress=partial(self.on_progress, "accuracy fp32"))
        half = measure(artifact, on_progress=partial(self.on_progress, f"accuracy {self.kind.precision}"))
        self._hold_bound(fp32, half)
        write_stamped(model, path, with_accuracy(spec, fp32, half), lineage)
        return replace(result, fp32=fp32, half=half)

    def _convert(self) -> tuple[ir.Model, HalfResult]:
        """Return the graph in 16 bits, and what was done."""
        model, passes = self._prepare()
        framed = framed_input(self.original.spec)
        calibrator = Calibrator(
            source=framed.inputs[0],
            preprocess=framed.preprocess or require_preprocess(self.original),
            images=self.images,
            cache=self.cache,
        )
        progress = partial(self.on_progress, "calibrate")
        table = calibrator.tables(model, float_values(model), ("minmax",), progress)["minmax"]
        nodes, blocked = choose_nodes(model, table.ranges, self.kind, self.config.keep_float)
        macs = layer_macs(model)
        share = int8_share(macs, nodes)
        if not nodes & macs.keys() and macs:
            worst = next(one for one in blocked if one.node in {node.name for node in macs})
            raise QuantizeError(
                f"no layer of {self.original.path} can run in {self.kind.precision}: {worst.node} ({worst.op_type}): "
                f"{worst.reason}",
                "keep it in fp32" + (", or take bf16" if self.kind.precision == "fp16" else ""),
            )
        converted = Counter(node.op_type for node in nodes if any(is_float(value) for value in node.outputs))
        weights = convert_nodes(model, nodes, self.kind)
        result = HalfResult(
            artifact=self.original,
            converted=dict(converted),
            blocked=blocked,
            half_share=share,
            weights=weights,
            passes=passes,
            ranges_from_cache=calibrator.from_cache,
        )
        return model, result

    def _prepare(self) -> tuple[ir.Model, tuple[str, ...]]:
        """Return the fp32 graph in an operator set that has the type, and the rewrites that changed it."""
        check_pass_names(self.config.without_passes)
        model = read_graph(self.original.path)
        check_graph(model, self.original.path)
        take_resize_out(model)  # it is put back where a file is written
        check_pixels(model, self.original.path, targets=self.config.targets)
        passes = run_passes(model, [step for step in DEFAULT_PASSES if step.name not in self.config.without_passes])
        if (model.opset_imports.get("") or 0) < self.kind.least_opset:
            model = raise_opset(model, self.kind.least_opset)
            self._check_opset(model)
        ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
        name_nodes(model)
        check_node_names(model, self.config.keep_float)
        return model, passes

    def _check_opset(self, model: ir.Model) -> None:
        opset = model.opset_imports[""]
        for target in self.config.targets:
            if opset > target.opset_of.get(self.kind.precision, target.max_opset):
                check_versions(target, opset, model.ir_version or 0)

    def _unmeasured(self, result: HalfResult) -> HalfResult:
        reason = self.reason or f"nothing here runs {self.kind.precision} for target {self.config.targets[0].name}"
        check_bound(self.config, reason)
        return replace(result, not_measured=reason)

    def _hold_bound(self, fp32: Accuracy, half: Accuracy) -> None:
        bound = self.config.max_drop
        if bound is not None and not holds_bound(fp32, half, bound):
            raise AccuracyError(
                f"{self.kind.precision} loses {drop_points(fp32, half):.2f} points of top-1 ({fp32.value:.2%} to "
                f"{half.value:.2%}), more than --max-drop {bound:g}; nothing was written",
                "write it without --max-drop, see with edgecnn verify --layers which nodes lose most, and --keep-float them",
            )

    def _step(self, model: ir.Model, result: HalfResult) -> Step:
        return Step(
            tool="edgecnn quantize",
            version=edgecnn.__version__,
            options={
                "source_sha256": self.original.sha256,
                "target": ",".join(target.name for target in self.config.targets),
                "precision": self.kind.precision,
                "max_drop": self.config.max_drop,
                "calibration_dataset": self.calibration_name,
                "calibration_split": self.images.name,
                "calibration_images": len(self.images),
                "opset": model.opset_imports[""],
                "kept_fp32": ",".join(one.node for one in result.blocked),
                "half_share": None if result.half_share is None else round(result.half_share, 4),
                "passes": ",".join(result.passes),
                "without_passes": ",".join(self.config.without_passes),
                "keep_float": ",".join(self.config.keep_float),
            },
        )


def _check_config(config: QuantizeConfig, precision: Precision) -> None:
    """Raise Contradiction if a target does not take the precision, or options are given that only int8 has."""
    for target in config.targets:
        target.require(precision)
    plain = QuantizeConfig(target=config.target, precision=precision)
    for name in ("method", "reduce_range", "per_channel", "min_channels"):
        if getattr(config, name) != getattr(plain, name):
            raise Contradiction(
                f"{name}={getattr(config, name)} is for int8, and {precision} was asked for",
                f"leave it out, or --precision int8: {precision} files need the extremes alone",
            )
