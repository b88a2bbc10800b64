"""Signs that the machine was held back while it was measured: by heat, supply voltage or the container's quota."""

from __future__ import annotations

from collections.abc import Iterator

from edgecnn.bench.doubts.evidence import Evidence
from edgecnn.bench.gpuclock import HELD_BACK
from edgecnn.devices.state import DeviceState
from edgecnn.results import Reason

QUOTA_SHARE_SUSPECT = 0.01
"""Time that the quota held threads back, over the time of sampling."""

FREQUENCY_SUSPECT = 0.90
"""Frequency while sampling over that before it; both read on a warm machine. Boost steps are smaller."""

FREQUENCY_SHARE = 0.1
"""Share of the readings that may be below: one that was taken in a pause says nothing."""

HOT_C = 80.0
"""Here a Raspberry Pi begins to lower its frequency (its documentation, "Frequency management and thermal control")."""

HOT_DRIFT = 0.03
"""Slowdown that is put down to heat once the processor is hot."""

WARMER_C = 5.0
"""Rise of temperature over a measurement that a slowdown is put down to: beyond what sensors and fans swing by."""

STILL_WARMER_C_PER_MINUTE = 1.0
"""Rise at the end of a measurement that says that the machine has not reached its temperature yet."""

GPU_SHARE = 0.01
"""Share of the blocks after which the GPU said that its clock was held back."""

PI_BITS = {
    0: ("the supply voltage was too low", "use the board's own power supply and a short cable"),
    1: ("the frequency was capped", "see to power supply and cooling"),
    2: ("the processor was throttled", "see to power supply and cooling"),
    3: ("the soft temperature limit was reached", "fit a heat sink or a fan"),
}
"""What bit n of a Raspberry Pi's get_throttled says of now, and bit 16 + n of the last seconds (its documentation)."""

_COOLER = "let it cool down between measurements, improve cooling, or choose a lower power mode on purpose"


def throttled(evidence: Evidence) -> Iterator[Reason]:
    """Yield a reason for every sign of throttling."""
    for sign in (_by_quota, _by_counter, _by_pi_bits, _by_frequency, _by_heat, _by_slope, _by_gpu):
        for message, advice in sign(evidence):
            yield Reason(code="throttled", severity="suspect", message=message, advice=advice)


def _by_quota(evidence: Evidence) -> Iterator[tuple[str, str]]:
    before, after = evidence.before.cgroup_throttled_us, evidence.after.cgroup_throttled_us
    if before is None or after is None or evidence.sampling_seconds <= 0:
        return
    held = (after - before) / 1e6
    if held < QUOTA_SHARE_SUSPECT * evidence.sampling_seconds:
        return
    message = f"the container's quota held threads back for {held:.2f} s in {evidence.sampling_seconds:.2f} s"
    if evidence.threads_in_excess:
        yield message, f"fewer threads: --threads {evidence.usable_cores}, that is what the quota allows"
    else:
        yield message, "give the container more processors, or fewer other processes in it"


def _by_counter(evidence: Evidence) -> Iterator[tuple[str, str]]:
    before, after = evidence.before.thermal_throttle_count, evidence.after.thermal_throttle_count
    if before is not None and after is not None and after > before:
        yield f"the processor throttled {after - before} times from heat", _COOLER


def _by_pi_bits(evidence: Evidence) -> Iterator[tuple[str, str]]:
    seen = (evidence.before.pi_throttled or 0) | (evidence.after.pi_throttled or 0)
    for bit, (message, advice) in PI_BITS.items():
        if seen & (1 << bit | 1 << (bit + 16)):
            yield f"{message} (get_throttled {seen:#x})", advice


def _by_frequency(evidence: Evidence) -> Iterator[tuple[str, str]]:
    before = _frequency_khz(evidence.before)
    states = [state for _, state in evidence.course] or [evidence.after]
    known = [khz for state in states if (khz := _frequency_khz(state))]
    low = [khz for khz in known if before and khz < FREQUENCY_SUSPECT * before]
    if before and len(low) > FREQUENCY_SHARE * len(known):
        yield f"the fastest core's frequency fell from {before / 1e3:.0f} to {min(low) / 1e3:.0f} MHz", _COOLER


def _frequency_khz(state: DeviceState) -> int | None:
    """Return the frequency of the fastest core: those that are idle slow down without a fault, and the mean with them."""
    return state.frequency_khz if state.fastest_khz is None else state.fastest_khz


def _by_heat(evidence: Evidence) -> Iterator[tuple[str, str]]:
    hot = evidence.after.temperature_c
    if hot is not None and hot >= HOT_C and evidence.drift >= HOT_DRIFT:
        yield f"at {hot:.0f} degrees C the last third of the runs was {evidence.drift:.1%} slower", _COOLER


def _by_slope(evidence: Evidence) -> Iterator[tuple[str, str]]:
    risen, slope = evidence.warming_c
    hot = evidence.after.temperature_c
    if risen < WARMER_C or evidence.drift < HOT_DRIFT or (hot is not None and hot >= HOT_C):
        return
    still = slope >= STILL_WARMER_C_PER_MINUTE
    yield (
        f"the temperature rose by {risen:.0f} degrees C while the runs became {evidence.drift:.1%} slower"
        + (f", and still rises by {slope:.1f} a minute" if still else ""),
        "measure until it is as warm as it will be: --sustain 10m" if still else _COOLER,
    )


def _by_gpu(evidence: Evidence) -> Iterator[tuple[str, str]]:
    readings = evidence.gpu_reasons
    for bit, (message, advice) in HELD_BACK.items():
        share = sum(bool(bits & bit) for bits in readings) / max(1, len(readings))
        if share > GPU_SHARE:
            yield f"{message} in {share:.0%} of the readings", advice
