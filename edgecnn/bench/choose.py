"""`--backend auto`: which backend runs a model fastest on this machine, by measuring, remembered per machine and model."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgecnn.artifacts import file_sha256
from edgecnn.bench.measuring import measure
from edgecnn.bench.plan import make_plan
from edgecnn.devices.detect import detect
from edgecnn.devices.profile import profile_backends
from edgecnn.errors import BadInput, EdgecnnError, RuntimeUnavailable
from edgecnn.files import cache_root, replacing
from edgecnn.installed import ENGINE_PACKAGES, installed_versions
from edgecnn.jsonform import from_json, to_json
from edgecnn.results import Device
from edgecnn.runtimes import get_runtime
from edgecnn.runtimes.base import OpenOptions
from edgecnn.runtimes.threads import usable_threads
from edgecnn.specs import Artifact

SECONDS = 0.5
"""Sampling time of each candidate: enough to tell a fifth from noise, short enough to wait for."""

TIE = 0.05
"""Candidates that are this close to the fastest count as equal; the profile's order then decides."""

_SCHEMA = "edgecnn.choice/1"

# So long a choice holds whose measurements are in doubt, on a busy machine for example.
_DOUBTFUL_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A backend that was considered.

    Attributes:
        backend: its name.
        median_ns: of one run, None where it was not measured.
        reason: why it cannot be taken, or what speaks against its measurement; empty otherwise.
    """

    backend: str
    median_ns: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was chosen.

    Attributes:
        backend: its name.
        why: in one line.
        candidates: all that were considered, in the profile's order.
        remembered: it was chosen by an earlier process on this machine.
    """

    backend: str
    why: str
    candidates: tuple[Candidate, ...]
    remembered: bool = False

    @property
    def in_doubt(self) -> bool:
        """Whether something speaks against one of the measurements."""
        return any(one.median_ns is not None and one.reason for one in self.candidates)


def choose_backend(
    artifact: Artifact,
    *,
    options: OpenOptions | None = None,
    batch: int = 1,
    seconds: float = SECONDS,
    candidates: Sequence[str] | None = None,
    folder: Path | None = None,
    on_progress: Callable[[int, int, str], None] = lambda done, total, note: None,
) -> Choice:
    """Return the backend that runs a model fastest here.

    Every candidate that can run here is measured in a process of its own, unless an earlier process on this machine has
    chosen for the same file, options, engine versions and number of threads. A choice between measurements that are in
    doubt is remembered for a day.

    Args:
        artifact: the model.
        options: how sessions will be opened; a backend that cannot honour them is no candidate.
        batch: images per run.
        seconds: of sampling for each candidate.
        candidates: backends to choose from; None takes those of the device's profile.
        folder: where choices are remembered; None is `choices` in edgecnn's cache folder.
        on_progress: called before each candidate with how many are done, how many there are, and its name.

    Raises:
        RuntimeUnavailable: no candidate runs this model here; the message has the reason of each.
    """
    device = detect()
    options = options or OpenOptions()
    names = tuple(candidates) if candidates is not None else profile_backends(device.profile)
    able = [_able(name) for name in names]
    key = _key(artifact, device, options, batch, able)
    path = (folder or cache_root() / "choices") / f"{key}.json"
    known = _recall(path)
    if known is not None:
        return replace(known, remembered=True)
    choice = _choose(artifact, able, options, batch, seconds, on_progress)
    with suppress(EdgecnnError):  # a machine on which nothing can be written chooses anew each time
        _remember(path, choice)
    return choice


def _able(name: str) -> Candidate:
    try:
        get_runtime(name).check()
    except EdgecnnError as error:
        return Candidate(backend=name, reason=error.message)
    except Exception as error:
        return Candidate(backend=name, reason=f"check failed with {type(error).__name__}: {error}")
    return Candidate(backend=name)


def _choose(
    artifact: Artifact,
    able: Sequence[Candidate],
    options: OpenOptions,
    batch: int,
    seconds: float,
    on_progress: Callable[[int, int, str], None],
) -> Choice:
    running = [one for one in able if not one.reason]
    if len(running) == 1:
        return Choice(backend=running[0].backend, why="the only one that can run here", candidates=tuple(able))
    measured = []
    for done, one in enumerate(able):
        on_progress(done, len(able), one.backend)
        measured.append(one if one.reason else _measure(artifact, one.backend, options, batch, seconds))
    times = {one.backend: one.median_ns for one in measured if one.median_ns is not None}
    if not times:
        reasons = "; ".join(f"{one.backend}: {one.reason}" for one in measured)
        raise RuntimeUnavailable(f"no backend runs {artifact.path} here: {reasons}", "edgecnn doctor says more")
    fastest = min(times, key=lambda name: times[name])
    backend = next(name for name, time_ns in times.items() if time_ns <= (1 + TIE) * times[fastest])
    why = "the fastest that was measured" if len(times) > 1 else "the only one that ran"
    if backend != fastest:
        why = f"as fast as {fastest} within {TIE:.0%}, and first in this device's order"
    return Choice(backend=backend, why=why, candidates=tuple(measured))


def _measure(artifact: Artifact, name: str, options: OpenOptions, batch: int, seconds: float) -> Candidate:
    try:
        record = measure(
            artifact, backend=name, options=options, plan=make_plan(batch=batch, seconds=seconds, min_runs=5)
        )
    except EdgecnnError as error:
        return Candidate(backend=name, reason=error.message)
    latency = record.metric("latency")
    if record.status != "ok" or latency is None:
        return Candidate(backend=name, reason=record.reason or "it was not measured")
    doubts = "; ".join(reason.message for reason in record.quality.reasons)
    return Candidate(backend=name, median_ns=latency.median, reason=doubts)


def _key(artifact: Artifact, device: Device, options: OpenOptions, batch: int, able: Sequence[Candidate]) -> str:
    """Return what a choice depends on, as a SHA-256."""
    versions = installed_versions()
    facts: dict[str, Any] = {
        "schema": _SCHEMA,
        "model": artifact.sha256 or file_sha256(artifact.path),
        "machine": [device.profile, device.board, device.cpu, device.features, device.gpu, device.gpu_driver],
        "power_mode": device.power_mode,
        "threads": usable_threads(),
        "options": to_json(options),
        "batch": batch,
        "candidates": [(one.backend, not one.reason) for one in able],
        "versions": {name: versions.get(name) for name in ENGINE_PACKAGES},
    }
    return hashlib.sha256(json.dumps(to_json(facts), sort_keys=True).encode()).hexdigest()


def _recall(path: Path) -> Choice | None:
    try:
        known = from_json(Choice, json.loads(path.read_text(encoding="utf-8")))
        age_ns = time.time_ns() - path.stat().st_mtime_ns
        return None if known.in_doubt and age_ns > _DOUBTFUL_S * 1_000_000_000 else known
    except (OSError, ValueError, BadInput):
        return None


def _remember(path: Path, choice: Choice) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(to_json(choice), indent=2), encoding="utf-8")
