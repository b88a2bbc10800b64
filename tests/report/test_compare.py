from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgecnn.errors import UnknownName
from edgecnn.powerspec import Power
from edgecnn.report.compare import compare
from edgecnn.report.keys import FIELDS
from edgecnn.report.ratios import latency_ratio
from edgecnn.report.rows import Row
from edgecnn.results import Metric, Quality, Reason
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
        ({"plan_load_generator": "mlcommons"}, "plan.load_generator: own against mlcommons"),
        ({"plan_load_generator_version": "6.0.17"}, "plan.load_generator_version: unknown against 6.0.17"),
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


def test_subjects_of_the_same_words_are_told_apart_by_what_differs() -> None:
    old = [
        made_record(subject_file="a.onnx"),
        made_record(subject_file="b.onnx"),
        made_record(subject_file="a.onnx", plan_timed="app"),
        made_record(plan_batch=8),
    ]
    titles = {row.file + row.title for row in compare(old, old)}
    assert len(titles) == 4
    words = "mobilenet_v1_0.25_32 int8 batch 4 on cpu, 4 threads"
    assert titles >= {f"a.onnx{words} (timed run, a.onnx)", f"b.onnx{words} (timed run, b.onnx)"}
    # What is alone under its words needs no more of them.
    assert any(title.endswith("batch 8 on cpu, 4 threads") for title in titles)


def test_what_only_differs_from_the_other_side_is_no_part_of_the_title() -> None:
    row = _row(compare([made_record(device_kernel="6.1")], [made_record(device_kernel="6.6")]))
    assert row.detail == ""
    assert row.why == ("device.kernel: 6.1 against 6.6",)


def test_all_engine_options_may_differ_at_once() -> None:
    changed = {"spinning": False, "arena": False}
    assert _row(compare([made_record()], [made_record(runtime_options=changed)])).verdict == "not comparable"
    row = _row(compare([made_record()], [made_record(runtime_options=changed)], across=["runtime.options"]))
    assert row.verdict == "same"


def test_a_latency_that_one_side_lacks_is_said() -> None:
    lacking = replace(made_record(), metrics=made_record().metrics[1:])
    row = _row(compare([made_record()], [lacking]))
    assert (row.verdict, row.why, row.new) == ("not comparable", ("latency: measured on one side only",), None)


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
    row = _row(compare([made_record()], [made_record(verdict="invalid")]))
    assert (row.verdict, row.ratio, row.why, row.broken) == (
        "not comparable",
        None,
        ("new: invalid measurement (others were busy)",),
        True,
    )
    row = _row(compare([made_record(verdict="invalid")], [made_record()]))
    assert (row.why, row.broken) == (("old: invalid measurement (others were busy)",), False)


@pytest.mark.parametrize(
    ("codes", "memory"),
    [(("load", "noisy"), "more"), (("load", "fallback"), "not comparable"), (("unheard_of",), "not comparable")],
)
def test_an_invalid_time_leaves_what_does_not_rest_on_it(codes: tuple[str, ...], memory: str) -> None:
    reasons = tuple(Reason(code=code, severity="invalid", message=code) for code in codes)
    new = replace(
        made_record(made_latencies(9e6), memory=30e6, subject_size_bytes=2, subject_accuracy=()),
        quality=Quality(verdict="invalid", reasons=reasons),
    )
    rows = compare([made_record(subject_accuracy=(), subject_size_bytes=1)], [new])
    assert [(row.quantity, row.verdict) for row in rows] == [
        ("latency", "not comparable"),
        ("memory", memory),
        ("size", "more"),
    ]
    assert [row.broken for row in rows] == [True, memory == "not comparable", False]
    assert [row.new for row in rows] == [pytest.approx(9e6), 30e6, 2]


def test_an_invalid_record_without_any_figure_has_one_row_that_says_so() -> None:
    reason = Reason(code="fallback", severity="invalid", message="elsewhere")
    bad = replace(made_record(), metrics=(), quality=Quality(verdict="invalid", reasons=(reason,)))
    rows = compare([made_record(memory=None)], [bad])
    assert [row.quantity for row in rows] == ["latency", "size", "top1"]
    assert (rows[0].why, rows[0].broken) == (("new: invalid measurement (elsewhere)",), True)
    assert [row.quantity for row in compare([bad], [bad])] == ["latency", "size", "top1"]


def test_an_invalid_time_voids_the_energy_that_it_is_part_of() -> None:
    good = replace(made_record(), power=_power(10))
    reason = Reason(code="load", severity="invalid", message="busy")
    row = _row(compare([good], [replace(good, quality=Quality(verdict="invalid", reasons=(reason,)))]), "energy")
    assert (row.verdict, row.interval, row.broken) == ("not comparable", None, True)
    assert (row.why, row.new) == (("new: invalid measurement (busy)",), 10)


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


@pytest.mark.parametrize("repetitions", [2, *(pytest.param(count, marks=pytest.mark.slow) for count in (3, 5))])
def test_the_interval_of_repetitions_holds_the_truth_as_often_as_it_says(repetitions: int) -> None:
    """Records of one file differ by 1% from process to process; 95% of 100 intervals hold the ratio 1, with room for chance."""
    generator = np.random.default_rng(5)

    def side() -> list[Metric]:
        medians = 1e6 * np.exp(0.01 * generator.standard_normal(repetitions))
        return [summarise_quickly(made_latencies(one, seed=place, count=20)) for place, one in enumerate(medians)]

    held = 0
    for _ in range(100):
        _, interval = latency_ratio(side(), side())
        assert interval is not None
        held += interval[0] <= 1 <= interval[1]
    assert held >= 88


def summarise_quickly(samples: tuple[float, ...]) -> Metric:
    median = float(np.median(samples))
    return Metric(
        name="latency",
        unit="ns",
        samples=samples,
        n=len(samples),
        min=min(samples),
        median=median,
        p90=None,
        p99=None,
        max=max(samples),
        mean=median,
        ci95=None,
    )


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
