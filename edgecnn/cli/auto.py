"""`--backend auto` on the command line: what is chosen, and why, is said on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgecnn.cli.output import progress, say
from edgecnn.runtimes import AUTO, OpenOptions
from edgecnn.specs import Artifact
from edgecnn.units import duration_text

if TYPE_CHECKING:
    from edgecnn.bench.choose import Choice


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
    for line in _told(choice, artifact.path.name):
        say(line)
    return choice.backend


def _told(choice: Choice, model: str) -> Iterator[str]:
    """Yield what was chosen and why, what each candidate took, and why others are none."""
    before = "" if not choice.remembered else ", remembered for a day" if choice.in_doubt else ", remembered"
    yield f"backend {choice.backend} for {model}: {choice.why}{before}"
    timed = [one for one in choice.candidates if one.median_ns is not None]
    if timed:
        yield "  measured: " + ", ".join(f"{one.backend} {duration_text(one.median_ns)}" for one in timed)
    for one in choice.candidates:
        if one.reason:
            yield (
                f"  {one.backend}: {one.reason}" if one.median_ns is None else f"  {one.backend} in doubt: {one.reason}"
            )
