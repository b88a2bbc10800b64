"""Which variants of a family are worth a file of every precision: told by how long their fp32 files take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgecnn.specs import Artifact
from edgecnn.tune.budget import Budget
from edgecnn.tune.candidates import Candidate, FileForm, LeftOut
from edgecnn.tune.measuring import Measure

MOST_GAIN = 4.0
"""By how much fewer bits speed a network up at most: four times as many 8-bit numbers as floats fit into a register."""

MOST_VARIANTS = 4
"""Variants that go on."""

SECONDS = 0.2
"""Sampling of each variant."""


def shortlist(
    candidates: Sequence[Candidate], made: Mapping[FileForm, Artifact], budget: Budget, measure: Measure
) -> tuple[list[str], list[LeftOut]]:
    """Return the variants that go on, and why the others do not.

    Each variant's file is measured as one candidate: the first that there is of it.

    Args:
        candidates: of all variants.
        made: the files that there are.
        budget: whose latency decides.
        measure: candidates to records.
    """
    firsts: dict[str, Candidate] = {}
    for one in candidates:
        if one.form in made:
            firsts.setdefault(one.form.variant, one)
    records = measure(list(firsts.values()), SECONDS, False)
    times, left_out = {}, []
    for (variant, one), record in zip(firsts.items(), records, strict=True):
        latency = record.metric("latency")
        if latency is None:
            left_out.append(LeftOut(what=one.text, reason=record.reason or "it was not measured"))
        else:
            times[variant] = latency.median
    macs = {variant: made[firsts[variant].form].spec.macs or 0 for variant in times}
    taken = shortlisted(times, macs, limit_ns=budget.latency_ns)
    left_out += [
        LeftOut(what=f"variant {variant}", reason=_reason(times[variant], budget.latency_ns))
        for variant in times
        if variant not in taken
    ]
    return taken, left_out


def shortlisted(
    times_ns: Mapping[str, float], macs: Mapping[str, int], *, limit_ns: float | None, most: int = MOST_VARIANTS
) -> list[str]:
    """Return the variants that go on: the largest that can hold the limit with fewer bits, and one that holds it in fp32.

    Args:
        times_ns: of each variant's fp32 file.
        macs: multiply-adds of each.
        limit_ns: of the latency, None for none.
        most: how many go on.
    """
    largest = sorted(times_ns, key=lambda variant: (-macs[variant], times_ns[variant]))
    possible = [name for name in largest if limit_ns is None or times_ns[name] <= MOST_GAIN * limit_ns]
    if not possible:
        # None can hold it: the fastest is the one that a budget that cannot be held is explained by.
        return [min(times_ns, key=lambda name: times_ns[name])] if times_ns else []
    holding = [name for name in possible if limit_ns is None or times_ns[name] <= limit_ns]
    taken = possible[:most]
    if holding and holding[0] not in taken:
        taken[-1] = holding[0]
    return taken


def _reason(time_ns: float, limit_ns: float | None) -> str:
    if limit_ns is not None and time_ns > MOST_GAIN * limit_ns:
        return f"its fp32 file takes {time_ns / limit_ns:.3g} times the limit, more than fewer bits can make up for"
    return "there are larger ones that may hold the budget"
