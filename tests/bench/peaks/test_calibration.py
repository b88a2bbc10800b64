"""Calibrations: kept and found again, told apart, and what shares of a peak they give."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgecnn.bench.activity import Activity
from edgecnn.bench.peaks.calibrate import calibrate, summarised
from edgecnn.bench.peaks.calibration import (
    Bandwidth,
    Calibration,
    Limit,
    calibration_path,
    compute_share,
    engine_version,
    find_calibration,
    keep_calibration,
    peak_text,
    with_compute,
)
from edgecnn.bench.peaks.limits import RawCalibration
from edgecnn.devices.detect import detect
from edgecnn.devices.state import DeviceState
from edgecnn.errors import Contradiction
from edgecnn.resultlines import dumps, loads, read
from edgecnn.results import ComputeShare, Record
from edgecnn.specs import EngineInfo

INFO = EngineInfo(backend="cpu", engine="onnxruntime", engine_version="1.2", threads=2)
COOL = DeviceState(frequency_khz=1000, thermal_throttle_count=1)


def raw(**changes: Any) -> RawCalibration:
    values: dict[str, Any] = {
        "info": INFO,
        "peaks": {
            "fp32": {"conv3x3": (98.0, 100.0, 102.0), "matmul": (50.0, 400.0, 60.0)},
            "int8": {"matmul": (300.0,) * 3},
        },
        "missing": {"bf16": "not here"},
        "bandwidths": {"1048576": (9.9, 10.0, 10.1), "262144": (50.0, 50.0, 50.0)},
        "before": COOL,
        "after": COOL,
        "activity": Activity(seconds=1.0, own_cores=2.0, other_cores=0.0, stolen_cores=0.0),
        "emulated": False,
    }
    return RawCalibration(**{**values, **changes})


def made(**changes: Any) -> Calibration:
    return summarised(raw(**changes), detect(), threads=2, seconds=1.5, time_utc="2026-01-01T00:00:00+00:00")


def test_the_best_kernel_counts_by_its_median() -> None:
    found = made()
    assert (found.peak_gops("fp32"), found.peaks["fp32"].kernel) == (100.0, "conv3x3")
    assert found.peaks["fp32"].spread == pytest.approx(0.02)
    assert found.peak_gops("bf16") is None
    assert found.peaks["bf16"].reason == "not here"
    assert found.peaks["int8"].unit == "GOP/s"
    assert [one.size_bytes for one in found.bandwidths] == [262144, 1048576]
    assert found.bandwidth(300000) == (1048576, 10.0)
    assert found.verdict == "valid"


@pytest.mark.parametrize(
    ("changes", "code", "verdict"),
    [
        ({"peaks": {"fp32": {"a": (80.0, 100.0, 120.0)}}}, "noisy", "suspect"),
        ({"peaks": {"fp32": {"a": (30.0, 100.0, 190.0)}}}, "noisy", "invalid"),
        ({"activity": Activity(seconds=1.0, own_cores=1.0, other_cores=64.0)}, "load", "suspect"),
        ({"activity": Activity(seconds=1.0, own_cores=1.0, other_cores=0.0, stolen_cores=64.0)}, "load", "suspect"),
        ({"after": replace(COOL, frequency_khz=800)}, "throttled", "suspect"),
        ({"after": replace(COOL, thermal_throttle_count=2)}, "throttled", "suspect"),
        ({"after": replace(COOL, pi_throttled=0x50005)}, "throttled", "suspect"),
        ({"emulated": True}, "emulated", "invalid"),
    ],
)
def test_what_speaks_against_it(changes: dict[str, Any], code: str, verdict: str) -> None:
    found = made(**changes)
    assert [reason.code for reason in found.reasons] == [code]
    assert found.verdict == verdict


def test_of_several_limits_that_spread_the_widest_is_told_apart_from_the_rest() -> None:
    rates = {"262144": (80.0, 100.0, 120.0), "2097152": (60.0, 100.0, 140.0)}
    (reason,) = made(bandwidths=rates, peaks={"fp32": {"a": (99.0, 100.0, 101.0)}}).reasons
    assert reason.message == (
        "the middle half of the rounds of bandwidth, 2 MiB spreads over 40% of the median; "
        "that of 1 other limit over 20% or more"
    )


def test_it_is_kept_and_found_for_the_same_machine_threads_and_engine(tmp_path: Path) -> None:
    threads_of_two = replace(made(), device=detect())
    keep_calibration(threads_of_two, folder=tmp_path)
    assert find_calibration(threads=2, folder=tmp_path) == replace(threads_of_two, remembered=True)
    assert find_calibration(threads=1, folder=tmp_path) is None
    assert find_calibration(backend="openvino", threads=2, folder=tmp_path) is None
    others = [
        calibration_path(replace(detect(), cpu="another"), backend="cpu", threads=2, folder=tmp_path),
        calibration_path(replace(detect(), features=("x",)), backend="cpu", threads=2, folder=tmp_path),
        calibration_path(replace(detect(), governor="powersave"), backend="cpu", threads=2, folder=tmp_path),
    ]
    assert len({*others, calibration_path(detect(), backend="cpu", threads=2, folder=tmp_path)}) == 4


def test_a_damaged_file_is_no_calibration(tmp_path: Path) -> None:
    keep_calibration(made(), folder=tmp_path)
    (path,) = tmp_path.glob("*.json")
    for text in ("", "{}", "[1]", path.read_text()[:-40]):
        path.write_text(text)
        assert find_calibration(threads=2, folder=tmp_path) is None


def record(**changes: Any) -> tuple[Record, Calibration]:
    """A record of 4 images of 1,234,567 multiply-adds in int8, and a calibration of the same machine."""
    (first, *_) = read(Path(__file__).parents[2] / "golden/record.jsonl")
    assert first.runtime is not None
    latency = next(one for one in first.metrics if one.name == "latency") if first.metric("latency") else None
    if latency is None:
        latency = replace(first.metrics[0], name="latency", unit="ns", median=1e6)
    machine = Calibration(
        backend="cpu",
        engine="onnxruntime",
        engine_version=first.runtime.engine_version,
        threads=first.runtime.threads or 0,
        device=first.device,
        peaks={"int8": Limit(value=100.0, unit="GOP/s")},
        bandwidths=(Bandwidth(size_bytes=1, limit=Limit(value=1.0, unit="GB/s")),),
        verdict="valid",
        seconds=1.0,
        time_utc="2025-01-31T12:00:00+00:00",
        edgecnn="",
    )
    return replace(first, metrics=(replace(latency, median=1e6),)), replace(machine, **changes)


def test_share_of_the_peak() -> None:
    measured, machine = record()
    reached = 2 * 1234567 * 4 / 1e6
    assert compute_share(measured, machine) == ComputeShare(
        reached_gops=pytest.approx(reached),
        peak_gops=100.0,
        peak_precision="int8",
        share=pytest.approx(reached / 100),
        peak_verdict="valid",
        peak_time_utc="2025-01-31T12:00:00+00:00",
    )
    assert peak_text(measured, machine) == "9.9"


def test_a_record_gets_the_share_where_this_machine_was_calibrated(tmp_path: Path) -> None:
    measured, machine = record(device=detect(), engine_version=engine_version("cpu"))
    assert machine.threads
    assert measured.runtime is not None
    runtime = replace(measured.runtime, engine_version=machine.engine_version or "1.0")
    here = replace(measured, device=detect(), runtime=runtime)
    assert with_compute(here, folder=tmp_path).compute is None
    keep_calibration(machine, folder=tmp_path)
    found = with_compute(here, folder=tmp_path)
    assert found.compute == compute_share(here, machine)
    assert found.compute is not None
    assert loads(dumps(found)) == found
    for other in (replace(here, status="failed"), replace(here, runtime=None), replace(here, runtime=_twice(runtime))):
        assert with_compute(other, folder=tmp_path).compute is None


def _twice(runtime: EngineInfo) -> EngineInfo:
    return replace(runtime, threads=2 * (runtime.threads or 1))


def test_records_of_before_have_none() -> None:
    for name in ("record.jsonl", "record_first.jsonl"):
        assert [one.compute for one in read(Path(__file__).parents[2] / "golden" / name) if one.compute] == []


@pytest.mark.parametrize(
    "changes",
    [{"threads": 3}, {"backend": "openvino"}, {"engine_version": "9.9"}, {"peaks": {}}, {"device": detect()}],
    ids=lambda changes: next(iter(changes)),
)
def test_another_machine_engine_or_number_of_threads_gives_no_share(changes: dict[str, Any]) -> None:
    measured, machine = record(**changes)
    assert compute_share(measured, machine) is None
    assert peak_text(measured, machine) == "-"


def test_what_was_not_the_network_alone_has_no_share() -> None:
    measured, machine = record()
    assert compute_share(replace(measured, plan=replace(measured.plan, timed="app")), machine) is None
    assert compute_share(replace(measured, metrics=()), machine) is None
    assert compute_share(replace(measured, subject=replace(measured.subject, macs=None)), machine) is None
    assert compute_share(measured, None) is None


@pytest.mark.slow
def test_this_machine_is_measured() -> None:
    pytest.importorskip("onnxruntime")
    found = calibrate(threads=1, rounds=1)
    fp32, int8 = found.peak_gops("fp32"), found.peak_gops("int8")
    assert fp32 is not None
    assert int8 is not None
    assert 0.1 < fp32 < 1e5
    assert 0.1 < int8 < 1e6
    assert (found.engine, found.engine_version, found.threads) == ("onnxruntime", engine_version("cpu"), 1)
    assert [one.size_bytes for one in found.bandwidths] == sorted(one.size_bytes for one in found.bandwidths)
    assert all(one.limit.value and 0.05 < one.limit.value < 1e5 for one in found.bandwidths)


def test_a_backend_without_known_limits_is_refused() -> None:
    with pytest.raises(Contradiction, match="backend torch cannot be calibrated"):
        calibrate(backend="torch")
