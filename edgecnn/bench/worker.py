"""The process that measures: requests on standard input, answers on standard output, one a line (`edgecnn.bench.job`).

A process of its own per measurement gives every model the same start: no memory, threads or warm caches of another one.
An engine that prints cannot spoil an answer: while it works, standard output is standard error.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.bench.activity import activity_of, read_cpu_times, use_between
from edgecnn.bench.allocations import keep_nothing_free, peak_allocated
from edgecnn.bench.clock import Clock, MonotonicClock, resolution_ns
from edgecnn.bench.gpu import GPU_BACKENDS, Gpu, engine_address, engine_gpu
from edgecnn.bench.gpuclock import read_gpu_reasons
from edgecnn.bench.gpumemory import read_gpu_bytes
from edgecnn.bench.job import (
    BlockAsked,
    FirstRun,
    Job,
    Loaded,
    PowerAsked,
    RunMemory,
    ScenarioAsked,
    ScenarioDone,
    Timed,
    Warmed,
    WarmUp,
    encode_durations,
)
from edgecnn.bench.latency import Run, sample, settle, time_once, warm_up
from edgecnn.bench.memory import Memory, Phase, PhaseMeter, read_cgroup_peak, read_memory, read_pss
from edgecnn.bench.queries import figures_of, mean_run_ns, run_load
from edgecnn.bench.timed import open_timed
from edgecnn.bench.watch import Watch
from edgecnn.bench.wire import decode_request, encode_error, encode_pieces
from edgecnn.childmain import die_with_parent, take_output
from edgecnn.devices.emulation import is_emulated
from edgecnn.devices.state import read_state
from edgecnn.errors import BadInput, EdgecnnError, SensorUnavailable
from edgecnn.powerspec import Power
from edgecnn.runtimes import get_runtime
from edgecnn.runtimes.base import Session

# More than a warm-up looks at, so that what it keeps and computes lies in the baseline.
_TOUCH_RUNS = 5000
_TOUCH_SECONDS = 0.02


class Worker:
    """One model, measured request by request; the process should not have done anything else before.

    Args:
        clock: what times runs.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or MonotonicClock()
        self._root = Path("/")
        self._job: Job | None = None
        self._session: Session | None = None
        self._run: Run | None = None
        self._meter: PhaseMeter | None = None
        self._cgroup_before: int | None = None
        self._frugal = False

    def load(self, job: Job) -> Loaded:
        """Open the session.

        Raises:
            EdgecnnError: the backend cannot run here, or does not read the model.
        """
        self._root, self._job = job.root, job
        self._frugal = job.frugal and keep_nothing_free()
        # Imports the engine, which thus lies in the baseline: it is there however small the model is.
        get_runtime(job.backend).check()
        resolution = resolution_ns(self._clock)
        opening = open_timed(job)
        _touch_harness(self._clock, self._root)
        # What was made so far is not looked at again each time that garbage is collected before a block.
        gc.collect()
        gc.freeze()
        self._cgroup_before = read_cgroup_peak(self._root)
        self._meter = PhaseMeter(self._root)
        baseline = _now(read_memory(self._root))
        begin = self._clock.now_ns()
        self._session, self._run = opening()
        load_ns = self._clock.now_ns() - begin
        return Loaded(
            load_ns=load_ns,
            baseline=baseline,
            memory=self._meter.end(),
            clock=getattr(self._clock, "name", ""),
            clock_resolution_ns=resolution,
            emulated=is_emulated(self._root),
        )

    def first(self) -> FirstRun:
        """Run for the first time."""
        run, meter = self._ready()
        meter.restart()
        return FirstRun(first_run_ns=time_once(run, self._clock), memory=meter.end())

    def warm(self, asked: WarmUp) -> Warmed:
        """Run until runs are steady."""
        run, meter = self._ready()
        assert self._session is not None
        meter.restart()
        seen = warm_up(
            run,
            self._clock,
            min_runs=asked.min_runs,
            min_seconds=asked.min_seconds,
            max_seconds=asked.max_seconds,
        )
        memory = meter.end()
        return Warmed(
            info=self._session.info(),
            runs=seen.runs,
            steady=seen.steady.start is not None,
            reason=seen.steady.reason,
            median_ns=seen.median_ns,
            memory=memory,
            pss_bytes=read_pss(self._root),
            gpu_bytes=read_gpu_bytes(self._gpu()),
        )

    def block(self, asked: BlockAsked) -> Timed:
        """Time a row of runs, with the state of the machine around them."""
        run, _ = self._ready()
        clock = self._clock
        watch = self._watched()
        settle(run, clock, seconds=asked.settle_seconds)
        watch.begin()
        samples = sample(
            run, clock, min_runs=asked.min_runs, min_seconds=asked.min_seconds, max_seconds=asked.max_seconds
        )
        watch.end()
        return watch.timed(samples, self._gpu_reasons())

    def scenario(self, asked: ScenarioAsked) -> ScenarioDone:
        """Let queries arrive as the plan's scenario says."""
        run, _ = self._ready()
        assert self._job is not None
        plan, clock = self._job.plan, self._clock
        run_ns = mean_run_ns(plan, run, clock) if plan.scenario == "offline" else asked.run_ns
        watch = self._watched()
        watch.begin()
        result = run_load(plan, run, run_ns=run_ns, clock=clock)
        watch.end()
        latencies = np.array(result.latencies_ns, np.int64)
        timed = watch.timed(latencies, self._gpu_reasons())
        return ScenarioDone(figures=figures_of(result, plan), block=timed.whole())

    def run_memory(self) -> RunMemory:
        """Tell what one more run takes on top of what lies there between runs."""
        run, meter = self._ready()
        if not self._frugal:
            return RunMemory(added_bytes=None)
        run()
        added = peak_allocated(run)
        if added is not None:
            return RunMemory(added_bytes=added)
        meter.restart()
        between = read_memory(self._root)
        run()
        phase = meter.end()
        if phase is None or phase.peak_bytes is None or between is None:
            return RunMemory(added_bytes=None)
        return RunMemory(added_bytes=max(0, phase.peak_bytes - between.resident_bytes))

    def power(self, asked: PowerAsked) -> Power:
        """Measure power and energy of continuous runs; null with its reason where there is no sensor."""
        # A worker starts for each model, and few are asked for power.
        from edgecnn.bench.power.measure import measure_power, no_power  # noqa: PLC0415
        from edgecnn.devices.sensors.catalog import meter_from  # noqa: PLC0415

        run, _ = self._ready()
        assert self._session is not None
        assert self._job is not None
        try:
            info = self._session.info()
            uses_gpu, gpu = info.backend in GPU_BACKENDS, engine_address(info)
            meter = meter_from(asked.meter, self._root, uses_gpu=uses_gpu, gpu=gpu)
        except SensorUnavailable as error:
            return no_power(error)
        begin, before = self._clock.now_ns(), read_cpu_times(self._root)
        try:
            power = measure_power(run, meter, images_per_run=self._job.plan.batch, seconds=asked.seconds)
        finally:
            meter.close()
        after = read_cpu_times(self._root)
        use = use_between(before, after, elapsed_ns=self._clock.now_ns() - begin)
        activity = activity_of([use] if use else [])
        return replace(power, other_cores=activity.other_cores if activity else None)

    def close(self) -> None:
        """Give the engine's memory back."""
        if self._session is not None:
            self._session.close()
            self._session = self._run = None

    def _ready(self) -> tuple[Run, PhaseMeter]:
        if self._run is None or self._meter is None:
            raise BadInput("request", expected="load first", got="a request without a session")
        return self._run, self._meter

    def _watched(self) -> Watch:
        assert self._meter is not None
        return Watch(self._clock, self._meter, self._root, cgroup_before=self._cgroup_before)

    def _gpu_reasons(self) -> int | None:
        assert self._session is not None
        return read_gpu_reasons(self._session.info(), self._gpu(), root=self._root)

    def _gpu(self) -> Gpu | None:
        assert self._session is not None
        return engine_gpu(self._session.info(), root=self._root)


def answers(lines: Iterable[bytes], worker: Worker) -> Iterator[bytes]:
    """Yield the answer to each request: what was asked for, or the error that edgecnn raised on purpose.

    A long answer comes in pieces; the last one ends the line.
    """
    handlers: dict[str, tuple[type[Any] | None, Callable[..., object]]] = {
        "load": (Job, worker.load),
        "first": (None, worker.first),
        "warm": (WarmUp, worker.warm),
        "block": (BlockAsked, worker.block),
        "scenario": (ScenarioAsked, worker.scenario),
        "run_memory": (None, worker.run_memory),
        "power": (PowerAsked, worker.power),
    }
    kinds = {name: kind for name, (kind, _) in handlers.items()}
    for line in lines:
        try:
            name, value = decode_request(line, kinds)
            kind, handler = handlers[name]
            # Kept by no name: the samples of a block would still be there while those of the next are taken.
            yield from encode_pieces(name, handler() if kind is None else handler(value))
        except EdgecnnError as error:
            yield encode_error(error)


def main() -> None:
    """Answer the requests on standard input on standard output until there are no more."""
    die_with_parent()
    worker = Worker()
    with take_output() as output:
        for answer in answers(sys.stdin.buffer, worker):
            output.write(answer)
            if answer.endswith(b"\n"):
                output.flush()
        worker.close()


def _touch_harness(clock: Clock, root: Path) -> None:
    """Do once without a model what is done later with it, so that code and libraries of the harness lie in the baseline."""
    warm_up(_nothing, clock, min_runs=_TOUCH_RUNS, min_seconds=0, max_seconds=_TOUCH_SECONDS)
    encode_durations(sample(_nothing, clock, min_runs=_TOUCH_RUNS, min_seconds=0, max_seconds=_TOUCH_SECONDS))
    use_between(read_cpu_times(root), read_cpu_times(root), elapsed_ns=1)
    read_state(root)
    read_pss(root)


def _nothing() -> None:
    pass


def _now(memory: Memory | None) -> Phase | None:
    if memory is None:
        return None
    return Phase(resident_bytes=memory.resident_bytes, peak_bytes=None, file_bytes=memory.file_bytes)


if __name__ == "__main__":
    main()
