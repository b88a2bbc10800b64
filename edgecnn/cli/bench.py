"""`edgecnn bench`: latency, throughput, memory and power, with a verdict."""

from __future__ import annotations

from pathlib import Path

import click

from edgecnn.artifacts import load_artifact
from edgecnn.bench.generators import GENERATORS
from edgecnn.bench.gpu import GPU_BACKENDS
from edgecnn.bench.plan import make_plan
from edgecnn.bench.power.duration import WITHOUT, long_power_note
from edgecnn.bench.scenarioresult import SCENARIOS
from edgecnn.bench.session import Interrupted, Outcome, failure, requests_for, results_path, run_session
from edgecnn.cli.auto import chosen_backend
from edgecnn.cli.bench_tables import show
from edgecnn.cli.live import live_progress
from edgecnn.cli.options import (
    MODELS,
    Latency,
    Numbers,
    Span,
    backend_option,
    cache_option,
    json_option,
    output_option,
    preset_option,
    threads_option,
    trust_engine_option,
)
from edgecnn.cli.output import print_json, say
from edgecnn.devices.sensors.catalog import check_meter
from edgecnn.errors import UnknownName
from edgecnn.resultlines import check_appendable
from edgecnn.results import Record
from edgecnn.runtimes import AUTO, OpenOptions, backend_states, get_runtime
from edgecnn.runtimes.presets import preset_options
from edgecnn.units import count_of


@click.command()
@click.argument("models", nargs=-1, type=click.Path(path_type=Path), metavar="[MODEL]...")
@backend_option
@click.option(
    "--batch", type=Numbers(), help="Images per run; a list measures each.  [default: 1, or what the file has]"
)
@threads_option
@click.option(
    "--seconds",
    type=Span(),
    default=2.0,
    show_default=True,
    metavar="TIME",
    help="Time of sampling per measurement, at least: 5, 5s or 10m.",
)
@click.option(
    "--runs", type=click.IntRange(1), default=30, show_default=True, help="Samples per measurement, at least."
)
@preset_option
@click.option("--no-spin", is_flag=True, help="Let worker threads sleep between operators: slower, saves power.")
@cache_option
@trust_engine_option
@click.option(
    "--include",
    type=click.Choice(["copy"]),
    help="copy: once more with copies to and from the device, and from images to labels.",
)
@click.option("--scenario", type=click.Choice(SCENARIOS), help="A load pattern in the style of MLPerf.")
@click.option("--qps", type=float, help="Queries per second, for --scenario server.")
@click.option(
    "--latency-bound",
    type=Latency(),
    metavar="TIME",
    help="For --scenario server: 99% of the queries within 20ms or 500us?",
)
@click.option(
    "--load-generator",
    type=click.Choice(GENERATORS),
    help="Who issues the queries of --scenario and times them: edgecnn, or MLCommons' loadgen.  [default: own]",
)
@click.option("--sustain", type=Span(), metavar="TIME", help="Run for 20s, 10m, 1h without a pause; the curve over it.")
@click.option(
    "--power", metavar="SENSOR", help="Power and energy: auto, a sensor's name, csv:FILE, http://PLUG or none."
)
@click.option("--memory", is_flag=True, help="Show what memory each phase takes, beside the estimate from the graph.")
@click.option("--strict", is_flag=True, help="A measurement that is not valid is an error.")
@output_option("Results file that lines are appended to.  [default: results.jsonl]")
@json_option
def bench(
    models: tuple[Path, ...],
    backend: str,
    batch: tuple[int, ...] | None,
    threads: int | None,
    seconds: float,
    runs: int,
    preset: str,
    no_spin: bool,
    cache: bool | None,
    trust_engine: bool,
    include: str | None,
    scenario: str | None,
    qps: float | None,
    latency_bound: float | None,
    load_generator: str | None,
    sustain: float | None,
    power: str | None,
    memory: bool,
    strict: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Measure each MODEL in a process of its own and append the records to results.jsonl.

    Several models take turns, block by block, so that all see the same machine. Without MODEL it takes every model in
    models/; when there is none, it makes the bundled mobilenet first.

    \b
    Example:
      edgecnn bench
      edgecnn bench models/mobilenet_v1_0.25_32.int8.onnx --batch 1,4,16 --threads 1
      edgecnn bench models/mobilenet_v1_0.25_32.onnx --sustain 10m
    """
    check_backend(backend)
    options = session_options(preset, threads=threads, no_spin=no_spin, cache=cache, trust_engine=trust_engine)
    path = results_path(output)
    check_appendable(path)
    # Said before anything is exported.
    if power == WITHOUT:
        power = None
    if power is not None:
        check_meter(power)
    plan = make_plan(
        seconds=seconds,
        min_runs=runs,
        scenario=scenario,
        qps=qps,
        sustain_seconds=sustain,
        latency_bound_ns=latency_bound,
        load_generator=load_generator,
    )
    artifacts = [load_artifact(model) for model in models or find_models(MODELS)]
    requests = requests_for(artifacts, plan, options, batches=batch, power=power, memory=memory)
    if power is not None and (note := long_power_note(power, uses_gpu=backend in GPU_BACKENDS)):
        say(note)
    kept: Interrupted | None = None
    with live_progress(f"measuring {len(requests)} x at least {plan.min_seconds:g} s") as on_progress:
        try:
            outcome = run_session(
                requests,
                path,
                choose=lambda artifact, options, batch: chosen_backend(backend, artifact, options, batch=batch),
                with_copies=include == "copy",
                on_progress=on_progress,
            )
        except Interrupted as interrupted:
            kept = interrupted
            outcome = interrupted.outcome
    _tell(outcome, path, as_json=as_json, memory=memory, interrupted=kept is not None)
    if kept is not None:
        raise kept
    error = failure(outcome, strict=strict)
    if error is not None:
        raise error


def _tell(outcome: Outcome, path: Path, *, as_json: bool, memory: bool, interrupted: bool) -> None:
    """Print what was measured, say what was not, and where it was written."""
    if as_json:
        print_json((*outcome.records, *outcome.unmeasured))
    elif any(record.status == "ok" for record in outcome.records):
        show(outcome.records, memory=memory)
    elif not interrupted:
        return
    for line in dict.fromkeys(map(_unmeasured_text, outcome.unmeasured)):
        say(line)
    so_far = " (interrupted)" if interrupted and outcome.written else ""
    say(f"{count_of(outcome.written, 'record')}{so_far} appended to {path}")


def _unmeasured_text(record: Record) -> str:
    return f"{record.subject.file}, batch {record.plan.batch}: not measured: {record.reason}"


def session_options(
    preset: str, *, threads: int | None, no_spin: bool, cache: bool | None, trust_engine: bool = False
) -> OpenOptions:
    """Return a preset with what was asked for besides.

    Args:
        preset: one of `edgecnn.runtimes.presets.PRESETS`.
        threads: None leaves them to the preset.
        no_spin: turn spinning off in any preset.
        cache: None leaves it to the preset.
        trust_engine: load a built engine that is given as a file.

    Raises:
        UnknownName: no such preset.
        BadInput: a number of threads that cannot be.
    """
    asked = {"threads": threads, "spinning": False if no_spin else None, "cache": cache, "trust_engine": trust_engine}
    return preset_options(preset, **{name: value for name, value in asked.items() if value is not None})


def check_backend(name: str) -> None:
    """Return if a backend can run here; said before anything is exported or measured.

    Raises:
        UnknownName: no such backend; the hint lists all with the reason why one cannot run here.
        RuntimeUnavailable: it cannot run here.
        MissingDependency: its package is not installed.
    """
    if name == AUTO:
        return  # it is chosen for each model
    try:
        get_runtime(name).check()
    except UnknownName as error:
        if name.startswith("ort:"):
            raise  # it has said which providers there are
        states = backend_states()
        listed = [one.name if one.state == "ok" else f"{one.name} ({one.state}: {one.reason})" for one in states]
        suggestion = f"did you mean {error.suggestion}? " if error.suggestion else ""
        error.hint = suggestion + "known: " + ", ".join(listed)
        raise


def find_models(folder: Path) -> list[Path]:
    """Return the models of a folder, or make the bundled mobilenet there when it has none."""
    found = sorted(
        (path for path in folder.glob("*.onnx") if not path.name.startswith(".")), key=lambda path: path.stem
    )
    if found:
        return found
    from edgecnn.cli.export import export_bundled  # noqa: PLC0415
    from edgecnn.cli.quantize import quantize_file  # noqa: PLC0415

    say(f"{folder}/ has no models: exporting and quantizing the bundled mobilenet first")
    source = export_bundled("mobilenet", folder)
    return [source, quantize_file(source).artifact.path]
