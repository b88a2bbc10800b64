"""The phases of a measurement of power, and when each of them was.

    settle | idle before | settle | runs: settle, window in parts that end with a run, settle | settle | idle after | settle

On either side of what counts the load goes on for a while as it is: the sensor has forgotten what was before, and no reading
near an edge is of another phase. Those runs and that time count nowhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgecnn.bench.power.sampler import Stage
from edgecnn.devices.sensors.base import MeterSpec
from edgecnn.errors import BadInput, MeasurementError

WINDOW_SECONDS = 10.0
"""Window of a fast sensor: long enough for clock, temperature and neighbours to show what they do."""

IDLE_SHARE = 0.5
"""Each idle phase over the window: both together are as long as it is."""

PARTS = 10
"""Parts of a window: what an interval of their median needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerPlan:
    """How long each phase lasts.

    Attributes:
        idle_s: each of the two idle phases.
        settle_s: on either side of each phase that counts.
        window_s: of continuous inference, at least; it ends with a run.
    """

    idle_s: float
    settle_s: float
    window_s: float

    @property
    def total_s(self) -> float:
        """Return how long all of it takes, but for the run that crosses the window's end."""
        return 2 * self.idle_s + self.window_s + 6 * self.settle_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The end of a run that ends a part of the window, or its beginning.

    Attributes:
        t_ns: on the measuring clock.
        runs: since the window's beginning.
    """

    t_ns: int
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """When what happened, on the measuring clock.

    Attributes:
        idle_before_ns: beginning and end.
        cuts: of the window, its beginning first.
        idle_after_ns: beginning and end.
    """

    idle_before_ns: tuple[int, int]
    cuts: tuple[Cut, ...]
    idle_after_ns: tuple[int, int]


def make_power_plan(spec: MeterSpec, *, seconds: float | None = None) -> PowerPlan:
    """Return a plan that suits a meter.

    Args:
        spec: of the meter.
        seconds: of the window; None takes what the meter needs.

    Raises:
        MeasurementError: the window is too short for the sensor.
        BadInput: the window is not above 0.
    """
    needed_s = spec.shortest_window_s
    if seconds is None:
        window_s = max(WINDOW_SECONDS, needed_s)
    elif not 0 < seconds < float("inf"):
        raise BadInput("power window", expected="seconds above 0", got=f"{seconds:g}")
    elif seconds < needed_s:
        raise MeasurementError(
            f"{spec.name}: a window of {seconds:g} s is too short for a sensor with a new value every "
            f"{spec.update_period_s:g} s: expected {needed_s:g} s at least",
            f"measure power for {needed_s:g} s, or with a faster meter",
        )
    else:
        window_s = seconds
    return PowerPlan(idle_s=max(IDLE_SHARE * window_s, spec.settle_s), settle_s=spec.settle_s, window_s=window_s)


def perform(run: Callable[[], object], stage: Stage, plan: PowerPlan) -> Phases:
    """Let all phases pass, with `run` in the middle of them; return when they were.

    Raises:
        MeasurementError: the clock ran backwards.
    """
    stage.sleep(plan.settle_s)
    before = _idle(stage, plan)
    stage.sleep(plan.settle_s)
    cuts = _work(run, stage, plan)
    stage.sleep(plan.settle_s)
    after = _idle(stage, plan)
    # So that there is a reading after the end of the last phase.
    stage.sleep(plan.settle_s)
    return Phases(idle_before_ns=before, cuts=cuts, idle_after_ns=after)


def _idle(stage: Stage, plan: PowerPlan) -> tuple[int, int]:
    begin_ns = stage.now_ns()
    stage.sleep(plan.idle_s)
    return begin_ns, stage.now_ns()


def _work(run: Callable[[], object], stage: Stage, plan: PowerPlan) -> tuple[Cut, ...]:
    """Run through window and settling; return the window's beginning and the end of the run that ends each part."""
    _run_for(run, stage, plan.settle_s)
    cuts = _window(run, stage.now_ns, round(plan.window_s * 1e9))
    _run_for(run, stage, plan.settle_s)
    return cuts


def _run_for(run: Callable[[], object], stage: Stage, seconds: float) -> None:
    end_ns = stage.now_ns() + round(seconds * 1e9)
    while stage.now_ns() < end_ns:
        run()


def _window(run: Callable[[], object], now_ns: Callable[[], int], window_ns: int) -> tuple[Cut, ...]:
    part_ns, runs = max(1, window_ns // PARTS), 0
    start_ns = last_ns = now_ns()
    cuts, next_ns = [Cut(t_ns=start_ns, runs=0)], start_ns + part_ns
    while cuts[-1].t_ns - start_ns < window_ns:
        run()
        runs += 1
        end_ns = now_ns()
        if end_ns < last_ns:
            raise MeasurementError(f"the clock ran backwards by {last_ns - end_ns} ns", "measure again")
        last_ns = end_ns
        if end_ns >= next_ns or end_ns - start_ns >= window_ns:
            cuts.append(Cut(t_ns=end_ns, runs=runs))
            parts = (end_ns - start_ns) // part_ns + 1
            # What division leaves of the window, some nanoseconds, is no part of its own.
            next_ns = start_ns + (window_ns if parts >= PARTS else parts * part_ns)
    return tuple(cuts)
