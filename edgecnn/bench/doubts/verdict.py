"""The verdict: can this measurement be believed, and if not, why not and what to do.

One function per kind of doubt (`enginedoubts`, `throttling`, `machinedoubts`, `timedoubts`); each looks at the evidence and
gives reasons with figures. A doubt that the evidence cannot settle (an unknown frequency, say) is not raised. `invalid` means
that the number does not say what it claims to say, `suspect` that it may be off by more than a careful reader would expect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgecnn.bench.doubts.engine import fallback, interrupted, no_work, saturating
from edgecnn.bench.doubts.evidence import Evidence
from edgecnn.bench.doubts.machine import emulated, governed, load, spinning
from edgecnn.bench.doubts.throttling import throttled
from edgecnn.bench.doubts.timing import clock_too_coarse, noisy, not_steady, too_few_samples, too_short
from edgecnn.results import Quality, Reason, Verdict

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


def _worst(reasons: tuple[Reason, ...]) -> Verdict:
    severities = {reason.severity for reason in reasons}
    return "invalid" if "invalid" in severities else "suspect" if severities else "valid"
