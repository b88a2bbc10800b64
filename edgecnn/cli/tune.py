"""`edgecnn tune`: the precision, backend, threads and options that fit a budget, written as a deployment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from edgecnn.cli.live import live_progress
from edgecnn.cli.options import Numbers, Span, data_option, json_option, output_option, threads_list_option
from edgecnn.cli.output import print_json, say
from edgecnn.cli.tune_sources import check_models, sources_of, without_quantized
from edgecnn.cli.tune_tables import show, warnings
from edgecnn.data.choice import choose_images
from edgecnn.devices.detect import detect
from edgecnn.errors import BadInput, Contradiction
from edgecnn.files import check_folder_takes
from edgecnn.runtimes import backend_states
from edgecnn.runtimes.threads import usable_threads
from edgecnn.specs import Artifact
from edgecnn.tune.budget import Budget, parse_budget
from edgecnn.tune.choice import PREFERENCES
from edgecnn.tune.run import Outcome
from edgecnn.tune.run import tune as tune_model
from edgecnn.tune.search import Deadline
from edgecnn.tune.space import Asked, Machine
from edgecnn.tune.task import Task, refuse_drop_of
from edgecnn.tune.writing import check_folder

OUTPUT = Path("tuned")
"""Where deployments go when nothing else is said, each in a folder of its own."""


class Names(click.ParamType):  # type: ignore[type-arg] # older versions of click have no type parameter here
    """A comma-separated list of names, "cpu,openvino"."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the names, in order, each once."""
        if isinstance(value, tuple):
            return value
        names = tuple(dict.fromkeys(part.strip() for part in str(value).split(",") if part.strip()))
        if not names:
            self.fail("expected at least one name", param, ctx)
        return names


class Widths(click.ParamType):  # type: ignore[type-arg] # as above
    """A comma-separated list of numbers above 0, "0.25,0.5"."""

    name = "widths"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Return the numbers, in order, each once."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(dict.fromkeys(float(part) for part in str(value).split(",")))
        except ValueError:
            self.fail(f"expected numbers such as 0.25,0.5, got {value!r}", param, ctx)
        if not all(0 < number < float("inf") for number in numbers):
            self.fail(f"expected numbers above 0, got {value!r}", param, ctx)
        return numbers


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option(
    "--budget",
    "budgets",
    multiple=True,
    metavar="LIMITS",
    help="What it may take: latency=5ms,memory=100MB,energy=20mJ,drop=0.5 (points of top-1), size=1MB, and at least "
    "throughput=200; given again, all of them.  [default: no limit]",
)
@click.option(
    "--prefer",
    type=click.Choice(tuple(PREFERENCES)),
    help="Among what holds the budget.  [default: latency; throughput where that is limited; macs for random variants]",
)
@click.option("--backend", "backends", type=Names(), help="Try these.  [default: all of this machine's targets]")
@click.option("--precision", "precisions", type=Names(), help="Try these of fp32, int8, fp16, bf16.  [default: all]")
@click.option("--preset", "presets", type=Names(), help="Try these of latency, embedded, shared.  [default: all]")
@threads_list_option("Try these numbers of threads.  [default: 1, 2, 4, ... to all]")
@click.option("--batch", "batches", type=Numbers(), help="Try these.  [default: 1; more where throughput is limited]")
@click.option(
    "--weights", metavar="bundled|random", help="Of a network by name: random times its width and resolution."
)
@click.option("--width", "widths", type=Widths(), help="Width multipliers to try, with --weights random.")
@click.option("--input-size", "sizes", type=Numbers(), help="Resolutions to try, with --weights random.")
@data_option
@click.option("--calibration", metavar="NAME|FOLDER", help="Images for the ranges.  [default: training part of --data]")
@click.option("--power", metavar="SENSOR", help="Measure energy of the finalists: auto, a sensor's name or none.")
@click.option(
    "--seconds",
    type=Span(),
    default=300.0,
    show_default=True,
    metavar="TIME",
    help="For each model, 300, 300s or 5m: what has begun then is finished.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of inputs and of the order.")
@click.option("--strict", is_flag=True, help="A choice whose measurement is not valid is an error.")
@output_option("Folder for the model file and deployment.toml, for one MODEL.  [default: tuned/<name>]")
@json_option
def tune(
    models: tuple[str, ...],
    budgets: tuple[str, ...],
    weights: str | None,
    widths: tuple[float, ...] | None,
    sizes: tuple[int, ...] | None,
    seconds: float,
    seed: int,
    output: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Search the fastest way to run each MODEL within a budget, and write it with a deployment.toml.

    MODEL is an fp32 .onnx file or a network of the zoo. Files that are int8 or half precision are passed over where there
    are others: those forms are made here. `edgecnn.load("tuned/NAME/deployment.toml")` opens what was found.

    \b
    Example:
      edgecnn tune mobilenet --budget drop=0.5,latency=2ms
      edgecnn tune models/resnet20.onnx --budget memory=150MB,drop=1 --prefer size
      edgecnn tune mobilenet --weights random --budget latency=20ms
    """
    limits = budget_of(budgets)
    asked = Asked(**{name: given[name] for name in ("backends", "precisions", "presets", "threads", "batches")})
    refuse_drop_of(weights, limits)
    names = without_quantized(models)
    if output is not None and len(names) > 1:
        raise Contradiction(f"--output names one folder, but {len(names)} models were given", "leave --output out")
    check_models(names, weights, widths, sizes)
    if output is None:
        check_folder_takes(OUTPUT)
    else:
        check_folder(output)
    # Looked at last: it asks every backend.
    machine = this_machine()
    outcomes: list[Outcome] = []
    try:
        for name in names:
            deadline = Deadline(seconds)
            with sources_of(name, weights, widths, sizes, seed=seed, deadline=deadline) as sources:
                task = make_task(sources, limits, machine, asked, output=output, seconds=seconds, seed=seed, **given)
                outcomes.append(run_task(task, deadline))
    finally:
        # What was found before one failed lies on the disk: it is told all the same.
        if outcomes and as_json:
            print_json(outcomes)
        elif outcomes:
            show(outcomes)
        for line in warnings(outcomes):
            say(line)
    error = next(filter(None, (outcome.error for outcome in outcomes)), None)
    if error is not None:
        raise error


def budget_of(texts: Sequence[str]) -> Budget:
    """Return the budget of all --budget that were given.

    Raises:
        BadInput: one of them limits nothing.
        UsageError: what `parse_budget` raises.
    """
    if not all(text.strip(" ,") for text in texts):
        raise BadInput("--budget", "leave it out for no limit", expected="limits such as latency=5ms", got="nothing")
    return parse_budget(",".join(texts))


def make_task(
    sources: Mapping[str, Artifact],
    budget: Budget,
    machine: Machine,
    asked: Asked,
    *,
    output: Path | None,
    seconds: float,
    seed: int,
    **given: Any,
) -> Task:
    """Return the task for one model; `given` has data, calibration, power, prefer and strict as they were typed."""
    source = next(iter(sources.values()))
    images = choose_images(source.spec.dataset, data=given["data"], calibration=given["calibration"])
    if images.note:
        say(images.note)
    task = Task(
        sources=sources,
        budget=budget,
        output=output or OUTPUT,
        images=images,
        machine=machine,
        asked=asked,
        prefer=given["prefer"],
        power=given["power"],
        seconds=seconds,
        seed=seed,
        strict=given["strict"],
    )
    return task if output else replace(task, output=OUTPUT / task.title)


def run_task(task: Task, deadline: Deadline) -> Outcome:
    """Return what came of a task, with its stages and its table of candidates shown on standard error."""
    with live_progress(f"tuning {task.title}") as on_progress:
        return tune_model(task, deadline=deadline, on_stage=say, on_note=say, on_progress=on_progress)


def this_machine() -> Machine:
    """Return what of this machine decides about candidates."""
    device = detect()
    return Machine(arch=device.arch or "", features=device.features, threads=usable_threads(), states=backend_states())


__all__ = ["budget_of", "make_task", "run_task", "this_machine", "tune"]
