"""What ran: not on what was asked for, nothing at all, not to the end, or with sums that may saturate."""

from __future__ import annotations

from collections.abc import Iterator

from edgecnn.bench.doubts.evidence import Evidence
from edgecnn.results import Reason


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
