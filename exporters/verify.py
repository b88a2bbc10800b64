"""Does a file do what it says? Its accuracy beside the stated ones, and its outputs beside those of another form of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgecnn.artifacts import load_artifact
from edgecnn.data import Dataset
from edgecnn.errors import AccuracyError, BadInput, ParityError
from edgecnn.exporters.compare import Difference, Side, compare_on_images, compare_on_random, images_to_compare
from edgecnn.exporters.decibels import amplitude_ratio
from edgecnn.exporters.sqnr import LayerReport, compare_layers
from edgecnn.exporters.stated import AccuracyCheck, Verdict, check_accuracy, not_applicable
from edgecnn.exporters.verifyoptions import PUBLISHED, TORCH, VerifyOptions, is_module_name
from edgecnn.runtimes import OpenOptions, open_session
from edgecnn.seal import has_seal, is_sealed
from edgecnn.specs import Artifact, Precision

Progress = Callable[[str, int, int], None]
"""Called with the stage ("accuracy", "compare", "layers"), images done and images in all."""

DEFAULT_TOLERANCE = 1e-4
"""Between two float32 forms, of the greatest output: a hundred layers amplify the rounding of float32 to about 1e-5."""

SCALED_TOLERANCE = 1e-2
"""Likewise, where one of the two scales images itself: some pixels in a thousand are a step of 255 off."""

NOT_JUDGED = "other precisions on random inputs: give --tolerance, or --data with images that the model is for"
"""Why nothing holds there by itself: what int8 loses depends on what it is shown."""

STRANGE_IMAGES = "other precisions on images that the model was not trained for: give --tolerance"
"""The same of a set that accuracy does not apply to."""

LEAST_SQNR_DB = 6.0
"""Of other forms on images that the model was trained for: noise of half the signal. Eight bits leave 20 to 30 dB behind a few
layers and add up to 9 behind 150 random ones; a scale off by two or a lost zero point is about as loud as the signal, 0 dB."""


CLOSE = 0.02
"""Greatest difference, relative to the greatest output, that is no failure where all images keep their first class, however
little the answers vary from image to image: eight bits leave 0.005 to 0.02, a scale off by two about 0.5."""

_HARDLY = 0.05
"""Spread of the answers, relative to the greatest, below which the error says that it is small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityCheck:
    """Outputs beside those of a reference.

    Attributes:
        reference: a file, "torch" or the name of the user's code.
        inputs: "random", or the data set.
        difference: what was found.
        tolerance: greatest difference that is allowed, None for no such bound.
        least_sqnr_db: least signal over noise that is allowed, None for no such bound.
        verdict: "reported" without a bound.
        reason: why nothing was judged; empty otherwise.
    """

    reference: str
    inputs: str
    difference: Difference
    tolerance: float | None = None
    least_sqnr_db: float | None = None
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What came of one file.

    Attributes:
        path: the file.
        changed: whether edgecnn wrote the file and something changed it later: its check sum does not fit.
        network: network and variant in one word.
        precision: of the file.
        backend: what ran it.
        accuracy: None where it was not asked for.
        parity: None where it was not asked for.
        layers: None where it was not asked for.
    """

    path: Path
    changed: bool = False
    network: str
    precision: Precision
    backend: str
    accuracy: AccuracyCheck | None = None
    parity: ParityCheck | None = None
    layers: LayerReport | None = None

    @property
    def verdict(self) -> Verdict:
        """The worst of both; what has a verdict at all goes before what has none."""
        found = [check.verdict for check in (self.accuracy, self.parity) if check is not None]
        ranks: tuple[Verdict, ...] = ("fail", "ok", "reported")
        return next((verdict for verdict in ranks if verdict in found), "not applicable")


def verify(
    artifact: Artifact,
    options: VerifyOptions,
    *,
    evaluation: Dataset | None = None,
    on_progress: Progress = lambda stage, done, total: None,
) -> Verification:
    """Return how a file does; nothing is raised for a figure beyond its tolerance, which is what `hold` is for.

    Args:
        artifact: the file.
        options: against what, and how close.
        evaluation: the labelled set whose test part is run; None leaves accuracy out and compares on random inputs.
        on_progress: called after every batch of images.

    Raises:
        BadInput: the file and the images, or the file and its reference, do not fit each other.
    """
    accuracy = _accuracy(artifact, options, evaluation, on_progress)
    parity = layers = None
    if options.has_reference:
        familiar = evaluation is not None and _serves(accuracy, evaluation)
        parity = _parity(artifact, options, evaluation, on_progress, familiar=familiar)
    if options.layers:
        layers = compare_layers(
            artifact,
            load_artifact(options.against),
            evaluation,
            backend=options.backend,
            threads=options.threads,
            seed=options.seed,
            on_progress=partial(on_progress, "layers"),
        )
    return Verification(
        changed=has_seal(artifact.path) and not is_sealed(artifact.path),
        path=artifact.path,
        network=artifact.spec.title,
        precision=artifact.precision,
        backend=options.backend,
        accuracy=accuracy,
        parity=parity,
        layers=layers,
    )


def _serves(accuracy: AccuracyCheck | None, evaluation: Dataset) -> bool:
    """Tell whether outputs are judged on these images: those that accuracy was measured on, or images without labels."""
    return (accuracy is not None and accuracy.measured is not None) or not evaluation.labels


def hold(results: Sequence[Verification]) -> None:
    """Raise if a file is beyond its tolerance.

    Raises:
        AccuracyError: of the accuracy; the files are named.
        ParityError: of the outputs; the first such file is named.
    """
    wrong = [(one.path, one.accuracy) for one in results if one.accuracy and one.accuracy.verdict == "fail"]
    if wrong:
        told = "; ".join(f"{path} by {check.difference_points:+.2f}" for path, check in wrong)
        raise AccuracyError(
            f"measured top-1 differs from what is stated by more than {wrong[0][1].allowed_points:g} points: {told}",
            "the file was changed, or computes something else on this backend: export or quantize it again",
        )
    for one in results:
        if one.parity and one.parity.verdict == "fail":
            raise _parity_error(one.path, one.parity)


def _parity_error(path: Path, parity: ParityCheck) -> ParityError:
    found, what = parity.difference, f"the outputs of {path} and {parity.reference}"
    if parity.least_sqnr_db is not None and found.sqnr_db is not None:
        error = ParityError(
            what,
            max_abs=amplitude_ratio(-found.sqnr_db),
            tolerance=amplitude_ratio(-parity.least_sqnr_db),
            worst=f"{found.inputs:,} images, over what the answers differ by from image to image",
        )
        if found.spread is not None and found.spread < _HARDLY:
            error.hint = (
                f"the answers hardly differ from image to image: by {found.spread:.2%} of the greatest; are these images that "
                "the model is for? --tolerance judges by the greatest output instead"
            )
        return error
    return ParityError(
        what,
        max_abs=float("nan") if found.max is None else found.max,
        tolerance=parity.tolerance or 0.0,
        worst=f"{found.output}, the worst of {found.inputs:,} inputs, relative to the greatest output",
    )


def _accuracy(
    artifact: Artifact, options: VerifyOptions, evaluation: Dataset | None, on_progress: Progress
) -> AccuracyCheck | None:
    if evaluation is None:
        return None if options.has_reference else not_applicable(_why_no_data(artifact), options.accuracy_points)
    return check_accuracy(
        artifact,
        evaluation,
        backend=options.backend,
        threads=options.threads,
        allowed_points=options.accuracy_points,
        published=options.against == PUBLISHED,
        on_progress=partial(on_progress, "accuracy"),
    )


def _why_no_data(artifact: Artifact) -> str:
    spec = artifact.spec
    if spec.weights == "random":
        return "random weights"
    return f"trained on {spec.dataset}: give --data FOLDER" if spec.dataset else "no data set is named: give --data"


def _parity(
    artifact: Artifact, options: VerifyOptions, evaluation: Dataset | None, on_progress: Progress, *, familiar: bool
) -> ParityCheck:
    with _open_side(artifact, options) as side, _open_reference(artifact, options) as (reference, precision):
        if evaluation is None:
            difference = compare_on_random(side, reference, seed=options.seed)
        else:
            progress = partial(on_progress, "compare")
            difference = compare_on_images(side, reference, images_to_compare(evaluation), on_progress=progress)
        apart = _scales(side) != _scales(reference)
    both_float = artifact.precision == precision == "fp32"
    between = SCALED_TOLERANCE if apart else DEFAULT_TOLERANCE
    tolerance = between if options.tolerance is None and both_float else options.tolerance
    least_sqnr_db = LEAST_SQNR_DB if tolerance is None and familiar else None
    verdict, reason = _parity_verdict(difference, tolerance, least_sqnr_db)
    if reason == NOT_JUDGED and evaluation is not None:
        reason = STRANGE_IMAGES
    return ParityCheck(
        reference=reference.name,
        inputs="random" if evaluation is None else evaluation.name,
        difference=difference,
        tolerance=tolerance,
        least_sqnr_db=least_sqnr_db,
        verdict=verdict,
        reason=reason,
    )


def _scales(side: Side) -> bool:
    return side.preprocess is not None and side.preprocess.resize_in_graph


def _parity_verdict(
    difference: Difference, tolerance: float | None, least_sqnr_db: float | None
) -> tuple[Verdict, str]:
    """Return the verdict, and why there is none where there is none."""
    if difference.max is None:
        return "fail", ""
    if tolerance is not None:
        return ("ok" if difference.max <= tolerance else "fail"), ""
    if least_sqnr_db is None:
        return "reported", NOT_JUDGED
    if difference.agreement == 1 and difference.max <= CLOSE:
        return "ok", ""
    if difference.sqnr_db is not None:
        return ("ok" if difference.sqnr_db >= least_sqnr_db else "fail"), ""
    return ("ok", "") if difference.max == 0 else ("reported", "the same answer to every image: give --tolerance")


@contextmanager
def _open_reference(artifact: Artifact, options: VerifyOptions) -> Iterator[tuple[Side, Precision]]:
    if options.against == TORCH:
        from edgecnn.exporters.reference import torch_side  # noqa: PLC0415 (torch, for this comparison only)

        yield torch_side(artifact, weights=options.weights), "fp32"
        return
    if is_module_name(options.against):
        from edgecnn.exporters.reference import module_side  # noqa: PLC0415 (torch, for this comparison only)

        yield module_side(artifact, options.against, weights=options.weights), "fp32"
        return
    reference = load_artifact(options.against)
    with _open_side(reference, options) as side:
        yield side, reference.precision


@contextmanager
def _open_side(artifact: Artifact, options: VerifyOptions) -> Iterator[Side]:
    if len(artifact.spec.inputs) != 1:
        raise BadInput(f"inputs of {artifact.path}", expected="one image", got=str(len(artifact.spec.inputs)))
    with open_session(artifact, backend=options.backend, options=OpenOptions(threads=options.threads)) as session:
        source = session.inputs[0]
        yield Side(
            name=str(artifact.path),
            source=source,
            targets=session.outputs,
            preprocess=artifact.spec.preprocess,
            run=lambda feed: session.run({source.name: feed}),
        )


__all__ = ["ParityCheck", "Progress", "Verification", "VerifyOptions", "hold", "verify"]
