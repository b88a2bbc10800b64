"""What a record says about power and energy: measured figures with their meter, and apart from them modelled ones.

Watts and joules in `Power` were read from a sensor, or are null with a reason. What is computed from a data sheet is a
`ModelledPower`, and no function turns one into the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Coverage = Literal["chip", "module", "board", "wall"]
"""What a reading includes, from little to much:

chip    one package: a processor, or a GPU without its card
module  what computes, with its memory and regulators: a Jetson module, a GPU card, the rails behind a Pi's PMIC
board   everything behind the supply's plug: carrier board, storage, fan, what hangs on USB
wall    the board and its power supply
"""

Kind = Literal["counter", "sampler"]
"""A counter gives joules since some start, a sampler watts at the moment (or over the driver's averaging window)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncertainty:
    """Standard uncertainties (one sigma) of mean power, in watts, each from one source; null where it cannot be told.

    Attributes:
        windows_w: scatter of the parts of the window, over the square root of their number.
        resolution_w: the sensor's smallest step.
        period_w: the sensor's last update lies up to one period before the window's edge.
        jitter_w: how long a reading takes, so that its moment is not exactly known.
        sensor_w: what the maker's specification or the literature says of the sensor.
        idle_drift_w: idle at the time of the window lies anywhere between before and after; part of net power alone.
        idle_scatter_w: scatter of the parts of idle, over the square root of their number; part of net power alone.
    """

    windows_w: float | None = None
    resolution_w: float | None = None
    period_w: float | None = None
    jitter_w: float | None = None
    sensor_w: float | None = None
    idle_drift_w: float | None = None
    idle_scatter_w: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerPart:
    """A part of the window, from the end of one run to the end of another.

    Attributes:
        seconds: its length.
        joules: what the meter counted, idle included.
        images: that were inferred.
    """

    seconds: float
    joules: float
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """Power and energy of continuous inference, or the reason why there are none.

    Gross figures include what the machine draws anyway; net ones are gross less the idle power around it.

    Attributes:
        meter: name of the sensor, null where none was found.
        kind: "counter" (joules) or "sampler" (watts).
        domain: what the sensor calls its own, "package-0" or "VDD_IN" for example.
        coverage: "chip", "module", "board" or "wall"; null where only the wiring tells.
        note: what the reading includes and leaves out.
        power_w: gross mean power over the window.
        idle_w: mean power of the idle phases before and after, model loaded.
        net_power_w: gross less idle; null where it cannot be told from the scatter of idle.
        energy_mj: gross energy of one image, in millijoules.
        net_energy_mj: net energy of one image, in millijoules.
        images_per_joule: from gross energy.
        uncertainty_w: expanded uncertainty of `power_w`, 95%.
        net_uncertainty_w: expanded uncertainty of `net_power_w`, 95%.
        budget: where the uncertainty comes from.
        parts: the window in parts, in order; the figures above can be recomputed from them.
        idle_before_w: mean power before the window.
        idle_after_w: mean power after the window.
        window_s: length of the window.
        idle_s: length of the idle phases together.
        rails_w: mean power of each channel of the sensor over the window; not all are part of the total.
        readings: of the sensor within the window.
        failed_readings: readings that failed, over the whole measurement.
        longest_gap_s: longest time between two readings in the window.
        other_cores: processors that other processes kept busy on average, idle phases included; null where unknown.
        reason: why power is null, or net power is.
        fix: what to do about it.
    """

    meter: str | None
    kind: Kind | None = None
    domain: str | None = None
    coverage: Coverage | None = None
    note: str = ""
    power_w: float | None = None
    idle_w: float | None = None
    net_power_w: float | None = None
    energy_mj: float | None = None
    net_energy_mj: float | None = None
    images_per_joule: float | None = None
    uncertainty_w: float | None = None
    net_uncertainty_w: float | None = None
    budget: Uncertainty | None = None
    parts: tuple[PowerPart, ...] = ()
    idle_before_w: float | None = None
    idle_after_w: float | None = None
    window_s: float | None = None
    idle_s: float | None = None
    rails_w: tuple[tuple[str, float], ...] = ()
    readings: int | None = None
    failed_readings: int | None = None
    longest_gap_s: float | None = None
    other_cores: float | None = None
    reason: str | None = None
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelledPower:
    """Watts that were computed and not measured; nothing may put them beside measured ones without saying so.

    Attributes:
        watts: the result.
        formula: how it was computed.
        inputs: the values that went in, by name with unit.
        source: where formula and constants come from.
    """

    watts: float
    formula: str
    inputs: tuple[tuple[str, float], ...]
    source: str
