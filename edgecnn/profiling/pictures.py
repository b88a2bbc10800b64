"""Two pictures of a profile as SVG: the roofline with its layers, and a bar per layer.

The same profile gives the same bytes. Text stays text, so that it can be searched and read aloud. Colours are those of Okabe
and Ito 2008 ("Color Universal Design"), which people with any colour vision can tell apart; shapes differ as well.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecnn.bench.roofline import Roof
from edgecnn.errors import BadInput, MissingDependency
from edgecnn.files import replacing
from edgecnn.profiling.values import DEPTHWISE, LayerProfile, Profile
from edgecnn.specs import joined_title
from edgecnn.units import bytes_text, duration_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Kind -> colour, marker, words of the legend.
KINDS: Mapping[str, tuple[str, str, str]] = {
    "conv": ("#0072B2", "o", "convolution"),
    "depthwise": ("#E69F00", "^", "depthwise convolution"),
    "linear": ("#009E73", "s", "linear layer"),
    "other": ("#CC79A7", "D", "without multiply-adds"),
    "engine": ("#999999", "X", "added by the engine"),
    "call": ("#56B4E9", "P", "call of the engine"),
    "rest": ("#444444", "*", "several steps together"),
}

MOST_BARS = 40
"""Steps that have a bar of their own; the shorter ones share one."""

# A bar of this length and more is told in milliseconds.
_MILLI_FROM_NS = 10e6

_LABELLED = 6
# Labels nearer than these shares of the axes would overlap.
_APART = (0.3, 0.04)
# Of marks that are nearer than this only one is named.
_SAME_PLACE = 0.02
_WIDTH_INCHES = 9.0
_ROOF, _FAINT = "#000000", "#777777"

_STYLE: Mapping[str, Any] = {
    "svg.hashsalt": "edgecnn",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def check_drawing() -> None:
    """Return if pictures can be drawn here.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingDependency("matplotlib", "report", "--svg")


def write_pictures(profile: Profile, folder: Path) -> tuple[Path, ...]:
    """Write the pictures of a profile and return their paths; without a calibration there is no roofline.

    Args:
        profile: what is drawn.
        folder: made if it is not there; files in it are named for the model, precision and batch.

    Raises:
        MissingDependency: matplotlib is not installed.
        BadInput: the folder is a file.
        UnavailableError: the folder cannot be written to.
    """
    check_drawing()
    if folder.exists() and not folder.is_dir():
        raise BadInput("--svg", expected="a folder", got=f"the file {folder}")
    import matplotlib as mpl

    subject = profile.subject
    stem = f"{joined_title(subject.network, subject.variant)}.{subject.precision}.batch{profile.batch}"
    written = []
    with mpl.rc_context(dict(_STYLE)):  # type: ignore[arg-type] # its keys are a type of their own
        for name, figure in (("layers", layers_figure(profile)), ("roofline", roofline_figure(profile))):
            if figure is not None:
                path = folder / f"{stem}.{name}.svg"
                with replacing(path) as temporary:
                    figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": "edgecnn"})
                written.append(path)
    return tuple(written)


def kind_of(layer: LayerProfile) -> str:
    """Return the key of `KINDS` that a layer is drawn as."""
    if layer.kind != "layer":
        return layer.kind
    if not layer.op_type:
        return "rest"
    if not layer.macs:
        return "other"
    if layer.op_type.startswith(DEPTHWISE):
        return "depthwise"
    return "conv" if layer.op_type.startswith("Conv") else "linear"


def layers_figure(profile: Profile) -> Figure:
    """Return a figure with a bar per step, in the order of execution."""
    bars = _bars(profile.layers)
    figure, axes = _blank(profile, 1.9 + 0.22 * len(bars), "Time of each layer")
    places = np.arange(len(bars))
    scale, unit = (
        (1e6, "milliseconds") if max(layer.time_ns for layer in bars) >= _MILLI_FROM_NS else (1e3, "microseconds")
    )
    widths = [layer.time_ns / scale for layer in bars]
    axes.barh(places, widths, height=0.72, color=[KINDS[kind_of(layer)][0] for layer in bars])
    axes.set_yticks(places, [_short(layer.title) for layer in bars], fontsize=8)
    axes.invert_yaxis()
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlim(0, 1.22 * max(widths))
    axes.set_xlabel(f"time in one run, {unit}")
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    for place, width, layer in zip(places, widths, bars, strict=True):
        axes.annotate(_bar_text(layer), (width, place), (4, 0), textcoords="offset points", va="center", fontsize=8)
    _legend(axes, bars, squares=True)
    return figure


def roofline_figure(profile: Profile) -> Figure | None:
    """Return a figure of attainable and reached rates over intensity; None without a calibration or a layer to be drawn."""
    calibration, size = profile.calibration, profile.working_set_bytes
    drawn = [layer for layer in profile.layers if layer.gops is not None and layer.intensity]
    if calibration is None or size is None or profile.bandwidth_gbps is None or not drawn:
        return None
    numbers = [number for number in ("fp32", "bf16", "int8") if any(layer.number == number for layer in drawn)]
    roofs = {number: roof for number in numbers if (roof := calibration.roof(number, size)) is not None}
    if not roofs:
        return None
    figure, axes = _blank(profile, 6.2, "Roofline")
    low, high = _intensity_range(drawn, [roof.ridge for roof in roofs.values()])
    for number, roof in roofs.items():
        _roof_line(axes, (low, high), roof, f"{number} peak\n{roof.peak_gops:,.0f} {calibration.peaks[number].unit}")
    _bandwidths(axes, profile, low, max(roof.peak_gops for roof in roofs.values()))
    for kind, (colour, marker, _) in KINDS.items():
        of_kind = [layer for layer in drawn if kind_of(layer) == kind]
        axes.scatter(
            [layer.intensity or 0.0 for layer in of_kind],
            [layer.gops or 0.0 for layer in of_kind],
            s=[_area(layer) for layer in of_kind],
            color=colour,
            marker=marker,
            alpha=0.8,
            edgecolor="white",
            linewidth=0.6,
            zorder=3,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(0.6 * min(layer.gops or 0.0 for layer in drawn), 1.6 * max(roof.peak_gops for roof in roofs.values()))
    _label_largest(axes, drawn)
    axes.set_xlabel("operations per byte (weights, inputs and outputs moved once)")
    axes.set_ylabel("10⁹ operations per second")
    axes.grid(which="major", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    _legend(axes, drawn, squares=False)
    return figure


def _roof_line(axes: Axes, ends: tuple[float, float], roof: Roof, text: str) -> None:
    """Draw attainable rates over intensity, which are two straight lines on these axes; name the peak beside them."""
    xs = [ends[0], roof.ridge, ends[1]]
    axes.plot(xs, [roof.attainable_gops(x) for x in xs], color=_ROOF, linewidth=1.6, zorder=2)
    axes.annotate(text, (ends[1], roof.peak_gops), (5, 0), textcoords="offset points", va="center", fontsize=9)


def _bandwidths(axes: Axes, profile: Profile, low: float, top_gops: float) -> None:
    """Name the bandwidth along its slope; the bandwidth of memory, where it is another one, is dashed."""
    calibration = profile.calibration
    if calibration is None or profile.bandwidth_gbps is None or profile.bandwidth_size_bytes is None:
        return
    last = calibration.bandwidths[-1]
    _slope_text(axes, profile.bandwidth_gbps, profile.bandwidth_size_bytes, low, _ROOF)
    if last.limit.value and last.size_bytes != profile.bandwidth_size_bytes:
        xs = [low, top_gops / last.limit.value]
        axes.plot(xs, [x * last.limit.value for x in xs], color=_FAINT, linewidth=1, linestyle=(0, (5, 3)), zorder=1)
        _slope_text(axes, last.limit.value, last.size_bytes, low, _FAINT)


def _slope_text(axes: Axes, gbps: float, size_bytes: int, low: float, colour: str) -> None:
    # Just above the line, in its direction.
    x, rise = 1.5 * low, 1.16 * gbps
    axes.text(
        x,
        x * rise,
        f"{gbps:,.0f} GB/s with {bytes_text(size_bytes)}",
        rotation=float(np.degrees(np.arctan(rise))),
        rotation_mode="anchor",
        transform_rotates_text=True,
        color=colour,
        fontsize=9,
        clip_on=True,
    )


def _label_largest(axes: Axes, drawn: Sequence[LayerProfile]) -> None:
    """Name the layers that take longest, without those whose label would lie on another one's."""
    placed: list[tuple[float, float]] = []
    named: list[tuple[float, float]] = []
    for layer in sorted(drawn, key=lambda one: -one.time_ns)[:_LABELLED]:
        point = (layer.intensity or 0.0, layer.gops or 0.0)
        x, y = axes.transAxes.inverted().transform(axes.transData.transform(point))
        side = next((one for one in (-1, 1) if not _taken(placed, x, y + one * _APART[1])), 0)
        if not side or any(max(abs(x - left), abs(y - low)) < _SAME_PLACE for left, low in named):
            continue
        named.append((x, y))
        placed.append((x, y + side * _APART[1]))
        right = x > 1 - _APART[0]
        axes.annotate(
            f"{_short(layer.title, 26)}, {100 * layer.share:.0f} %",
            point,
            (-9 if right else 9, 9 * side),
            textcoords="offset points",
            ha="right" if right else "left",
            va="top" if side < 0 else "bottom",
            fontsize=8,
            zorder=2,
            bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.5},
        )


def _taken(placed: Sequence[tuple[float, float]], x: float, y: float) -> bool:
    return any(abs(x - left) < _APART[0] and abs(y - low) < _APART[1] for left, low in placed)


def _bars(layers: Sequence[LayerProfile]) -> list[LayerProfile]:
    """Return the steps that are drawn: the longest in the order of execution, the others as one."""
    if len(layers) <= MOST_BARS:
        return list(layers)
    longest = {id(layer) for layer in sorted(layers, key=lambda layer: -layer.time_ns)[: MOST_BARS - 1]}
    rest = [layer for layer in layers if id(layer) not in longest]
    others = LayerProfile(
        name=f"{len(rest)} shorter steps",
        kind="layer",
        op_type="",
        engine_op="",
        provider="",
        time_ns=sum(layer.time_ns for layer in rest),
        share=sum(layer.share for layer in rest),
    )
    return [*(layer for layer in layers if id(layer) in longest), others]


def _blank(profile: Profile, height_inches: float, title: str) -> tuple[Figure, Axes]:
    """Return an empty figure with title, and the machine and the engine below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH_INCHES, height_inches), layout="constrained")
    axes = figure.add_subplot()
    subject = profile.subject
    name = f"{joined_title(subject.network, subject.variant)}, {subject.precision}, batch {profile.batch}"
    axes.set_title(f"{title}: {name}", loc="left", fontsize=12, fontweight="bold")
    figure.supxlabel("\n".join(caption(profile)), fontsize=8, color="#444444", x=0.01, ha="left")
    return figure, axes


def caption(profile: Profile) -> list[str]:
    """Return the lines below a picture: run, machine, engine, and what the shares are of."""
    device, info, calibration = profile.device, profile.runtime, profile.calibration
    threads = "" if info.threads is None else f", {info.threads} thread{'s' if info.threads != 1 else ''}"
    machine = filter(None, (device.board, device.cpu, f"{info.engine} {info.engine_version}{threads}"))
    run = f"one run takes {duration_text(profile.total_ns)} without profiling, {profile.overhead:.2f} times as long with it"
    lines = [f"{' · '.join(machine)} · {run}"]
    if calibration is not None:
        doubt = "" if calibration.verdict == "valid" else f", verdict {calibration.verdict}"
        lines.append(
            f"roofline measured on this machine with the same engine and threads ({calibration.time_utc}{doubt})"
        )
    else:
        lines.append(f"no roofline: {profile.no_roofline}")
    return [part for line in lines for part in textwrap.wrap(line, 150)]


def _legend(axes: Axes, layers: Sequence[LayerProfile], *, squares: bool) -> None:
    from matplotlib.lines import Line2D

    seen = {kind_of(layer) for layer in layers}
    handles = [
        Line2D([], [], color=colour, marker="s" if squares else marker, linestyle="", markersize=8, label=words)
        for kind, (colour, marker, words) in KINDS.items()
        if kind in seen
    ]
    axes.legend(
        handles=handles,
        loc="lower right",
        fontsize=8,
        title=None if squares else "area: share of the time",
        title_fontsize=8,
        framealpha=0.9,
        edgecolor="#DDDDDD",
    )


def _bar_text(layer: LayerProfile) -> str:
    text = f"{100 * layer.share:.1f} %"
    return text if layer.roof_share is None else f"{text}, {100 * layer.roof_share:.0f} % of roof"


def _intensity_range(drawn: Sequence[LayerProfile], ridges: Sequence[float]) -> tuple[float, float]:
    """Return where the axis begins and ends: powers of two around the layers and the ridges."""
    every = [*(layer.intensity or 1.0 for layer in drawn), *ridges]
    return 2.0 ** np.floor(np.log2(min(every)) - 1), 2.0 ** np.ceil(np.log2(max(every)) + 1)


def _area(layer: LayerProfile) -> float:
    """Return the area of a layer's mark, in points squared: in proportion to its time, and never too small to be seen."""
    return 25 + 900 * layer.share


def _short(name: str, most: int = 34) -> str:
    return name if len(name) <= most else f"…{name[-most + 1 :]}"
