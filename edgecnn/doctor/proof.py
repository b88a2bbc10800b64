"""Whether a backend works here, found out in a process of its own: an engine that crashes takes only that one along.

    python -c "from edgecnn.doctor.proof import main; main()" < name > answer

The backend opens a small network with known answers and runs it; "ok" is said of nothing less.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass

import numpy as np

from edgecnn.artifacts import load_artifact
from edgecnn.bench.child import run_child
from edgecnn.childcommand import child_command
from edgecnn.errors import EdgecnnError, first_line
from edgecnn.runtimes import OpenOptions, get_runtime
from edgecnn.testing.models import REFERENCE, TINY

SECONDS = 180.0
"""How long a backend may take; building an engine on a small board is the slowest of all."""

TOLERANCE = 1e-2
"""Of the answers, whose greatest is about 1; arithmetic in bfloat16 or TF32 stays within, a wrong answer does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What came of trying a backend.

    Attributes:
        health: "ok", "unavailable" or "broken".
        message: what ran, or why nothing did.
        fix: the exact remedy, empty where none is needed or known.
    """

    health: str
    message: str
    fix: str = ""


def prove(name: str, *, limit_seconds: float = SECONDS) -> Proof:
    """Return what came of trying a backend in a child process."""
    ended = run_child(child_command("edgecnn.doctor.proof"), name.encode(), limit_seconds=limit_seconds)
    try:
        answer = json.loads(ended.output)
        return Proof(health=answer["health"], message=answer["message"], fix=answer["fix"])
    except (ValueError, KeyError, TypeError):
        return Proof(health="broken", message=ended.cause, fix=f"reinstall the engine of backend {name}")


def try_backend(name: str) -> Proof:
    """Return what came of trying a backend in this process."""
    try:
        runtime = get_runtime(name)
        runtime.check()
    except EdgecnnError as error:
        return Proof(health="unavailable", message=error.message, fix=error.hint)
    except Exception as error:
        return Proof(health="broken", message=f"check failed with {type(error).__name__}: {first_line(error)}")
    try:
        with runtime.open(load_artifact(TINY), OpenOptions()) as session, np.load(REFERENCE) as known:
            got = session.run({"input": known["input"][:1]})["logits"]
            info = session.info()
            worst = float(np.abs(got - known["logits"][:1]).max())
    except Exception as error:
        hint = error.hint if isinstance(error, EdgecnnError) else ""
        return Proof(health="broken", message=f"{type(error).__name__}: {first_line(error)}", fix=hint)
    if name != "null" and not worst <= TOLERANCE:
        return Proof(health="broken", message=f"wrong answers: off by {worst:.3g} on a network of known answers")
    ran_on = ", ".join(info.providers_active)
    return Proof(health="ok", message=f"{info.engine} {info.engine_version} on {ran_on}")


def main() -> None:
    """Try the backend whose name stands on standard input; write the answer as JSON to standard output."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what an engine prints is no answer
    proof = try_backend(sys.stdin.read().strip())
    json.dump({"health": proof.health, "message": proof.message, "fix": proof.fix}, answers)
    answers.close()
