"""From an fp32 file to an int8 file: check, calibrate, place, write, measure, rename into place."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import onnx_ir as ir

import edgecnn
from edgecnn.artifacts import load_artifact
from edgecnn.data.dataset import Split
from edgecnn.exporters.accuracy import measure_accuracy, require_preprocess
from edgecnn.exporters.engines import why_unusable
from edgecnn.exporters.quantize.calibrate import Calibrator
from edgecnn.exporters.quantize.calibration_images import Images
from edgecnn.exporters.quantize.config import QuantizeConfig
from edgecnn.exporters.quantize.conversion import Conversion, Note, Progress, Request, convert_file
from edgecnn.exporters.quantize.finish import check_finite, run_once, with_accuracy, write_stamped
from edgecnn.exporters.quantize.judge import Judge
from edgecnn.exporters.quantize.recipe import Recipe, SearchReport, Sensitivity
from edgecnn.exporters.quantize.result import QuantizeResult
from edgecnn.exporters.quantize.search import Search
from edgecnn.exporters.quantize.sensitivity import rank_nodes
from edgecnn.exporters.quantize.timing import time_ratio
from edgecnn.exporters.quantize.workshop import Built, Workshop
from edgecnn.exporters.scaling import framed_input
from edgecnn.specs import Accuracy, Artifact, Step


def quantize(
    source: Path,
    output: Path,
    *,
    calibration: Images,
    calibration_name: str = "",
    evaluation: Split | None = None,
    dataset: str = "",
    labels: tuple[str, ...] = (),
    config: QuantizeConfig | None = None,
    cache: Path | None = None,
    timed: bool = False,
    on_progress: Progress = lambda stage, done, total: None,
    on_note: Note = lambda line: None,
) -> QuantizeResult:
    """Write the int8 form of an fp32 file, with the accuracy of both inside.

    With a bound, `config.max_drop`, it is the fastest file found that holds it, see `edgecnn.exporters.quantize.search`. The
    new file is checked, run by the engine and measured before it is renamed into place; where anything fails, or nothing
    holds the bound, there is no file.

    Args:
        source: an fp32 .onnx file with a ModelSpec that says how an image becomes the input.
        output: where the int8 file goes.
        calibration: training images that activations are observed on: a part of a data set, or any iterable of uint8 images
            [H, W, C] of any size, or of float32 [C, H, W] that are prepared already.
        calibration_name: name of the set that `calibration` belongs to, for the file's lineage.
        evaluation: labelled images that the accuracy of both files is measured on, None for no measurement.
        dataset: name of the set that `evaluation` belongs to.
        labels: class names of that set, in index order; accuracy does not apply to a model with other classes.
        config: how to quantize.
        cache: folder where ranges are looked up and kept, None for nowhere.
        timed: time both files as well, without a bound, and say so where int8 is the slower one on this machine.
        on_progress: called after every batch with the stage, what is done and what there is in all.
        on_note: called with one line for the user, about the cache for example.

    Raises:
        BadInput: the source cannot be read, does not say how to prepare an image, or has too old an operator set; there is no
            calibration image, or one that does not fit.
        QuantizeError: the source is not fp32, or its activations or weights are not finite.
        UnsupportedOp: the source has control flow.
        Contradiction: calibration on evaluation images, an accuracy bound where nothing can be measured, or a target that
            does not take such a file.
        AccuracyError: nothing that was tried holds the bound.
    """
    config = config or QuantizeConfig()
    asked = Request(
        source=source,
        output=output,
        precision="int8",
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
    return replace(convert_file(partial(_Quantization, timed=timed), asked), artifact=load_artifact(output))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Quantization(Conversion[QuantizeResult]):
    """One quantization, its input checked.

    Attributes:
        timed: whether both files are timed where no search does it.
    """

    timed: bool

    def write(self, path: Path) -> QuantizeResult:
        """Write the int8 file and return what came of it."""
        run_once(self.original, self.images)
        framed = framed_input(self.original.spec)
        calibrator = Calibrator(
            source=framed.inputs[0],
            preprocess=framed.preprocess or require_preprocess(self.original),
            images=self.images,
            percentile=self.config.percentile,
            cache=self.cache,
        )
        workshop = Workshop(self.original.path, self.config, calibrator, self.on_progress)
        plain = Recipe(method=self.config.method)
        report = None
        if self.config.max_drop is None:
            built = workshop.build(plain)
        else:
            report = self._search(workshop, calibrator, plain)
            built = workshop.build(report.trials[report.chosen or 0].recipe or plain)
        self._tell(workshop, built)
        return self._finish(path, workshop, built, report)

    def _search(self, workshop: Workshop, calibrator: Calibrator, plain: Recipe) -> SearchReport:
        """Return what was tried to hold the bound."""
        assert self.evaluation is not None
        assert self.config.max_drop is not None
        backend = self._backend()
        judge = Judge(
            self.original,
            self.evaluation,
            dataset=self.dataset,
            max_drop=self.config.max_drop,
            backend=backend,
            on_progress=self.on_progress,
        )

        def rank(recipe: Recipe) -> Sequence[Sensitivity]:
            graph = workshop.base(recipe)
            return rank_nodes(
                graph,
                workshop.place(graph),
                workshop.table(recipe, every=True),
                calibrator=calibrator,
                config=self.config,
                on_progress=partial(self.on_progress, "sensitivity"),
            )

        def write(model: ir.Model, path: Path) -> None:
            write_stamped(model, path, self.original.spec, self.original.lineage)
            check_finite(run_once(load_artifact(path), self.images), "int8")

        with tempfile.TemporaryDirectory() as folder:
            search = Search(
                self.original,
                workshop,
                judge,
                max_drop=self.config.max_drop,
                backend=backend,
                folder=Path(folder),
                write=write,
                rank=rank,
                on_step=self.on_note,
            )
            return search.run(plain)

    def _finish(self, path: Path, workshop: Workshop, built: Built, report: SearchReport | None) -> QuantizeResult:
        """Write the chosen graph with its accuracy inside."""
        spec, lineage = self.original.spec, (*self.original.lineage, self._step(workshop, built, report))
        write_stamped(built.model, path, spec, lineage)
        check_finite(run_once(load_artifact(path), self.images), "int8")
        fp32, int8 = self._accuracies(path, report)
        if fp32 and int8:
            write_stamped(built.model, path, with_accuracy(spec, fp32, int8), lineage)
        ratio = self._time(load_artifact(path)) if self.timed and report is None else None
        return QuantizeResult(
            artifact=self.original,
            fp32=fp32,
            int8=int8,
            not_measured=self.reason,
            quantized=built.quantized,
            left_float=built.left_float,
            float_between=built.float_between,
            int8_share=built.int8_share,
            recipe=built.recipe,
            passes=workshop.passes,
            constant=built.constant,
            ranges_from_cache=workshop.from_cache,
            search=report,
            time_ratio=ratio,
        )

    def _time(self, made: Artifact) -> float | None:
        """Return int8 time over fp32 time, and say so where it is above 1."""
        ratio, line = time_ratio(made, self.original, self.config.targets[0])
        if line:
            self.on_note(line)
        return ratio

    def _accuracies(self, path: Path, report: SearchReport | None) -> tuple[Accuracy | None, Accuracy | None]:
        """Return the accuracy of source and result on all images: from the search, or measured now."""
        if report is not None and report.chosen is not None:
            return report.trials[0].whole, report.trials[report.chosen].whole
        if self.evaluation is None:
            return None, None
        target = self.config.targets[0]
        if target.backend != "cpu":
            self.on_note(
                f"accuracy is that of backend cpu, not of {target.backend}, which target {target.name} runs on"
            )
        measure = partial(measure_accuracy, split=self.evaluation, dataset=self.dataset)
        fp32 = measure(self.original, on_progress=partial(self.on_progress, "accuracy fp32"))
        return fp32, measure(load_artifact(path), on_progress=partial(self.on_progress, "accuracy int8"))

    def _backend(self) -> str:
        """Return the backend of the first target, or "cpu", and say so, where it cannot run here."""
        target = self.config.targets[0]
        reason = why_unusable(target.backend)
        if not reason:
            return target.backend
        self.on_note(f"accuracy and latency are those of backend cpu, not of target {target.name}: {reason}")
        return "cpu"

    def _tell(self, workshop: Workshop, built: Built) -> None:
        if workshop.from_cache and self.cache is not None:
            self.on_note(
                f"ranges of {len(self.images)} calibration images are taken from the cache "
                "(edgecnn quantize --no-cache observes them again)"
            )
        if built.constant:
            self.on_note(
                f"constant on all {len(self.images)} calibration images, and held exactly: {', '.join(built.constant)}"
            )

    def _step(self, workshop: Workshop, built: Built, report: SearchReport | None) -> Step:
        options = {
            **self.config.options(),
            "method": built.recipe.method,
            "min_channels": workshop.min_channels,
            "calibration_dataset": self.calibration_name,
            "calibration_split": self.images.name,
            "calibration_images": len(self.images),
            "left_float": ", ".join(f"{op_type} {count}" for op_type, count in sorted(built.left_float.items())),
            "int8_share": None if built.int8_share is None else round(built.int8_share, 4),
            "passes": ",".join(workshop.passes),
            "equalized": built.recipe.equalized,
            "bias_corrected": built.recipe.corrected,
            "keep_float": ",".join((*self.config.keep_float, *built.recipe.keep_float)),
            "search": report.summary if report else "",
        }
        return Step(
            tool="edgecnn quantize",
            version=edgecnn.__version__,
            options={"source_sha256": self.original.sha256, **options},
        )
