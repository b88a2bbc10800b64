"""What the machine did to a measurement: other processes, the hypervisor, a governor, threads that take each other's time."""

from __future__ import annotations

from collections.abc import Iterator

from edgecnn.bench.doubts.evidence import Evidence
from edgecnn.bench.doubts.throttling import throttled
from edgecnn.results import Reason

OTHERS_SUSPECT = 0.10
"""Share of all processors that other processes used; shared caches and memory feel it even with a core to spare."""

OTHERS_INVALID = 0.60
"""Share of all processors that other processes used: one of two may leave this one alone, more cannot."""

WAITED_SUSPECT = 0.02
"""Share of the time in which the measuring thread was ready and had no processor."""

WAITED_INVALID = 0.25
"""Share of the time without a processor: what was timed is the queue."""

STOLEN_SUSPECT = 0.02
"""Share of all processors that the hypervisor gave to others."""

STOLEN_INVALID = 0.25
"""Share of all processors that the hypervisor gave to others: what was timed is the other guests."""

LOAD_AVERAGE_SUSPECT = 0.5
"""Load average per processor, where nothing better is known; a measurement just before this one leaves some behind."""

GOVERNED = 0.90
"""The fastest core's frequency over what it can hold and the system allows: below, the governor and not the work decides."""


def emulated(evidence: Evidence) -> Iterator[Reason]:
    """Yield a reason if the processor is emulated."""
    if evidence.emulated:
        yield Reason(
            code="emulated",
            severity="invalid",
            message="the processor is emulated by QEMU: times say nothing about the machine it stands for",
            advice="use it to see that things work, and measure on the board itself",
        )


def load(evidence: Evidence) -> Iterator[Reason]:
    """Yield reasons if other processes or the hypervisor used processors during the measurement."""
    activity, cores = evidence.activity, evidence.cores
    others = activity.other_cores if activity else None
    stolen = activity.stolen_cores if activity else None
    waited = activity.waited_share if activity else None
    average = evidence.before.load_average
    # Of a short time the ticks that the kernel counts in may feign a part: what they could is no reason.
    sure = activity.resolution_cores if activity else 0.0
    if others is not None and others >= max(sure, OTHERS_SUSPECT * cores):
        message = f"other processes used {others:.2f} of {cores} processors while this one used {_own(evidence):.2f}"
        yield _load_reason(message, _stop(evidence), others >= OTHERS_INVALID * cores)
    elif others is None and average is not None and average >= LOAD_AVERAGE_SUSPECT * cores:
        message = f"the load average before the measurement was {average:.2f} on {cores} processors"
        yield _load_reason(message, "stop the other processes, or wait a minute after heavy work")
    by_power = evidence.power_other_cores
    if by_power is not None and by_power >= OTHERS_SUSPECT * cores:
        message = f"other processes used {by_power:.2f} of {cores} processors while power was measured"
        yield _load_reason(message, _stop(evidence))
    if stolen is not None and stolen >= max(sure, STOLEN_SUSPECT * cores):
        message = f"the hypervisor took {stolen:.2f} of {cores} processors away"
        advice = "measure on a machine with processors of its own"
        yield _load_reason(message, advice, stolen >= STOLEN_INVALID * cores)
    if waited is not None and waited >= WAITED_SUSPECT:
        message = f"the measuring thread waited for a processor {waited:.1%} of the time"
        advice = fewer_threads(evidence) or _stop(evidence)
        yield _load_reason(message, advice, waited >= WAITED_INVALID)


def governed(evidence: Evidence) -> Iterator[Reason]:
    """Yield a reason if a governor kept even the fastest core below what the system allows."""
    governor, most = evidence.device.governor, evidence.device.frequency_max_khz
    seen = [state.fastest_khz for state in (evidence.before, evidence.after) if state.fastest_khz is not None]
    if governor in (None, "performance") or not most or not seen:
        return
    # How far turbo goes depends on how many cores are at work: less than all of it is no governor's doing.
    sure = min(most, evidence.after.base_khz or most)
    if max(seen) >= GOVERNED * sure:
        return
    if next(throttled(evidence), None):
        return
    yield Reason(
        code="governor",
        severity="suspect",
        message=f"the governor {governor} kept the cores at {max(seen) / 1e3:.0f} of {sure / 1e3:.0f} MHz",
        advice="sudo cpupower frequency-set -g performance, or measure with longer runs: a larger --batch",
    )


def spinning(evidence: Evidence) -> Iterator[Reason]:
    """Yield a reason if more threads wait actively than there are processors for them: they take each other's time."""
    info, excess = evidence.info, evidence.threads_in_excess
    if info is None or not excess or info.options.get("spinning") is not True:
        return
    asked = evidence.options.threads is not None
    yield Reason(
        code="spinning",
        severity="suspect",
        message=f"{info.threads} threads wait actively for work on {evidence.usable_cores} processors",
        advice="let them sleep between operators: --no-spin" if asked else fewer_threads(evidence),
    )


def fewer_threads(evidence: Evidence) -> str:
    """Return the advice to use fewer threads, empty where there are no more of them than processors."""
    excess = evidence.threads_in_excess
    return f"fewer threads: --threads {evidence.usable_cores}, that is what this process may use" if excess else ""


def _stop(evidence: Evidence) -> str:
    named = f", first of all {' and '.join(evidence.busiest)}" if evidence.busiest else ""
    return f"stop the other processes{named}"


def _load_reason(message: str, advice: str, invalid: bool = False) -> Reason:
    return Reason(code="load", severity="invalid" if invalid else "suspect", message=message, advice=advice)


def _own(evidence: Evidence) -> float:
    return evidence.activity.own_cores if evidence.activity else 0.0
