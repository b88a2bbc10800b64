"""The process that profiles: plain and profiled runs of one model in turn, and what the engine says about its nodes."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from edgecnn.bench.inputs import make_feeds
from edgecnn.bench.onejob import answer_one
from edgecnn.profiling.matching import EngineNode
from edgecnn.profiling.timers import LayerTimer, open_timer
from edgecnn.runtimes import get_runtime, open_session
from edgecnn.runtimes.base import Feeds, OpenOptions, Session
from edgecnn.specs import Artifact, EngineInfo, sized_inputs

BLOCKS = 10
"""Turns of plain and of profiled runs: a slow second of the machine falls on both."""

_WARM_SECONDS = 0.2
_WARM_RUNS = 3

# A profile of more nodes than this takes longer to read than to measure.
_MOST_EVENTS = 40_000
_MOST_RUNS_OF_A_BLOCK = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileJob:
    """What the child measures.

    Attributes:
        artifact: the model; its path is resolved in the child's current folder.
        backend: one whose layers can be timed.
        options: how the sessions are opened.
        batch: images per run.
        seconds: of plain and profiled runs together, about.
        nodes: of the graph, about.
        seed: of the input values.
    """

    artifact: Artifact
    backend: str
    options: OpenOptions
    batch: int
    seconds: float
    nodes: int
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RawProfile:
    """What the child measured.

    Attributes:
        info: what ran the model without profiling.
        plain_ns: duration of each run without profiling, in order.
        profiled_ns: duration of each run with profiling, in order.
        nodes: of the engine, in the order of execution, with the time of one profiled run.
        call_ns: of one run, outside of the engine's execution; None where the engine does not tell.
        resolution_ns: smallest difference that the engine's times can show.
        node_cost_ns: that profiling adds to the time of every node.
    """

    info: EngineInfo
    plain_ns: tuple[float, ...]
    profiled_ns: tuple[float, ...]
    nodes: tuple[EngineNode, ...]
    call_ns: float | None
    resolution_ns: int
    node_cost_ns: float


def perform(job: ProfileJob) -> RawProfile:
    """Return what a job's measurement gave.

    Raises:
        EdgecnnError: the backend cannot run here, does not read the model, does not time layers, or fails.
    """
    get_runtime(job.backend).check()
    spec = job.artifact.spec
    feeds = make_feeds(sized_inputs(spec.inputs, spec.preprocess), batch=job.batch, seed=job.seed)
    with open_session(job.artifact, backend=job.backend, options=job.options) as session:
        timer = open_timer(job.backend, job.artifact, job.options, feeds)
        once_ns, skip = _warm_up(session, timer, feeds)
        runs = _runs_of_a_block(job, once_ns)
        plain, profiled = _alternate(session, timer, feeds, runs)
        info = session.info()
        found = timer.finish(skip=skip)
    return RawProfile(
        info=info,
        plain_ns=tuple(plain),
        profiled_ns=tuple(profiled),
        nodes=found.nodes,
        call_ns=found.call_ns,
        resolution_ns=found.resolution_ns,
        node_cost_ns=found.node_cost_ns,
    )


def main() -> None:
    """Answer the job on standard input on standard output."""
    answer_one("profile", ProfileJob, perform)


def _warm_up(session: Session, timer: LayerTimer, feeds: Feeds) -> tuple[float, int]:
    """Return how long a plain run takes, and how many profiled runs there were."""
    begin = time.perf_counter_ns()
    samples: list[float] = []
    while len(samples) < _WARM_RUNS or time.perf_counter_ns() - begin < _WARM_SECONDS * 1e9:
        samples.append(_plain(session, feeds))
    timer.run(feeds, _WARM_RUNS)
    return float(np.median(samples)), _WARM_RUNS


def _runs_of_a_block(job: ProfileJob, once_ns: float) -> int:
    by_time = job.seconds * 1e9 / (2 * BLOCKS * max(once_ns, 1.0))
    by_events = _MOST_EVENTS / (BLOCKS * max(job.nodes, 1))
    return max(1, min(int(by_time), int(by_events), _MOST_RUNS_OF_A_BLOCK))


def _alternate(session: Session, timer: LayerTimer, feeds: Feeds, runs: int) -> tuple[list[float], list[float]]:
    plain: list[float] = []
    profiled: list[float] = []
    for _ in range(BLOCKS):
        _plain(session, feeds)  # the caches of this session, not the other's
        plain += [_plain(session, feeds) for _ in range(runs)]
        profiled += timer.run(feeds, runs)
    return plain, profiled


def _plain(session: Session, feeds: Feeds) -> float:
    begin = time.perf_counter_ns()
    session.run(feeds)
    return float(time.perf_counter_ns() - begin)


if __name__ == "__main__":
    main()
