"""What `edgecnn bench` prints: a table of records, the machine below it, and what speaks against any of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from edgecnn.bench.running import NOT_ASKED
from edgecnn.cli.bench_more import memory_table, power_table, scenario_text, sustained_table
from edgecnn.cli.output import print_table
from edgecnn.results import Record
from edgecnn.specs import joined_title
from edgecnn.units import bytes_text, count_of, duration_text, percent_text

_COLOURS = (1, 3)

_TIMED = {"device": "without copies", "app": "from images to labels"}


def show(records: Sequence[Record], *, memory: bool = False) -> None:
    """Print the table of records, the machine below it, further tables, and what speaks against any record.

    Args:
        records: at least one.
        memory: print the phases of memory as well.
    """
    columns = (
        *("model", "input", "precision", "batch", "top-1 %", "median", "p90", "images/s", "memory", "file", "verdict"),
    )
    rows = [(_name(record, records), *_row(record, records)) for record in records]
    print_table("edgecnn bench", columns, rows, left=("model", "precision", "verdict"), caption=_caption(records))
    measured = [record for record in records if record.status == "ok"]
    for table in (memory_table(measured) if memory else None, sustained_table(measured), power_table(measured)):
        if table is not None:
            click.echo()
            print_table(table.title, table.columns, table.rows, left=("model",), caption=table.caption)
    for record in records:
        for line in _remarks(record):
            click.echo(f"{record.subject.file}, batch {record.plan.batch}: {line}")


def _remarks(record: Record) -> Iterator[str]:
    """Yield the lines below the tables that are about one record."""
    if record.reason:
        yield record.reason
    if record.scenario:
        yield scenario_text(record.scenario)
        yield from record.scenario.notes
    if record.power and record.power.reason and record.power.meter is None and record.power.reason != NOT_ASKED:
        yield f"power: {record.power.reason}" + (f"; {record.power.fix}" if record.power.fix else "")
    for reason in record.quality.reasons:
        yield reason.message + (f"; {reason.advice}" if reason.advice else "")


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
    named = f"{title} ({subject.file})" if len(alike) > 1 else title
    return f"{named}, {_TIMED[record.plan.timed]}" if record.plan.timed in _TIMED else named


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
    cores = count_of(device.cores_usable or device.cores, "core") if device.cores_usable or device.cores else ""
    machine = " · ".join(part for part in (device.board, device.cpu, cores, memory, device.os) if part)
    engine_line = f"{engine.engine} {engine.engine_version}, {count_of(engine.threads, 'thread')}" if engine else ""
    sets = {(one.images, one.dataset) for each in records for one in each.subject.accuracy}
    notes = [f"top-1: on {images:,} test images of {dataset}" for images, dataset in sorted(sets)]
    if any(each.subject.weights == "random" for each in records):
        notes.append("n/a: random weights have no accuracy")
    notes.append("memory: peak of the process above its size before loading")
    rounds = max((len(metric.blocks) for each in records if (metric := each.metric("latency"))), default=0)
    if any(each.provenance.group for each in records):
        notes.append(f"measured in turn, {rounds} blocks each")
    return "\n".join(part for part in (machine, engine_line, *notes) if part)
