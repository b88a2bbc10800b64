"""What the pictures of a profile have in common: kinds of layers with colour and marker, the empty figure, legend and caption.

Colours are those of Okabe and Ito 2008 ("Color Universal Design"), which people with any colour vision can tell apart; shapes
differ as well.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgecnn.profiling.values import DEPTHWISE, LayerProfile, Profile
from edgecnn.specs import joined_title
from edgecnn.units import duration_text

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

_WIDTH_INCHES = 9.0

STYLE: Mapping[str, Any] = {
    "svg.hashsalt": "edgecnn",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


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


def blank(profile: Profile, height_inches: float, title: str) -> tuple[Figure, Axes]:
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


def legend(axes: Axes, layers: Sequence[LayerProfile], *, squares: bool) -> None:
    """Draw a legend of the kinds that these layers are of.

    Args:
        axes: where.
        layers: that are drawn.
        squares: bars have no marker of their own, and marks no area.
    """
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


def short(name: str, most: int = 34) -> str:
    """Return a name, its end alone where it is long."""
    return name if len(name) <= most else f"…{name[-most + 1 :]}"
