"""What a verdict is given on: the samples and what was seen of the machine while they were taken."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from edgecnn.bench.activity import Activity
from edgecnn.bench.stats import block_medians, trend_z
from edgecnn.devices.state import DeviceState
from edgecnn.results import Device, Metric, Plan
from edgecnn.runtimes.base import OpenOptions
from edgecnn.specs import EngineInfo, Precision

_TREND_BLOCKS = 20
_THIRDS = 3

# Readings of a temperature below which no trend is looked for, and the 1% point of its test, two-sided.
_LEAST_READINGS = 5
_TREND_Z = 2.576


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that the checks of `edgecnn.bench.doubts.verdict` look at; None is unknown and speaks neither way.

    Attributes:
        latency: the samples, nanoseconds, and their summary.
        plan: how they were taken.
        before: the machine when sampling began, after the warm-up.
        after: the machine when sampling ended.
        info: what ran the model.
        device: the machine.
        activity: use of the processors while sampling.
        emulated: the processor is emulated.
        precision: of the file.
        options: how the session was asked to be opened.
        course: the machine at the end of each block, with the seconds since the first one began.
        gpu_reasons: why the GPU's clock was held back, at the end of each block (NVML's bits).
        unsettled: why the warm-up ended before the runs were steady, empty where they were.
        busiest: the other processes that used most, as "name (pid 12)", where they can be seen.
        interrupted: how far the measurement had come when it was stopped from outside, empty where it was not.
        power_other_cores: processors that other processes kept busy while power was measured, None where it was not.
    """

    latency: Metric
    plan: Plan
    before: DeviceState
    after: DeviceState
    info: EngineInfo | None = None
    device: Device = field(default_factory=Device)
    activity: Activity | None = None
    emulated: bool = False
    precision: Precision | None = None
    options: OpenOptions = field(default_factory=OpenOptions)
    course: tuple[tuple[float, DeviceState], ...] = ()
    gpu_reasons: tuple[int, ...] = ()
    unsettled: str = ""
    interrupted: str = ""
    busiest: tuple[str, ...] = ()
    power_other_cores: float | None = None

    @cached_property
    def drift(self) -> float:
        """How much slower the last third of the samples is than the first, 0.05 for 5%; medians of both."""
        thirds = block_medians(self.latency.samples, _THIRDS)
        return float(thirds[-1] / thirds[0]) - 1 if thirds[0] > 0 else 0.0

    @cached_property
    def trend(self) -> float:
        """Score z of the Mann-Kendall test over the medians of 20 blocks; positive means slower and slower."""
        return trend_z(block_medians(self.latency.samples, _TREND_BLOCKS))

    @cached_property
    def warming_c(self) -> tuple[float, float]:
        """By how much the temperature rose over the measurement and how fast at its end, degrees C and degrees C a minute.

        The slope is that of the second half, by least squares; both are 0 where no temperature is known, or where no trend
        stands out of the readings.
        """
        known = [(at, state.temperature_c) for at, state in self.course if state.temperature_c is not None]
        if len(known) < _LEAST_READINGS or trend_z([celsius for _, celsius in known]) < _TREND_Z:
            return 0.0, 0.0
        seconds, celsius = (np.array(column, np.float64) for column in zip(*known, strict=True))
        half = len(known) // 2
        slope = float(np.polyfit(seconds[half:], celsius[half:], 1)[0]) if np.ptp(seconds[half:]) > 0 else 0.0
        return float(celsius[-1] - celsius[0]), 60 * slope

    @property
    def sampling_seconds(self) -> float:
        """How long sampling lasted; the sum of all samples where nothing better tells."""
        if self.activity is not None:
            return self.activity.seconds
        return float(np.sum(self.latency.samples)) / 1e9

    @property
    def cores(self) -> int:
        """Processors of the machine, at least 1."""
        return max(1, self.device.cores or self.device.cores_usable or 1)

    @property
    def threads_in_excess(self) -> int:
        """By how many the engine's threads outnumber what affinity and quota allow; 0 when unknown."""
        allowed = self.usable_cores
        threads = self.info.threads if self.info else None
        return max(0, threads - allowed) if threads and allowed else 0

    @property
    def usable_cores(self) -> int | None:
        """Whole processors that affinity and quota allow this process, at least 1; None when unknown."""
        limits = [limit for limit in (self.device.cores_usable, self.device.cgroup_quota) if limit is not None]
        return max(1, int(np.ceil(min(limits)))) if limits else None
