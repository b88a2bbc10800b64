"""What speaks against a calibration: rounds that differ, other processes, heat, a quota, an emulated processor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edgecnn.bench.activity import Activity
from edgecnn.bench.peaks.calibration import Limit
from edgecnn.devices.state import DeviceState
from edgecnn.results import Reason, Verdict
from edgecnn.units import count_of

SPREAD_SUSPECT = 0.10
"""Interquartile range of the rounds over their median: shares of a limit that is known no better have one digit."""

SPREAD_INVALID = 0.50
"""Interquartile range of the rounds over their median: what was found is no limit of the machine."""

OTHERS_SUSPECT = 0.10
"""Share of all processors that other processes used: they share caches and memory with what was measured."""

STOLEN_SUSPECT = 0.02
"""Share of all processors that the hypervisor gave to others."""

FREQUENCY_SUSPECT = 0.90
"""Mean core frequency at the end over that at the beginning."""

_AGAIN = "measure again on a quiet machine: edgecnn devices calibrate --force"


def doubts(
    limits: Mapping[str, Limit],
    *,
    before: DeviceState,
    after: DeviceState,
    activity: Activity | None,
    cores: int,
    emulated: bool,
) -> tuple[Reason, ...]:
    """Return what speaks against these limits, worst first.

    Args:
        limits: by what they are called in messages.
        before: the machine at the beginning.
        after: the machine at the end.
        activity: use of the processors meanwhile.
        cores: that this process may use.
        emulated: the processor is emulated.
    """
    found = [*_emulated(emulated), *_noisy(limits), *_load(activity, cores), *_throttled(before, after)]
    return tuple(sorted(found, key=lambda reason: reason.severity != "invalid"))


def worst(reasons: tuple[Reason, ...]) -> Verdict:
    """Return the verdict that these reasons make."""
    severities = {reason.severity for reason in reasons}
    return "invalid" if "invalid" in severities else ("suspect" if severities else "valid")


def _emulated(emulated: bool) -> Iterator[Reason]:
    if emulated:
        yield Reason(
            code="emulated",
            severity="invalid",
            message="the processor is emulated by QEMU: its limits say nothing about the machine it stands for",
            advice="calibrate on the board itself",
        )


def _noisy(limits: Mapping[str, Limit]) -> Iterator[Reason]:
    wide = {name: one.spread for name, one in limits.items() if one.spread is not None and one.spread >= SPREAD_SUSPECT}
    if wide:
        name = max(wide, key=lambda one: wide[one])
        others = ""
        if len(wide) > 1:
            others = f"; that of {count_of(len(wide) - 1, 'other limit')} over {min(wide.values()):.0%} or more"
        yield Reason(
            code="noisy",
            severity="invalid" if wide[name] >= SPREAD_INVALID else "suspect",
            message=f"the middle half of the rounds of {name} spreads over {wide[name]:.0%} of the median{others}",
            advice=_AGAIN,
        )


def _load(activity: Activity | None, cores: int) -> Iterator[Reason]:
    others = activity.other_cores if activity else None
    stolen = activity.stolen_cores if activity else None
    sure = activity.resolution_cores if activity else 0.0
    if others is not None and others >= max(sure, OTHERS_SUSPECT * cores):
        yield Reason(
            code="load",
            severity="suspect",
            message=f"other processes used {others:.2f} of {cores} processors meanwhile",
            advice=_AGAIN,
        )
    if stolen is not None and stolen >= max(sure, STOLEN_SUSPECT * cores):
        yield Reason(
            code="load",
            severity="suspect",
            message=f"the hypervisor gave {stolen:.2f} of {cores} processors to other guests",
            advice=_AGAIN,
        )


def _throttled(before: DeviceState, after: DeviceState) -> Iterator[Reason]:
    if before.frequency_khz and after.frequency_khz and after.frequency_khz < FREQUENCY_SUSPECT * before.frequency_khz:
        mhz = f"{before.frequency_khz / 1e3:.0f} to {after.frequency_khz / 1e3:.0f} MHz"
        yield _throttle(f"the mean core frequency fell from {mhz}")
    for name, message in (
        ("thermal_throttle_count", "the processor throttled from heat"),
        ("cgroup_throttled_us", "the container's quota held threads back"),
    ):
        first, last = getattr(before, name), getattr(after, name)
        if first is not None and last is not None and last > first:
            yield _throttle(message)
    if (before.pi_throttled or 0) | (after.pi_throttled or 0):
        yield _throttle("the board reports under-voltage or throttling (get_throttled)")


def _throttle(message: str) -> Reason:
    return Reason(
        code="throttled", severity="suspect", message=message, advice="see to power supply, cooling and quota first"
    )
