"""The bench table's share of the measured peak, by hand-made calibrations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.bench import make_plan
from edgecnn.bench.measuring import measure
from edgecnn.bench.peaks.calibration import Bandwidth, Calibration, Limit, engine_version, keep_calibration
from edgecnn.cli.bench_tables import show
from edgecnn.cli.peak_column import peak_column
from edgecnn.devices.detect import detect
from edgecnn.resultlines import append
from edgecnn.results import ComputeShare, Record
from edgecnn.resultsfiles import read_all
from edgecnn.resultsquery import query
from edgecnn.runtimes import OpenOptions
from edgecnn.testing.models import TINY
from edgecnn.testing.records import made_latencies, made_record


def kept(folder: Path, *, threads: int = 2) -> None:
    keep_calibration(
        Calibration(
            backend="cpu",
            engine="onnxruntime",
            engine_version=engine_version("cpu"),
            threads=threads,
            device=detect(),
            peaks={"fp32": Limit(value=100.0, unit="GFLOP/s"), "int8": Limit(value=400.0, unit="GOP/s")},
            bandwidths=(Bandwidth(size_bytes=1 << 20, limit=Limit(value=10.0, unit="GB/s")),),
            verdict="suspect",
            seconds=1.0,
            time_utc="2025-01-31T12:00:00+00:00",
            edgecnn="0.1.0",
        ),
        folder=folder,
    )


def here(*, macs: int | None = 5_000_000, threads: int = 2, **changes: object) -> Record:
    """Return a record of this machine: 5 million multiply-adds an image, batch 4, 1 ms: 40 * 10^9 operations a second."""
    one = made_record(
        made_latencies(1e6),
        subject_macs=macs,
        runtime_threads=threads,
        runtime_engine_version=engine_version("cpu") or "0",
        **changes,
    )
    return replace(one, device=detect())


def test_each_precision_is_held_against_its_own_peak(tmp_path: Path) -> None:
    kept(tmp_path)
    found = peak_column([here(), here(subject_precision="fp32"), here(subject_precision="mixed")], folder=tmp_path)
    assert found.cells == ("10.0", "40.0", "-")
    assert len(found.notes) == 1
    assert "fp32 100 GFLOP/s, int8 400 GOP/s" in found.notes[0]
    assert "a suspect one" in found.notes[0]


def test_without_a_calibration_there_is_one_hint_and_no_column(tmp_path: Path) -> None:
    found = peak_column([here(), here()], folder=tmp_path)
    assert found.cells == ()
    assert found.notes == (
        "% of peak is left out, as this machine is not calibrated: edgecnn devices calibrate --threads 2",
    )


@pytest.mark.parametrize(
    "one", [here(macs=None), here(runtime_backend="torch"), replace(here(), status="failed", reason="no")]
)
def test_where_it_can_never_be_told_nothing_is_said(one: Record, tmp_path: Path) -> None:
    found = peak_column([one], folder=tmp_path)
    assert (found.cells, found.notes) == ((), ())


def test_records_of_other_threads_stay_empty_and_the_hint_names_them(tmp_path: Path) -> None:
    kept(tmp_path)
    found = peak_column([here(), here(threads=1)], folder=tmp_path)
    assert found.cells == ("10.0", "-")
    assert found.notes[1].endswith("edgecnn devices calibrate --threads 1")


def test_the_table_has_the_column_where_there_is_something_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    show([here()])
    assert "images/s   % of peak" not in capsys.readouterr().out
    kept(tmp_path / "edgecnn" / "machine")
    show([here()])
    assert "images/s   % of peak" in capsys.readouterr().out


@pytest.mark.slow
def test_the_record_says_what_the_column_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tiny = load_artifact(TINY)
    artifact = replace(tiny, spec=replace(tiny.spec, macs=20_000))
    plan, options = make_plan(seconds=0.05, min_runs=10), OpenOptions(threads=1)
    before = measure(artifact, plan=plan, options=options)
    kept(tmp_path / "edgecnn" / "machine", threads=1)
    one = measure(artifact, plan=plan, options=options)
    latency = one.metric("latency")
    assert latency is not None
    assert before.compute is None
    assert one.compute == ComputeShare(
        reached_gops=pytest.approx(40_000 / latency.median),
        peak_gops=100.0,
        peak_precision="fp32",
        share=pytest.approx(400 / latency.median),
        peak_verdict="suspect",
        peak_time_utc="2025-01-31T12:00:00+00:00",
    )
    assert peak_column([one]).cells == (f"{100 * one.compute.share:.1f}",)
    pytest.importorskip("duckdb")
    append(tmp_path / "r.jsonl", [before, one])
    found = read_all([tmp_path / "r.jsonl"], on_foreign=lambda error: None)
    answer = query(found, "SELECT compute_share, compute_peak_precision FROM records ORDER BY record")
    assert answer.rows == ((None, None), (one.compute.share, "fp32"))
