"""What `edgecnn bench` prints: a table of records, the machine below it, and what speaks against any of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from edgecnn.bench.outcome import NOT_ASKED
from edgecnn.cli.bench_more import memory_table, power_table, scenario_text, sustained_table
from edgecnn.cli.output import fitting, hidden_note, print_table, shown_cells, table_width
from edgecnn.cli.peak_column import HEAD as PEAK
from edgecnn.cli.peak_column import peak_column
from edgecnn.cli.remarks import Remark, remark_lines
from edgecnn.results import Metric, Record
from edgecnn.specs import joined_title
from edgecnn.units import bytes_text, count_of, duration_text, percent_text

_COLUMNS: tuple[str, ...] = (
    *("model", "input", "precision", "batch", "top-1 %", "median", "p90", "images/s", "memory", "file", "verdict"),
)

_DROPPED = (PEAK, "input", "file", "precision", "top-1 %", "p90", "memory", "images/s", "batch")

_COLOURS = (1, 3)

_OFFLINE = "offline"

_TIMED = {"device": "without copies", "app": "from images to labels"}


def show(records: Sequence[Record], *, memory: bool = False) -> None:
    """Print the table of records, the machine below it, further tables, and what speaks against any record.

    Args:
        records: at least one.
        memory: print the phases of memory as well.
    """
    peak = peak_column(records)
    columns, rows = _COLUMNS, [(_name(record, records), *_row(record, records)) for record in records]
    if peak.cells:
        at = columns.index("images/s") + 1
        columns = (*columns[:at], PEAK, *columns[at:])
        rows = [(*row[:at], cell, *row[at:]) for row, cell in zip(rows, peak.cells, strict=True)]
    shown = fitting(columns, rows, table_width(), dropped=_DROPPED)
    caption = "\n".join((_caption(records), *peak.notes, *hidden_note(columns, shown)))
    left = ("model", "precision", "verdict")
    print_table("edgecnn bench", shown, shown_cells(columns, rows, shown), left=left, caption=caption)
    measured = [record for record in records if record.status == "ok"]
    for table in (memory_table(measured) if memory else None, sustained_table(measured), power_table(measured)):
        if table is not None:
            click.echo()
            print_table(table.title, table.columns, table.rows, left=("model",), caption=table.caption)
    for line in remark_lines([(_label(record, records), tuple(_remarks(record))) for record in records], table_width()):
        click.echo(line)


def _label(record: Record, records: Sequence[Record]) -> str:
    """Return what a record is called in a line: what tells it from the others of the table."""
    ran_on = f", {record.runtime.backend}" if record.runtime and len(_ran_on(records)) > 1 else ""
    timed = f", {_TIMED[record.plan.timed]}" if record.plan.timed in _TIMED else ""
    return f"{record.subject.file}, batch {record.plan.batch}{ran_on}{timed}"


def _remarks(record: Record) -> Iterator[Remark]:
    """Yield what is to be said below the tables about one record."""
    if record.reason:
        yield Remark(text=record.reason)
    if record.scenario:
        yield Remark(text=scenario_text(record.scenario, record.plan))
        yield from (Remark(text=note) for note in record.scenario.notes)
    if record.power and record.power.reason and record.power.meter is None and record.power.reason != NOT_ASKED:
        yield Remark(text=f"power: {record.power.reason}", advice=record.power.fix or "")
    for reason in record.quality.reasons:
        yield Remark(text=reason.message, advice=reason.advice)


def _name(record: Record, records: Sequence[Record]) -> str:
    """Return network and variant; the file where two are the same in both and in precision; the backend where there are two."""
    subject = record.subject
    title = joined_title(subject.network, subject.variant)
    alike = {
        other.subject.file
        for other in records
        if (other.subject.network, other.subject.variant, other.subject.precision)
        == (subject.network, subject.variant, subject.precision)
    }
    named = f"{title} ({subject.file})" if len(alike) > 1 else title
    if len(_ran_on(records)) > 1 and record.runtime:
        named = f"{named}, {record.runtime.backend} x{record.runtime.threads or '-'}"
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
        # Of all samples at once: how long that takes is no latency of anything.
        *("-" if record.plan.scenario == _OFFLINE else duration_text(one) for one in _latencies(latency)),
        "-" if throughput is None else f"{throughput.median:,.0f}",
        bytes_text(memory.median if memory else None),
        bytes_text(subject.size_bytes),
        record.quality.verdict or record.status,
    )


def _latencies(latency: Metric | None) -> tuple[float | None, float | None]:
    return (latency.median, latency.p90) if latency else (None, None)


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
    """Return the lines below the table: the machine, the backends, and what the columns mean."""
    record = next((one for one in records if one.runtime), records[0])
    device = record.device
    memory = f"{device.memory_bytes / 2**30:.0f} GiB" if device.memory_bytes else "memory unknown"
    cores = count_of(device.cores_usable or device.cores, "core") if device.cores_usable or device.cores else ""
    machine = " · ".join(part for part in (device.board, device.cpu, cores, memory, device.os) if part)
    sets = {(one.images, one.dataset) for each in records for one in each.subject.accuracy}
    notes = [f"top-1: on {images:,} test images of {dataset}" for images, dataset in sorted(sets)]
    if any(each.subject.weights == "random" for each in records):
        notes.append("n/a: random weights have no accuracy")
    plain = any(each.plan.scenario is None and each.metric("throughput") for each in records)
    if plain:
        notes.append("images/s: batch over median")
    if any(each.scenario for each in records):
        notes.append("images/s of a scenario: all its images over all its time, waiting included")
    notes.append("memory: peak of the process above its size before loading")
    rounds = max((len(metric.blocks) for each in records if (metric := each.metric("latency"))), default=0)
    if any(each.provenance.group for each in records):
        notes.append(f"measured in turn, {rounds} blocks each")
    return "\n".join(part for part in (machine, *_ran_on(records), *notes) if part)


def _ran_on(records: Sequence[Record]) -> tuple[str, ...]:
    """Return each backend with its engine and threads, in order of appearance."""
    engines = [record.runtime for record in records if record.runtime]
    lines = [
        f"backend {one.backend}: {one.engine} {one.engine_version}, {count_of(one.threads, 'thread')}"
        for one in engines
    ]
    return tuple(dict.fromkeys(lines))
