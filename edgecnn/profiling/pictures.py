"""Two pictures of a profile as SVG: the roofline with its layers, and a bar per layer.

The same profile gives the same bytes. Text stays text, so that it can be searched and read aloud.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecnn.errors import BadInput, MissingDependency
from edgecnn.files import check_folder_takes, replacing
from edgecnn.profiling.picturestyle import KINDS, STYLE, blank, kind_of, legend, short
from edgecnn.profiling.rooflinepicture import roofline_figure
from edgecnn.profiling.values import LayerProfile, Profile
from edgecnn.specs import joined_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_BARS = 40
"""Steps that have a bar of their own; the shorter ones share one."""

# A bar of this length and more is told in milliseconds.
_MILLI_FROM_NS = 10e6


_OPTION = "--svg"


def check_drawing(folder: Path) -> None:
    """Return if pictures can be drawn here, and written into a folder.

    Raises:
        MissingDependency: matplotlib is not installed.
        BadInput: the folder is a file.
        UnavailableError: the folder cannot be written to.
    """
    if find_spec("matplotlib") is None:
        raise MissingDependency("matplotlib", "report", _OPTION)
    if folder.exists() and not folder.is_dir():
        raise BadInput(_OPTION, expected="a folder", got=f"the file {folder}")
    check_folder_takes(folder, option=_OPTION)


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
    check_drawing(folder)
    import matplotlib as mpl

    subject = profile.subject
    stem = f"{joined_title(subject.network, subject.variant)}.{subject.precision}.batch{profile.batch}"
    written = []
    with mpl.rc_context(dict(STYLE)):  # type: ignore[arg-type] # its keys are a type of their own
        for name, figure in (("layers", layers_figure(profile)), ("roofline", roofline_figure(profile))):
            if figure is not None:
                path = folder / f"{stem}.{name}.svg"
                with replacing(path, option=_OPTION) as temporary:
                    figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": "edgecnn"})
                written.append(path)
    return tuple(written)


def layers_figure(profile: Profile) -> Figure:
    """Return a figure with a bar per step, in the order of execution."""
    bars = _bars(profile.layers)
    figure, axes = blank(profile, 1.9 + 0.22 * len(bars), "Time of each layer")
    places = np.arange(len(bars))
    scale, unit = (
        (1e6, "milliseconds") if max(layer.time_ns for layer in bars) >= _MILLI_FROM_NS else (1e3, "microseconds")
    )
    widths = [layer.time_ns / scale for layer in bars]
    axes.barh(places, widths, height=0.72, color=[KINDS[kind_of(layer)][0] for layer in bars])
    axes.set_yticks(places, [short(layer.title) for layer in bars], fontsize=8)
    axes.invert_yaxis()
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlim(0, 1.22 * max(widths))
    axes.set_xlabel(f"time in one run, {unit}")
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    for place, width, layer in zip(places, widths, bars, strict=True):
        axes.annotate(_bar_text(layer), (width, place), (4, 0), textcoords="offset points", va="center", fontsize=8)
    legend(axes, bars, squares=True)
    return figure


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


def _bar_text(layer: LayerProfile) -> str:
    text = f"{100 * layer.share:.1f} %"
    return text if layer.roof_share is None else f"{text}, {100 * layer.roof_share:.0f} % of roof"
