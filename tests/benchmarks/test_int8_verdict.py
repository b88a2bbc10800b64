"""What benchmarks/int8.py concludes from its figures; the figures themselves are measured by hand."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def row(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`row(fp32=(median, quiet), int8=(median, quiet), ...)`: a row whose bound is 0.5."""
    monkeypatch.syspath_prepend(FOLDER)
    made = importlib.import_module("_row").Row

    def row(
        fp32: tuple[float, float], int8: tuple[float, float], *, own: float | None = None, bound: float | None = 0.5
    ) -> Any:
        return made(
            network="net",
            fp32_ms=fp32[0],
            cpu_ms=int8[0],
            openvino_ms=None,
            nncf_ms=None,
            quiet_ms={"fp32": fp32[1], "cpu": int8[1]},
            processor_ms={"fp32": fp32[0], "cpu": int8[0] if own is None else own},
            bound=bound,
            failed={},
        )

    return row


def test_the_medians_decide(row: Any) -> None:
    assert row((10, 9.9), (5, 4.9)).verdict == "held"
    assert row((10, 9.9), (5.2, 5.1)).verdict == "missed"
    assert row((10, 9.9), (5.2, 5.1), bound=None).verdict == "no bound"


def test_quiet_runs_that_hold_are_no_proof_and_no_failure(row: Any) -> None:
    found = row((10, 9.9), (6.5, 4.8))
    assert found.quiet_ratio == pytest.approx(4.8 / 9.9)
    assert found.verdict == "disturbed"
    assert row((10, 9.9), (5.2, 4.9)).verdict == "missed"  # the spread is ordinary
    assert row((10, 9.9), (6.5, 5.2)).verdict == "missed"  # the quiet runs miss it as well
    assert row((13, 9.0), (6.4, 4.8)).verdict == "held"  # however noisy


def test_processor_times_far_from_the_clock_decide_nothing(row: Any) -> None:
    assert row((10, 9.9), (4.0, 3.9), own=4.8).verdict == "disturbed"


def test_a_network_without_times_failed(row: Any) -> None:
    broken = replace(row((10, 9.9), (5, 4.9)), cpu_ms=None, quiet_ms={}, processor_ms={})
    assert (broken.verdict, broken.quiet_ratio) == ("failed", None)
