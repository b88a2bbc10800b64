"""`--backend auto` on the command line: what is chosen, and why, is said on standard error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgecnn.cli.output import progress, say
from edgecnn.runtimes import AUTO, OpenOptions
from edgecnn.specs import Artifact
from edgecnn.units import duration_text

if TYPE_CHECKING:
    from edgecnn.bench.choose import Candidate


def chosen_backend(name: str, artifact: Artifact, options: OpenOptions, *, batch: int = 1) -> str:
    """Return a backend's name; for "auto" the one that is fastest here, which is measured where nobody has yet.

    Raises:
        RuntimeUnavailable: no backend runs this model here.
    """
    if name != AUTO:
        return name
    from edgecnn.bench.choose import choose_backend  # noqa: PLC0415 (most commands choose nothing)

    with progress(f"trying backends for {artifact.path.name}", still=True) as advance:
        choice = choose_backend(artifact, options=options, batch=batch, on_progress=advance)
    before = ", remembered" if choice.remembered else ""
    seen = "; ".join(_seen(one) for one in choice.candidates)
    say(f"backend {choice.backend} for {artifact.path.name}: {choice.why}{before} ({seen})")
    return choice.backend


def _seen(one: Candidate) -> str:
    """Return a candidate's time with what speaks against it, or why it has none."""
    if one.median_ns is None:
        return f"{one.backend}: {one.reason}" if one.reason else one.backend
    doubt = f", in doubt: {one.reason}" if one.reason else ""
    return f"{one.backend} {duration_text(one.median_ns)}{doubt}"
