"""Further tables of `edgecnn bench`: phases of memory, the curve over time, power; and a scenario in one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgecnn.bench.generators import OWN
from edgecnn.bench.metrics import MINUTE_SECONDS
from edgecnn.bench.queries import missed_text, seconds_missed
from edgecnn.bench.scenarioresult import STREAMS
from edgecnn.results import Plan, Record, ScenarioFigures
from edgecnn.specs import joined_title
from edgecnn.units import bytes_text, duration_text

_PHASES = ("baseline", "load", "first_run", "steady", "pss", "peak")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """A table as `edgecnn.cli.output.print_table` takes it."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    caption: str = ""


def memory_table(records: Sequence[Record]) -> Cells | None:
    """Return what each phase left resident, and measured beside estimated; None without records."""
    rows = [
        (
            _title(record),
            str(record.plan.batch),
            *(bytes_text(median_of(record, f"memory_{phase}")) for phase in _PHASES),
            bytes_text(record.footprint.weights_bytes if record.footprint else None),
            bytes_text(median_of(record, "memory_run")),
            bytes_text(record.footprint.activations_bytes if record.footprint else None),
        )
        for record in records
    ]
    columns = (
        "model",
        "batch",
        "before",
        "loaded",
        "first run",
        "steady",
        "PSS",
        "peak",
        "weights est.",
        "run",
        "run est.",
    )
    notes = sorted({record.footprint.note for record in records if record.footprint and record.footprint.note})
    caption = "\n".join(
        (
            "run: most that a run held beyond what was loaded; est.: from the graph's shapes, no measurement",
            *(f"est.: {note}" for note in notes),
        )
    )
    return Cells(title="memory", columns=columns, rows=rows, caption=caption) if rows else None


def sustained_table(records: Sequence[Record]) -> Cells | None:
    """Return the two ends of each curve over time; None where there is none."""
    rows, seconds = [], 0.0
    for record in records:
        first, last = median_of(record, "sustained_first"), median_of(record, "sustained_last")
        if first is None or last is None or first <= 0:
            continue
        seconds = record.plan.sustain_seconds or 0.0
        temperature = record.quality.temperature_c or (None, None)
        rows.append(
            (
                _title(record),
                str(record.plan.batch),
                duration_text(first),
                duration_text(last),
                f"{last / first - 1:+.1%}",
                *("-" if one is None else f"{one:.0f}" for one in temperature),
            )
        )
    if not rows:
        return None
    minutes = round(seconds / MINUTE_SECONDS)
    ends = ("minute 1", f"minute {minutes}") if seconds >= 10 * MINUTE_SECONDS else ("first tenth", "last tenth")
    columns = ("model", "batch", *ends, "change", "degrees C", "at the end")
    return Cells(title=f"sustained for {duration_text(seconds * 1e9)}", columns=columns, rows=rows)


def power_table(records: Sequence[Record]) -> Cells | None:
    """Return power and energy of those records that have a sensor's readings; None where none has."""
    rows = []
    for record in records:
        power = record.power
        if power is None or power.meter is None:
            continue
        rows.append(
            (
                _title(record),
                str(record.plan.batch),
                _figure(power.power_w) + (f" ± {power.uncertainty_w:.2g}" if power.uncertainty_w else ""),
                _figure(power.idle_w),
                _figure(power.net_power_w),
                _figure(power.energy_mj),
                _figure(power.images_per_joule),
                power.meter,
                power.coverage or "-",
            )
        )
    columns = ("model", "batch", "W", "idle W", "net W", "mJ/image", "images/J", "sensor", "covers")
    reasons = sorted(
        {record.power.reason for record in records if record.power and record.power.meter and record.power.reason}
    )
    return Cells(title="power", columns=columns, rows=rows, caption="\n".join(reasons)) if rows else None


def scenario_text(figures: ScenarioFigures, plan: Plan) -> str:
    """Return a scenario's figures in one line.

    Args:
        figures: of the plan's scenario.
        plan: that asked for it.
    """
    parts = [f"{figures.title}{_by(plan)}: {figures.samples_per_second:,.1f} samples/s{_lasted(figures, plan)}"]
    if figures.percent is not None:
        known = figures.tail_ns is not None
        tail = f"{duration_text(figures.tail_ns)} by early stopping" if known else "unknown, see below"
        parts.append(f"{figures.percent:g}th percentile {tail}")
    if figures.unanswered and figures.bound_ns is None:
        parts.append(f"{figures.qps:.10g} queries/s: not held")
    if figures.bound_ns is not None:
        answer = {True: "held", False: "not held", None: "too few queries to tell"}[figures.bound_held]
        parts.append(f"{figures.qps:.10g} queries/s within {duration_text(figures.bound_ns)}: {answer}")
    if figures.valid is not None:
        parts.append(f"{'valid' if figures.valid else 'invalid'} by its rules")
    queries = "1 query" if figures.queries == 1 else f"{figures.queries:,} queries"
    several = f" of {STREAMS} images each" if figures.title.endswith("multi-stream") else ""
    return ", ".join((*parts, queries + several))


def _by(plan: Plan) -> str:
    """Return who issued the queries, nothing where that was edgecnn."""
    if plan.load_generator == OWN:
        return ""
    return f" by {plan.load_generator} loadgen {plan.load_generator_version or ''}".rstrip()


def _lasted(figures: ScenarioFigures, plan: Plan) -> str:
    """Return how long the offline query lasted, and by how much that is beside the time asked for."""
    if plan.scenario != "offline" or figures.seconds is None:
        return ""
    share = seconds_missed(figures.seconds, plan)
    missed = "" if share is None else f" ({missed_text(share)} than asked for)"
    return f" over {duration_text(figures.seconds * 1e9)}{missed}"


def median_of(record: Record, name: str) -> float | None:
    """Return the median of a metric, None where the record does not have it."""
    metric = record.metric(name)
    return None if metric is None else metric.median


def _title(record: Record) -> str:
    return f"{joined_title(record.subject.network, record.subject.variant)} {record.subject.precision}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
