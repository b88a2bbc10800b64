"""What `edgecnn quantize --precision fp16 | bf16` prints: a line per file, and what stays float32 in each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecnn.cli.output import print_table
from edgecnn.units import bytes_text, percent_text

if TYPE_CHECKING:
    from edgecnn.exporters.halfprecision import HalfResult

_LISTED = 20


def show_halved(sources: Sequence[Path], results: Sequence[HalfResult]) -> None:
    """Print what came of each file, and below it the nodes that stay float32 with the reasons."""
    precision = results[0].artifact.precision
    columns = (
        "model",
        "fp32 top-1 %",
        f"{precision} top-1 %",
        "drop, points",
        f"{precision} MACs %",
        "nodes in fp32",
        "max error",
        "SQNR dB",
        "fp32 file",
        f"{precision} file",
    )
    rows = [_row(source, result) for source, result in zip(sources, results, strict=True)]
    caption = "errors: relative to the greatest output of the fp32 file, on calibration images"
    print_table("edgecnn quantize", columns, rows, left=("model",), caption=caption)
    for result in results:
        for line in _notes(result):
            click.echo(f"{result.artifact.path.name}: {line}")


def _row(source: Path, result: HalfResult) -> tuple[str, ...]:
    parity = result.parity
    return (
        result.artifact.path.name,
        percent_text(result.fp32.value if result.fp32 else None),
        percent_text(result.half.value if result.half else None),
        "-" if result.drop is None else f"{result.drop:.2f}",
        percent_text(result.half_share),
        str(len(result.blocked)),
        "-" if parity is None or parity.max is None else f"{parity.max:.2g}",
        "-" if parity is None or parity.sqnr_db is None else f"{parity.sqnr_db:.1f}",
        bytes_text(source.stat().st_size),
        bytes_text(result.artifact.size_bytes),
    )


def _notes(result: HalfResult) -> list[str]:
    lines = [f"accuracy not measured: {result.not_measured}"] if result.not_measured else []
    if result.backend is not None:
        lines.append(f"run by backend {result.backend}")
    lines += [f"{one.node} ({one.op_type}) stays fp32: {one.reason}" for one in result.blocked[:_LISTED]]
    if len(result.blocked) > _LISTED:
        lines.append(f"and {len(result.blocked) - _LISTED} more nodes; --json has all")
    weights = result.weights
    if weights.subnormal:
        lines.append(
            f"{weights.subnormal:,} of {weights.total:,} weights are so small that they lost digits, {weights.zeroed:,} of "
            "them are zero now"
        )
    return lines
