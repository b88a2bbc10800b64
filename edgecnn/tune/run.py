"""All of a tuning: the space, the files, their accuracy, the search, the choice, and what is written."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgecnn.bench import Progress
from edgecnn.errors import EdgecnnError, MeasurementError, MissingDependency, UnavailableError
from edgecnn.specs import Artifact
from edgecnn.tune.candidates import Candidate, FileForm, LeftOut
from edgecnn.tune.choice import Point, pareto_front, passed_over
from edgecnn.tune.explain import Unreachable, explain
from edgecnn.tune.files import REFERENCE_BACKEND, Files
from edgecnn.tune.measuring import Measure, measuring
from edgecnn.tune.search import Deadline, Known, Search
from edgecnn.tune.shortlist import shortlist
from edgecnn.tune.space import Space, make_space
from edgecnn.tune.task import Task, accuracy_reason, preference, sensor, sensor_note
from edgecnn.tune.writing import check_folder, write_chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a tuning.

    Attributes:
        model: title of the task.
        budget: as `--budget` takes it.
        prefer: what was preferred.
        candidates: how many there were.
        rungs: how many were measured in each rung of the screening, and seconds of sampling of each.
        front: points that no other beats, the fastest first.
        chosen: what was written, null where nothing holds the budget.
        why: in one line.
        unreachable: why nothing holds the budget, null where something does.
        deployment: the file that was written, null where none was.
        left_out: what was not tried or failed, with reasons.
        accuracy_reason: why accuracy is null, empty where it is not.
        energy_reason: why energy is null, empty where it is not.
        points: all that was measured.
        elapsed_seconds: that it took.
    """

    model: str
    budget: str
    prefer: str
    candidates: int
    rungs: tuple[tuple[int, float], ...]
    front: tuple[Point, ...]
    chosen: Point | None = None
    why: str = ""
    unreachable: Unreachable | None = None
    deployment: Path | None = None
    left_out: tuple[LeftOut, ...] = ()
    accuracy_reason: str = ""
    energy_reason: str = ""
    points: tuple[Point, ...] = ()
    elapsed_seconds: float = 0.0

    @property
    def error(self) -> EdgecnnError | None:
        """What a program should end with, None where a deployment was written."""
        if self.unreachable is not None:
            return UnavailableError(f"{self.model}: {self.unreachable.message}", self.unreachable.hint)
        if self.chosen is not None and self.deployment is None:
            first = self.chosen.figures.reasons[0]
            return MeasurementError(
                f"{self.model}: the measurement of {self.chosen.candidate.text} is {self.chosen.figures.verdict}: "
                f"{first.message}; nothing was written",
                first.advice,
            )
        if self.chosen is None:
            reasons = "; ".join(f"{one.what}: {one.reason}" for one in self.left_out)
            return MeasurementError(f"{self.model}: nothing could be measured: {reasons}", "edgecnn doctor says more")
        return None


def tune(
    task: Task,
    *,
    measure: Measure | None = None,
    deadline: Deadline | None = None,
    on_stage: Callable[[str], None] = lambda stage: None,
    on_note: Callable[[str], None] = lambda line: None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Return what came of a tuning; where a point holds the budget, it is written into the task's folder.

    Args:
        task: what is tuned, and how.
        measure: stands for `edgecnn.tune.measuring.measuring`.
        deadline: that the time since an earlier moment counts for; None begins now.
        on_stage: called with what is being done.
        on_note: called with one line for the user.
        on_progress: called between two blocks of runs.

    Raises:
        Contradiction: a drop where accuracy means nothing, or another budget or request that contradicts itself.
        SensorUnavailable: energy is limited and nothing here measures it.
        BadInput: the folder belongs to something else.
        UnavailableError: the folder cannot be written to.
    """
    deadline = deadline or Deadline(task.seconds)
    check_folder(task.output)
    no_accuracy = accuracy_reason(task)
    prefer = preference(task, no_accuracy)
    space = _space(task)
    power, no_energy = sensor(task, prefer, space)
    if power is not None and (note := sensor_note(power, space)):
        on_note(note)
    with tempfile.TemporaryDirectory() as folder:
        files = Files(
            images=task.images,
            folder=Path(folder),
            max_drop=task.budget.drop_points,
            on_note=on_note,
            on_stage=on_stage,
        )
        made: dict[FileForm, Artifact] = {}
        act = measure or measuring(made, seed=task.seed, power=power, on_progress=on_progress)
        candidates, left_out = _ready(task, space, files, made, deadline, act)
        known, failed = _known(task, candidates, files, made, lambda: deadline.left_seconds > task.seconds / 4)
        search = Search(
            budget=task.budget,
            prefer=prefer,
            measure=act,
            known=known,
            deadline=deadline,
            seed=task.seed,
            power=power is not None,
            no_energy=no_energy,
            on_stage=on_stage,
        )
        chosen = search.run(list(known))
        outcome = _outcome(task, search, chosen, prefer=prefer, no_accuracy=no_accuracy, no_energy=no_energy)
        outcome = replace(outcome, left_out=(*space.left_out, *left_out, *failed, *search.left_out))
        if chosen is None or (task.strict and chosen.figures.verdict != "valid"):
            return outcome
        path = _write(task, search, chosen, made[chosen.candidate.form], outcome)
        return replace(outcome, deployment=path, elapsed_seconds=deadline.elapsed_seconds)


def _write(task: Task, search: Search, chosen: Point, file: Artifact, outcome: Outcome) -> Path:
    return write_chosen(
        task.output,
        chosen,
        search.records[chosen.candidate],
        file,
        budget=task.budget,
        prefer=outcome.prefer,
        seed=task.seed,
        accuracy=search.known[chosen.candidate].accuracy,
        no_accuracy=outcome.accuracy_reason,
    )


def _space(task: Task) -> Space:
    source = next(iter(task.sources.values()))
    shape = source.spec.inputs[0].shape if source.spec.inputs else ()
    fixed = shape[0] if shape and isinstance(shape[0], int) else None
    asked = replace(task.asked, throughput=task.asked.throughput or task.budget.throughput is not None)
    only = None if source.precision == "fp32" else source.precision
    return make_space(tuple(task.sources), task.machine, asked, fixed_batch=fixed, only=only)


def _ready(
    task: Task,
    space: Space,
    files: Files,
    made: dict[FileForm, Artifact],
    deadline: Deadline,
    measure: Measure,
) -> tuple[list[Candidate], list[LeftOut]]:
    """Make the files, and return the candidates that have one; of many variants, those on the shortlist alone."""
    left_out: list[LeftOut] = []
    for form in space.forms:
        if form.precision == task.sources[form.variant].precision:
            made[form] = task.sources[form.variant]
    variants = set(task.sources)
    if len(variants) > 1:
        taken, dropped = shortlist(space.candidates, made, task.budget, measure)
        variants, left_out = set(taken), dropped
    for form in space.forms:
        if form in made or form.variant not in variants:
            continue
        if deadline.left_seconds < task.seconds / 2 and made:
            left_out.append(LeftOut(what=form.stem, reason="out of time before it was made"))
            continue
        try:
            made[form] = files.make(form, task.sources[form.variant])
        except MissingDependency as error:
            left_out.append(LeftOut(what=form.stem, reason=f"{error.message}: {error.hint}"))
        except EdgecnnError as error:
            left_out.append(LeftOut(what=form.stem, reason=error.message))
    return [one for one in space.candidates if one.form in made and one.form.variant in variants], left_out


def _known(
    task: Task,
    candidates: Sequence[Candidate],
    files: Files,
    made: Mapping[FileForm, Artifact],
    go_on: Callable[[], bool],
) -> tuple[dict[Candidate, Known], list[LeftOut]]:
    """Return what is known of the candidates before they are timed, and those whose backend does not run their file.

    Args:
        task: whose sources a drop is told of, also where fp32 itself is not tried.
        candidates: all that have a file.
        files: what measures accuracy.
        made: the files.
        go_on: asked before each file and backend but the first; False leaves the rest out.
    """
    found: dict[tuple[FileForm, str], Known | LeftOut] = {}
    for one in candidates:
        key = (one.form, one.backend)
        if key in found:
            continue
        what = f"{one.form.stem} on {one.backend}"
        if found and not go_on():
            found[key] = LeftOut(what=what, reason="out of time before its accuracy was measured")
            continue
        original = task.sources[one.form.variant]
        try:
            reference = files.accuracy(original, REFERENCE_BACKEND) if original.precision == "fp32" else None
            found[key] = Known(accuracy=files.accuracy(made[one.form], one.backend), reference=reference)
        except EdgecnnError as error:
            found[key] = LeftOut(what=what, reason=error.message)
    known = {one: value for one in candidates if isinstance(value := found[one.form, one.backend], Known)}
    return known, [value for value in found.values() if isinstance(value, LeftOut)]


def _outcome(
    task: Task, search: Search, chosen: Point | None, *, prefer: str, no_accuracy: str, no_energy: str
) -> Outcome:
    points = tuple(search.points.values())
    halved = search.halved
    return Outcome(
        model=task.title,
        budget=task.budget.text,
        prefer=prefer,
        candidates=len(search.known),
        rungs=tuple((len(rung.arms), rung.resource) for rung in halved.rungs) if halved else (),
        front=pareto_front(points, macs=prefer == "macs"),
        chosen=chosen,
        why=_why(task, prefer, chosen, points) if chosen else "",
        unreachable=explain(points, task.budget) if chosen is None and points else None,
        accuracy_reason=no_accuracy,
        energy_reason=no_energy,
        points=points,
        elapsed_seconds=search.deadline.elapsed_seconds,
    )


def _why(task: Task, prefer: str, chosen: Point, points: Sequence[Point]) -> str:
    best = {
        "latency": "the fastest",
        "throughput": "the most images per second",
        "memory": "the least memory",
        "energy": "the least energy",
        "size": "the smallest file",
        "accuracy": "the most accurate",
        "macs": "the largest network",
    }[prefer]
    held = "of those that hold the budget" if task.budget.limits else "of all, no budget was given"
    if chosen.figures.verdict == "invalid":
        return f"{best} {held}; its measurement is invalid"
    better = passed_over(points, task.budget, chosen, prefer=prefer)
    if better is None:
        return f"{best} {held}"
    return f"{best} {held} and whose measurement is not invalid; that of {better.candidate.text} came out better and is invalid"
