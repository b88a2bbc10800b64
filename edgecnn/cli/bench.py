"""`edgecnn bench`: latency, throughput and memory, with a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from edgecnn.artifacts import load_artifact
from edgecnn.bench import make_plan, measure
from edgecnn.cli.options import MODELS, Numbers, backend_option, json_option, output_option, threads_option
from edgecnn.cli.output import bytes_text, duration_text, percent_text, print_json, print_table, progress, say
from edgecnn.errors import MeasurementError, UnknownName
from edgecnn.results import Record, append
from edgecnn.runtimes import OpenOptions, backend_states, get_runtime
from edgecnn.specs import Artifact


@click.command()
@click.argument("models", nargs=-1, type=click.Path(path_type=Path), metavar="[MODEL]...")
@backend_option
@click.option("--batch", type=Numbers(), default="1", show_default=True, help="Images per run, a list measures each.")
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
    batch: tuple[int, ...],
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
    plans = [make_plan(batch=size, seconds=seconds, min_runs=runs) for size in batch]
    artifacts = [load_artifact(path) for path in models or find_models(MODELS)]
    path = output or Path("results.jsonl")
    options = OpenOptions(threads=threads, spinning=not no_spin)
    records: list[Record] = []
    with progress(f"measuring {len(artifacts) * len(plans)} x at least {seconds:g} s") as advance:
        for artifact in artifacts:
            for plan in plans:
                advance(len(records), len(artifacts) * len(plans), artifact.path.name)
                record = measure(artifact, backend=backend, options=options, plan=plan)
                append(path, [record])
                records.append(record)
    if as_json:
        print_json(records)
    else:
        show(records, artifacts)
        say(f"{len(records)} records appended to {path}")
    raise_failures(records)


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
    found = sorted(folder.glob("*.onnx"), key=lambda path: path.stem)
    if found:
        return found
    from edgecnn.cli.export import export_bundled  # noqa: PLC0415
    from edgecnn.cli.quantize import quantize_file  # noqa: PLC0415

    say(f"{folder}/ has no models: exporting and quantizing the bundled mobilenet first")
    source = export_bundled("mobilenet", folder)
    return [source, quantize_file(source).artifact.path]


def show(records: Sequence[Record], artifacts: Sequence[Artifact]) -> None:
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
    rows = [_row(record) for record in records]
    print_table("edgecnn bench", columns, rows, left=("model", "precision", "verdict"), caption=_caption(records))
    for record in records:
        for reason in record.quality.reasons:
            advice = f"; {reason.advice}" if reason.advice else ""
            click.echo(f"{record.subject.file}, batch {record.plan.batch}: {reason.message}{advice}")


def raise_failures(records: Sequence[Record]) -> None:
    """Raise MeasurementError when a measurement failed; the others are already on disk."""
    failed = [record for record in records if record.status == "failed"]
    if failed:
        names = "; ".join(f"{record.subject.file}: {record.reason}" for record in failed)
        raise MeasurementError(f"{len(failed)} of {len(records)} measurements failed: {names}")


def _row(record: Record) -> tuple[str, ...]:
    subject = record.subject
    latency, memory = record.metric("latency"), record.metric("memory_added")
    throughput = record.metric("throughput")
    return (
        f"{subject.network}_{subject.variant}" if subject.variant else subject.network,
        _input(subject.input_shape),
        subject.precision,
        str(record.plan.batch),
        _accuracy(record),
        duration_text(latency.median if latency else None),
        duration_text(latency.p90 if latency else None),
        "-" if throughput is None else f"{throughput.median:,.0f}",
        bytes_text(memory.median if memory else None),
        bytes_text(subject.size_bytes),
        record.quality.verdict or record.status,
    )


def _input(shape: tuple[int, ...] | None) -> str:
    """Return the size of one image, height first: [N, C, H, W] as "HxWxC"."""
    image = (shape or ())[1:]
    order = (*image[1:], image[0]) if len(image) == 3 else image
    return "x".join(map(str, order)) or "-"


def _accuracy(record: Record) -> str:
    if record.subject.weights == "random":
        return "n/a"
    own = [one for one in record.subject.accuracy if one.metric == "top1" and one.precision == record.subject.precision]
    return f"{percent_text(own[0].value)}" if own else "not measured"


def _caption(records: Sequence[Record]) -> str:
    """Return the lines below the table: the machine, the engine, and what the columns mean."""
    record = next((one for one in records if one.runtime), records[0])
    device, engine = record.device, record.runtime
    memory = f"{device.memory_bytes / 2**30:.0f} GiB" if device.memory_bytes else "memory unknown"
    machine = " · ".join(
        part
        for part in (device.board, device.cpu, f"{device.cores_usable or device.cores} cores", memory, device.os)
        if part
    )
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


__all__ = ["bench", "check_backend", "find_models", "raise_failures", "show"]
