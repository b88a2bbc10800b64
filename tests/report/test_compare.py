from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgecnn.errors import UnknownName
from edgecnn.powerspec import Power
from edgecnn.report.compare import compare
from edgecnn.report.keys import FIELDS
from edgecnn.report.rows import Row
from edgecnn.results import Quality, Reason
from edgecnn.testing.records import ACCURACY, made_latencies, made_record


def _row(rows: tuple[Row, ...], quantity: str = "latency") -> Row:
    found = [row for row in rows if row.quantity == quantity]
    assert len(found) == 1, rows
    return found[0]


# --- verdicts


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.0, "same"), (1.015, "same"), (1.1, "slower"), (0.9, "faster"), (2.0, "slower")]
)
def test_latency(factor: float, verdict: str) -> None:
    row = _row(compare([made_record(made_latencies(1e6, seed=1))], [made_record(made_latencies(1e6 * factor, seed=2))]))
    assert (row.verdict, row.ratio) == (verdict, pytest.approx(factor))
    assert row.interval is not None
    assert row.interval[0] <= factor <= row.interval[1]
    assert (row.old, row.new, row.unit) == (pytest.approx(1e6), pytest.approx(1e6 * factor), "ns")


def test_a_difference_that_chance_explains_is_none() -> None:
    """10% apart, but single samples scatter by half and there are only 20 of them."""
    old, new = (
        made_record(made_latencies(median, seed=seed, count=20, sigma=0.5)) for seed, median in ((1, 1e6), (2, 1.1e6))
    )
    row = _row(compare([old], [new]))
    assert (row.verdict, row.ratio) == ("same", pytest.approx(1.1))
    assert row.interval is not None
    assert row.interval[0] < 1 < row.interval[1]


def test_too_few_samples_are_not_compared() -> None:
    row = _row(compare([made_record(made_latencies(count=9))], [made_record()]))
    assert (row.verdict, row.ratio, row.why) == (
        "not comparable",
        None,
        ("too few samples for an interval: measure longer",),
    )


@pytest.mark.parametrize(("new", "verdict"), [(20e6, "same"), (20.3e6, "same"), (22e6, "more"), (18e6, "less")])
def test_memory(new: float, verdict: str) -> None:
    row = _row(compare([made_record(memory=20e6)], [made_record(memory=new)]), "memory")
    assert (row.verdict, row.ratio, row.interval) == (verdict, new / 20e6, None)


def test_what_neither_side_measured_has_no_row() -> None:
    rows = compare([made_record(memory=None)], [made_record(memory=None)])
    assert [row.quantity for row in rows] == ["latency", "size", "top1"]
    only = _row(compare([made_record()], [made_record(memory=None)]), "memory")
    assert (only.verdict, only.old, only.new) == ("not comparable", 20e6, None)


@pytest.mark.parametrize(("value", "verdict", "points"), [(0.93, "better", 0.42), (0.92, "worse", -0.58)])
def test_accuracy_is_compared_in_points(value: float, verdict: str, points: float) -> None:
    accuracy = replace(ACCURACY, value=value)
    row = _row(compare([made_record()], [made_record(subject_accuracy=(accuracy,))]), "top1")
    assert (row.verdict, row.points, row.ratio) == (verdict, pytest.approx(points), None)
    assert (row.old, row.new) == (pytest.approx(92.58), pytest.approx(100 * value))


def test_accuracies_of_different_images_are_not_compared() -> None:
    accuracy = replace(ACCURACY, images=500)
    row = _row(compare([made_record()], [made_record(subject_accuracy=(accuracy,))]), "top1")
    assert (row.verdict, row.why) == ("not comparable", ("accuracy.images: 10000 against 500",))


def _power(energy_mj: float, uncertainty: float | None = 0.02, **changes: object) -> Power:
    power = Power(
        meter="ina3221",
        domain="VDD_IN",
        coverage="module",
        power_w=5.0,
        energy_mj=energy_mj,
        uncertainty_w=None if uncertainty is None else 5.0 * uncertainty,
    )
    return replace(power, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("energy", "verdict"), [(10.0, "same"), (10.25, "same"), (12.0, "more"), (8.0, "less")])
def test_energy_with_the_uncertainty_of_the_meter(energy: float, verdict: str) -> None:
    """2% a side are 2.8% together: a difference of 2.5% is none."""
    old, new = (replace(made_record(), power=_power(value)) for value in (10.0, energy))
    row = _row(compare([old], [new]), "energy")
    assert (row.verdict, row.unit, row.ratio) == (verdict, "mJ", pytest.approx(energy / 10))
    assert row.interval is not None
    assert np.log(row.interval[1] / row.interval[0]) == pytest.approx(2 * 0.02 * 2**0.5)


def test_energies_of_two_meters_are_not_compared() -> None:
    old = replace(made_record(), power=_power(10))
    new = replace(made_record(), power=_power(10, domain="VDD_CPU", coverage="chip"))
    row = _row(compare([old], [new]), "energy")
    assert row.why == ("power.domain: VDD_IN against VDD_CPU", "power.coverage: module against chip")
    assert _row(compare([old], [made_record()]), "energy").why == ("energy: measured on one side only",)


# --- like with like


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"runtime_threads": 2}, "runtime.threads: 4 against 2"),
        ({"runtime_engine_version": "1.24.0"}, "runtime.engine_version: 1.23.2 against 1.24.0"),
        ({"device_governor": "performance"}, "device.governor: ondemand against performance"),
        ({"device_governor": None}, "device.governor: ondemand against unknown"),
        ({"plan_min_seconds": 4.0}, "plan.min_seconds: 2.0 against 4.0"),
        ({"subject_precision": "fp32"}, "subject.precision: int8 against fp32"),
        ({"subject_input_shape": (4, 1, 64, 64)}, "subject.input_shape: 4x1x32x32 against 4x1x64x64"),
        (
            {"runtime_options": {"spinning": False, "arena": True}},
            "runtime.options.spinning: True against False",
        ),
    ],
)
def test_the_field_that_differs_is_named(changes: dict[str, object], why: str) -> None:
    rows = compare([made_record()], [made_record(**changes)])
    assert [(row.verdict, row.ratio, row.why) for row in rows] == [("not comparable", None, (why,))]
    field = why.partition(":")[0]
    across = compare([made_record()], [made_record(**changes)], across=[field])
    assert _row(across).verdict == "same"


@pytest.mark.parametrize(
    "changes",
    [
        {"subject_sha256": "ff"},
        {"subject_lineage": ()},
        {"subject_params": 1},
        {"plan_clock_resolution_ns": 1},
        {"runtime_nodes": {"CPUExecutionProvider": 7}},
        {"provenance_commit": "another"},
    ],
)
def test_what_a_new_build_changes_by_its_nature_does_not_matter(changes: dict[str, object]) -> None:
    assert _row(compare([made_record()], [made_record(**changes)])).verdict == "same"


def test_every_field_of_the_four_groups_is_looked_at_but_for_those() -> None:
    assert {"subject.network", "subject.batch", "runtime.backend", "device.cpu", "plan.seed", "plan.timed"} <= set(
        FIELDS
    )
    assert not {"subject.file", "subject.sha256", "runtime.nodes", "plan.clock_resolution_ns"} & set(FIELDS)
    with pytest.raises(UnknownName, match=r"unknown field 'runtime\.thread'") as caught:
        compare([], [], across=["runtime.thread"])
    assert "runtime.threads" in caught.value.hint


def test_the_nearest_old_record_is_the_one_to_name() -> None:
    old = [made_record(runtime_threads=1, device_governor="powersave", plan_batch=1), made_record(runtime_threads=2)]
    rows = compare(old, [made_record()])
    assert rows[0].why == ("runtime.threads: 2 against 4",)
    assert [row.why for row in rows[1:]] == [("no new record of this",)]


def test_networks_without_a_partner_are_said_on_both_sides() -> None:
    rows = compare([made_record(subject_network="a")], [made_record(subject_network="b")])
    assert [(row.network, row.why) for row in rows] == [
        ("b_0.25_32", ("no old record of this network",)),
        ("a_0.25_32", ("no new record of this",)),
    ]
    assert not any(row.broken for row in rows)


def test_rows_of_several_subjects_come_in_the_order_of_the_new_file() -> None:
    old = [made_record(plan_batch=batch) for batch in (1, 2, 4)]
    rows = compare(old, old[::-1])
    assert [row.batch for row in rows if row.quantity == "latency"] == [4, 2, 1]
    assert {row.verdict for row in rows} == {"same"}


def test_two_files_of_one_network_are_two_subjects() -> None:
    plain, tuned = made_record(), made_record(made_latencies(5e5), subject_file="tuned.onnx")
    rows = compare([plain, tuned], [tuned, plain])
    assert [(row.file, row.verdict) for row in rows if row.quantity == "latency"] == [
        ("tuned.onnx", "same"),
        (made_record().subject.file, "same"),
    ]
    # One file a side is a new build under a new name.
    assert _row(compare([plain], [tuned])).verdict == "faster"


# --- failures and doubts


def test_a_failure_of_what_went_well_before_is_broken() -> None:
    failed = replace(made_record(), status="failed", reason="the worker was killed", metrics=(), runtime=None)
    (row,) = compare([made_record()], [failed])
    assert (row.verdict, row.why, row.broken) == ("not comparable", ("new failed: the worker was killed",), True)
    (both,) = compare([failed], [failed])
    assert (both.verdict, both.broken) == ("not comparable", False)


def test_a_failure_that_was_repeated_well_is_forgotten() -> None:
    failed = replace(made_record(), status="failed", reason="killed", metrics=(), runtime=None)
    assert {row.verdict for row in compare([made_record()], [failed, made_record()])} == {"same"}


def test_an_invalid_measurement_is_not_compared() -> None:
    (row,) = compare([made_record()], [made_record(verdict="invalid")])
    assert (row.verdict, row.why, row.broken) == (
        "not comparable",
        ("new: invalid measurement (others were busy)",),
        True,
    )
    (row,) = compare([made_record(verdict="invalid")], [made_record()])
    assert (row.why, row.broken) == (("old: invalid measurement (others were busy)",), False)


def test_a_suspect_measurement_is_compared_and_said() -> None:
    row = _row(compare([made_record()], [made_record(made_latencies(2e6), verdict="suspect")]))
    assert (row.verdict, row.why) == ("slower", ("new: suspect measurement (others were busy)",))


# --- repetitions and turns


def test_repetitions_that_differ_widen_the_interval() -> None:
    """Three runs at 1.00, 1.05 and 1.10 ms: one alone would call 1.1 against 1.0 certain."""
    old = [made_record(made_latencies(1e6 * factor, seed=number)) for number, factor in enumerate((1.0, 1.05, 1.1))]
    row = _row(compare(old, [made_record(made_latencies(1.08e6, seed=9))]))
    assert row.old == pytest.approx(1.05e6)
    assert row.verdict == "same"
    alone = _row(compare(old[:1], [made_record(made_latencies(1.08e6, seed=9))]))
    assert alone.verdict == "slower"
    assert row.interval is not None
    assert alone.interval is not None
    assert row.interval[1] - row.interval[0] > 3 * (alone.interval[1] - alone.interval[0])


def _in_turn(
    factor: float, group: str | None = "g", *, missing: int = 0, reason: Reason | None = None
) -> tuple[Row, ...]:
    """30 rounds of 20 runs; every round has a speed of its own, shared by both; the new one may miss the last rounds."""
    generator = np.random.default_rng(4)
    speeds = np.exp(0.1 * generator.standard_normal(30)).repeat(20)
    first, second = (1e6 * speeds * np.exp(0.01 * generator.standard_normal(600)) for _ in range(2))
    rounds = 30 - missing
    old = made_record(tuple(first.tolist()), blocks=(20,) * 30, group=group)
    new = made_record(tuple((factor * second[: 20 * rounds]).tolist()), blocks=(20,) * rounds, group=group)
    if reason is not None:
        new = replace(new, quality=Quality(verdict="invalid", reasons=(reason,)))
    return compare([old], [new])


def test_records_of_one_group_are_compared_round_by_round() -> None:
    row = _row(_in_turn(1.02))
    assert (row.verdict, row.in_turn) == ("slower", True)
    assert row.ratio == pytest.approx(1.02, abs=0.003)
    assert row.interval is not None
    assert row.interval[1] - row.interval[0] < 0.01
    assert _row(_in_turn(1.0)).verdict == "same"
    apart = _row(_in_turn(1.02, group=None))
    assert (apart.verdict, apart.in_turn) == ("same", False)


def test_rounds_that_both_have_are_compared() -> None:
    fewer = _row(_in_turn(1.02, missing=12))
    assert (fewer.verdict, fewer.in_turn) == ("slower", True)
    assert fewer.ratio == pytest.approx(1.02, abs=0.004)
    assert not _row(_in_turn(1.02, missing=21)).in_turn


@pytest.mark.parametrize(
    ("code", "compared"), [("not_steady", True), ("noisy", True), ("load", False), ("no_work", False)]
)
def test_what_disturbs_both_alike_does_not_spoil_a_ratio_of_rounds(code: str, compared: bool) -> None:
    reason = Reason(code=code, severity="invalid", message="because")
    row = _row(_in_turn(1.05, reason=reason))
    assert row.why == ("new: invalid measurement (because)",)
    assert (row.verdict, row.broken) == (("slower", False) if compared else ("not comparable", True))
    assert _row(_in_turn(1.05, group=None, reason=reason)).verdict == "not comparable"


def test_nothing_gives_nothing() -> None:
    assert compare([], []) == ()
