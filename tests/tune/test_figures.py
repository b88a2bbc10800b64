"""Figures of a record: what is null stays null, with its reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgecnn.powerspec import Power
from edgecnn.testing.records import ACCURACY, made_latencies, made_record
from edgecnn.testing.tuning import FakeMeasure, made_candidate
from edgecnn.tune.budget import parse_budget
from edgecnn.tune.choice import violation
from edgecnn.tune.figures import figures_of
from edgecnn.tune.search import SCREENED_ENERGY, Deadline, Known, Search


def test_what_a_record_says() -> None:
    record = made_record(made_latencies(2e6))
    figures = figures_of(record, accuracy=ACCURACY, reference=replace(ACCURACY, value=0.9300), no_energy="no sensor")
    assert figures is not None
    assert figures.latency_ns == pytest.approx(2e6)
    assert figures.throughput == pytest.approx(4 / 2e-3)
    assert figures.drop_points == pytest.approx(0.42)
    assert (figures.energy_mj, figures.energy_reason) == (None, "no sensor")
    assert figures.memory_bytes is None
    assert violation(parse_budget("memory=1GB"), figures) == float("inf")


def test_energy_and_the_reason_why_there_is_none() -> None:
    measured = replace(made_record(), power=Power(meter="rapl", energy_mj=3.5))
    figures = figures_of(measured)
    assert figures is not None
    assert (figures.energy_mj, figures.energy_reason) == (3.5, "")
    vanished = figures_of(replace(made_record(), power=Power(meter="rapl", reason="the sensor vanished")))
    assert vanished is not None
    assert (vanished.energy_mj, vanished.energy_reason) == (None, "the sensor vanished")


def test_a_failed_record_has_no_figures() -> None:
    assert figures_of(replace(made_record(), status="failed", reason="it died", metrics=())) is None


def test_an_energy_limit_is_held_by_those_that_were_confirmed() -> None:
    # The fastest takes the most energy, which only the measurement that counts tells.
    candidates = [made_candidate(f"net{place}") for place in range(8)]
    order = {one: place for place, one in enumerate(candidates)}

    class Metered(FakeMeasure):
        def __call__(self, some, seconds, counts):  # type: ignore[no-untyped-def]
            records = super().__call__(some, seconds, counts)
            if not counts:
                return records
            return [
                replace(record, power=Power(meter="fake", energy_mj=20.0 - order[one]))
                for one, record in zip(some, records, strict=True)
            ]

    search = Search(
        budget=parse_budget("energy=15mJ"),
        prefer="latency",
        measure=Metered(lambda one: 1e6 * (1 + order[one])),
        known={one: Known() for one in candidates},
        deadline=Deadline(10_000.0),
        power=True,
    )
    chosen = search.run(candidates)
    assert chosen is not None
    # The first four miss the limit; of the next four the fastest that holds it is taken.
    assert chosen.candidate == candidates[5]
    assert chosen.figures.energy_mj == 15.0
    assert {point.figures.energy_reason for point in search.points.values()} <= {"", SCREENED_ENERGY}
