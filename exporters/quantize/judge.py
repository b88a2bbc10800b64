"""Accuracy of candidates beside that of the fp32 file: on a part of the images to rank, on all of them to decide."""

from __future__ import annotations

import math
from collections.abc import Callable

from edgecnn.data.dataset import Split
from edgecnn.exporters.accuracy import measure_accuracy
from edgecnn.exporters.quantize.calibration_images import spread
from edgecnn.exporters.quantize.checks import drop_points, holds_bound
from edgecnn.specs import Accuracy, Artifact

Progress = Callable[[str, int, int], None]

SUBSET = 1000
"""Images of the evaluation set that rank candidates, evenly spread over it."""

_CHANGED = 0.01
"""Share of images whose answer a good int8 file changes: what the uncertainty of a drop on few images is taken from."""


class Judge:
    """Measures candidates, never twice the same images with the same file.

    Args:
        fp32: what they are compared with.
        evaluation: the labelled images.
        dataset: name of their set.
        max_drop: percentage points of top-1 that may be lost.
        backend: what runs the files.
        on_progress: called with the stage, images done and images in all.

    Attributes:
        fp32: accuracy of the fp32 file on all images.
        fp32_subset: on the part, None while none was needed.
    """

    def __init__(
        self,
        fp32: Artifact,
        evaluation: Split,
        *,
        dataset: str,
        max_drop: float,
        backend: str = "cpu",
        on_progress: Progress = lambda stage, done, total: None,
    ) -> None:
        self._evaluation = evaluation
        self._part = spread(evaluation, SUBSET)
        self._dataset = dataset
        self._max_drop = max_drop
        self._backend = backend
        self._on_progress = on_progress
        self._file = fp32
        self.fp32 = self._measure(fp32, evaluation, "accuracy fp32")
        self.fp32_subset: Accuracy | None = None

    @property
    def small(self) -> bool:
        """Whether the part is all of the set."""
        return len(self._part) == len(self._evaluation)

    def whole(self, file: Artifact) -> Accuracy:
        """Return the accuracy of a candidate on all images."""
        return self._measure(file, self._evaluation, f"accuracy {file.precision}")

    def subset(self, file: Artifact) -> Accuracy:
        """Return the accuracy of a candidate on the part."""
        return self._measure(file, self._part, f"accuracy {file.precision}")

    def holds(self, accuracy: Accuracy) -> bool:
        """Tell whether an accuracy is within the bound of that of fp32 on as many images."""
        return holds_bound(self.reference(accuracy), accuracy, self._max_drop)

    def may_hold(self, accuracy: Accuracy) -> bool:
        """Tell whether the bound may hold on all images, judged by this part: a standard error is granted."""
        slack = 0.0 if accuracy.images == self.fp32.images else 100 * math.sqrt(_CHANGED / accuracy.images)
        return drop_points(self.reference(accuracy), accuracy) <= self._max_drop + slack

    def reference(self, accuracy: Accuracy) -> Accuracy:
        """Return the accuracy of the fp32 file on the images of this one."""
        if accuracy.images == self.fp32.images:
            return self.fp32
        if self.fp32_subset is None:
            self.fp32_subset = self._measure(self._file, self._part, "accuracy fp32")
        return self.fp32_subset

    def _measure(self, file: Artifact, split: Split, stage: str) -> Accuracy:
        return measure_accuracy(
            file,
            split,
            dataset=self._dataset,
            backend=self._backend,
            on_progress=lambda done, total: self._on_progress(stage, done, total),
        )
