"""A 16-bit file in an engine: which one runs it here, and how near its answers are to those of its source."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator

from edgecnn.data.dataset import Split
from edgecnn.errors import QuantizeError
from edgecnn.exporters.accuracy import require_preprocess
from edgecnn.exporters.compare import Answers, Difference, measure_difference
from edgecnn.exporters.engines import is_here, why_unusable
from edgecnn.exporters.quantize.calibration_images import prepared_batches, spread
from edgecnn.exporters.quantize.finish import check_finite, run_once
from edgecnn.exporters.targets import Target
from edgecnn.runtimes import open_session
from edgecnn.specs import Artifact

PARITY_IMAGES = 64
"""Calibration images on which both files' outputs are compared."""

_BATCH = 8


def choose_backend(artifact: Artifact, images: Split, target: Target, on_note: Callable[[str], None]) -> str | None:
    """Return the backend of a target, or cpu for fp16, which runs the file here; None where none does.

    Args:
        artifact: the 16-bit file.
        images: the first of them is run.
        target: what the file is for.
        on_note: called with one line where it is not the target's backend.

    Raises:
        QuantizeError: what it gives is not finite.
        EdgecnnError: a backend that can be used here does not run it.
    """
    name, reason = target.backend, why_unusable(target.backend)
    if reason and artifact.precision != "fp16":
        on_note(f"backend {name} of target {target.name} cannot be used here: {reason}")
        return None
    if reason:
        name = "cpu"
        on_note(
            f"it is run by backend cpu, not that of target {target.name}: {reason}; cpu computes in fp32 where the "
            "processor has no fp16 arithmetic, and loses less"
        )
    elif artifact.precision == "fp16" and name == "cpu" and not is_here(target):
        on_note(
            f"it is run by backend cpu on this machine, {platform.machine()}, which computes fp16 in fp32 and loses less than "
            f"target {target.name} does"
        )
    check_finite(run_once(artifact, images, name), artifact.precision)
    return name


def compare_with_source(artifact: Artifact, source: Artifact, images: Split, backend: str) -> Difference:
    """Return how far the outputs are from those of the fp32 source on some of the images.

    Raises:
        QuantizeError: an output is not finite.
    """
    difference = measure_difference(_answers(artifact, source, images, backend))
    if difference.max is None:
        raise QuantizeError(f"output {difference.output} of the {artifact.precision} model is not finite")
    return difference


def _answers(artifact: Artifact, source: Artifact, images: Split, backend: str) -> Iterator[tuple[Answers, Answers]]:
    preprocess, chosen = require_preprocess(source), spread(images, PARITY_IMAGES)
    with open_session(artifact, backend=backend) as mine, open_session(source, backend=backend) as theirs:
        wanted = theirs.inputs[0]
        for feed, number in prepared_batches(wanted, preprocess, chosen, _BATCH):
            answers = [session.run({wanted.name: feed}) for session in (mine, theirs)]
            given, expected = ({name: array[:number] for name, array in one.items()} for one in answers)
            yield given, expected
