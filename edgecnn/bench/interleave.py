"""Several subjects measured in turn, so that all of them see the same machine.

All are loaded and warmed up one after the other; then every round gives each of them one block of timed runs, beginning
with another one each time. Whoever's turn it is not is stopped with all of its threads, those that wait actively
included. What slows the machine down for a while then slows down all of them, and cancels in a ratio by rounds. Subjects
that are read against each other get further rounds where their ratio is not sure yet (`edgecnn.bench.further`).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress

from edgecnn.bench.estimate.footprint import footprint_of
from edgecnn.bench.further import InTurn, steps, unsure
from edgecnn.bench.interrupts import undisturbed
from edgecnn.bench.job import Job
from edgecnn.bench.memory import available_bytes
from edgecnn.bench.neighbours import Neighbours
from edgecnn.bench.plan import expected_seconds
from edgecnn.bench.progress import OnProgress, Progress, standing_of
from edgecnn.bench.rounds import SUSTAIN_BLOCKS, block_for, rounds_for, turn
from edgecnn.bench.running import Failed, Result, Running
from edgecnn.childcommand import child_command
from edgecnn.errors import BadInput
from edgecnn.units import bytes_text

PROCESS_BYTES = 150_000_000
"""Interpreter, numpy and an engine of a process, before any model."""

WEIGHT_COPIES = 4
"""The file while it is read, its weights, and the engine's own form of them, with one to spare."""

MEMORY_SHARE = 0.8
"""Of the memory that is left; what is needed is an estimate."""


OnResult = Callable[[int, Result], None]


def measure_jobs(
    jobs: Sequence[Job],
    *,
    rounds: int | None = None,
    on_progress: OnProgress | None = None,
    on_result: OnResult | None = None,
    command: Sequence[str] | None = None,
) -> list[Result]:
    """Return what came of each job, in order; several are measured in turn where they fit into memory together.

    Args:
        jobs: what is measured.
        rounds: blocks of each; None takes what suits them, see `rounds_for`.
        on_progress: called between blocks; what it does disturbs nobody's timing.
        on_result: called with each job's place and result as soon as it is known. When the measurement is interrupted
            (Ctrl-C), it is first called for those that were measured so far.
        command: program and arguments of the workers, by default this interpreter's.

    Raises:
        BadInput: fewer than one round.
    """
    if rounds is not None and rounds < 1:
        raise BadInput("rounds", expected="at least 1", got=str(rounds))
    note = too_large(jobs)
    alone = len(jobs) < 2 or bool(note) or any(job.plan.sustain_seconds or job.plan.scenario for job in jobs)
    parts = [[place] for place in range(len(jobs))] if alone else [list(range(len(jobs)))]
    results: dict[int, Result] = {}

    def keep(place: int, result: Result) -> None:
        results[place] = result
        if on_result:
            on_result(place, result)

    for places in parts:
        group = _Group([jobs[place] for place in places], rounds, command, on_progress, note)
        group.run(lambda place, result, places=places: keep(places[place], result))  # type: ignore[misc]
        note = ""
    return [results[place] for place in range(len(jobs))]


def too_large(jobs: Sequence[Job]) -> str:
    """Return why these jobs can hardly be in memory at the same time, empty where they can or where it cannot be told."""
    left = available_bytes(jobs[0].root) if jobs else None
    needed = sum(needed_bytes(job) for job in jobs)
    if left is None or needed <= MEMORY_SHARE * left:
        return ""
    if len(jobs) == 1:
        return f"the model needs about {bytes_text(needed)} and {bytes_text(left)} are left: the kernel may end it"
    return (
        f"{len(jobs)} models need about {bytes_text(needed)} together and {bytes_text(left)} are left: "
        "measured one after the other, not in turn"
    )


def needed_bytes(job: Job) -> int:
    """Return an estimate of what a worker takes."""
    footprint = footprint_of(job.artifact, batch=job.plan.batch)
    activations = (footprint.activations_bytes if footprint else None) or 0
    return PROCESS_BYTES + WEIGHT_COPIES * job.artifact.size_bytes + 2 * activations


class _Group:
    """Subjects that are measured in turn."""

    def __init__(
        self,
        jobs: Sequence[Job],
        rounds: int | None,
        command: Sequence[str] | None,
        on_progress: OnProgress | None,
        note: str,
    ) -> None:
        name = uuid.uuid4().hex[:12] if len(jobs) > 1 else None
        words = tuple(command or child_command("edgecnn.bench.worker"))
        self._all = [Running(job, group=name, command=words) for job in jobs]
        self._rounds = rounds
        self._on_progress = on_progress
        self._note = note
        self._start_ns = time.perf_counter_ns()
        self._done = self._total = 0
        self._neighbours = Neighbours(jobs[0].root)

    def run(self, give: OnResult) -> None:
        """Measure all; what came of each is given at the end, or when it fails."""
        given: set[int] = set()

        def give_once(place: int, *, interrupted: str = "") -> None:
            if place not in given:
                given.add(place)
                give(place, self._all[place].result(interrupted=interrupted))

        with ExitStack() as stack:
            for running in self._all:
                stack.callback(running.end)
            try:
                for place in self._work():
                    give_once(place)
            except KeyboardInterrupt:
                said = f"stopped after {self._done} of {self._total} blocks"
                with undisturbed():
                    self._name_busiest()
                    for place, running in enumerate(self._all):
                        if running.alive and running.seen and running.seen.blocks:
                            give_once(place, interrupted=said)
                raise

    def _work(self) -> Iterator[int]:
        """Measure; yield the place of each subject that has failed or is done."""
        self._tell()
        for place, running in enumerate(self._all):
            with suppress(Failed):
                running.prepare()
                self._pause(running)
            self._tell()
            if not running.alive:
                yield place
        rounds = self._rounds_of()
        self._neighbours.begin()
        living = [running for running in self._all if running.alive]
        self._total = rounds * len(living) + len(living)
        self._tell()
        if rounds == 0 and living:
            yield from self._turn(self._all.index(living[0]), Running.measure_scenario)
        everybody = set(range(len(self._all)))
        yield from self._measure(range(rounds), everybody, rounds)
        if self._may_go_on:
            yield from self._go_on(rounds)
        for place, running in enumerate(self._all):
            if running.alive:
                yield from self._turn(place, _afterwards)
        self._name_busiest()
        for place, running in enumerate(self._all):
            running.end()
            if running.alive:
                running.state = "done"
                yield place

    def _measure(self, numbers: Iterable[int], places: Collection[int], rounds: int) -> Iterator[int]:
        """Measure these places in these rounds; yield the place of each subject that has failed."""
        for number in numbers:
            for place in turn(number, len(self._all)):
                running = self._all[place]
                if place in places and running.alive and not running.satisfied:
                    yield from self._turn(place, lambda one: one.measure(block_for(one.pace, rounds)))

    def _go_on(self, rounds: int) -> Iterator[int]:
        """Measure those further whose ratios are not sure yet; yield the place of each subject that has failed."""
        begin, places = rounds, list(range(len(self._all)))
        for count in steps(rounds):
            # Who has left out a round does not come back: block n of each is of round n.
            places = [place for place in places if self._all[place].alive and not self._all[place].satisfied]
            told = [InTurn(like=self._all[place].like, medians_ns=self._all[place].medians_ns) for place in places]
            places = [places[one] for one in sorted(unsure(told))]
            self._total += count * len(places)
            yield from self._measure(range(begin, begin + count), places, rounds)
            begin += count

    def _turn(self, place: int, work: Callable[[Running], None]) -> Iterator[int]:
        """Let one subject work while all others stand still; yield its place if it fails."""
        running = self._all[place]
        if len(self._all) > 1:
            running.resume()
        with suppress(Failed):
            work(running)
            self._pause(running)
        self._done += 1
        self._tell()
        if not running.alive:
            yield place

    def _name_busiest(self) -> None:
        """Tell all subjects which other processes used most since the first block."""
        workers = [running.process for running in self._all if running.process is not None]
        busiest = self._neighbours.busiest(own=workers)
        for running in self._all:
            if running.seen:
                running.seen.busiest = busiest

    @property
    def _may_go_on(self) -> bool:
        """Whether nobody has said how many rounds there are."""
        asked = self._rounds is not None or any(running.job.plan.sustain_seconds for running in self._all)
        return len(self._all) > 1 and not asked and not any(running.job.plan.scenario for running in self._all)

    def _rounds_of(self) -> int:
        living = [running for running in self._all if running.alive]
        if any(running.job.plan.scenario for running in living):
            return 0
        if self._rounds is not None:
            return self._rounds
        if any(running.job.plan.sustain_seconds for running in living):
            return SUSTAIN_BLOCKS
        return rounds_for([running.pace for running in living])

    def _pause(self, running: Running) -> None:
        if len(self._all) > 1:
            running.pause()

    def _tell(self) -> None:
        if not self._on_progress:
            return
        self._on_progress(
            Progress(
                elapsed_seconds=(time.perf_counter_ns() - self._start_ns) / 1e9,
                expected_seconds=sum(expected_seconds(running.job.plan) for running in self._all),
                done=self._done,
                total=self._total,
                standings=tuple(standing_of(running) for running in self._all),
                note=self._note,
            )
        )


def _afterwards(running: Running) -> None:
    """Have measured what would disturb the timed runs."""
    running.measure_run_memory()
    running.measure_power()
