"""One line of a comparison: a quantity of one subject, old against new, with a verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edgecnn.results import Record
from edgecnn.specs import joined_title
from edgecnn.units import bytes_text, duration_text

Verdict = Literal["faster", "slower", "less", "more", "better", "worse", "same", "not comparable"]
Interval = tuple[float, float]


def _energy_text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g} mJ"


def _points_text(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} %"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """Something that is compared.

    Attributes:
        name: as limits have it.
        unit: of the values.
        good: verdict where it got better.
        bad: verdict where it got worse.
        rises: higher is better; changes are then differences in the unit, else ratios.
        equal: change up to which it counts as the same.
        text: a value as people read it.
    """

    name: str
    unit: str
    good: Verdict
    bad: Verdict
    rises: bool
    equal: float
    text: Callable[[float | None], str]


APART = 0.02
"""Medians of one file in two processes, one after the other, differ by up to this on a quiet machine, and so does memory."""

IN_TURN = 0.005
"""The same for files that were measured in turn, block by block."""

QUANTITIES = {
    quantity.name: quantity
    for quantity in (
        Quantity(name="latency", unit="ns", good="faster", bad="slower", rises=False, equal=APART, text=duration_text),
        Quantity(name="memory", unit="bytes", good="less", bad="more", rises=False, equal=APART, text=bytes_text),
        Quantity(name="energy", unit="mJ", good="less", bad="more", rises=False, equal=APART, text=_energy_text),
        Quantity(name="size", unit="bytes", good="less", bad="more", rises=False, equal=0.0, text=bytes_text),
        Quantity(name="top1", unit="%", good="better", bad="worse", rises=True, equal=0.0, text=_points_text),
        Quantity(name="top5", unit="%", good="better", bad="worse", rises=True, equal=0.0, text=_points_text),
    )
}
"""What is compared, in the order of tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One quantity of one subject, old against new.

    Attributes:
        network: with its variant.
        precision: of the file.
        batch: images per run.
        backend: what ran it, "-" where nothing did.
        threads: of one operator, null where the engine chose.
        file: name of the new file, of the old one where there is no new one.
        detail: what tells it from other subjects with the same words: the fields in which they differ, or the file; empty
            where there are none.
        quantity: "latency", "memory", "energy", "size", "top1" or "top5".
        unit: of old and new.
        old: value, null where there is none.
        new: value, null where there is none.
        ratio: new over old; null for accuracies and where either is missing.
        interval: 95% interval of the ratio; null where it cannot be told.
        points: new less old in percentage points, for accuracies alone.
        verdict: what became of it.
        why: for "not comparable" the fields that differ or what is missing; else what makes the figures doubtful.
        in_turn: both were measured in turn, block by block, and the ratio is that of pairs.
        broken: the new one failed or what this quantity rests on is invalid, while the old one is good.
        whole: stands for every quantity of its subject: there are no two records to compare, or none that went well.
    """

    network: str
    precision: str
    batch: int
    backend: str
    threads: int | None
    file: str
    detail: str = ""
    quantity: str
    unit: str
    old: float | None = None
    new: float | None = None
    ratio: float | None = None
    interval: Interval | None = None
    points: float | None = None
    verdict: Verdict = "not comparable"
    why: tuple[str, ...] = ()
    in_turn: bool = False
    broken: bool = False
    whole: bool = False

    @property
    def title(self) -> str:
        """Network, precision, batch and backend in a few words, which no other subject of the comparison has."""
        threads = "" if self.threads is None else f", {self.threads} thread{'s' * (self.threads != 1)}"
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.network} {self.precision} batch {self.batch} on {self.backend}{threads}{detail}"


def labels(record: Record) -> dict[str, object]:
    """Return the fields of a row that say what was measured."""
    subject, runtime = record.subject, record.runtime
    return {
        "network": joined_title(subject.network, subject.variant),
        "precision": subject.precision,
        "batch": record.plan.batch,
        "backend": runtime.backend if runtime else "-",
        "threads": runtime.threads if runtime else None,
        "file": subject.file,
    }


def words(record: Record) -> str:
    """Return the title of a record's rows where nothing has to be told apart."""
    return Row(quantity="", unit="", **labels(record)).title  # type: ignore[arg-type]


def beyond(row: Row, limit: float) -> int:
    """Return 1 if a row got worse by more than a limit, -1 if better, 0 otherwise; chance alone counts as neither.

    Args:
        row: with a ratio or a difference in points.
        limit: a share for ratios (0.03 for 3%), percentage points for accuracies.
    """
    if row.points is not None:
        return 0 if abs(row.points) <= limit + 1e-9 else (-1 if row.points > 0 else 1)
    if row.ratio is None:
        return 0
    low, high = row.interval or (row.ratio, row.ratio)
    # As far down as up: a change of 1/1.03 is to 1 what 1 is to 1.03.
    if row.ratio > (1 + limit) * (1 + 1e-9) and low > 1:
        return 1
    return -1 if row.ratio * (1 + limit) * (1 + 1e-9) < 1 and high < 1 else 0
