"""How far a measurement is, told between its blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgecnn.bench.running import Running, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far one subject is.

    Attributes:
        file: name of the model file.
        batch: images per run.
        state: what it does.
        runs: that were timed so far.
        median_ns: of a run so far, None before there is one.
        reason: why it failed, empty otherwise.
    """

    file: str
    batch: int
    state: State
    runs: int
    median_ns: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a measurement is.

    Attributes:
        elapsed_seconds: since the first worker was started.
        expected_seconds: warm-up and sampling of models that reach their number of runs in time; the start of the
            workers, loading and further rounds (`edgecnn.bench.further`) come on top, so this may be passed.
        done: blocks that were measured.
        total: blocks that there will be, 0 before all subjects are warm; it grows with further rounds.
        standings: of each subject, in order.
        note: what the user should know, empty otherwise.
    """

    elapsed_seconds: float
    expected_seconds: float
    done: int = 0
    total: int = 0
    standings: tuple[Standing, ...] = ()
    note: str = ""


OnProgress = Callable[[Progress], None]


def standing_of(running: Running) -> Standing:
    """Return how far a subject is."""
    return Standing(
        file=Path(running.job.artifact.path).name,
        batch=running.job.plan.batch,
        state=running.state,
        runs=running.runs,
        median_ns=running.middle_ns,
        reason=running.reason,
    )
