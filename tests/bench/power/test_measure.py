from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from edgecnn.bench.power.figures import power_metrics
from edgecnn.bench.power.measure import measure_power, modelled_power, no_power, power_by_name
from edgecnn.bench.power.phases import make_power_plan, perform
from edgecnn.devices.sensors import Channel, LiveMeter, MeterSpec, meter_from
from edgecnn.devices.sensors.csvlog import CsvMeter
from edgecnn.devices.sensors.nvml import nvml_meters
from edgecnn.devices.sensors.rapl import rapl_meters
from edgecnn.errors import BadInput, InferenceError, MeasurementError, SensorUnavailable, UnknownName
from edgecnn.jsonform import from_json, to_json
from edgecnn.powerspec import ModelledPower, Power
from edgecnn.resultlines import dumps, loads, read
from edgecnn.testing.fakenvml import FakeGpu, FakeNvml
from edgecnn.testing.fakes import FakeRun, write_tree
from edgecnn.testing.replaymeter import ReplayMeter, ReplayStage

MS, SECOND = 1_000_000, 1_000_000_000
SPEC = MeterSpec(
    name="replay",
    kind="sampler",
    domain="VDD_IN",
    coverage="module",
    note="input of the module",
    channels=(Channel(name="VDD_IN"), Channel(name="VDD_CPU", in_total=False)),
    resolution=0.01,
    update_period_s=0.1,
    averaging_s=0.0,
    poll_s=0.05,
    accuracy=0.02,
)
COUNTER = replace(SPEC, kind="counter", channels=(Channel(name="package-0", wrap_j=262143.0),))
GOLDEN = Path(__file__).parents[2] / "golden" / "record.jsonl"

# Settling takes 0.2 s, idle 5 s, the window 10 s: runs last from 5.4 s to 15.8 s, the window from 5.6 s, all of it 21.2 s.
WORK_BEGINS_S, WORK_ENDS_S, END_S = 5.4, 15.8, 22.0


def _recorded(
    idle_w: float, work_w: float, *, ends_s: float = WORK_ENDS_S, after_w: float | None = None
) -> list[tuple[float, tuple[float, ...]]]:
    """Return a recording every 20 ms; the last digit moves, as that of a living sensor does."""
    rows = []
    for number in range(round(END_S / 0.02)):
        at_s = number * 0.02
        working = WORK_BEGINS_S <= at_s < ends_s
        watts = work_w if working else idle_w if at_s < ends_s or after_w is None else after_w
        rows.append((at_s, (watts + 0.001 * (number % 3 - 1), 0.4 * watts)))
    return rows


def _measure(
    meter_of: Callable[[ReplayStage], LiveMeter], *, run_ms: int = 20, seconds: float | None = None, images: int = 4
) -> Power:
    stage = ReplayStage(start_ns=123 * SECOND)
    run = FakeRun(stage, [run_ms * MS])
    return measure_power(run, meter_of(stage), images_per_run=images, seconds=seconds, stage=stage)


# --- end to end


def test_a_recording_gives_its_power_and_energy() -> None:
    """6 W at work and 2 W idle; 50 runs of 4 images a second: 30 mJ an image, 20 mJ of them net."""
    power = _measure(lambda stage: ReplayMeter(SPEC, _recorded(2.0, 6.0), stage))
    assert power.reason is None
    assert power.power_w == pytest.approx(6.0, abs=0.002)
    assert power.idle_w == pytest.approx(2.0, abs=0.002)
    assert power.net_power_w == pytest.approx(4.0, abs=0.004)
    assert power.energy_mj == pytest.approx(30.0, abs=0.01)
    assert power.net_energy_mj == pytest.approx(20.0, abs=0.02)
    assert power.images_per_joule == pytest.approx(1000 / 30, abs=0.02)
    assert (power.meter, power.coverage, power.domain, power.kind) == ("replay", "module", "VDD_IN", "sampler")
    assert power.window_s == pytest.approx(10.0)
    assert power.idle_s == pytest.approx(10.0)
    assert power.readings == 201
    assert power.longest_gap_s == pytest.approx(0.05)
    assert power.failed_readings == 0
    assert dict(power.rails_w) == {"VDD_IN": pytest.approx(6.0, abs=0.002), "VDD_CPU": pytest.approx(2.4, abs=0.001)}


def test_the_window_s_parts_add_up_to_it() -> None:
    power = _measure(lambda stage: ReplayMeter(SPEC, _recorded(2.0, 6.0), stage))
    assert len(power.parts) == 10
    assert sum(part.images for part in power.parts) == 2000
    assert power.power_w is not None
    assert sum(part.seconds for part in power.parts) == pytest.approx(power.window_s)
    assert sum(part.joules for part in power.parts) == pytest.approx(power.power_w * 10)


def test_the_uncertainty_covers_what_the_sensor_may_be_off_by() -> None:
    """2% of 6 W, evenly spread: 0.069 W of one sigma, two of them stated; the rest is small beside it."""
    power = _measure(lambda stage: ReplayMeter(SPEC, _recorded(2.0, 6.0), stage))
    assert power.budget is not None
    assert power.budget.sensor_w == pytest.approx(0.12 / 3**0.5, rel=1e-3)
    assert power.uncertainty_w == pytest.approx(2 * 0.0696, abs=0.005)
    assert power.net_uncertainty_w is not None
    assert power.net_uncertainty_w < power.uncertainty_w


def test_idle_that_drifts_widens_net_power_alone() -> None:
    steady = _measure(lambda stage: ReplayMeter(SPEC, _recorded(2.0, 6.0), stage))
    power = _measure(lambda stage: ReplayMeter(SPEC, _recorded(2.0, 6.0, after_w=3.0), stage))
    assert power.idle_before_w == pytest.approx(2.0, abs=0.002)
    assert power.idle_after_w == pytest.approx(3.0, abs=0.002)
    assert power.idle_w == pytest.approx(2.5, abs=0.002)
    assert power.budget is not None
    assert power.budget.idle_drift_w == pytest.approx(1 / 12**0.5, abs=0.002)
    assert power.uncertainty_w == pytest.approx(steady.uncertainty_w, rel=0.01)
    assert power.net_uncertainty_w == pytest.approx(2 / 12**0.5, rel=0.1)


def test_work_that_cannot_be_told_from_idle_has_no_net_energy() -> None:
    rows = [(at, (watts[0] + (0.5 if round(at) % 2 else 0.0), watts[1])) for at, watts in _recorded(5.0, 5.1)]
    power = _measure(lambda stage: ReplayMeter(SPEC, rows, stage))
    assert power.power_w == pytest.approx(5.35, abs=0.1)
    assert (power.net_power_w, power.net_energy_mj, power.net_uncertainty_w) == (None, None, None)
    assert power.reason is not None
    assert "cannot be told" in power.reason
    assert power.fix


def _counting(idle_w: float, work_w: float, *, start_j: float, wrap_j: float) -> list[tuple[float, tuple[float, ...]]]:
    rows, total = [], start_j
    for number in range(round(END_S / 0.001)):
        at_s = number * 0.001
        rows.append((at_s, (total % wrap_j,)))
        total += 0.001 * (work_w if WORK_BEGINS_S <= at_s < WORK_ENDS_S else idle_w)
    return rows


def test_a_counter_that_wraps_in_the_window() -> None:
    """It wraps 60 J after its beginning: 15 J a second from 5.4 s on reach that in the middle of the window."""
    rows = _counting(2.0, 15.0, start_j=262143.0 - 60, wrap_j=262143.0)
    assert any(late[1] < early[1] for early, late in pairwise(rows))
    power = _measure(lambda stage: ReplayMeter(COUNTER, rows, stage))
    assert power.power_w == pytest.approx(15.0, abs=0.02)
    assert power.idle_w == pytest.approx(2.0, abs=0.01)
    assert power.energy_mj == pytest.approx(75.0, abs=0.1)
    assert power.failed_readings == 0


def test_nvml_s_counter_of_100_ms_from_end_to_end() -> None:
    stage = ReplayStage()
    library = FakeNvml([FakeGpu(watts=80)], stage.now_ns)
    (meter,) = nvml_meters(library)
    power = measure_power(FakeRun(stage, [7 * MS]), meter, images_per_run=1, stage=stage)
    assert power.kind == "counter"
    # Constant power: nothing above idle, and the step of the counter at both ends of ten seconds.
    assert power.power_w == pytest.approx(80, abs=80 * 0.2 / 10)
    assert power.budget is not None
    assert power.budget.period_w == pytest.approx(80 * 0.1 / (6**0.5 * 10), rel=0.02)
    assert power.net_power_w is None


def test_a_real_file_from_end_to_end(tmp_path: Path) -> None:
    """RAPL's file rewritten by the work itself: 3 mJ idle and 12 mJ at work each millisecond."""
    base = "sys/class/powercap/intel-rapl-0"
    root = write_tree(
        tmp_path,
        {f"{base}/name": "package-0\n", f"{base}/energy_uj": "0\n", f"{base}/max_energy_range_uj": "65532610987\n"},
    )

    class Machine(ReplayStage):
        joules, working = 65532.0, False

        def advance(self, nanoseconds: int) -> None:
            end_ns = self.now_ns() + nanoseconds
            while self.now_ns() < end_ns:
                step_ns = min(10 * MS, end_ns - self.now_ns())
                self.joules += (12.0 if self.working else 3.0) * step_ns / SECOND
                (root / base / "energy_uj").write_text(f"{round(self.joules * 1e6) % 65532610987}\n")
                super().advance(step_ns)

    stage = Machine()

    def run() -> None:
        stage.working = True
        stage.advance(100 * MS)
        stage.working = False

    power = measure_power(run, rapl_meters(root)[0], images_per_run=1, seconds=2.0, stage=stage)
    assert power.power_w == pytest.approx(12.0, rel=0.01)
    assert power.idle_w == pytest.approx(3.0, rel=0.02)
    assert power.energy_mj == pytest.approx(1200, rel=0.01)
    assert (power.meter, power.coverage) == ("rapl", "chip")


def test_a_log_of_another_machine_from_end_to_end(tmp_path: Path) -> None:
    stage = ReplayStage(start_ns=9 * SECOND, wall_ns=1_700_000_000 * SECOND)
    path = tmp_path / "meter.csv"
    rows = "".join(f"{1_700_000_000.35 + at:.3f},{watts[0]:.4f}\n" for at, watts in _recorded(2.0, 6.0))
    path.write_text("time,power\n" + rows)
    # Three periods are what settling takes.
    meter = CsvMeter(path, offset_s=0.35, coverage="wall", period_s=0.2 / 3)
    power = measure_power(FakeRun(stage, [20 * MS]), meter, images_per_run=1, stage=stage)
    assert power.power_w == pytest.approx(6.0, abs=0.01)
    assert power.energy_mj == pytest.approx(120.0, abs=0.2)
    assert (power.coverage, power.failed_readings) == ("wall", None)


def test_a_log_that_is_written_late_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "meter.csv"
    rows = [f"{1_700_000_000 + at:.2f},{watts[0]:.4f}\n" for at, watts in _recorded(2.0, 6.0)]
    path.write_text("time,power\n" + "".join(rows[:800]))

    class Machine(ReplayStage):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            # The logger keeps 4 KiB back until half a second after the measurement.
            if self.now_ns() > 21.7 * SECOND:
                path.write_text("time,power\n" + "".join(rows))

    stage = Machine()
    power = measure_power(FakeRun(stage, [20 * MS]), CsvMeter(path, period_s=0.2 / 3), images_per_run=1, stage=stage)
    assert power.power_w == pytest.approx(6.0, abs=0.01)

    path.write_text("time,power\n" + "".join(rows[:800]))
    stage = ReplayStage()
    power = measure_power(FakeRun(stage, [20 * MS]), CsvMeter(path, period_s=0.2 / 3), images_per_run=1, stage=stage)
    assert power.power_w is None
    assert power.reason is not None
    assert "before the window's end" in power.reason
    assert stage.now_ns() < 30 * SECOND


def test_a_wall_clock_that_steps_spoils_a_log_and_nothing_else(tmp_path: Path) -> None:
    stage = ReplayStage()
    path = tmp_path / "meter.csv"
    path.write_text("time,power\n" + "".join(f"{1_700_000_000 + at},3\n" for at in range(40)))
    run = FakeRun(stage, [20 * MS], on_call=lambda number: stage.step_wall(-SECOND if number == 300 else 0))
    logged = measure_power(run, CsvMeter(path, period_s=0.1), images_per_run=1, stage=stage)
    assert logged.power_w is None
    assert logged.reason is not None
    assert "stepped by -1.000 s" in logged.reason

    stage = ReplayStage()
    run = FakeRun(stage, [20 * MS], on_call=lambda number: stage.step_wall(-SECOND if number == 300 else 0))
    read_here = measure_power(run, ReplayMeter(SPEC, _recorded(2.0, 6.0), stage), images_per_run=1, stage=stage)
    assert read_here.power_w == pytest.approx(6.0, abs=0.002)


# --- what cannot be measured is null with a reason


def _null(power: Power, reason: str) -> None:
    assert (power.power_w, power.energy_mj, power.images_per_joule, power.idle_w) == (None, None, None, None)
    assert power.reason is not None
    assert reason in power.reason
    assert power.fix
    assert power.meter == "replay"
    assert power_metrics(power) == ()


def test_a_sensor_that_vanishes_while_measuring() -> None:
    power = _measure(lambda stage: ReplayMeter(SPEC, _recorded(2.0, 6.0), stage, ends_s=9.0))
    _null(power, "before the window's end: the sensor vanished or came late: replay: the sensor is gone")
    assert power.failed_readings is not None
    assert power.failed_readings > 100
    assert power.fix == "plug it in again"


def test_a_sensor_that_is_not_there_runs_nothing() -> None:
    stage = ReplayStage()
    run = FakeRun(stage, [20 * MS])
    power = measure_power(run, ReplayMeter(SPEC, [(5.0, (1.0, 1.0))], stage), images_per_run=1, stage=stage)
    _null(power, "the sensor is gone")
    assert run.calls == 0


def test_a_few_failed_readings_do_no_harm() -> None:
    power = _measure(lambda stage: ReplayMeter(SPEC, _recorded(2.0, 6.0), stage, failing={150, 151, 200}))
    assert power.power_w == pytest.approx(6.0, abs=0.002)
    assert power.failed_readings == 3
    assert power.longest_gap_s == pytest.approx(0.15)


def test_a_hole_in_the_window() -> None:
    power = _measure(lambda stage: ReplayMeter(SPEC, _recorded(2.0, 6.0), stage, failing=range(150, 170)))
    _null(power, "no reading for 1.05 s, allowed 0.50 s")


def test_a_sensor_that_repeats_itself() -> None:
    _null(_measure(lambda stage: ReplayMeter(SPEC, [(0.0, (5.0, 2.0))], stage)), "says 5 W all the time")


@pytest.mark.parametrize(("begin_s", "end_s"), [(9.0, END_S), (0.0, 9.0)])
def test_a_sensor_that_freezes_for_a_while(begin_s: float, end_s: float) -> None:
    """Idle would be that of work, or work that of idle, and net energy a fraction of what it is."""
    rows = _recorded(2.0, 6.0)
    frozen = next(values for at, values in rows if at >= begin_s)
    stuck = [(at, frozen if begin_s <= at < end_s else values) for at, values in rows]
    _null(_measure(lambda stage: ReplayMeter(SPEC, stuck, stage)), "says one value at work and idle")


def test_a_counter_that_stands_still_while_nothing_runs() -> None:
    rows = _counting(2.0, 15.0, start_j=500.0, wrap_j=262143.0)
    held = next(values for at, values in rows if at >= WORK_ENDS_S)
    stuck = [(at, held if at >= WORK_ENDS_S else values) for at, values in rows]
    _null(_measure(lambda stage: ReplayMeter(COUNTER, stuck, stage)), "the counter stood still for a while")


def test_a_counter_that_jumps_back() -> None:
    rows = _counting(2.0, 15.0, start_j=500.0, wrap_j=262143.0)
    broken = [(at, (values[0] - 300,)) if at > 10 else (at, values) for at, values in rows]
    _null(_measure(lambda stage: ReplayMeter(COUNTER, broken, stage)), "jumped from")


def test_a_clock_that_goes_back() -> None:
    stage = ReplayStage(start_ns=100 * SECOND)

    def stumble(number: int) -> None:
        if number == 200:
            stage.advance(-2 * SECOND)

    run = FakeRun(stage, [20 * MS], on_call=stumble)
    power = measure_power(run, ReplayMeter(SPEC, _recorded(2.0, 6.0), stage), images_per_run=1, stage=stage)
    _null(power, "the clock ran backwards by 1980000000 ns")


def test_a_sensor_wired_backwards() -> None:
    rows = [(at, (-values[0], values[1])) for at, values in _recorded(2.0, 6.0)]
    _null(_measure(lambda stage: ReplayMeter(SPEC, rows, stage)), "while inference ran")


def test_a_window_that_is_too_short_is_refused_before_anything_runs() -> None:
    slow = replace(SPEC, update_period_s=1.0, least_window_s=60.0)
    stage = ReplayStage()
    run = FakeRun(stage, [20 * MS])
    meter = ReplayMeter(slow, _recorded(2.0, 6.0), stage)
    power = measure_power(run, meter, images_per_run=1, seconds=10, stage=stage)
    _null(power, "a window of 10 s is too short for a sensor with a new value every 1 s: expected 60 s at least")
    assert run.calls == 0


def test_an_engine_that_fails_is_an_error_and_no_missing_sensor() -> None:
    def fail(number: int) -> None:
        if number == 7:
            raise InferenceError("out of memory")

    stage = ReplayStage()
    meter = ReplayMeter(SPEC, _recorded(2.0, 6.0), stage)
    with pytest.raises(InferenceError):
        measure_power(FakeRun(stage, [20 * MS], on_call=fail), meter, images_per_run=1, stage=stage)


def test_without_any_sensor_power_is_null_with_reason_and_fix(tmp_path: Path) -> None:
    with pytest.raises(SensorUnavailable) as caught:
        meter_from("auto", tmp_path)
    power = no_power(caught.value)
    assert (power.power_w, power.meter) == (None, None)
    assert power.reason is not None
    assert power.reason.startswith("no power sensor: ")
    assert "csv:FILE" in power.fix


@pytest.mark.slow
def test_a_meter_by_name_on_this_clock(tmp_path: Path) -> None:
    """A sensor that shows another value at every second reading: 5 W on average, and nothing above idle."""
    chip = tmp_path / "sys/class/hwmon/hwmon0"
    root = write_tree(
        tmp_path, {"sys/class/hwmon/hwmon0/name": "ina226\n", "sys/class/hwmon/hwmon0/update_interval": "1\n"}
    )
    (chip / "power1_input").write_text("5000000\n")
    count = 0

    def run() -> None:
        nonlocal count
        count += 1
        replacing = chip / "new"
        replacing.write_text(f"{5_000_000 + count % 2}\n")
        replacing.replace(chip / "power1_input")
        time.sleep(0.002)

    power = power_by_name("auto", run, images_per_run=1, seconds=1.0, root=root)
    assert power.meter == "hwmon:ina226"
    assert power.power_w == pytest.approx(5.0, abs=1e-4)
    assert power.energy_mj == pytest.approx(5e3 / sum(part.images for part in power.parts), rel=0.2)
    missing = power_by_name("rapl", run, images_per_run=1, root=root)
    assert missing.reason is not None
    assert missing.reason.startswith("rapl: no /sys/class/powercap")
    with pytest.raises(UnknownName):
        power_by_name("rappl", run, images_per_run=1, root=root)


# --- plan and phases


def test_plans_follow_the_sensor() -> None:
    fast = make_power_plan(SPEC)
    assert (fast.window_s, fast.idle_s, fast.settle_s) == (10.0, 5.0, pytest.approx(0.2))
    plug = make_power_plan(replace(SPEC, update_period_s=1.0, poll_s=1.0, least_window_s=60.0))
    assert (plug.window_s, plug.idle_s, plug.settle_s) == (60.0, 30.0, 3.0)
    assert make_power_plan(SPEC, seconds=2.0).window_s == 2.0
    with pytest.raises(MeasurementError, match="too short"):
        make_power_plan(SPEC, seconds=1.9)
    for seconds in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(BadInput, match="power window"):
            make_power_plan(SPEC, seconds=seconds)


@pytest.mark.parametrize(("run_ms", "parts"), [(1, 10), (33, 10), (700, 10), (1500, 7), (4000, 3), (30_000, 1)])
def test_every_part_ends_with_a_run_and_has_at_least_one(run_ms: int, parts: int) -> None:
    stage = ReplayStage()
    run = FakeRun(stage, [run_ms * MS])
    cuts = perform(run, stage, make_power_plan(SPEC)).cuts
    assert cuts[0].runs == 0
    assert len(cuts) - 1 == parts
    for early, late in pairwise(cuts):
        assert late.runs > early.runs
        assert late.t_ns - early.t_ns == (late.runs - early.runs) * run_ms * MS
    assert cuts[-1].t_ns - cuts[0].t_ns >= 10 * SECOND
    assert cuts[-2].t_ns - cuts[0].t_ns < 10 * SECOND


def test_runs_around_the_window_let_the_sensor_settle() -> None:
    stage = ReplayStage()
    run = FakeRun(stage, [50 * MS])
    plan = make_power_plan(SPEC)
    phases = perform(run, stage, plan)
    assert stage.now_ns() == round(plan.total_s * SECOND)
    assert run.calls - phases.cuts[-1].runs == 8
    assert phases.cuts[0].t_ns - phases.idle_before_ns[1] == 400 * MS
    assert phases.idle_after_ns[0] - phases.cuts[-1].t_ns == 400 * MS


# --- metrics and the record


def test_metrics_have_a_sample_per_part() -> None:
    power = _measure(lambda stage: ReplayMeter(SPEC, _recorded(2.0, 6.0), stage))
    metrics = {metric.name: metric for metric in power_metrics(power)}
    assert {name: (metric.unit, metric.n) for name, metric in metrics.items()} == {
        "power_w": ("W", 10),
        "energy_mj": ("mJ", 10),
        "images_per_joule": ("images/J", 10),
        "idle_w": ("W", 2),
    }
    assert metrics["power_w"].median == pytest.approx(6.0, abs=0.002)
    assert metrics["energy_mj"].median == pytest.approx(30.0, abs=0.02)
    assert metrics["images_per_joule"].median == pytest.approx(1e3 / metrics["energy_mj"].median, rel=1e-3)
    assert metrics["power_w"].ci95 is not None


def test_a_record_carries_power_and_what_was_modelled_apart_from_it() -> None:
    record = next(read(GOLDEN))
    assert (record.power, record.modelled_w) == (None, None)
    power = _measure(lambda stage: ReplayMeter(SPEC, _recorded(2.0, 6.0), stage))
    model = modelled_power(tdp_w=15, utilisation=0.4, source="data sheet")
    written = dumps(replace(record, power=power, modelled_w=model))
    assert (loads(written).power, loads(written).modelled_w) == (power, model)
    plain = json.loads(written)
    assert plain["power"]["coverage"] == "module"
    assert plain["modelled_w"]["watts"] == 6.0
    missing = json.loads(dumps(replace(record, power=no_power(SensorUnavailable("none", "do x")))))["power"]
    assert (missing["power_w"], missing["energy_mj"], missing["reason"], missing["fix"]) == (None, None, "none", "do x")


def test_power_survives_json() -> None:
    power = _measure(lambda stage: ReplayMeter(SPEC, _recorded(2.0, 6.0), stage))
    assert from_json(Power, json.loads(json.dumps(to_json(power)))) == power


def test_a_model_is_no_measurement() -> None:
    model = modelled_power(tdp_w=65, utilisation=0.5, source="data sheet")
    assert isinstance(model, ModelledPower)
    assert (model.watts, model.inputs) == (32.5, (("tdp_w", 65), ("utilisation", 0.5)))
    assert not hasattr(model, "power_w")
    assert not any("model" in field for field in Power.__dataclass_fields__)
    for tdp_w, utilisation in ((0.0, 0.5), (float("nan"), 0.5), (65.0, 1.5), (65.0, float("nan"))):
        with pytest.raises(BadInput):
            modelled_power(tdp_w=tdp_w, utilisation=utilisation, source="")
