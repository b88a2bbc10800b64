"""Power and energy of one model: idle, continuous inference, idle again; the meter is read all the way through.

    power_w           joules of the window / its seconds            gross: with what the machine draws anyway
    energy_mj         1e3 * joules of the window / its images       of one image
    images_per_joule  images of the window / its joules
    idle_w            mean of idle before and after; the model is loaded and nothing runs
    net_...           gross less idle

What cannot be measured is null with its reason; nothing here ever fills a gap with an estimate. `modelled_power` computes
one, and its result is of another type that lives in another field.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from edgecnn.bench.energy import Trace, check_alive, joules, longest_gap_s, make_trace, mean_w, total_joules
from edgecnn.bench.powerphases import Cut, Phases, make_power_plan, perform
from edgecnn.bench.sampler import RealStage, Recorder, Stage, moment
from edgecnn.bench.stats import summarise
from edgecnn.bench.uncertainty import budget, expanded_w, pooled_sd
from edgecnn.devices.sensors.base import LiveMeter, LoggedMeter, Meter, MeterSpec, Moment, Reading
from edgecnn.devices.sensors.catalog import meter_from
from edgecnn.errors import BadInput, EdgecnnError, MeasurementError, SensorUnavailable
from edgecnn.powerspec import ModelledPower, Power, PowerPart
from edgecnn.results import Metric

IDLE_PARTS = 5
"""Parts of each idle phase, by whose scatter net power is judged."""

LOG_WAIT_SECONDS = 5.0
"""How long the end of another program's log is waited for; most write every second."""

_LOG_POLL_SECONDS = 0.25

RESOLVED = 3.0
"""Net power below so many standard deviations of idle cannot be told from it."""


def measure_power(
    run: Callable[[], object],
    meter: Meter,
    *,
    images_per_run: int,
    seconds: float | None = None,
    stage: Stage | None = None,
) -> Power:
    """Return power and energy of continuous runs, or the reason why there are none.

    The model should be loaded and warm. With the default stage a thread reads the meter; it takes what a reading costs.

    Args:
        run: one call, of a whole batch.
        meter: what is read.
        images_per_run: of the batch.
        seconds: of the window; None takes what the meter needs.
        stage: where it takes place, by default this machine.

    Raises:
        BadInput: the window is not above 0.
        EdgecnnError: whatever else `run` raises.
    """
    where: Stage = stage or RealStage()
    try:
        plan = make_power_plan(meter.spec, seconds=seconds)
        meter.available()
    except (MeasurementError, SensorUnavailable) as error:
        return no_power(error, meter.spec)
    recorder = Recorder(meter, where.now_ns) if isinstance(meter, LiveMeter) else None
    begin = moment(where)
    try:
        with where.every(meter.spec.poll_s, recorder.tick) if recorder else nullcontext():
            phases = perform(run, where, plan)
        end = moment(where)
        logged = _logged(meter, begin, end, phases, where) if isinstance(meter, LoggedMeter) else ()
        trace = make_trace(meter.spec, recorder.readings if recorder else logged)
        check_alive(trace)
        power = power_of(trace, phases, images_per_run=images_per_run)
    except (MeasurementError, SensorUnavailable) as error:
        failed = recorder.last_failure if recorder else None
        return _counted(no_power(error, meter.spec, because=failed), recorder)
    return _counted(power, recorder)


def power_by_name(
    text: str,
    run: Callable[[], object],
    *,
    images_per_run: int,
    seconds: float | None = None,
    uses_gpu: bool = False,
    root: Path = Path("/"),
) -> Power:
    """Return power by the meter that a text means, or the reason why there is none; see `measure_power`.

    Args:
        text: "auto", a meter's name, "csv:FILE" or "http://PLUG"; see `meter_from`.
        run: one call, of a whole batch.
        images_per_run: of the batch.
        seconds: of the window; None takes what the meter needs.
        uses_gpu: whether an NVIDIA GPU does the work, which "auto" then measures.
        root: folder that stands for "/".

    Raises:
        UnknownName: no such meter.
        BadInput: the options of the meter or the window are wrong.
        EdgecnnError: whatever else `run` raises.
    """
    try:
        meter = meter_from(text, root, uses_gpu=uses_gpu)
    except SensorUnavailable as error:
        return no_power(error)
    try:
        return measure_power(run, meter, images_per_run=images_per_run, seconds=seconds)
    finally:
        meter.close()


def no_power(error: EdgecnnError, spec: MeterSpec | None = None, *, because: EdgecnnError | None = None) -> Power:
    """Return power that was not measured: null with its reason and its fix.

    Args:
        error: why.
        spec: of the meter, where one was found.
        because: what the sensor said when a reading failed, which comes before it.
    """
    known = _described(spec) if spec else Power(meter=None)
    reason = f"{error.message}: {because.message}" if because else error.message
    return replace(known, reason=reason, fix=because.hint if because else error.hint)


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
        _described(trace.spec),
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


def modelled_power(*, tdp_w: float, utilisation: float, source: str) -> ModelledPower:
    """Return what a data sheet and a utilisation suggest: a model, never a measurement.

    Args:
        tdp_w: thermal design power, above 0.
        utilisation: 0..1.
        source: of the thermal design power.

    Raises:
        BadInput: a value outside these limits.
    """
    if not 0 < tdp_w < float("inf"):
        raise BadInput("tdp_w", expected="above 0", got=f"{tdp_w:g}")
    if not 0 <= utilisation <= 1:
        raise BadInput("utilisation", expected="0..1", got=f"{utilisation:g}")
    return ModelledPower(
        watts=tdp_w * utilisation,
        formula="tdp_w * utilisation",
        inputs=(("tdp_w", tdp_w), ("utilisation", utilisation)),
        source=source,
    )


def _logged(meter: LoggedMeter, begin: Moment, end: Moment, phases: Phases, stage: Stage) -> Sequence[Reading]:
    """Return the rows of a log; waits a little for those that its writer still keeps back."""
    give_up_ns = end.t_ns + round(LOG_WAIT_SECONDS * 1e9)
    while True:
        readings = meter.readings(begin, end)
        if readings[-1].t_ns >= phases.idle_after_ns[1] or stage.now_ns() >= give_up_ns:
            return readings
        stage.sleep(_LOG_POLL_SECONDS)


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


def _described(spec: MeterSpec) -> Power:
    return Power(meter=spec.name, kind=spec.kind, domain=spec.domain, coverage=spec.coverage, note=spec.note)


def _counted(power: Power, recorder: Recorder | None) -> Power:
    return replace(power, failed_readings=recorder.failures if recorder else None)
