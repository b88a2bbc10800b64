"""`edgecnn quantize`: an int8 file whose accuracy is measured, or a half-precision one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgecnn.artifacts import load_artifact
from edgecnn.cli.half_tables import show_halved
from edgecnn.cli.options import check_onnx_output, data_option, json_option, output_option
from edgecnn.cli.output import print_json, progress, say
from edgecnn.cli.quantize_tables import show_results
from edgecnn.data.choice import choose_images
from edgecnn.errors import Contradiction
from edgecnn.exporters.quantize import METHODS, QuantizeConfig, QuantizeResult
from edgecnn.exporters.quantize import quantize as quantize_model
from edgecnn.exporters.quantize.calibration_cache import ranges_folder
from edgecnn.exporters.targets import DEFAULT_TARGET, TARGETS, parse_targets
from edgecnn.jsonform import to_json
from edgecnn.specs import Precision

if TYPE_CHECKING:
    from edgecnn.exporters.halfprecision import HalfResult

PRECISIONS = ("int8", "fp16", "bf16")


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="MODEL...")
@data_option
@click.option("--calibration", metavar="NAME|FOLDER", help="Images for the ranges.  [default: training part of --data]")
@click.option(
    "--max-drop",
    type=click.FloatRange(0, 100),
    help="Percentage points of top-1 that int8 may lose: the fastest file that holds this is searched for, with the most "
    "sensitive nodes left float if need be; an error and no file where there is none.",
)
@click.option(
    "--target",
    default=DEFAULT_TARGET,
    show_default=True,
    metavar="NAMES",
    help=f"What the file is for, one or several with commas: {', '.join(TARGETS)}.",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="int8",
    show_default=True,
    help="fp16 and bf16 keep nodes of too wide a range in fp32.",
)
@click.option(
    "--method", type=click.Choice(METHODS), default="minmax", show_default=True, help="How ranges are chosen."
)
@click.option(
    "--percentile", type=float, help="Percent of the values inside a range, for that method.  [default: 99.99]"
)
@click.option(
    "--calibration-images",
    type=click.IntRange(1),
    default=512,
    show_default=True,
    help="How many images ranges are taken from at most, evenly spread over the set.",
)
@click.option(
    "--without-pass", "without_passes", multiple=True, metavar="NAME", help="A rewrite that does not run; repeatable."
)
@click.option("--keep-float", multiple=True, metavar="NODE", help="A node that stays float; repeatable.")
@click.option(
    "--reduce-range",
    is_flag=True,
    help="7-bit weights, for x86 processors without VNNI, whose 8-bit products saturate.",
)
@click.option(
    "--no-time", is_flag=True, help="Do not time int8 beside fp32, which says whether it is faster here at all."
)
@click.option("--no-cache", is_flag=True, help="Observe ranges again, and do not keep them.")
@output_option("File to write, for one MODEL.  [default: beside it, <name>.int8.onnx or <name>.<target>.int8.onnx]")
@json_option
def quantize(
    models: tuple[Path, ...],
    data: str | None,
    calibration: str | None,
    precision: Precision,
    no_cache: bool,
    no_time: bool,
    output: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Write each fp32 MODEL as int8 and measure the accuracy of both on the evaluation set.

    \b
    Examples:
      edgecnn quantize models/mobilenet_v1_0.25_32.onnx --max-drop 0.5
      edgecnn quantize models/resnet20.onnx --target cpu-arm --calibration photos/
    """
    if output is not None and len(models) > 1:
        raise Contradiction(f"--output names one file, but {len(models)} models were given", "leave --output out")
    if no_time and options["max_drop"] is not None and precision == "int8":
        raise Contradiction(
            "--no-time and --max-drop exclude each other", "the search is for the fastest file: leave one of them out"
        )
    config = QuantizeConfig(precision=precision, **options)
    sources = _without_quantized(models)
    results: list[QuantizeResult | HalfResult] = []
    try:
        for path in sources:
            results.append(
                quantize_file(
                    path,
                    output,
                    data=data,
                    calibration=calibration,
                    config=config,
                    precision=precision,
                    cache=not no_cache,
                    timed=not no_time,
                )
            )
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
    precision: Precision = "int8",
    cache: bool = True,
    timed: bool = False,
) -> QuantizeResult | HalfResult:
    """Quantize one file with progress on standard error; the output lies beside it unless it is named."""
    config = config or QuantizeConfig(precision=precision)
    spec = load_artifact(source, checksum=False).spec
    place = check_onnx_output(output or default_output(source, precision, config.target))
    images = choose_images(spec.dataset, data=data, calibration=calibration)
    if images.note:
        say(images.note)
    evaluation = images.evaluation
    convert = _converter(precision, timed=timed)
    with progress(f"quantizing {source.name}") as advance:
        return convert(
            source,
            place,
            calibration=images.calibration,
            calibration_name=images.calibration_name,
            evaluation=evaluation.split("test") if evaluation else None,
            dataset=evaluation.name if evaluation else "",
            labels=evaluation.labels if evaluation else (),
            config=config,
            cache=ranges_folder() if cache else None,
            on_progress=lambda stage, done, total: advance(done, total, stage),
            on_note=say,
        )


def default_output(source: Path, precision: Precision, target: str) -> Path:
    """Return where a file goes: "net.int8.onnx" for the default target, "net.cpu-arm.int8.onnx" for another.

    So the plain name is always the file for this kind of machine, files for several targets lie side by side, and all of them
    match "*.int8.onnx".
    """
    names = "+".join(one.name for one in parse_targets(target))
    middle = "" if names == DEFAULT_TARGET else f".{names}"
    return source.with_name(f"{source.stem}{middle}.{precision}.onnx")


def _converter(precision: Precision, *, timed: bool) -> Callable[..., QuantizeResult | HalfResult]:
    """Return what writes a file of that precision; all take what `edgecnn.exporters.quantize.quantize` takes."""
    if precision == "int8":
        return partial(quantize_model, timed=timed)
    from edgecnn.exporters.halfprecision import convert_precision  # noqa: PLC0415 (int8 has no use for it)

    return partial(convert_precision, precision=precision)


def _without_quantized(models: tuple[Path, ...]) -> list[Path]:
    """Return the models to work on: of several, those that are int8 or half precision already are named and passed over."""
    if len(models) == 1:
        return list(models)
    remaining = []
    for path in models:
        precision = load_artifact(path, checksum=False).precision
        if precision == "fp32":
            remaining.append(path)
        else:
            say(f"{path} is {precision} already: passed over")
    return remaining


def _tell(sources: list[Path], results: list[QuantizeResult | HalfResult], *, as_json: bool) -> None:
    if as_json:
        print_json([{**to_json(result), "drop_points": result.drop} for result in results])
        return
    quantized = [one for one in results if isinstance(one, QuantizeResult)]
    halved = [one for one in results if not isinstance(one, QuantizeResult)]
    if halved:
        show_halved(sources, halved)
    else:
        show_results(sources, quantized)


__all__ = ["default_output", "quantize", "quantize_file"]
