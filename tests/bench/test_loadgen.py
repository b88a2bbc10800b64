"""The early-stopping rule against MLCommons' own load generator, where `pip install mlcommons-loadgen` was done."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgecnn.bench.earlystop import estimate_tail, holds

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("mlperf_loadgen") is None, reason="pip install mlcommons-loadgen"),
]

# A process of its own: the load generator has threads and logs of its own, and prints.
_RUN = """
import json, random, sys, time
import mlperf_loadgen as lg

scenario, folder, queries = sys.argv[1], sys.argv[2], int(sys.argv[3])
spread = random.Random(0)
latencies = []

def issue(samples):
    begin = time.perf_counter_ns()
    time.sleep(0.001 + spread.expovariate(1 / 0.002))
    for sample in samples:
        lg.QuerySamplesComplete([lg.QuerySampleResponse(sample.id, 0, 0)])
    latencies.append(time.perf_counter_ns() - begin)

settings = lg.TestSettings()
settings.scenario = getattr(lg.TestScenario, scenario)
settings.mode = lg.TestMode.PerformanceOnly
settings.min_duration_ms = 0
settings.min_query_count = settings.max_query_count = queries
settings.server_target_qps = 100
settings.server_target_latency_ns = 100_000_000
output = lg.LogOutputSettings()
output.outdir = folder
log = lg.LogSettings()
log.log_output = output
log.enable_trace = False
sut = lg.ConstructSUT(issue, lambda: None)
qsl = lg.ConstructQSL(64, 64, lambda samples: None, lambda samples: None)
lg.StartTestWithLogSettings(sut, qsl, settings, log, "")
lg.DestroyQSL(qsl)
lg.DestroySUT(sut)
print(json.dumps(latencies))
"""


def _run(folder: Path, scenario: str, queries: int) -> tuple[list[int], str]:
    done = subprocess.run(
        [sys.executable, "-c", _RUN, scenario, str(folder), str(queries)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1]), (folder / "mlperf_log_summary.txt").read_text()


@pytest.mark.parametrize(("scenario", "percent", "queries"), [("SingleStream", 90, 400), ("MultiStream", 99, 800)])
def test_estimates_agree(tmp_path: Path, scenario: str, percent: int, queries: int) -> None:
    latencies, summary = _run(tmp_path, scenario, queries)
    ours = estimate_tail(latencies, percent)
    needed = re.search(rf"Processed at least (\d+) queries \({queries}\)", summary)
    discarded = re.search(r"Would discard (\d+) highest", summary)
    estimate = re.search(rf"{percent}\S* percentile estimate\s*: (\d+)", summary)
    assert needed and discarded and estimate, summary
    assert (ours.needed, ours.discarded) == (int(needed[1]), int(discarded[1]))
    # It times the same queries a few microseconds earlier and later.
    assert ours.value_ns == pytest.approx(int(estimate[1]), rel=0.05)


def test_too_few_queries_are_too_few_for_both(tmp_path: Path) -> None:
    latencies, summary = _run(tmp_path, "SingleStream", 40)
    ours = estimate_tail(latencies, 90)
    assert ours.value_ns is None
    assert f"Need to process at least {ours.needed} queries" in summary


def test_server_runs_are_judged_alike(tmp_path: Path) -> None:
    _, summary = _run(tmp_path, "Server", 300)
    judged = re.search(r"Would need to run at least (\d+) more queries", summary)
    assert judged, summary
    more = int(judged[1])
    assert not holds(300, 0, 99)
    assert holds(300 + more, 0, 99)
    assert not holds(300 + more - 1, 0, 99)
