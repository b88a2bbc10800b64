"""`edgecnn quantize`: an int8 file whose accuracy is measured."""

from __future__ import annotations

from pathlib import Path

import click

from edgecnn.artifacts import load_artifact
from edgecnn.cli.options import data_option, json_option, output_option
from edgecnn.cli.output import print_json, print_table, progress, say
from edgecnn.data.choice import choose_images
from edgecnn.errors import Contradiction
from edgecnn.exporters.quantize import QuantizeConfig, QuantizeResult
from edgecnn.exporters.quantize import quantize as quantize_model
from edgecnn.jsonform import to_json
from edgecnn.units import bytes_text, percent_text


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="MODEL...")
@data_option
@click.option("--calibration", metavar="NAME|FOLDER", help="Images for the ranges.  [default: training part of --data]")
@click.option(
    "--max-drop",
    type=click.FloatRange(0, 100),
    help="Percentage points of top-1 that int8 may lose; a worse result is an error and writes no file.",
)
@click.option(
    "--reduce-range",
    is_flag=True,
    help="7-bit weights, for x86 processors without VNNI, whose 8-bit products saturate.",
)
@output_option("File to write, for one MODEL.  [default: <name>.int8.onnx beside it]")
@json_option
def quantize(
    models: tuple[Path, ...],
    data: str | None,
    calibration: str | None,
    max_drop: float | None,
    reduce_range: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Write each fp32 MODEL as int8 and measure the accuracy of both on the evaluation set.

    \b
    Example:
      edgecnn quantize models/mobilenet_v1_0.25_32.onnx --max-drop 0.5
    """
    if output is not None and len(models) > 1:
        raise Contradiction(f"--output names one file, but {len(models)} models were given", "leave --output out")
    config = QuantizeConfig(max_drop=max_drop, reduce_range=reduce_range)
    sources = _without_quantized(models)
    results: list[QuantizeResult] = []
    try:
        for path in sources:
            results.append(quantize_file(path, output, data=data, calibration=calibration, config=config))
    finally:
        # What was done before one failed lies on the disk: it is told all the same.
        if results or not sources:
            _tell(sources[: len(results)], results, as_json=as_json)


def quantize_file(
    source: Path,
    output: Path | None = None,
    *,
    data: str | None = None,
    calibration: str | None = None,
    config: QuantizeConfig | None = None,
) -> QuantizeResult:
    """Quantize one file with progress on standard error; the output lies beside it unless it is named."""
    spec = load_artifact(source, checksum=False).spec
    images = choose_images(spec.dataset, data=data, calibration=calibration)
    if images.note:
        say(images.note)
    evaluation = images.evaluation
    target = output or source.with_name(f"{source.stem}.int8.onnx")
    with progress(f"quantizing {source.name}") as advance:
        return quantize_model(
            source,
            target,
            calibration=images.calibration,
            calibration_name=images.calibration_name,
            evaluation=evaluation.split("test") if evaluation else None,
            dataset=evaluation.name if evaluation else "",
            labels=evaluation.labels if evaluation else (),
            config=config or QuantizeConfig(),
            on_progress=lambda stage, done, total: advance(done, total, stage),
        )


def _without_quantized(models: tuple[Path, ...]) -> list[Path]:
    """Return the models to work on: of several, those that are int8 already are named and passed over."""
    if len(models) == 1:
        return list(models)
    remaining = []
    for path in models:
        if load_artifact(path, checksum=False).precision == "int8":
            say(f"{path} is int8 already: passed over")
        else:
            remaining.append(path)
    return remaining


def _tell(sources: list[Path], results: list[QuantizeResult], *, as_json: bool) -> None:
    if as_json:
        print_json([{**to_json(result), "drop_points": result.drop} for result in results])
    else:
        _show(sources, results)


def _show(sources: list[Path], results: list[QuantizeResult]) -> None:
    columns = ("model", "fp32 top-1 %", "int8 top-1 %", "drop, points", "fp32 file", "int8 file")
    rows = [
        (
            result.artifact.path.name,
            percent_text(result.fp32.value if result.fp32 else None),
            percent_text(result.int8.value if result.int8 else None),
            "-" if result.drop is None else f"{result.drop:.2f}",
            bytes_text(source.stat().st_size),
            bytes_text(result.artifact.size_bytes),
        )
        for source, result in zip(sources, results, strict=True)
    ]
    print_table("edgecnn quantize", columns, rows, left=("model",))
    for result in results:
        if result.not_measured:
            click.echo(f"{result.artifact.path.name}: accuracy not measured: {result.not_measured}")


__all__ = ["quantize", "quantize_file"]
