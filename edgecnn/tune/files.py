"""The files of the forms: int8 and half precision of an fp32 file, each with its accuracy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgecnn.artifacts import load_artifact
from edgecnn.data.choice import ChosenImages
from edgecnn.errors import AccuracyError, MissingDependency
from edgecnn.specs import Accuracy, Artifact
from edgecnn.tune.candidates import FileForm

if TYPE_CHECKING:
    from edgecnn.exporters.halfprecision.result import HalfResult
    from edgecnn.exporters.quantize import QuantizeResult

Note = Callable[[str], None]

REFERENCE_BACKEND = "cpu"
"""What the fp32 file runs on when a drop is measured against it."""


@dataclass
class Files:
    """Makes files and measures their accuracy, each once.

    Args:
        images: what is calibrated and measured with.
        folder: where files are made.
        max_drop: percentage points of top-1 that a file may lose, None for any.
        on_note: called with one line for the user.
        on_stage: called with what is being done.
    """

    images: ChosenImages
    folder: Path
    max_drop: float | None = None
    on_note: Note = lambda line: None
    on_stage: Note = lambda stage: None
    _accuracies: dict[tuple[Path, str], Accuracy | None] = field(default_factory=dict)

    def make(self, form: FileForm, source: Artifact) -> Artifact:
        """Return the file of a form.

        int8 is made plainly first; only where that loses more than may be lost, a file is searched for that holds it.

        Args:
            form: what is wanted.
            source: the file of the same variant; it is its own form.

        Raises:
            MissingDependency: the packages that make it are not installed, as on a small board.
            EdgecnnError: the form cannot be made of this file.
        """
        if form.precision == source.precision:
            return source
        try:
            return self._make(form, source)
        except ModuleNotFoundError as error:
            raise MissingDependency(error.name or "onnx", "export", f"a file in {form.precision}") from None

    def _make(self, form: FileForm, source: Artifact) -> Artifact:
        output = self.folder / f"{form.stem}.onnx"
        self.on_stage(f"making {output.name}")
        if form.precision != "int8":
            return self._half(form, source, output)
        result = self._int8(form, source, output, None)
        if self.max_drop is not None and result.drop is not None and result.drop > self.max_drop:
            plain = load_artifact(output)
            try:
                return self._int8(form, source, output, self.max_drop).artifact
            except AccuracyError as error:
                self.on_note(f"{output.name}: {error.message}")
                return plain
        return result.artifact

    def accuracy(self, file: Artifact, backend: str) -> Accuracy | None:
        """Return the top-1 of a file through a backend on all evaluation images, None where it means nothing.

        Raises:
            EdgecnnError: the backend does not run it.
        """
        key = (file.path, backend)
        if key not in self._accuracies:
            self._accuracies[key] = self._measured(file, backend)
        return self._accuracies[key]

    def _measured(self, file: Artifact, backend: str) -> Accuracy | None:
        from edgecnn.exporters.accuracy import measure_accuracy

        evaluation = self.images.evaluation
        if evaluation is None or why_no_accuracy(file, self.images):
            return None
        stated = [one for one in file.spec.accuracy if one.precision == file.precision and one.backend == backend]
        split = evaluation.split("test")
        for one in stated:
            if (one.metric, one.dataset, one.split, one.images) == ("top1", evaluation.name, split.name, len(split)):
                return one
        self.on_stage(f"accuracy of {file.path.name} on {backend}")
        return measure_accuracy(file, split, dataset=evaluation.name, backend=backend)

    def _int8(self, form: FileForm, source: Artifact, output: Path, max_drop: float | None) -> QuantizeResult:
        from edgecnn.exporters.quantize import QuantizeConfig, quantize
        from edgecnn.exporters.quantize.calibration_cache import ranges_folder

        evaluation = self.images.evaluation
        return quantize(
            source.path,
            output,
            calibration=self.images.calibration,
            calibration_name=self.images.calibration_name,
            evaluation=evaluation.split("test") if evaluation else None,
            dataset=evaluation.name if evaluation else "",
            labels=evaluation.labels if evaluation else (),
            config=QuantizeConfig(target=form.target, max_drop=max_drop),
            cache=ranges_folder(),
            on_note=self.on_note,
        )

    def _half(self, form: FileForm, source: Artifact, output: Path) -> Artifact:
        from edgecnn.exporters.halfprecision import convert_precision
        from edgecnn.exporters.quantize import QuantizeConfig
        from edgecnn.exporters.quantize.calibration_cache import ranges_folder

        result: HalfResult = convert_precision(
            source.path,
            output,
            precision=form.precision,
            calibration=self.images.calibration,
            calibration_name=self.images.calibration_name,
            config=QuantizeConfig(target=form.target, precision=form.precision),
            cache=ranges_folder(),
            on_note=self.on_note,
        )
        return result.artifact


def why_no_accuracy(file: Artifact, images: ChosenImages) -> str:
    """Return why a top-1 on these images means nothing for a file, empty where it does."""
    if file.spec.weights == "random":
        return "the weights are random"
    from edgecnn.exporters.accuracy import why_not_measured

    evaluation = images.evaluation
    labels = evaluation.labels if evaluation else ()
    return why_not_measured(file.spec, evaluation.split("test") if evaluation else None, labels)
