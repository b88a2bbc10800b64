"""Whether a backend works here, found out in a process of its own: an engine that crashes takes only that one along.

The backend opens a small network with known answers and runs it; "ok" is said of nothing less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecnn.artifacts import load_artifact
from edgecnn.bench.onejob import answer_one, ask
from edgecnn.doctor.finding import Finding, Health
from edgecnn.errors import EdgecnnError, MeasurementError, first_line
from edgecnn.runtimes import OpenOptions, get_runtime
from edgecnn.testing.models import REFERENCE, TINY

SECONDS = 180.0
"""How long a backend may take; building an engine on a small board is the slowest of all."""

TOLERANCE = 1e-2
"""Of the answers, whose greatest is about 1; arithmetic in bfloat16 or TF32 stays within, a wrong answer does not."""

_REQUEST = "try"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the child is asked.

    Attributes:
        backend: to be tried.
    """

    backend: str


def prove(name: str, *, limit_seconds: float = SECONDS) -> Finding:
    """Return what came of trying a backend in a child process."""
    try:
        return ask(__name__, _REQUEST, Asked(backend=name), Finding, limit_seconds=limit_seconds)
    except MeasurementError as error:
        return _finding(name, "broken", error.message, f"reinstall the engine of backend {name}")


def try_backend(name: str) -> Finding:
    """Return what came of trying a backend in this process."""
    try:
        runtime = get_runtime(name)
        runtime.check()
    except EdgecnnError as error:
        return _finding(name, "unavailable", error.message, error.hint)
    except Exception as error:
        return _finding(name, "broken", f"check failed with {type(error).__name__}: {first_line(error)}")
    try:
        with runtime.open(load_artifact(TINY), OpenOptions()) as session, np.load(REFERENCE) as known:
            got = session.run({"input": known["input"][:1]})["logits"]
            info = session.info()
            worst = float(np.abs(got - known["logits"][:1]).max())
    except Exception as error:
        hint = error.hint if isinstance(error, EdgecnnError) else ""
        return _finding(name, "broken", f"{type(error).__name__}: {first_line(error)}", hint)
    if name != "null" and not worst <= TOLERANCE:
        return _finding(name, "broken", f"wrong answers: off by {worst:.3g} on a network of known answers")
    ran_on = ", ".join(info.providers_active)
    return _finding(name, "ok", f"{info.engine} {info.engine_version} on {ran_on}")


def main() -> None:
    """Try the backend that the request on standard input names; write the finding to standard output."""
    answer_one(_REQUEST, Asked, lambda asked: try_backend(asked.backend))


def _finding(name: str, health: Health, message: str, fix: str = "") -> Finding:
    return Finding(topic="backend", name=name, health=health, message=message, fix=fix)
