"""The roofline of a profile: attainable and reached rates over intensity, a mark per layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgecnn.bench.peaks.roofline import Roof
from edgecnn.profiling.picturestyle import KINDS, blank, kind_of, legend, short
from edgecnn.profiling.values import LayerProfile, Profile
from edgecnn.units import bytes_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABELLED = 6

# Labels nearer than these shares of the axes would overlap.
_APART = (0.3, 0.04)

# Of marks that are nearer than this only one is named.
_SAME_PLACE = 0.02

_ROOF, _FAINT = "#000000", "#777777"


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
    figure, axes = blank(profile, 6.2, "Roofline")
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
    legend(axes, drawn, squares=False)
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
            f"{short(layer.title, 26)}, {100 * layer.share:.0f} %",
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


def _intensity_range(drawn: Sequence[LayerProfile], ridges: Sequence[float]) -> tuple[float, float]:
    """Return where the axis begins and ends: powers of two around the layers and the ridges."""
    every = [*(layer.intensity or 1.0 for layer in drawn), *ridges]
    return 2.0 ** np.floor(np.log2(min(every)) - 1), 2.0 ** np.ceil(np.log2(max(every)) + 1)


def _area(layer: LayerProfile) -> float:
    """Return the area of a layer's mark, in points squared: in proportion to its time, and never too small to be seen."""
    return 25 + 900 * layer.share
