"""The verdict: can this measurement be believed, and if not, why not and what to do.

One function per kind of doubt; each looks at the evidence and gives reasons with figures. A doubt that the evidence
cannot settle (an unknown frequency, say) is not raised. `invalid` means that the number does not say what it claims to
say, `suspect` that it may be off by more than a careful reader would expect.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from edgecnn.bench.evidence import Evidence
from edgecnn.bench.plan import seconds_for_runs
from edgecnn.bench.stats import MIN_SAMPLES
from edgecnn.bench.throttling import throttled
from edgecnn.results import Quality, Reason, Verdict
from edgecnn.units import duration_text

CLOCK_SUSPECT_STEPS = 100
"""With fewer clock steps in a median one step is more than 1% of it."""

CLOCK_INVALID_STEPS = 10
"""With fewer clock steps in a median one step is more than 10% of it."""

DRIFT_SUSPECT = 0.05
"""Last third against first: beyond what block medians of a quiet machine differ by (2%), with a margin."""

DRIFT_INVALID = 0.25
"""Last third against first: the median then describes neither the beginning nor the end."""

TREND_Z = 2.576
"""Two-sided 1% point of the standard normal: chance alone shows such a trend once in a hundred measurements."""

INTERVAL_SUSPECT = 0.05
"""Width of the median's interval over the median: differences of a few percent cannot be seen through it."""

INTERVAL_INVALID = 0.25
"""Width of the median's interval over the median: not even the first digit is sure."""

TAIL_SUSPECT = 1.5
"""90th percentile over median: every tenth run takes half as long again, which a quiet machine does not show."""

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

SHORTEST_SECONDS = 0.2
"""Sampling shorter than this sees one state of clock, caches and neighbours, however many runs fit in."""

GOVERNED = 0.90
"""The fastest core's frequency over what the system allows: below, the governor and not the work decides."""

_LONG_SECONDS = 10.0


def judge(evidence: Evidence) -> Quality:
    """Return the verdict with its reasons, worst first, and the state of the machine."""
    found = [reason for check in CHECKS for reason in check(evidence)]
    reasons = tuple(sorted(found, key=lambda reason: reason.severity != "invalid"))
    before, after = evidence.before, evidence.after
    temperature = (before.temperature_c, after.temperature_c)
    frequency = (before.frequency_khz, after.frequency_khz)
    return Quality(
        verdict=_worst(reasons),
        reasons=reasons,
        load_average=before.load_average,
        temperature_c=None if temperature == (None, None) else temperature,
        frequency_khz=None if frequency == (None, None) else frequency,
    )


def emulated(evidence: Evidence) -> Iterator[Reason]:
    """Yield a reason if the processor is emulated."""
    if evidence.emulated:
        yield Reason(
            code="emulated",
            severity="invalid",
            message="the processor is emulated by QEMU: times say nothing about the machine it stands for",
            advice="use it to see that things work, and measure on the board itself",
        )


def fallback(evidence: Evidence) -> Iterator[Reason]:
    """Yield a reason if the model did not run, or not wholly, on the providers that were asked for."""
    info = evidence.info
    if info is None or not info.providers_asked:
        return
    asked, active = ", ".join(info.providers_asked), ", ".join(info.providers_active) or "none"
    advice = "open it without allow_fallback: the error then says what is missing"
    if not set(info.providers_asked) <= set(info.providers_active):
        yield Reason(
            code="fallback", severity="invalid", message=f"asked for {asked}, the session has {active}", advice=advice
        )
    strangers = {name: n for name, n in (info.nodes or {}).items() if n and name not in info.providers_asked}
    if strangers:
        total = sum((info.nodes or {}).values())
        elsewhere = ", ".join(f"{n} of {total} nodes ran on {name}" for name, n in strangers.items())
        yield Reason(code="fallback", severity="suspect", message=f"asked for {asked}: {elsewhere}", advice=advice)


def interrupted(evidence: Evidence) -> Iterator[Reason]:
    """Yield a reason if the measurement was stopped before its end."""
    if evidence.interrupted:
        yield Reason(
            code="interrupted", severity="suspect", message=evidence.interrupted, advice="measure again to the end"
        )


def no_work(evidence: Evidence) -> Iterator[Reason]:
    """Yield a reason if nothing was computed."""
    if evidence.info is not None and evidence.info.backend == "null":
        yield Reason(
            code="no_work",
            severity="invalid",
            message="backend null computes nothing: the time is the harness's own",
            advice="name a backend that computes: --backend cpu",
        )


def saturating(evidence: Evidence) -> Iterator[Reason]:
    """Yield a reason if int8 sums may saturate here, so that an accuracy measured elsewhere need not hold.

    Without VNNI, x86-64 multiplies uint8 by int8 with VPMADDUBSW, whose 16-bit sums of two products saturate (Intel 64
    and IA-32 Architectures Software Developer's Manual).
    """
    device = evidence.device
    if evidence.precision != "int8" or device.arch != "x86_64" or not device.features:
        return
    if not {"avx512_vnni", "avx_vnni"} & set(device.features):
        yield Reason(
            code="saturating",
            severity="suspect",
            message="this processor has no VNNI: int8 sums may saturate, and the accuracy may be below the one stated",
            advice="quantize with --reduce-range, and measure the accuracy on this machine",
        )


def too_short(evidence: Evidence) -> Iterator[Reason]:
    """Yield a reason if sampling was planned shorter than a machine's state lasts."""
    seconds = evidence.plan.min_seconds
    if seconds < SHORTEST_SECONDS:
        yield Reason(
            code="too_short",
            severity="suspect",
            message=f"sampling was planned for {duration_text(seconds * 1e9)} only",
            advice="measure longer: --seconds 2",
        )


def too_few_samples(evidence: Evidence) -> Iterator[Reason]:
    """Yield a reason if sampling ended before the planned number of runs."""
    plan, latency = evidence.plan, evidence.latency
    # The offline scenario has one query; how many samples are in it is said by its figures.
    if latency.n >= max(plan.min_runs, MIN_SAMPLES) or plan.scenario == "offline":
        return
    if latency.n >= plan.min_runs:
        advice = f"plan at least {MIN_SAMPLES} runs"
    else:
        advice = f"measure longer: --seconds {seconds_for_runs(plan, latency.median)}"
    yield Reason(
        code="too_few_samples",
        severity="invalid" if latency.n < MIN_SAMPLES else "suspect",
        message=f"{latency.n} samples of {duration_text(latency.median)} within {plan.max_seconds:g} s, "
        f"planned {max(plan.min_runs, MIN_SAMPLES)}",
        advice=advice,
    )


def clock_too_coarse(evidence: Evidence) -> Iterator[Reason]:
    """Yield a reason if the median is only a few steps of the clock."""
    step, median = evidence.plan.clock_resolution_ns, evidence.latency.median
    if step is None or median >= CLOCK_SUSPECT_STEPS * step:
        return
    yield Reason(
        code="clock_too_coarse",
        severity="invalid" if median < CLOCK_INVALID_STEPS * step else "suspect",
        message=f"the median of {duration_text(median)} is {median / step:.3g} steps of the clock, {step} ns each",
        advice=f"put more into a run: --batch {_batch_for_clock(evidence)}",
    )


def not_steady(evidence: Evidence) -> Iterator[Reason]:
    """Yield a reason if the runs got slower or faster while they were measured."""
    if evidence.latency.n < MIN_SAMPLES or abs(evidence.trend) < TREND_Z or abs(evidence.drift) < DRIFT_SUSPECT:
        return
    word = "slower" if evidence.drift > 0 else "faster"
    yield Reason(
        code="not_steady",
        severity="invalid" if abs(evidence.drift) >= DRIFT_INVALID else "suspect",
        message=f"the last third of the runs was {abs(evidence.drift):.1%} {word} than the first "
        f"(trend of block medians z = {evidence.trend:+.1f})"
        + (f"; the warm-up had ended {evidence.unsettled}" if evidence.unsettled.startswith("not steady") else ""),
        advice=_quieter(evidence),
    )


def noisy(evidence: Evidence) -> Iterator[Reason]:
    """Yield reasons if the median is uncertain or a tenth of the runs is far above it."""
    latency = evidence.latency
    if evidence.plan.scenario == "server":
        return  # queries that wait for each other are what it measures
    if latency.ci95 is not None and latency.median > 0:
        low, high = latency.ci95
        width = (high - low) / latency.median
        if width >= INTERVAL_SUSPECT:
            yield Reason(
                code="noisy",
                severity="invalid" if width >= INTERVAL_INVALID else "suspect",
                message=f"the median is only known to lie between {duration_text(low)} and {duration_text(high)} "
                f"({width:.1%} of it)",
                advice=_quieter(evidence),
            )
    if latency.p90 is not None and latency.p90 >= TAIL_SUSPECT * latency.median:
        yield Reason(
            code="noisy",
            severity="suspect",
            message=f"every tenth run took {latency.p90 / latency.median:.2f} times the median or more",
            advice=_quieter(evidence),
        )


def load(evidence: Evidence) -> Iterator[Reason]:
    """Yield reasons if other processes or the hypervisor used processors during the measurement."""
    activity, cores = evidence.activity, evidence.cores
    others = activity.other_cores if activity else None
    stolen = activity.stolen_cores if activity else None
    waited = activity.waited_share if activity else None
    average = evidence.before.load_average
    if others is not None and others >= OTHERS_SUSPECT * cores:
        message = f"other processes used {others:.2f} of {cores} processors while this one used {_own(evidence):.2f}"
        yield _load_reason(message, "stop the other processes", others >= OTHERS_INVALID * cores)
    elif others is None and average is not None and average >= LOAD_AVERAGE_SUSPECT * cores:
        message = f"the load average before the measurement was {average:.2f} on {cores} processors"
        yield _load_reason(message, "stop the other processes, or wait a minute after heavy work")
    if stolen is not None and stolen >= STOLEN_SUSPECT * cores:
        message = f"the hypervisor took {stolen:.2f} of {cores} processors away"
        advice = "measure on a machine with processors of its own"
        yield _load_reason(message, advice, stolen >= STOLEN_INVALID * cores)
    if waited is not None and waited >= WAITED_SUSPECT:
        message = f"the measuring thread waited for a processor {waited:.1%} of the time"
        advice = _fewer_threads(evidence) or "stop the other processes"
        yield _load_reason(message, advice, waited >= WAITED_INVALID)


def governed(evidence: Evidence) -> Iterator[Reason]:
    """Yield a reason if a governor kept even the fastest core below what the system allows."""
    governor, most = evidence.device.governor, evidence.device.frequency_max_khz
    seen = [state.fastest_khz for state in (evidence.before, evidence.after) if state.fastest_khz is not None]
    if governor in (None, "performance") or not most or not seen or max(seen) >= GOVERNED * most:
        return
    if next(throttled(evidence), None):
        return
    yield Reason(
        code="governor",
        severity="suspect",
        message=f"the governor {governor} kept the cores at {max(seen) / 1e3:.0f} of {most / 1e3:.0f} MHz",
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
        advice="let them sleep between operators: --no-spin" if asked else _fewer_threads(evidence),
    )


CHECKS: tuple[Callable[[Evidence], Iterator[Reason]], ...] = (
    emulated,
    interrupted,
    fallback,
    no_work,
    saturating,
    too_short,
    too_few_samples,
    clock_too_coarse,
    throttled,
    governed,
    load,
    spinning,
    not_steady,
    noisy,
)
"""All checks, causes before what they cause."""


def _worst(reasons: tuple[Reason, ...]) -> Verdict:
    severities = {reason.severity for reason in reasons}
    return "invalid" if "invalid" in severities else "suspect" if severities else "valid"


def _load_reason(message: str, advice: str, invalid: bool = False) -> Reason:
    return Reason(code="load", severity="invalid" if invalid else "suspect", message=message, advice=advice)


def _own(evidence: Evidence) -> float:
    return evidence.activity.own_cores if evidence.activity else 0.0


def _quieter(evidence: Evidence) -> str:
    """Return what to try next against unsteady times; what the evidence already blames, or the plan did, comes off."""
    if next(load(evidence), None) or next(throttled(evidence), None):
        return "see to the load or throttling above first"
    excess = _fewer_threads(evidence)
    if excess:
        return excess
    if evidence.plan.min_seconds < _LONG_SECONDS:
        return f"measure longer, which also warms up longer: --seconds {_LONG_SECONDS:g}"
    if evidence.device.governor not in (None, "performance"):
        return f"fix the frequency: the governor is {evidence.device.governor}, set it to performance"
    return "let the machine settle: no other work, no display, steady cooling"


def _fewer_threads(evidence: Evidence) -> str:
    excess = evidence.threads_in_excess
    return f"fewer threads: --threads {evidence.usable_cores}, that is what this process may use" if excess else ""


def _batch_for_clock(evidence: Evidence) -> int:
    step, plan = evidence.plan.clock_resolution_ns or 1, evidence.plan
    return plan.batch * max(2, math.ceil(CLOCK_SUSPECT_STEPS * step / max(evidence.latency.median, 1)))
