"""`edgecnn profile`: where the time of one network goes, and how near to this machine's limits each layer comes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecnn.artifacts import load_artifact
from edgecnn.cli.auto import chosen_backend
from edgecnn.cli.options import Span, json_option, threads_option
from edgecnn.cli.output import (
    fitting,
    folded,
    hidden_note,
    print_json,
    print_table,
    progress,
    say,
    shown_cells,
    table_width,
)
from edgecnn.runtimes import AUTO, OpenOptions
from edgecnn.specs import joined_title
from edgecnn.units import bytes_text, duration_text

if TYPE_CHECKING:
    from edgecnn.profiling.values import LayerProfile, Profile

_COLUMNS = (
    *("layer", "operators", "engine", "time", "share %", "MACs (M)", "weights", "activations", "ops/byte"),
    *("GOP/s", "GB/s", "% of roof", "limit"),
)
_LEFT = ("layer", "operators", "engine", "limit")
_DROPPED = ("engine", "weights", "activations", "GB/s", "limit", "operators", "ops/byte", "MACs (M)", "GOP/s")

# Of nodes that no engine node stands for so many are named.
_NAMED = 5


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--backend", default="cpu", show_default=True, metavar="NAME", help="What runs the model: cpu, openvino or trt."
)
@click.option("--batch", type=click.IntRange(1), help="Images per run.  [default: 1, or what the file has]")
@threads_option
@click.option(
    "--seconds",
    type=Span(),
    default=2.0,
    show_default=True,
    metavar="TIME",
    help="Time of runs with and without profiling together: 2, 2s or 500ms.",
)
@click.option(
    "--top", type=click.IntRange(1), metavar="N", help="Show the N layers that take longest.  [default: all, in order]"
)
@click.option(
    "--svg", type=click.Path(path_type=Path), metavar="DIR", help="Draw the roofline and the layers as SVG files there."
)
@json_option
def profile(
    model: Path,
    backend: str,
    batch: int | None,
    threads: int | None,
    seconds: float,
    top: int | None,
    svg: Path | None,
    as_json: bool,
) -> None:
    """Show each layer's time, work, traffic, and share of the roofline measured on this machine.

    Times are the engine's own, corrected to the run without profiling. Without `edgecnn devices calibrate` there is no
    roofline.

    \b
    Example:
      edgecnn profile models/mobilenet_v1_0.25_32.onnx --top 10
      edgecnn profile models/mobilenet_v1_0.25_32.onnx --batch 16 --threads 1 --json
    """
    from edgecnn.profiling.profile import check_request, profile_model  # noqa: PLC0415

    if svg is not None:
        from edgecnn.profiling.pictures import check_drawing  # noqa: PLC0415

        check_drawing(svg)
    if backend != AUTO:
        check_request(backend, seconds=seconds)
    artifact, options = load_artifact(model), OpenOptions(threads=threads)
    shape = artifact.spec.inputs[0].shape if artifact.spec.inputs else ()
    own = shape[0] if shape and isinstance(shape[0], int) else 1
    backend = chosen_backend(backend, artifact, options, batch=batch or own)
    check_request(backend, seconds=seconds)
    with progress(f"profiling {model.name}", still=True):
        found = profile_model(artifact, backend=backend, options=options, batch=batch or own, seconds=seconds)
    if as_json:
        print_json(found)
    else:
        show_profile(found, top=top)
    if svg is not None:
        from edgecnn.profiling.pictures import write_pictures  # noqa: PLC0415

        for path in write_pictures(found, svg):
            say(f"{path} written")


def show_profile(found: Profile, *, top: int | None = None) -> None:
    """Print the table of layers and what is to be said about it.

    Args:
        found: the profile.
        top: layers that are shown, those that take longest; None shows all in the order of execution.
    """
    layers: Sequence[LayerProfile] = found.layers
    if top is not None:
        layers = sorted(layers, key=lambda layer: -layer.time_ns)[:top]
    rows = [layer_row(layer) for layer in layers]
    width = table_width()
    shown = fitting(_COLUMNS, rows, width, dropped=_DROPPED)
    lines = [*_caption(found, len(layers)), *hidden_note(_COLUMNS, shown)]
    title = joined_title(found.subject.network, found.subject.variant)
    print_table(
        f"edgecnn profile {title} {found.subject.precision}, batch {found.batch}",
        shown,
        shown_cells(_COLUMNS, rows, shown),
        left=[name for name in _LEFT if name in shown],
        caption="\n".join(part for line in lines for part in folded(line, width)),
    )


def layer_row(layer: LayerProfile) -> tuple[str, ...]:
    """Return a layer's cells."""
    kind = {"layer": layer.op_type, "engine": f"{layer.op_type} (engine)", "call": "(call)"}[layer.kind]
    engine = "" if layer.engine_op == layer.op_type else layer.engine_op
    return (
        layer.title,
        kind,
        engine,
        duration_text(layer.time_ns),
        f"{100 * layer.share:.1f}",
        _number(layer.macs / 1e6 if layer.macs else None, 2),
        bytes_text(layer.weight_bytes),
        bytes_text(layer.activation_bytes),
        _number(layer.intensity or None, 1),
        _number(layer.gops, 1),
        _number(layer.gbps, 1),
        _number(None if layer.roof_share is None else 100 * layer.roof_share, 0),
        layer.bound or "-",
    )


def _caption(found: Profile, shown: int) -> list[str]:
    device, info = found.device, found.runtime
    threads = "" if info.threads is None else f", {info.threads} thread{'s' if info.threads != 1 else ''}"
    machine = " · ".join(filter(None, (device.board, device.cpu, f"{info.engine} {info.engine_version}{threads}")))
    nodes = ", ".join(f"{count} on {name}" for name, count in found.providers.items())
    engine = [layer for layer in found.layers if layer.kind == "engine"]
    overhead = f"with it {found.overhead:.2f} times as long; nodes that ran: {nodes}"
    lines = [machine, f"run: {duration_text(found.total_ns)}, median of {found.runs} without profiling; {overhead}"]
    if engine:
        spent = sum(layer.time_ns for layer in engine)
        lines.append(
            f"(engine): {len(engine)} steps that the engine added, {duration_text(spent)}, "
            f"{100 * spent / found.total_ns:.1f} % of the run"
        )
    if shown < len(found.layers):
        lines.append(f"{shown} of {len(found.layers)} steps are shown")
    lines += [*_roof_lines(found), *found.notes]
    if found.unmapped:
        more = f" and {len(found.unmapped) - _NAMED} more" if len(found.unmapped) > _NAMED else ""
        lines.append(f"no step of the engine stands for {', '.join(found.unmapped[:_NAMED])}{more}")
    return lines


def _roof_lines(found: Profile) -> list[str]:
    if found.no_roofline:
        return [f"% of roof: {found.no_roofline}"]
    calibration = found.calibration
    if calibration is None or found.bandwidth_gbps is None or found.working_set_bytes is None:
        return ["% of roof: the size of a tensor is not known"]
    peaks = [
        f"{number} {one.value:,.0f} {one.unit}" for number, one in calibration.peaks.items() if one.value is not None
    ]
    doubt = "" if calibration.verdict == "valid" else f"; the calibration is {calibration.verdict}"
    size, working_set = bytes_text(found.bandwidth_size_bytes), bytes_text(found.working_set_bytes)
    memory = f"{found.bandwidth_gbps:,.0f} GB/s (bandwidth with {size}; weights and largest layer: {working_set})"
    return [f"% of roof: of {', '.join(peaks)}, {memory}{doubt}"]


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:,.{decimals}f}"
