from __future__ import annotations

import pytest

from edgecnn.bench.power.energy import make_trace, mean_w
from edgecnn.devices.sensors.nvml import nvml_meters
from edgecnn.errors import SensorUnavailable
from edgecnn.testing.fakenvml import FakeGpu, FakeNvml
from edgecnn.testing.fakes import FakeClock

SECOND = 1_000_000_000


def test_the_energy_counter_goes_first() -> None:
    clock = FakeClock(start_ns=10 * SECOND)
    (meter,) = nvml_meters(FakeNvml([FakeGpu(watts=70, start_mj=5_000)], clock.now_ns))
    spec = meter.spec
    assert (spec.kind, spec.coverage, spec.domain) == ("counter", "module", "Fake GPU 0")
    assert spec.name == "nvml:00000000:01:00.0"
    assert meter.values() == (705.0,)
    assert spec.channels[0].wrap_j is None


def test_a_counter_of_steps_of_100_ms_gives_the_power_within_its_stated_error() -> None:
    clock = FakeClock()
    (meter,) = nvml_meters(FakeNvml([FakeGpu(watts=70)], clock.now_ns))
    readings = []
    for _ in range(400):
        readings.append(meter.read(clock.now_ns))
        clock.advance(37_000_000)
    trace = make_trace(meter.spec, readings)
    begin = 1_234_567_890
    for window_s in (2.0, 5.0, 10.0):
        measured = mean_w(trace, begin, begin + round(window_s * SECOND))
        # One step of the counter and one period of polling at either end.
        assert measured == pytest.approx(70, abs=70 * (0.1 + 0.037) / window_s)


@pytest.mark.parametrize(
    ("gpu", "kind", "averaging_s"),
    [
        (FakeGpu(energy=False), "sampler", 0.0),
        (FakeGpu(energy=False, instant=False), "sampler", 1.0),
    ],
)
def test_a_gpu_without_the_counter_is_sampled(gpu: FakeGpu, kind: str, averaging_s: float) -> None:
    (meter,) = nvml_meters(FakeNvml([gpu], FakeClock().now_ns))
    assert (meter.spec.kind, meter.spec.averaging_s) == (kind, averaging_s)
    assert meter.values() == (100.0,)


def test_a_gpu_that_tells_nothing_hides_no_other() -> None:
    mute = FakeGpu(energy=False, instant=False, usage=False)
    clock = FakeClock()
    (meter,) = nvml_meters(FakeNvml([mute, FakeGpu(watts=33, energy=False)], clock.now_ns))
    assert (meter.spec.name, meter.values()) == ("nvml:00000000:02:00.0", (33.0,))
    with pytest.raises(SensorUnavailable, match="neither energy nor power: Not Supported"):
        nvml_meters(FakeNvml([mute], clock.now_ns))


def test_no_driver_no_gpu_no_package() -> None:
    with pytest.raises(SensorUnavailable, match="NVML Shared Library Not Found") as caught:
        nvml_meters(FakeNvml([], FakeClock().now_ns, driver=False))
    assert "install the NVIDIA driver" in caught.value.hint
    with pytest.raises(SensorUnavailable, match="the driver has no GPU"):
        nvml_meters(FakeNvml([], FakeClock().now_ns))


def test_a_gpu_that_falls_off_the_bus() -> None:
    library = FakeNvml([FakeGpu()], FakeClock().now_ns)
    (meter,) = nvml_meters(library)
    library.gpus[0].lost = True
    with pytest.raises(SensorUnavailable, match="GPU is lost") as caught:
        meter.values()
    assert "reboot" in caught.value.hint


def test_every_meter_holds_the_library_until_it_is_closed() -> None:
    library = FakeNvml([FakeGpu(), FakeGpu()], FakeClock().now_ns)
    first, second = nvml_meters(library)
    assert library.opened == 2
    first.close()
    second.available()
    second.close()
    assert library.opened == 0
    with pytest.raises(SensorUnavailable, match="Uninitialized"):
        second.values()
