"""Figures of power and energy from the readings of a meter and the moments of the phases.

power_w           joules of the window / its seconds            gross: with what the machine draws anyway
energy_mj         1e3 * joules of the window / its images       of one image
images_per_joule  images of the window / its joules
idle_w            mean of idle before and after; the model is loaded and nothing runs
net_...           gross less idle
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from edgecnn.bench.power.energy import Trace, joules, longest_gap_s, mean_w, repeats_itself, total_joules
from edgecnn.bench.power.phases import Cut, Phases
from edgecnn.bench.power.uncertainty import budget, expanded_w, pooled_sd
from edgecnn.bench.stats import summarise
from edgecnn.devices.sensors.base import MeterSpec
from edgecnn.errors import MeasurementError
from edgecnn.powerspec import Power, PowerPart
from edgecnn.results import Metric

IDLE_PARTS = 5
"""Parts of each idle phase, by whose scatter net power is judged."""

RESOLVED = 3.0
"""Net power below so many standard deviations of idle cannot be told from it."""


def power_of(trace: Trace, phases: Phases, *, images_per_run: int) -> Power:
    """Return power and energy by a trace and the moments of the phases.

    Args:
        trace: of the whole measurement.
        phases: when what happened.
        images_per_run: of the batch.

    Raises:
        MeasurementError: the readings do not cover the phases, or say that no energy was used.
    """
    first, last = phases.cuts[0], phases.cuts[-1]
    window_s = (last.t_ns - first.t_ns) / 1e9
    parts = _parts(trace, phases.cuts, images_per_run)
    energy_j, images = total_joules(trace, first.t_ns, last.t_ns), last.runs * images_per_run
    if energy_j <= 0:
        raise MeasurementError(
            f"{trace.spec.name}: {energy_j:.3g} J in {window_s:.3g} s", "is the sensor wired backwards?"
        )
    idle = [idle_parts(trace, *span) for span in (phases.idle_before_ns, phases.idle_after_ns)]
    _check_idle(trace, phases, [*idle[0], *idle[1]])
    before_w, after_w = (mean_w(trace, *span) for span in (phases.idle_before_ns, phases.idle_after_ns))
    idle_w, power_w = (before_w + after_w) / 2, energy_j / window_s
    inside = trace.inside(first.t_ns, last.t_ns)
    sources = budget(
        trace.spec,
        parts_w=[part.joules / part.seconds for part in parts],
        idle_before_parts_w=idle[0],
        idle_after_parts_w=idle[1],
        power_w=power_w,
        window_s=window_s,
        reading_s=float(trace.widths_s[inside].mean()) if inside.any() else 0.0,
    )
    gross = replace(
        described(trace.spec),
        power_w=power_w,
        idle_w=idle_w,
        energy_mj=1e3 * energy_j / images,
        images_per_joule=images / energy_j,
        uncertainty_w=expanded_w(sources, net=False),
        budget=sources,
        parts=parts,
        idle_before_w=before_w,
        idle_after_w=after_w,
        window_s=window_s,
        idle_s=sum(span[1] - span[0] for span in (phases.idle_before_ns, phases.idle_after_ns)) / 1e9,
        rails_w=_rails_w(trace, first.t_ns, last.t_ns),
        readings=int(inside.sum()),
        longest_gap_s=longest_gap_s(trace, first.t_ns, last.t_ns),
    )
    return _with_net(gross, idle_sd_w=pooled_sd(idle), images=images)


def idle_parts(trace: Trace, begin_ns: int, end_ns: int) -> list[float]:
    """Return the mean power of each of `IDLE_PARTS` parts of equal length, in watts."""
    edges = [begin_ns + (end_ns - begin_ns) * number // IDLE_PARTS for number in range(IDLE_PARTS + 1)]
    return [mean_w(trace, early, late) for early, late in pairwise(edges)]


def power_metrics(power: Power, *, seed: int = 0) -> tuple[Metric, ...]:
    """Return the metrics of measured power, one sample per part of the window; none where power is null.

    They are `power_w`, `energy_mj` (of one image), `images_per_joule` and `idle_w` (before, after). The medians are of parts;
    the means over the whole window stand in the record's power.

    Args:
        power: of a record.
        seed: of the bootstrap.
    """
    if power.power_w is None:
        return ()
    parts = power.parts
    idle = [value for value in (power.idle_before_w, power.idle_after_w) if value is not None]
    samples = (
        ("power_w", "W", [part.joules / part.seconds for part in parts]),
        ("energy_mj", "mJ", [1e3 * part.joules / part.images for part in parts]),
        ("images_per_joule", "images/J", [part.images / part.joules for part in parts]),
        ("idle_w", "W", idle),
    )
    return tuple(summarise(name, unit, values, seed=seed) for name, unit, values in samples)


def described(spec: MeterSpec) -> Power:
    """Return power without figures: what a meter says about itself."""
    return Power(meter=spec.name, kind=spec.kind, domain=spec.domain, coverage=spec.coverage, note=spec.note)


def _parts(trace: Trace, cuts: Sequence[Cut], images_per_run: int) -> tuple[PowerPart, ...]:
    parts = tuple(
        PowerPart(
            seconds=(late.t_ns - early.t_ns) / 1e9,
            joules=total_joules(trace, early.t_ns, late.t_ns),
            images=(late.runs - early.runs) * images_per_run,
        )
        for early, late in pairwise(cuts)
    )
    still = next((part for part in parts if part.joules <= 0), None)
    if still is not None:
        raise MeasurementError(
            f"{trace.spec.name}: {still.joules:.3g} J in a part of {still.seconds:.3g} s while inference ran",
            "a longer window, or a meter that sees what runs: --power NAME",
        )
    return parts


def _check_idle(trace: Trace, phases: Phases, parts_w: Sequence[float]) -> None:
    """Raise MeasurementError if the sensor stopped moving: a counter while nothing ran, a sampler from work into idle or back.

    Every machine draws something all the time; but of a rail that is off a sampler may well say 0 W.
    """
    if trace.spec.kind == "counter" and min(parts_w) <= 0:
        raise MeasurementError(
            f"{trace.spec.name}: the counter stood still for a while before or after inference ran",
            "measure again, or another meter: --power NAME",
        )
    cuts = [cut.t_ns for cut in phases.cuts]
    for work, idle in (((cuts[0], cuts[1]), phases.idle_before_ns), ((cuts[-2], cuts[-1]), phases.idle_after_ns)):
        if trace.spec.kind == "sampler" and repeats_itself(trace, trace.inside(*work) | trace.inside(*idle)):
            raise MeasurementError(
                f"{trace.spec.name}: says one value at work and idle: stuck for a while, or too coarse for what ran",
                "measure again, or another meter: --power NAME",
            )


def _rails_w(trace: Trace, begin_ns: int, end_ns: int) -> tuple[tuple[str, float], ...]:
    seconds = (end_ns - begin_ns) / 1e9
    each = zip(trace.spec.channels, joules(trace, begin_ns, end_ns), strict=True)
    return tuple((channel.name, float(energy) / seconds) for channel, energy in each)


def _with_net(power: Power, *, idle_sd_w: float | None, images: int) -> Power:
    """Return power with its net figures, or the reason why they cannot be told from idle."""
    assert power.power_w is not None
    assert power.idle_w is not None
    assert power.budget is not None
    assert power.window_s is not None
    net_w = power.power_w - power.idle_w
    limit_w = RESOLVED * (idle_sd_w or 0.0)
    if net_w <= limit_w:
        return replace(
            power,
            reason=f"net power: {net_w:.3g} W above idle cannot be told from it: expected above {limit_w:.3g} W",
            fix="a longer window, a larger batch, or a meter closer to what works",
        )
    return replace(
        power,
        net_power_w=net_w,
        net_energy_mj=1e3 * net_w * power.window_s / images,
        net_uncertainty_w=expanded_w(power.budget, net=True, idle_w=power.idle_w, power_w=power.power_w),
    )
