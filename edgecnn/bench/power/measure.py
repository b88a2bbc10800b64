"""Power and energy of one model: idle, continuous inference, idle again; the meter is read all the way through.

What cannot be measured is null with its reason; nothing here ever fills a gap with an estimate. `modelled_power` computes
one, and its result is of another type that lives in another field.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from edgecnn.bench.power.energy import check_alive, make_trace
from edgecnn.bench.power.figures import described, power_of
from edgecnn.bench.power.phases import Phases, make_power_plan, perform
from edgecnn.bench.power.sampler import RealStage, Recorder, Stage, moment
from edgecnn.devices.sensors.base import LiveMeter, LoggedMeter, Meter, MeterSpec, Moment, Reading
from edgecnn.devices.sensors.catalog import meter_from
from edgecnn.errors import BadInput, EdgecnnError, MeasurementError, SensorUnavailable
from edgecnn.powerspec import ModelledPower, Power

LOG_WAIT_SECONDS = 5.0
"""How long the end of another program's log is waited for; most write every second."""

_LOG_POLL_SECONDS = 0.25


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
    known = described(spec) if spec else Power(meter=None)
    reason = f"{error.message}: {because.message}" if because else error.message
    return replace(known, reason=reason, fix=because.hint if because else error.hint)


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


def _counted(power: Power, recorder: Recorder | None) -> Power:
    return replace(power, failed_readings=recorder.failures if recorder else None)
