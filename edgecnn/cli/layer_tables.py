"""What `edgecnn verify --layers` prints: a line per tensor that two files have in common."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgecnn.cli.output import print_table
from edgecnn.units import percent_text

if TYPE_CHECKING:
    from edgecnn.exporters.sqnr import Layer, LayerReport


def show_layers(name: str, report: LayerReport) -> None:
    """Print the tensors of a file beside those of its reference, in the order of the graph."""
    columns = ("", "tensor", "made by", "held in", "SQNR dB", "low", "high", "MACs %", "")
    rows = [_row(layer, layer.tensor == report.worst) for layer in report.layers]
    what = "random inputs" if report.source == "random" else f"images of {report.source}"
    title = f"{name}: layers beside {Path(report.reference).name}, {report.inputs} {what}"
    print_table(title, columns, rows, left=("", "tensor", "made by", "held in"), caption=_caption(report))


def _row(layer: Layer, is_worst: bool) -> tuple[str, ...]:
    return (
        "*" if is_worst else "",
        layer.tensor,
        ", ".join(layer.op_types),
        layer.precision,
        "-" if layer.sqnr_db is None else f"{layer.sqnr_db:.1f}",
        f"{layer.low:.4g}",
        f"{layer.high:.4g}",
        percent_text(layer.macs_share),
        ", ".join(_marks(layer)),
    )


def _marks(layer: Layer) -> list[str]:
    return [layer.match] * (layer.match != "same") + ["clipped"] * layer.clipped


def _caption(report: LayerReport) -> str:
    lines = ["SQNR: power of the tensor in the reference over that of the difference"]
    if report.worst is not None:
        lines.append("* has the least signal over noise")
    matches = {layer.match for layer in report.layers}
    if "scaled" in matches:
        lines.append("scaled: a rewrite gave each channel a factor, which is taken out")
    if "reordered" in matches:
        lines.append("reordered: a rewrite moved the channels")
    if any(layer.clipped for layer in report.layers):
        lines.append(
            "clipped: the activation further behind joined the quantizer; the reference was clipped by it as well"
        )
    if report.unmatched:
        lines.append(f"{report.unmatched} tensors of the reference are not in this file: a rewrite took them")
    return "\n".join(lines)
