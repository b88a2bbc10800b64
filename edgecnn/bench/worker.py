"""The process that measures: one job as JSON on standard input, one outcome or error as JSON on standard output.

    python -m edgecnn.bench.worker < job.json > outcome.json

A process of its own per measurement gives every model the same start: no memory, threads or warm caches of another one.
An engine that prints cannot spoil the answer: while it works, standard output is standard error.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from edgecnn.bench.activity import Activity, activity_between, read_cpu_times
from edgecnn.bench.clock import Clock, MonotonicClock, resolution_ns
from edgecnn.bench.inputs import make_feeds
from edgecnn.bench.job import Job, Outcome, decode_job, encode_error, encode_outcome
from edgecnn.bench.latency import SAMPLE_BYTES, Run, sample, time_once, warm_up
from edgecnn.bench.memory import Memory, peak_since, read_memory, reset_peak
from edgecnn.bench.plan import warmup_limit_seconds, warmup_seconds
from edgecnn.devices.emulation import is_emulated
from edgecnn.devices.state import DeviceState, read_state
from edgecnn.errors import EdgecnnError
from edgecnn.results import Plan
from edgecnn.runtimes import get_runtime, open_session

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """What sampling of a warm session gave.

    Attributes:
        warmup_runs: runs before sampling.
        samples_ns: int64 [n], duration of each run, in order.
        before: the machine when sampling began.
        after: the machine when sampling ended.
        activity: use of the processors while sampling.
        memory: of this process before and after sampling.
    """

    warmup_runs: int
    samples_ns: NDArray[np.int64]
    before: DeviceState
    after: DeviceState
    activity: Activity | None
    memory: tuple[Memory | None, Memory | None]


def perform(job: Job) -> Outcome:
    """Return what a job's measurement gave; the calling process should not have done anything else before.

    Raises:
        EdgecnnError: the backend cannot run here, does not read the model, or fails.
    """
    # Imports the engine, which thus lies in the baseline: it is there however small the model is.
    get_runtime(job.backend).check()
    clock = MonotonicClock()
    resolution = resolution_ns(clock)
    feeds = make_feeds(job.artifact.spec.inputs, batch=job.plan.batch, seed=job.plan.seed)
    was_reset = reset_peak(job.root)
    baseline = read_memory(job.root)
    begin = clock.now_ns()
    with open_session(job.artifact, backend=job.backend, options=job.options) as session:
        load_ns = clock.now_ns() - begin
        run = partial(session.run, feeds)
        first_run_ns = time_once(run, clock)
        steady = sample_steady(run, clock, job.plan, root=job.root)
        info = session.info()
    return Outcome(
        info=info,
        load_ns=load_ns,
        first_run_ns=first_run_ns,
        warmup_runs=steady.warmup_runs,
        samples_ns=tuple(steady.samples_ns.tolist()),
        before=steady.before,
        after=steady.after,
        activity=steady.activity,
        memory_baseline_bytes=baseline.resident_bytes if baseline else None,
        memory_peak_bytes=_peak_bytes(baseline, steady, was_reset=was_reset),
        clock=clock.name,
        clock_resolution_ns=resolution,
        emulated=is_emulated(job.root),
    )


def sample_steady(run: Run, clock: Clock, plan: Plan, *, root: Path = Path("/")) -> Steady:
    """Return samples after a warm-up, and the state of the machine around them.

    Args:
        run: what is timed.
        clock: what times it.
        plan: how many runs and seconds.
        root: folder that stands for "/".
    """
    runs = warm_up(
        run,
        clock,
        min_runs=plan.warmup_runs,
        min_seconds=warmup_seconds(plan),
        max_seconds=warmup_limit_seconds(plan),
    )
    warm, before = read_memory(root), read_state(root)
    cpu_before, begin = read_cpu_times(root), clock.now_ns()
    samples = sample(
        run,
        clock,
        min_runs=plan.min_runs,
        min_seconds=plan.min_seconds,
        max_seconds=plan.max_seconds,
    )
    elapsed, cpu_after = clock.now_ns() - begin, read_cpu_times(root)
    return Steady(
        warmup_runs=runs,
        samples_ns=samples,
        before=before,
        after=read_state(root),
        activity=activity_between(cpu_before, cpu_after, elapsed_ns=elapsed),
        memory=(warm, read_memory(root)),
    )


def answer(message: bytes) -> bytes:
    """Return the message that answers a job's message: an outcome, or the error that edgecnn raised on purpose."""
    try:
        return encode_outcome(perform(decode_job(message)))
    except EdgecnnError as error:
        return encode_error(error)


def main() -> None:
    """Answer the job on standard input on standard output."""
    _die_with_parent()
    with _take_output() as output:
        output.write(answer(sys.stdin.buffer.read()))


def _peak_bytes(baseline: Memory | None, steady: Steady, *, was_reset: bool) -> int | None:
    """Return the peak since the baseline without what the samples themselves take, None where it cannot be told."""
    if baseline is None:
        return None
    own = (0, steady.samples_ns.size * SAMPLE_BYTES)
    peaks = [
        peak - taken
        for memory, taken in zip(steady.memory, own, strict=True)
        if memory and (peak := peak_since(baseline, memory, was_reset=was_reset)) is not None
    ]
    return max(peaks, default=None)


def _take_output() -> BinaryIO:
    """Return the real standard output, and let whatever else is printed from now on go to standard error."""
    sys.stdout.flush()
    real = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(real, "wb")


def _die_with_parent() -> None:
    """Ask Linux to kill this process when the one that started it ends: nobody would read the answer."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 (needed nowhere else, and not everywhere there)

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    main()
