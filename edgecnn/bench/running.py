"""One subject and the child process that measures it, from its start to its record."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np

from edgecnn.bench.child import Ended
from edgecnn.bench.inputs import check_fits
from edgecnn.bench.job import (
    Block,
    BlockAsked,
    FirstRun,
    GarbledError,
    Job,
    Loaded,
    PowerAsked,
    RunMemory,
    ScenarioAsked,
    ScenarioDone,
    Warmed,
    WarmUp,
)
from edgecnn.bench.memory import available_bytes
from edgecnn.bench.outcome import record_of
from edgecnn.bench.plan import load_limit_seconds, warmup_limit_seconds, warmup_seconds
from edgecnn.bench.rounds import Pace
from edgecnn.bench.seen import Seen
from edgecnn.bench.subjects import unmeasured
from edgecnn.bench.talk import Talk, TalkEnded
from edgecnn.bench.wire import decode_answer, encode_request
from edgecnn.errors import EdgecnnError
from edgecnn.powerspec import Power
from edgecnn.results import Record
from edgecnn.runtimes import get_runtime
from edgecnn.specs import sized_inputs

T = TypeVar("T")

State = Literal["waiting", "loading", "warming up", "measuring", "done", "failed"]

_POWER_AGAIN = "measure again, power alone with fewer models at a time"

_BUILDERS = ("trt", "ort-trt")

_SLOWEST = 20.0
_POWER_SECONDS = 3600.0
# A slow sensor at the wall needs minutes; a day's CSV log is still read in seconds.
_QUEUED = 10.0
# By how much a run may be slower than it was seen to be before its process counts as hung.
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a subject.

    Attributes:
        record: of the measurement, or of its failure.
        error: why the request was refused; None where it was measured, or where the worker died.
    """

    record: Record
    error: EdgecnnError | None = None


class Failed(Exception):
    """A subject is out; why stands in it already. Outside edgecnn's tree, because it never leaves this package."""


class Running:
    """A subject with its worker.

    Args:
        job: what is measured.
        group: of the record.
        command: program and arguments of the worker.

    Attributes:
        job: what is measured.
        state: how far it is.
        seen: what its worker told, None before the warm-up has ended.
        runs: that were timed.
        reason: why it failed, empty otherwise.
        error: the worker's own error, where it failed with one.
    """

    def __init__(self, job: Job, *, group: str | None, command: tuple[str, ...]) -> None:
        self.job = job
        self.state: State = "waiting"
        self.seen: Seen | None = None
        self.reason = ""
        self.error: EdgecnnError | None = None
        self._command = command
        self._talk: Talk | None = None
        self._medians: list[float] = []
        self.runs = 0
        blank = unmeasured(job.artifact, plan=job.plan, status="failed", reason="", root=job.root)
        self._blank = replace(blank, provenance=replace(blank.provenance, group=group))

    @property
    def alive(self) -> bool:
        """Whether it has not failed."""
        return not self.reason

    @property
    def pace(self) -> Pace:
        """Its plan and how long its runs take; once it is warm."""
        assert self.seen is not None
        return Pace(plan=self.job.plan, median_ns=self.seen.warmed.median_ns)

    @property
    def middle_ns(self) -> float | None:
        """Median of the medians of its blocks, None before there is one."""
        return float(np.median(self._medians)) if self._medians else None

    @property
    def medians_ns(self) -> tuple[float, ...]:
        """Median of each of its blocks."""
        return tuple(self._medians)

    @property
    def like(self) -> tuple[object, ...]:
        """What it has in common with the subjects that it is read against."""
        subject = self._blank.subject
        return subject.network, subject.variant, self.job.plan.batch

    @property
    def process(self) -> int | None:
        """Number of its worker, which leads a session of its own; None where none was started."""
        return None if self._talk is None else self._talk.pid

    @property
    def satisfied(self) -> bool:
        """Whether sampling has used up its time."""
        return self.seen is not None and self.seen.elapsed_seconds >= self.job.plan.max_seconds

    def prepare(self) -> None:
        """Start the worker, load, run for the first time and warm up.

        Raises:
            Failed: it did not come so far.
        """
        job, plan = self.job, self.job.plan
        with self._failing():
            get_runtime(job.backend).check()
            inputs = sized_inputs(job.artifact.spec.inputs, job.artifact.spec.preprocess)
            check_fits(inputs, batch=plan.batch, left_bytes=available_bytes(job.root))
            self._talk = Talk(self._command)
        self.state = "loading"
        limit = load_limit_seconds(job.artifact.size_bytes, builds=job.backend in _BUILDERS)
        loaded = self._ask("load", job, Loaded, limit)
        first = self._ask("first", None, FirstRun, limit)
        self.state = "warming up"
        most = warmup_limit_seconds(plan)
        asked = WarmUp(min_runs=plan.warmup_runs, min_seconds=warmup_seconds(plan), max_seconds=most)
        warmed = self._ask("warm", asked, Warmed, _patience(most, first.first_run_ns))
        self.seen = Seen(loaded=loaded, first=first, warmed=warmed)
        self.state = "measuring"

    def measure(self, asked: BlockAsked) -> None:
        """Have one block measured.

        Raises:
            Failed: it was not.
        """
        assert self.seen is not None
        limit = _patience(asked.max_seconds, self.seen.warmed.median_ns)
        block = self._ask("block", asked, Block, limit)
        self._keep(block)

    def measure_scenario(self) -> None:
        """Have the plan's load pattern measured.

        Raises:
            Failed: it was not.
        """
        assert self.seen is not None
        plan, run_ns = self.job.plan, self.seen.warmed.median_ns
        asked = ScenarioAsked(run_ns=run_ns)
        # Queries that wait for each other may take much longer than their arrivals.
        done = self._ask("scenario", asked, ScenarioDone, _patience(_QUEUED * plan.min_seconds, run_ns))
        self.seen.scenario = done.figures
        self._keep(done.block)

    def measure_run_memory(self) -> None:
        """Have a further process tell what a run takes at a time, where that was asked for and the engine has an arena.

        With its arena the engine keeps that memory between runs, so that process opens the session without.
        """
        assert self.seen is not None
        job = self.job
        if not job.memory or "arena" not in self.seen.warmed.info.options:
            return
        frugal = replace(job, frugal=True, options=replace(job.options, arena=False))
        limit = load_limit_seconds(job.artifact.size_bytes)
        # What cannot be told here stays unknown; the timed runs are done.
        with suppress(EdgecnnError, TalkEnded, GarbledError), Talk(self._command) as talk:
            decode_answer(talk.ask(encode_request("load", frugal), limit_seconds=limit), "load", Loaded)
            told = decode_answer(talk.ask(encode_request("run_memory"), limit_seconds=limit), "run_memory", RunMemory)
            self.seen.run_bytes = told.added_bytes

    def measure_power(self) -> None:
        """Have power and energy measured, where that was asked for; the timed runs are done and stay, whatever comes of it."""
        assert self.seen is not None
        assert self._talk is not None
        if self.job.power is None:
            return
        asked = encode_request("power", PowerAsked(meter=self.job.power))
        try:
            self.seen.power = decode_answer(self._talk.ask(asked, limit_seconds=_POWER_SECONDS), "power", Power)
        except EdgecnnError as error:
            self.seen.power = Power(meter=None, reason=error.message, fix=error.hint)
        except TalkEnded as ended:
            self.seen.power = Power(meter=None, reason=_cause(ended.ended), fix=_POWER_AGAIN)
        except GarbledError as garbled:
            self.seen.power = Power(meter=None, reason=_unread(garbled), fix=_POWER_AGAIN)

    def pause(self) -> None:
        """Stop the worker with all of its threads."""
        if self._talk:
            self._talk.pause()

    def resume(self) -> None:
        """Let the worker go on."""
        if self._talk:
            self._talk.resume()

    def end(self) -> None:
        """End the worker."""
        if self._talk:
            self._talk.end()

    def result(self, *, interrupted: str = "") -> Result:
        """Return what came of it.

        Args:
            interrupted: how far it had come when it was stopped from outside, empty where it was not.
        """
        seen = self.seen
        if not self.alive or seen is None or not seen.blocks:
            return Result(record=replace(self._blank, reason=self.reason or "not measured"), error=self.error)
        return Result(record=record_of(seen, self.job, self._blank, interrupted=interrupted))

    def _keep(self, block: Block) -> None:
        assert self.seen is not None
        samples = block.samples_ns
        self.seen.blocks.append(block)
        self._medians.append(float(np.median(samples)))
        self.runs += samples.size

    def _ask(self, name: str, value: object, kind: type[T], limit_seconds: float) -> T:
        assert self._talk is not None
        with self._failing():
            return decode_answer(self._talk.ask(encode_request(name, value), limit_seconds=limit_seconds), name, kind)

    def _failing(self) -> _Failing:
        return _Failing(self)

    def fail(self, reason: str, error: EdgecnnError | None = None) -> None:
        """Take it out."""
        self.state, self.reason, self.error = "failed", reason, error
        self.end()


class _Failing:
    """Turns what goes wrong in the block into the subject's failure."""

    def __init__(self, running: Running) -> None:
        self._running = running

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, EdgecnnError):
            self._running.fail(error.message, error)
        elif isinstance(error, TalkEnded):
            self._running.fail(_cause(error.ended))
        elif isinstance(error, GarbledError):
            self._running.fail(_unread(error))
        else:
            return
        raise Failed(self._running.reason) from error


def _cause(ended: Ended) -> str:
    return _unread(repr(ended.output[:80])) if ended.output else ended.cause


def _unread(problem: object) -> str:
    return f"the worker's answer cannot be read: {problem}"


def _patience(seconds: float, run_ns: float) -> float:
    """Return after how long an answer is not waited for any more: far beyond what a slow board needs."""
    return _PATIENCE_SECONDS + _SLOWEST * (seconds + run_ns / 1e9)
