"""The early-stopping rule against that of MLCommons' load generator, of the same latencies."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgecnn.bench.earlystop import estimate_tail, holds, queries_needed
from edgecnn.bench.loadgenlogs import Judgement, read_judgement, read_queries

lg = pytest.importorskip("mlperf_loadgen", reason="pip install 'edgecnn[loadgen]'")


def _driven(folder: Path, scenario: str, queries: int, *, bound_ns: int = 10**9) -> tuple[Judgement, list[int]]:
    """Return what the generator says about so many queries, and the latency of each."""
    spread = iter([1.0 + (number * 7919 % 101) / 50 for number in range(queries + 1)])

    def issue(samples: Sequence[Any]) -> None:
        time.sleep(next(spread) / 40_000)
        lg.QuerySamplesComplete([lg.QuerySampleResponse(sample.id, 0, 0) for sample in samples])

    settings, output, log = lg.TestSettings(), lg.LogOutputSettings(), lg.LogSettings()
    names = {"single-stream": "SingleStream", "multi-stream": "MultiStream", "server": "Server"}
    settings.scenario = getattr(lg.TestScenario, names[scenario])
    settings.mode = lg.TestMode.PerformanceOnly
    settings.min_duration_ms = 0
    settings.min_query_count = settings.max_query_count = queries
    settings.server_target_qps, settings.server_target_latency_ns = 1500, bound_ns
    output.outdir, log.log_output, log.enable_trace = str(folder), output, True
    sut, qsl = lg.ConstructSUT(issue, lambda: None), lg.ConstructQSL(64, 64, lambda _: None, lambda _: None)
    lg.StartTestWithLogSettings(sut, qsl, settings, log, "")
    lg.DestroyQSL(qsl)
    lg.DestroySUT(sut)
    with (folder / "mlperf_log_detail.txt").open("rb") as lines:
        judgement = read_judgement(scenario, lines)
    with (folder / "mlperf_log_trace.json").open("rb") as lines:
        told = read_queries(lines)
    return judgement, (told.done_ns - told.arrived_ns).tolist()


@pytest.mark.parametrize(
    ("scenario", "percent", "queries"),
    [("single-stream", 90, 64), ("single-stream", 90, 400), ("multi-stream", 99, 662), ("multi-stream", 99, 1400)],
)
def test_the_rule_gives_the_same_of_the_same_latencies(
    tmp_path: Path, scenario: str, percent: int, queries: int
) -> None:
    judgement, latencies = _driven(tmp_path, scenario, queries)
    ours = estimate_tail(latencies, percent)
    counts = re.search(
        r"Processed at least (\d+) queries \((\d+)\).*Would discard (\d+) highest", judgement.early_stopping
    )
    assert counts, judgement
    assert [int(one) for one in counts.groups()] == [ours.needed, len(latencies), ours.discarded]
    assert judgement.tail_ns == ours.value_ns
    assert (judgement.queries, judgement.longest_ns) == (queries, max(latencies))


@pytest.mark.parametrize(("scenario", "percent", "queries"), [("single-stream", 90, 63), ("multi-stream", 99, 661)])
def test_too_few_queries_are_too_few_for_both(tmp_path: Path, scenario: str, percent: int, queries: int) -> None:
    judgement, latencies = _driven(tmp_path, scenario, queries)
    ours = estimate_tail(latencies, percent)
    assert judgement.tail_ns is ours.value_ns is None
    assert f"Need to process at least {ours.needed} queries" in judgement.early_stopping


def test_servers_are_judged_alike(tmp_path: Path) -> None:
    """So many are above the bound that it takes more queries to be sure; how many more is what both say."""
    judgement, latencies = _driven(tmp_path, "server", 300, bound_ns=110_000)
    over = sum(latency > 110_000 for latency in latencies)
    assert judgement.over_bound == over > 0
    assert not judgement.valid
    assert not holds(len(latencies), over, 99)
    more = re.search(r"Would need to run at least (\d+) more queries", judgement.early_stopping)
    assert more, judgement
    assert queries_needed(over, 99) == len(latencies) + int(more[1])
