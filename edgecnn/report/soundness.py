"""Which records are sound, by what a quantity rests on: a latency that is in doubt voids no size."""

from __future__ import annotations

from collections.abc import Collection

from edgecnn.results import Record

Side = tuple[Record, ...]

SHARED = {"noisy", "not_steady", "throttled"}
"""Doubts that do not touch the ratio of two records measured in turn: what causes them slows both sides alike, and what
does not cancel widens the interval. Foreign load is not among them: waiting for a processor is added to a run, and draws
every ratio towards 1."""

TIMES_ALONE = {
    *("clock_too_coarse", "governor", "interrupted", "load", "noisy", "not_steady", "spinning", "throttled"),
    *("too_few_samples", "too_short"),
}
"""Doubts that touch times, and energy with them, but not how many bytes a process holds."""


def every(records: Side) -> Side:
    """Return all records: what a file is does not depend on how it was measured."""
    return records


def timely(records: Side) -> Side:
    """Return the records whose times, and energy with them, can be believed."""
    return tuple(record for record in records if record.quality.verdict != "invalid")


def holding(records: Side) -> Side:
    """Return the records whose memory can be believed: what makes them invalid, if anything, touches times alone."""
    return tuple(
        record for record in records if record.quality.verdict != "invalid" or _invalid_by(record, TIMES_ALONE)
    )


def _invalid_by(record: Record, codes: Collection[str]) -> bool:
    """Tell whether a record says what makes it invalid, and it is nothing but this."""
    found = {reason.code for reason in record.quality.reasons if reason.severity == "invalid"}
    return bool(found) and found <= set(codes)


def only_shared(records: Side) -> bool:
    """Tell whether nothing but what both sides share makes records invalid."""
    return all(
        reason.code in SHARED
        for record in records
        for reason in record.quality.reasons
        if record.quality.verdict == "invalid" and reason.severity == "invalid"
    )


def doubt(record: Record) -> str:
    """Return verdict and reasons of a record in one line."""
    reasons = "; ".join(reason.message for reason in record.quality.reasons)
    return f"{record.quality.verdict} measurement ({reasons})" if reasons else f"{record.quality.verdict} measurement"
