from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgecnn.bench.activity import Activity
from edgecnn.bench.doubts.evidence import Evidence
from edgecnn.bench.doubts.throttling import throttled
from edgecnn.bench.plan import make_plan
from edgecnn.bench.stats import summarise
from edgecnn.devices.state import DeviceState
from edgecnn.results import Device
from edgecnn.specs import EngineInfo

MS = 1_000_000


def _seen(before: DeviceState, after: DeviceState, *, end: float = 1.0, threads: int = 1) -> list[tuple[str, str]]:
    """Two seconds of samples, 10 ms each, that change linearly to `end` times that."""
    evidence = Evidence(
        latency=summarise("latency", "ns", 10 * MS * np.linspace(1, end, 200)),
        plan=make_plan(),
        before=before,
        after=after,
        info=EngineInfo(backend="cpu", engine="x", engine_version="1", threads=threads),
        device=Device(cores=4, cores_usable=4, cgroup_quota=1.5),
    )
    reasons = list(throttled(evidence))
    assert {(reason.code, reason.severity) for reason in reasons} <= {("throttled", "suspect")}
    return [(reason.message, reason.advice) for reason in reasons]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (DeviceState(), DeviceState()),
        (DeviceState(cgroup_throttled_us=5000), DeviceState(cgroup_throttled_us=5000 + 19_000)),
        (DeviceState(thermal_throttle_count=7), DeviceState(thermal_throttle_count=7)),
        (DeviceState(), DeviceState(thermal_throttle_count=7)),
        (DeviceState(pi_throttled=0), DeviceState(pi_throttled=0)),
        (DeviceState(frequency_khz=2_000_000), DeviceState(frequency_khz=1_850_000)),
        (DeviceState(frequency_khz=1_000_000), DeviceState(frequency_khz=2_000_000)),
        (DeviceState(frequency_khz=2_000_000), DeviceState()),
        (DeviceState(temperature_c=60.0), DeviceState(temperature_c=95.0)),
    ],
)
def test_no_sign_of_throttling(before: DeviceState, after: DeviceState) -> None:
    assert _seen(before, after) == []


def test_the_quota() -> None:
    before, after = DeviceState(cgroup_throttled_us=1_000_000), DeviceState(cgroup_throttled_us=1_500_000)
    ((message, advice),) = _seen(before, after)
    assert message == "the container's quota held threads back for 0.50 s in 2.00 s"
    assert advice.startswith("give the container more processors")


def test_the_quota_with_more_threads_than_it_allows() -> None:
    before, after = DeviceState(cgroup_throttled_us=0), DeviceState(cgroup_throttled_us=500_000)
    ((_, advice),) = _seen(before, after, threads=4)
    assert advice == "fewer threads: --threads 2, that is what the quota allows"


def test_the_thermal_counter() -> None:
    ((message, _),) = _seen(DeviceState(thermal_throttle_count=7), DeviceState(thermal_throttle_count=9))
    assert message == "the processor throttled 2 times from heat"


@pytest.mark.parametrize(
    ("bits", "text"),
    [(0x1, "supply voltage"), (0x2, "capped"), (0x40000, "throttled"), (0x8, "soft temperature limit")],
)
def test_the_bits_of_a_raspberry_pi(bits: int, text: str) -> None:
    ((message, _),) = _seen(DeviceState(pi_throttled=0), DeviceState(pi_throttled=bits))
    assert text in message
    assert f"{bits:#x}" in message


def test_now_and_just_before_is_one_sign() -> None:
    assert len(_seen(DeviceState(pi_throttled=0x50005), DeviceState(pi_throttled=0x50005))) == 2


def test_a_frequency_that_fell() -> None:
    ((message, _),) = _seen(DeviceState(frequency_khz=1_800_000), DeviceState(frequency_khz=1_500_000))
    assert message == "the fastest core's frequency fell from 1800 to 1500 MHz"


def test_idle_cores_that_slow_down_are_no_throttling() -> None:
    before = DeviceState(frequency_khz=2_000_000, fastest_khz=2_400_000)
    assert _seen(before, DeviceState(frequency_khz=900_000, fastest_khz=2_350_000)) == []
    ((message, _),) = _seen(before, DeviceState(frequency_khz=1_900_000, fastest_khz=1_900_000))
    assert message.endswith("from 2400 to 1900 MHz")


def test_a_fall_in_the_middle_is_seen_and_a_single_reading_is_not_believed() -> None:
    fast, slow = DeviceState(frequency_khz=1_800_000), DeviceState(frequency_khz=1_200_000)
    evidence = Evidence(latency=summarise("latency", "ns", [MS] * 20), plan=make_plan(), before=fast, after=fast)
    for low, count in ((1, 0), (2, 0), (3, 1)):
        states = [fast] * 8 + [slow] * low + [fast] * (12 - low)
        course = tuple((float(at), state) for at, state in enumerate(states))
        assert len(list(throttled(replace(evidence, course=course)))) == count


def test_the_quota_is_taken_of_the_time_that_passed_and_not_of_latencies() -> None:
    """A server's queries wait together: the sum of their latencies is any multiple of the time."""
    before, after = DeviceState(cgroup_throttled_us=0), DeviceState(cgroup_throttled_us=100_000)
    evidence = Evidence(
        latency=summarise("latency", "ns", [1000 * MS] * 50), plan=make_plan(), before=before, after=after
    )
    assert list(throttled(evidence)) == []
    (reason,) = throttled(replace(evidence, activity=Activity(seconds=2.0, own_cores=1.0)))
    assert reason.message == "the container's quota held threads back for 0.10 s in 2.00 s"


def test_heat_counts_together_with_a_slowdown() -> None:
    hot = DeviceState(temperature_c=84.0)
    ((message, _),) = _seen(DeviceState(temperature_c=60.0), hot, end=1.2)
    assert message.startswith("at 84 degrees C the last third of the runs was 1")
    assert _seen(DeviceState(), replace(hot, temperature_c=79.0), end=1.2) == []


def _course(celsius: list[float], *, end: float) -> list[str]:
    states = [DeviceState(temperature_c=one) for one in celsius]
    evidence = Evidence(
        latency=summarise("latency", "ns", 10 * MS * np.linspace(1, end, 200)),
        plan=make_plan(),
        before=states[0],
        after=states[-1],
        course=tuple((6.0 * place, state) for place, state in enumerate(states)),
    )
    return [f"{reason.message}; {reason.advice}" for reason in throttled(evidence)]


def test_a_slope_of_temperature_that_slows_runs_down() -> None:
    """One degree every six seconds are ten a minute."""
    (said,) = _course([40.0 + place for place in range(20)], end=1.1)
    assert said.startswith("the temperature rose by 19 degrees C while the runs became 6.6% slower")
    assert "and still rises by 10.0 a minute" in said
    assert "--sustain 10m" in said


def test_a_machine_that_has_reached_its_temperature_is_to_be_cooled() -> None:
    (said,) = _course([40.0 + min(place, 9) * 2 + place * 0.001 for place in range(20)], end=1.1)
    assert "still rises" not in said
    assert "cooling" in said


@pytest.mark.parametrize(
    ("celsius", "end"),
    [
        ([40.0 + place for place in range(20)], 1.0),  # warmer, and as fast as before
        ([40.0 + 0.1 * place for place in range(20)], 1.1),  # slower, and hardly warmer
        ([45.0, 40.0] * 10, 1.1),  # a fan that comes and goes
        ([40.0, 50.0], 1.1),  # too few readings
    ],
)
def test_no_slope_that_matters(celsius: list[float], end: float) -> None:
    assert _course(celsius, end=end) == []


@pytest.mark.parametrize(
    ("bits", "texts"),
    [
        ((0x1, 0x2, 0x0), []),  # idle, and clocks that were set on purpose
        ((0x0, 0x4, 0x4, 0x0), ["the power limit held the GPU's clock back in 50% of the readings"]),
        ((0x60,), ["for its temperature", "for its temperature"]),
        ((), []),
    ],
)
def test_why_a_gpu_was_held_back(bits: tuple[int, ...], texts: list[str]) -> None:
    evidence = Evidence(
        latency=summarise("latency", "ns", [10 * MS] * 50),
        plan=make_plan(),
        before=DeviceState(),
        after=DeviceState(),
        gpu_reasons=bits,
    )
    found = list(throttled(evidence))
    assert len(found) == len(texts)
    for reason, text in zip(found, texts, strict=True):
        assert text in reason.message
        assert reason.advice
