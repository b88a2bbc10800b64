"""Old records against new ones: like with like, a ratio with its interval, and a verdict for every row.

Two records are compared where they agree in every field that decides a figure (`edgecnn.report.keys`); where they do not,
the row says which field differs instead of a ratio. Repeated records of one key count as repetitions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgecnn.report.keys import Key, check_fields, details, differences, key_of
from edgecnn.report.ratios import latency_ratio, measured_in_turn, paired_latency, uncertain_ratio
from edgecnn.report.rows import IN_TURN, QUANTITIES, Row, beyond, labels
from edgecnn.report.soundness import Side, doubt, every, holding, only_shared, timely
from edgecnn.results import Metric, Record
from edgecnn.specs import Accuracy


def compare(
    old: Sequence[Record], new: Sequence[Record], *, across: Collection[str] = (), seed: int = 0
) -> tuple[Row, ...]:
    """Return one row per subject and quantity, in the order of the new records, old ones without a partner last.

    Args:
        old: the records to compare with.
        new: the records to judge.
        across: fields that may differ, "runtime.engine_version" for example: what the comparison is about.
        seed: of the bootstrap.

    Raises:
        UnknownName: `across` names no such field.
    """
    check_fields(across)
    blanks = _Blanks(details((old, new), across=across))
    by_file = _ambiguous(old, across) | _ambiguous(new, across)
    before, after = (_grouped(side, across, by_file) for side in (old, new))
    rows: list[Row] = []
    used: set[int] = set()
    for key, records in after.items():
        partners = before.get(key, ())
        used.update(map(id, partners))
        blank = blanks.of(records[0])
        rows += (
            _pair_rows(partners, records, blank, seed) if partners else [_lonely(records[0], blank, old, across, used)]
        )
    failed = [record for record in new if _failed_for_good(record, new, across)]
    rows += [_lonely(record, blanks.of(record), old, across, used) for record in failed]
    lost = [records[0] for records in before.values() if not used.intersection(map(id, records))]
    rows += [replace(blanks.of(one), old=_value(one), why=("no new record of this",), whole=True) for one in lost]
    return tuple(rows)


def _grouped(records: Sequence[Record], across: Collection[str], by_file: set[Key]) -> dict[Any, Side]:
    """Return the records that are ok by key; several with one key are repetitions."""
    groups: dict[Any, list[Record]] = {}
    for record in records:
        if record.status == "ok":
            key = key_of(record, across=across)
            groups.setdefault((key, record.subject.file if key in by_file else None), []).append(record)
    return {key: tuple(group) for key, group in groups.items()}


def _ambiguous(records: Sequence[Record], across: Collection[str]) -> set[Key]:
    """Return the keys under which one side has files of several names: these are different subjects, not repetitions."""
    files: dict[Key, set[str]] = {}
    for record in records:
        if record.status == "ok":
            files.setdefault(key_of(record, across=across), set()).add(record.subject.file)
    return {key for key, names in files.items() if len(names) > 1}


def _failed_for_good(record: Record, others: Sequence[Record], across: Collection[str]) -> bool:
    """Tell whether a record failed and no repetition of it went well."""
    return record.status != "ok" and not any(
        other.status == "ok" and not differences(other, record, across=across) for other in others
    )


def _pair_rows(old: Side, new: Side, blank: Row, seed: int) -> list[Row]:
    """Return the rows of two sides that may be compared, each by the records that are sound for its own quantity."""
    rows: list[Row] = []
    for sound, makers in _MAKERS:
        first, second = sound(old), sound(new)
        if sound is timely and measured_in_turn(old, new) and only_shared(old + new):
            first, second = old, new
        if first and second:
            found = [_judged(row) for make in makers for row in make(first, second, blank, seed)]
            rows += _with_notes(found, first, second)
            continue
        pairs = (("old", old, first), ("new", new, second))
        why = tuple(f"{name}: {doubt(side[0])}" for name, side, believed in pairs if not believed)
        # What either side has is told without a ratio.
        void = [row for make in makers for row in make(old, new, blank, seed)]
        if sound is timely:
            void = void or [blank]
        values = {"ratio": None, "interval": None, "in_turn": False, "why": why}
        rows += [replace(row, **values, broken=bool(first) and not second) for row in void]  # type: ignore[arg-type]
    order = list(QUANTITIES)
    return sorted(rows, key=lambda row: order.index(row.quantity))


def _with_notes(rows: Sequence[Row], first: Side, second: Side) -> list[Row]:
    """Return rows of which those of latency say what makes their records doubtful."""
    notes = tuple(
        f"{name}: {doubt(record)}"
        for name, side in (("old", first), ("new", second))
        for record in side[:1]
        if record.quality.verdict in ("suspect", "invalid")
    )
    return [replace(row, why=row.why or (notes if row.quantity == "latency" else ())) for row in rows]


def _latency(old: Side, new: Side, blank: Row, seed: int) -> Iterator[Row]:
    first, second = _metrics(old, "latency"), _metrics(new, "latency")
    if not first or not second:
        if first or second:
            values = {"old": _middle(first) if first else None, "new": _middle(second) if second else None}
            yield replace(blank, **values, why=("latency: measured on one side only",))  # type: ignore[arg-type]
        return
    in_turn = measured_in_turn(old, new)
    if in_turn:
        ratio, interval = paired_latency(first[0], second[0], seed=seed)
    else:
        ratio, interval = latency_ratio(first, second, seed=seed)
    row = replace(blank, old=_middle(first), new=_middle(second))
    if interval is None:
        yield replace(row, why=("too few samples for an interval: measure longer",))
    else:
        yield replace(row, ratio=ratio, interval=interval, in_turn=in_turn)


def _memory(old: Side, new: Side, blank: Row, seed: int) -> Iterator[Row]:
    first, second = _metrics(old, "memory_added"), _metrics(new, "memory_added")
    yield from _plain(blank, "memory", _middle(first) if first else None, _middle(second) if second else None)


def _size(old: Side, new: Side, blank: Row, seed: int) -> Iterator[Row]:
    yield from _plain(blank, "size", old[-1].subject.size_bytes, new[-1].subject.size_bytes)


def _energy(old: Side, new: Side, blank: Row, seed: int) -> Iterator[Row]:
    """Yield the energy of one image, gross; two meters, or two places of one, measure different things."""
    first, second = (
        next((record.power for record in reversed(side) if record.power and record.power.energy_mj), None)
        for side in (old, new)
    )
    row = replace(blank, quantity="energy", unit=QUANTITIES["energy"].unit)
    if first is None or second is None or not first.energy_mj or not second.energy_mj:
        if first is not None or second is not None:
            values = {"old": first.energy_mj if first else None, "new": second.energy_mj if second else None}
            yield replace(row, **values, why=("energy: measured on one side only",))  # type: ignore[arg-type]
        return
    row = replace(row, old=first.energy_mj, new=second.energy_mj)
    differing = [name for name in ("meter", "domain", "coverage") if getattr(first, name) != getattr(second, name)]
    if differing:
        why = tuple(f"power.{name}: {getattr(first, name)} against {getattr(second, name)}" for name in differing)
        yield replace(row, why=why)
        return
    halves = [
        None if power.uncertainty_w is None or not power.power_w else power.uncertainty_w / power.power_w * energy
        for power, energy in ((first, first.energy_mj), (second, second.energy_mj))
    ]
    ratio, interval = uncertain_ratio((first.energy_mj, halves[0]), (second.energy_mj, halves[1]))
    yield replace(row, ratio=ratio, interval=interval)


def _accuracy(old: Side, new: Side, blank: Row, seed: int) -> Iterator[Row]:
    """Yield top-1 and top-5: exact figures of one set of images, so any difference is one of the files."""
    for name in ("top1", "top5"):
        first, second = _stated(old[-1], name), _stated(new[-1], name)
        if first is None and second is None:
            continue
        row = replace(
            blank,
            quantity=name,
            unit=QUANTITIES[name].unit,
            old=None if first is None else 100 * first.value,
            new=None if second is None else 100 * second.value,
        )
        if first is None or second is None:
            yield replace(row, why=(f"{name}: stated on one side only",))
            continue
        fields = ("dataset", "split", "images")
        why = tuple(
            f"accuracy.{field}: {getattr(first, field)} against {getattr(second, field)}"
            for field in fields
            if getattr(first, field) != getattr(second, field)
        )
        yield replace(row, why=why) if why else replace(row, points=100 * (second.value - first.value))


def _plain(blank: Row, quantity: str, old: float | None, new: float | None) -> Iterator[Row]:
    """Yield the row of a counted quantity; none where neither side has it."""
    row = replace(blank, quantity=quantity, unit=QUANTITIES[quantity].unit, old=old, new=new)
    if old is not None and new is not None and old > 0:
        yield replace(row, ratio=new / old)
    elif old is not None or new is not None:
        yield replace(row, why=(f"{quantity}: not measured on both sides, or not above 0",))


def _judged(row: Row) -> Row:
    if row.ratio is None and row.points is None:
        return row
    quantity = QUANTITIES[row.quantity]
    found = beyond(row, IN_TURN if row.in_turn else quantity.equal)
    return replace(row, verdict=quantity.bad if found > 0 else quantity.good if found < 0 else "same")


def _lonely(record: Record, blank: Row, old: Sequence[Record], across: Collection[str], used: set[int]) -> Row:
    """Return the row of a new record without a like: what differs from the nearest old one, or why it failed."""
    subject = record.subject
    alike = [
        other
        for other in old
        if other.status == "ok" and (other.subject.network, other.subject.variant) == (subject.network, subject.variant)
    ]
    fields = {id(other): differences(other, record, across=across) for other in alike}
    nearest = min(alike, key=lambda other: len(fields[id(other)]), default=None)
    if nearest is not None:
        used.add(id(nearest))
    if record.status != "ok":
        good = nearest is not None and not fields[id(nearest)]
        told = f"new {record.status}: {record.reason or 'no reason given'}"
        return replace(blank, why=(told,), broken=good, whole=True)
    if nearest is None:
        return replace(blank, new=_value(record), why=("no old record of this network",), whole=True)
    why = fields[id(nearest)] or (f"subject.file: {nearest.subject.file} against {subject.file}",)
    return replace(blank, old=_value(nearest), new=_value(record), why=why, whole=True)


@dataclass(frozen=True, slots=True)
class _Blanks:
    """Rows with nothing but what they are called.

    Attributes:
        details: id of a record -> what tells it from others.
    """

    details: Mapping[int, str]

    def of(self, record: Record) -> Row:
        detail, unit = self.details[id(record)], QUANTITIES["latency"].unit
        return Row(quantity="latency", unit=unit, detail=detail, **labels(record))  # type: ignore[arg-type]


_MAKERS = (
    (timely, (_latency, _energy)),
    (holding, (_memory,)),
    (every, (_size, _accuracy)),
)
"""Which records are sound, for the rows of which quantities."""


def _metrics(records: Side, name: str) -> list[Metric]:
    found = [record.metric(name) for record in records]
    return [metric for metric in found if metric is not None]


def _middle(metrics: Sequence[Metric]) -> float:
    ordered = sorted(metric.median for metric in metrics)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def _value(record: Record) -> float | None:
    metric = record.metric("latency")
    return metric.median if metric else None


def _stated(record: Record, name: str) -> Accuracy | None:
    own = (one for one in record.subject.accuracy if one.metric == name and one.precision == record.subject.precision)
    return next(own, None)
