"""What `edgecnn quantize` prints: a line per file, and the steps of a search for an accuracy bound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecnn.cli.output import print_table
from edgecnn.units import bytes_text, duration_text, percent_text

if TYPE_CHECKING:
    from edgecnn.exporters.quantize import QuantizeResult
    from edgecnn.exporters.quantize.recipe import SearchReport, Trial

_SENSITIVE = 10


def show_results(sources: Sequence[Path], results: Sequence[QuantizeResult]) -> None:
    """Print what came of each file, and below it how the file was found."""
    columns = (
        "model",
        "fp32 top-1 %",
        "int8 top-1 %",
        "drop, points",
        "int8 MACs %",
        "fp32 file",
        "int8 file",
    )
    rows = [
        (
            result.artifact.path.name,
            percent_text(result.fp32.value if result.fp32 else None),
            percent_text(result.int8.value if result.int8 else None),
            "-" if result.drop is None else f"{result.drop:.2f}",
            percent_text(result.int8_share),
            bytes_text(source.stat().st_size),
            bytes_text(result.artifact.size_bytes),
        )
        for source, result in zip(sources, results, strict=True)
    ]
    print_table("edgecnn quantize", columns, rows, left=("model",))
    for result in results:
        if result.not_measured:
            click.echo(f"{result.artifact.path.name}: accuracy not measured: {result.not_measured}")
        if result.float_between:
            names = ", ".join(f"{op_type} {count}" for op_type, count in sorted(result.float_between.items()))
            click.echo(
                f"{result.artifact.path.name}: float on the way between int8 nodes, which costs time whatever the share "
                f"of MACs: {names}"
            )
        if result.search is not None:
            click.echo()
            show_search(result.artifact.path.name, result.search)


def show_search(name: str, report: SearchReport) -> None:
    """Print the steps of a search, and the nodes that were found to be most sensitive."""
    columns = ("", "step", "recipe", "top-1 %", "images", "drop, points", "latency", "of fp32", "int8 MACs %")
    rows = [_row(trial, report, index == report.chosen) for index, trial in enumerate(report.trials)]
    title = f"{name}: at most {report.max_drop:g} points, backend {report.backend}"
    print_table(title, columns, rows, left=("", "step", "recipe"), caption=_caption(report))
    if report.sensitivity:
        click.echo()
        _show_sensitivity(report)


def _row(trial: Trial, report: SearchReport, chosen: bool) -> tuple[str, ...]:
    accuracy = trial.accuracy
    drop = report.drop(trial)
    return (
        "*" if chosen else "",
        trial.step,
        trial.title,
        percent_text(accuracy.value if accuracy else None),
        str(accuracy.images) if accuracy else "-",
        "-" if drop is None else f"{drop:.2f}",
        duration_text(trial.latency_ns),
        "-" if trial.ratio is None else f"{trial.ratio:.2f}",
        percent_text(trial.int8_share),
    )


def _caption(report: SearchReport) -> str:
    lines = [
        "of fp32: time over that of the fp32 file, measured in turns with it; latencies of two lines are of different moments"
    ]
    if report.chosen is not None:
        ratio = report.trials[report.chosen].ratio
        slower = ratio is not None and ratio > 1
        lines.append("* was written" + (", though the fp32 file is faster on this machine" if slower else ""))
    return "\n".join(lines)


def _show_sensitivity(report: SearchReport) -> None:
    columns = ("node", "operator", "SQNR dB", "same class %", "MACs %")
    rows = [
        (
            one.node,
            one.op_type,
            "-" if one.sqnr_db is None else f"{one.sqnr_db:.1f}",
            percent_text(one.agreement),
            percent_text(one.macs_share),
        )
        for one in report.sensitivity[:_SENSITIVE]
    ]
    images = report.sensitivity[0].images
    title = f"most sensitive of {len(report.sensitivity)} nodes, each quantized alone, on {images} calibration images"
    print_table(title, columns, rows, left=("node", "operator"))
