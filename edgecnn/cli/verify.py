"""`edgecnn verify`: does a file do what it says?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from edgecnn.artifacts import load_artifact
from edgecnn.cli.layer_tables import show_layers
from edgecnn.cli.options import backend_option, data_option, json_option, refuse_null, threads_option
from edgecnn.cli.output import print_json, print_table, progress
from edgecnn.data import NAMED, Dataset, open_dataset, open_named
from edgecnn.errors import BadInput
from edgecnn.exporters.stated import DEFAULT_POINTS, AccuracyCheck, check_fit
from edgecnn.exporters.verify import ParityCheck, Verification, VerifyOptions, hold
from edgecnn.exporters.verify import verify as verify_file
from edgecnn.jsonform import to_json
from edgecnn.runtimes import AUTO
from edgecnn.specs import Artifact
from edgecnn.units import percent_text


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="MODEL...")
@data_option
@click.option(
    "--against",
    metavar="FILE|torch|PKG.MODULE:NAME|published",
    default="",
    help="Compare the outputs with those of another file, of the network of the zoo that it was exported from (torch), or of "
    "your own code, which is run, on the images of --data or else on random inputs; published: hold the publisher's weights "
    "against their published top-1.",
)
@backend_option
@threads_option
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    help="Greatest difference of outputs, relative to the greatest.  [default: 1e-4 between fp32 forms; see above]",
)
@click.option(
    "--accuracy-tolerance",
    type=click.FloatRange(0, 100),
    default=DEFAULT_POINTS,
    show_default=True,
    help="Greatest difference from a stated top-1, percentage points.",
)
@click.option(
    "--weights",
    metavar="FILE",
    help="Weights of --against torch or PKG.MODULE:NAME.  [default: those that MODEL names]",
)
@click.option(
    "--layers",
    is_flag=True,
    help="Signal over noise of every tensor inside as well, beside those of --against FILE; not judged.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of random inputs.")
@json_option
def verify(
    models: tuple[Path, ...],
    data: str | None,
    against: str,
    backend: str,
    threads: int | None,
    tolerance: float | None,
    accuracy_tolerance: float,
    weights: str | None,
    layers: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Measure each MODEL's accuracy and hold it against what is stated; compare its outputs with another form of it.

    \b
    What fails unless other bounds are given:
      accuracy        more than 0.1 points off a top-1 that is stated on the same images
      fp32 and fp32   an output off by more than 1e-4 of the greatest
      int8 and fp32   with --data, noise above half of what the answers differ by
                      from image to image (below 6 dB), unless every image keeps its
                      first class and no output is off by more than 2% of the greatest;
                      on random inputs, and on images of another kind than it was
                      trained for, they are not judged: give --tolerance or --data
      any             an output that is not finite
    Accuracy does not apply to random weights and to other data sets.

    \b
    Example:
      edgecnn verify models/*.onnx --data fashion-mnist
      edgecnn verify models/lenet5.onnx --against torch
      edgecnn verify models/lenet5.int8.onnx --against models/lenet5.onnx --data fashion-mnist --layers
    """
    refuse_null(backend)
    if backend == AUTO:
        raise BadInput("backend", "--backend cpu", expected="a name: the verdict is about that backend", got=AUTO)
    options = VerifyOptions(
        against=against,
        backend=backend,
        threads=threads,
        tolerance=tolerance,
        accuracy_points=accuracy_tolerance,
        weights=weights,
        seed=seed,
        layers=layers,
    )
    work = _plan(models, data, options)
    results: list[Verification] = []
    try:
        for artifact, evaluation in work:
            with progress(f"verifying {artifact.path.name}") as advance:
                results.append(
                    verify_file(
                        artifact,
                        options,
                        evaluation=evaluation,
                        on_progress=lambda stage, done, total: advance(done, total, stage),
                    )
                )
    finally:
        # What was found before one could not be run is told all the same.
        if results:
            _tell(results, as_json=as_json)
    hold(results)


def _plan(models: Sequence[Path], data: str | None, options: VerifyOptions) -> list[tuple[Artifact, Dataset | None]]:
    """Return each file with the images for it, so that one that does not fit them shows before the work."""
    named = open_dataset(data) if data else None
    work = []
    for path in models:
        artifact = load_artifact(path)
        trained_on = artifact.spec.dataset
        known = open_named(trained_on) if trained_on in NAMED and not options.has_reference else None
        evaluation = named or known
        if evaluation is not None:
            check_fit(artifact, evaluation)
        work.append((artifact, evaluation))
    return work


def _tell(results: Sequence[Verification], *, as_json: bool) -> None:
    if as_json:
        print_json([_plain(one) for one in results])
        return
    _show(results)
    for one in results:
        if one.layers is not None:
            click.echo()
            show_layers(one.path.name, one.layers)


def _plain(result: Verification) -> dict[str, Any]:
    plain = {**to_json(result), "verdict": result.verdict}
    if result.accuracy is not None:
        plain["accuracy"] = {**plain["accuracy"], "difference_points": result.accuracy.difference_points}
    return plain


def _show(results: Sequence[Verification]) -> None:
    columns: dict[str, list[str]] = {"model": [one.path.name for one in results]}
    if any(one.accuracy for one in results):
        columns |= _accuracy_columns([one.accuracy for one in results])
    if any(one.parity for one in results):
        columns |= _parity_columns([one.parity for one in results])
    columns["verdict"] = [one.verdict for one in results]
    notes = [
        f"{one.path.name}: accuracy {one.accuracy.verdict}: {one.accuracy.reason}"
        for one in results
        if one.accuracy and one.accuracy.reason
    ]
    notes += [
        f"{one.path.name} has changed since edgecnn wrote it: its check sum does not fit"
        for one in results
        if one.changed
    ]
    notes += [
        f"{one.path.name}: outputs not judged: {one.parity.reason}"
        for one in results
        if one.parity and one.parity.reason
    ]
    if any(one.parity for one in results):
        notes.append("errors: relative to the greatest output of the reference")
        notes.append(
            "between images: variance of the reference's answers from image to image over the mean square of the error"
        )
    rows = list(zip(*columns.values(), strict=True))
    title = f"edgecnn verify, backend {results[0].backend}"
    print_table(title, list(columns), rows, left=("model", "verdict"), caption="\n".join(notes))


def _accuracy_columns(checks: Sequence[AccuracyCheck | None]) -> dict[str, list[str]]:
    measured = [check.measured if check else None for check in checks]
    stated = {"file says %": "file", "zoo says %": "registry", "published %": "published"}
    columns = {
        "images": [f"{one.images:,}" if one else "-" for one in measured],
        "top-1 %": [percent_text(one.value if one else None) for one in measured],
    }
    for title, source in stated.items():
        cells = [percent_text(_stated(check, source)) for check in checks]
        if source != "published" or set(cells) != {"-"}:
            columns[title] = cells
    off = [check.difference_points if check else None for check in checks]
    return {**columns, "points off": ["-" if points is None else f"{points:+.2f}" for points in off]}


def _stated(check: AccuracyCheck | None, source: str) -> float | None:
    figures = check.figures if check else ()
    return next((one.value for one in figures if one.source == source), None)


def _parity_columns(checks: Sequence[ParityCheck | None]) -> dict[str, list[str]]:
    found = [check.difference if check else None for check in checks]
    return {
        "inputs": [f"{check.difference.inputs:,} {check.inputs}" if check else "-" for check in checks],
        "mean error": [_error_text(one.mean) if one else "-" for one in found],
        "max error": [_error_text(one.max) if one else "-" for one in found],
        "allowed": ["-" if check is None or check.tolerance is None else f"{check.tolerance:g}" for check in checks],
        "between images, dB": ["-" if one is None or one.sqnr_db is None else f"{one.sqnr_db:.1f}" for one in found],
        "same first class %": [percent_text(one.agreement if one else None) for one in found],
    }


def _error_text(error: float | None) -> str:
    return "not finite" if error is None else f"{error:.2g}"


__all__ = ["verify"]
