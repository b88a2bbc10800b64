"""`edgecnn bench`: latency, throughput and memory, with a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from edgecnn.artifacts import load_artifact
from edgecnn.bench import make_plan, measure, unmeasured
from edgecnn.cli.options import MODELS, Numbers, backend_option, json_option, output_option, threads_option
from edgecnn.cli.output import print_json, print_table, progress, say
from edgecnn.errors import BadInput, EdgecnnError, MeasurementError, ResultsError, UnknownName
from edgecnn.results import Plan, Record, append
from edgecnn.runtimes import OpenOptions, backend_states, get_runtime
from edgecnn.specs import Artifact, joined_title
from edgecnn.units import bytes_text, duration_text, percent_text

_COLOURS = (1, 3)


@click.command()
@click.argument("models", nargs=-1, type=click.Path(path_type=Path), metavar="[MODEL]...")
@backend_option
@click.option(
    "--batch", type=Numbers(), help="Images per run; a list measures each.  [default: 1, or what the file has]"
)
@threads_option
@click.option(
    "--seconds", type=float, default=2.0, show_default=True, help="Seconds of sampling per measurement, at least."
)
@click.option(
    "--runs", type=click.IntRange(1), default=30, show_default=True, help="Samples per measurement, at least."
)
@click.option("--no-spin", is_flag=True, help="Let worker threads sleep between operators: slower, saves power.")
@output_option("Results file that lines are appended to.  [default: results.jsonl]")
@json_option
def bench(
    models: tuple[Path, ...],
    backend: str,
    batch: tuple[int, ...] | None,
    threads: int | None,
    seconds: float,
    runs: int,
    no_spin: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Measure each MODEL in a process of its own and append the records to results.jsonl.

    Without MODEL it takes every model in models/; when there is none, it makes the bundled mobilenet first.

    \b
    Example:
      edgecnn bench
      edgecnn bench models/mobilenet_v1_0.25_32.int8.onnx --batch 1,4,16 --threads 1
    """
    check_backend(backend)
    path = results_path(output)
    make_plan(seconds=seconds)  # said before anything is exported
    artifacts = [load_artifact(model) for model in models or find_models(MODELS)]
    options = OpenOptions(threads=threads, spinning=not no_spin)
    jobs = [
        (artifact, make_plan(batch=size, seconds=seconds, min_runs=runs))
        for artifact in artifacts
        for size in batch or (own_batch(artifact),)
    ]
    records, errors = run_jobs(jobs, backend, options, path)
    if as_json:
        print_json(records)
    elif any(record.status == "ok" for record in records):
        show(records)
        written = len(records) - sum(isinstance(error, ResultsError) for error in errors)
        say(f"{_count(written, 'record')} appended to {path}")
    raise_failures(records, errors)


def own_batch(artifact: Artifact) -> int:
    """Return the batch that a file was exported for, 1 where it takes any."""
    shape = artifact.spec.inputs[0].shape if artifact.spec.inputs else ()
    return shape[0] if shape and isinstance(shape[0], int) else 1


def results_path(output: Path | None) -> Path:
    """Return the file that records are appended to.

    Raises:
        BadInput: a name that is not that of a results file; a model named by mistake must not be written to.
    """
    path = output or Path("results.jsonl")
    if path.suffix != ".jsonl":
        raise BadInput("results file", expected="a name that ends in .jsonl", got=str(path))
    return path


def run_jobs(
    jobs: Sequence[tuple[Artifact, Plan]], backend: str, options: OpenOptions, path: Path
) -> tuple[list[Record], list[EdgecnnError]]:
    """Measure one after the other and append each record at once; return the records and what went wrong.

    A model that cannot be measured becomes a record that says so, and the others go on.
    """
    records: list[Record] = []
    errors: list[EdgecnnError] = []
    # The bar stands still while a child samples: drawing it would disturb the measurement.
    with progress(f"measuring {len(jobs)} x at least {jobs[0][1].min_seconds:g} s", still=True) as advance:
        for artifact, plan in jobs:
            advance(len(records), len(jobs), artifact.path.name)
            try:
                record = measure(artifact, backend=backend, options=options, plan=plan)
            except EdgecnnError as error:
                record = unmeasured(artifact, plan=plan, status="failed", reason=error.message)
                errors.append(error)
            records.append(record)
            try:
                append(path, [record])
            except ResultsError as error:
                errors.append(error)
                break
    return records, errors


def check_backend(name: str) -> None:
    """Return if a backend can run here; said before anything is exported or measured.

    Raises:
        UnknownName: no such backend; the hint lists all with the reason why one cannot run here.
        RuntimeUnavailable: it cannot run here.
        MissingDependency: its package is not installed.
    """
    try:
        get_runtime(name).check()
    except UnknownName as error:
        states = backend_states()
        listed = [one if why is None else f"{one} (unavailable: {why.message})" for one, why in states.items()]
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


def show(records: Sequence[Record]) -> None:
    """Print the table of records, the machine below it, and what speaks against any of them."""
    columns = (
        "model",
        "input",
        "precision",
        "batch",
        "top-1 %",
        "median",
        "p90",
        "images/s",
        "memory",
        "file",
        "verdict",
    )
    rows = [(_name(record, records), *_row(record, records)) for record in records]
    print_table("edgecnn bench", columns, rows, left=("model", "precision", "verdict"), caption=_caption(records))
    for record in records:
        if record.reason:
            click.echo(f"{record.subject.file}, batch {record.plan.batch}: {record.reason}")
        for reason in record.quality.reasons:
            advice = f"; {reason.advice}" if reason.advice else ""
            click.echo(f"{record.subject.file}, batch {record.plan.batch}: {reason.message}{advice}")


def raise_failures(records: Sequence[Record], errors: Sequence[EdgecnnError]) -> None:
    """Raise the first error, or MeasurementError where a worker died; what was measured is already on the disk."""
    if errors:
        raise errors[0]
    failed = [record for record in records if record.status == "failed"]
    if failed:
        names = "; ".join(f"{record.subject.file}: {record.reason}" for record in failed)
        raise MeasurementError(f"{len(failed)} of {len(records)} measurements failed: {names}")


def _name(record: Record, records: Sequence[Record]) -> str:
    """Return network and variant; the file as well where two files are the same in both and in precision."""
    subject = record.subject
    title = joined_title(subject.network, subject.variant)
    alike = {
        other.subject.file
        for other in records
        if (other.subject.network, other.subject.variant, other.subject.precision)
        == (subject.network, subject.variant, subject.precision)
    }
    return f"{title} ({subject.file})" if len(alike) > 1 else title


def _row(record: Record, records: Sequence[Record]) -> tuple[str, ...]:
    subject = record.subject
    latency, memory = record.metric("latency"), record.metric("memory_added")
    throughput = record.metric("throughput")
    return (
        _input(subject.input_shape),
        subject.precision,
        str(record.plan.batch),
        _accuracy(record, records),
        duration_text(latency.median if latency else None),
        duration_text(latency.p90 if latency else None),
        "-" if throughput is None else f"{throughput.median:,.0f}",
        bytes_text(memory.median if memory else None),
        bytes_text(subject.size_bytes),
        record.quality.verdict or record.status,
    )


def _input(shape: tuple[int, ...] | None) -> str:
    """Return the size of one image, height first: [N, C, H, W] as "HxWxC"; that of pixels, [N, H, W, C], is so already."""
    image = (shape or ())[1:]
    channels_first = len(image) == 3 and (image[0] in _COLOURS or image[2] not in _COLOURS)
    order = (*image[1:], image[0]) if channels_first else image
    return "x".join(map(str, order)) or "-"


def _accuracy(record: Record, records: Sequence[Record]) -> str:
    if record.subject.weights == "random" or (record.runtime and record.runtime.backend == "null"):
        return "n/a"
    own = [one for one in record.subject.accuracy if one.metric == "top1" and one.precision == record.subject.precision]
    if not own:
        return "not measured"
    several = len({one.dataset for each in records for one in each.subject.accuracy}) > 1
    return percent_text(own[0].value) + (f" ({own[0].dataset})" if several else "")


def _caption(records: Sequence[Record]) -> str:
    """Return the lines below the table: the machine, the engine, and what the columns mean."""
    record = next((one for one in records if one.runtime), records[0])
    device, engine = record.device, record.runtime
    memory = f"{device.memory_bytes / 2**30:.0f} GiB" if device.memory_bytes else "memory unknown"
    cores = _count(device.cores_usable or device.cores, "core") if device.cores_usable or device.cores else ""
    machine = " · ".join(part for part in (device.board, device.cpu, cores, memory, device.os) if part)
    engine_line = f"{engine.engine} {engine.engine_version}, {_count(engine.threads, 'thread')}" if engine else ""
    sets = {(one.images, one.dataset) for each in records for one in each.subject.accuracy}
    notes = [f"top-1: on {images:,} test images of {dataset}" for images, dataset in sorted(sets)]
    if any(each.subject.weights == "random" for each in records):
        notes.append("n/a: random weights have no accuracy")
    notes.append("memory: peak of the process above its size before loading")
    return "\n".join(part for part in (machine, engine_line, *notes) if part)


def _count(number: int | None, noun: str) -> str:
    if number is None:
        return f"{noun}s chosen by the engine"
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
