"""Both load generators around the same work."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgecnn.bench.earlystop import estimate_tail
from edgecnn.bench.generators import MLCOMMONS, generator_version
from edgecnn.bench.loadgen import run_loadgen
from edgecnn.bench.scenarioresult import ScenarioResult
from edgecnn.bench.scenarios import Issue, run_scenario
from edgecnn.bench.stats import percentile
from edgecnn.errors import BadInput, MeasurementError
from edgecnn.testing.fakes import FakeClock

pytest.importorskip("mlperf_loadgen", reason="pip install 'edgecnn[loadgen]'")

MS = 1_000_000

# Of a percentile, beside that of the same work as it was seen from within: what lies between the places where clocks are read.
TOLERANCE, SLACK_NS = 0.05, 300_000


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files: what is left there was left by the generator."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


class Work:
    """Takes its time for each query, and another time for every so many of them; knows how long each took."""

    def __init__(self, *, usual_ms: float, every: int = 0, then_ms: float = 0.0) -> None:
        self.took_ns: list[int] = []
        self._usual_ms, self._every, self._then_ms = usual_ms, every, then_ms

    def __call__(self, _: Sequence[int]) -> None:
        begin = time.perf_counter_ns()
        slow = self._every and len(self.took_ns) % self._every == self._every - 1
        time.sleep((self._then_ms if slow else self._usual_ms) / 1000)
        self.took_ns.append(time.perf_counter_ns() - begin)


def _own(scenario: str, issue: Issue, **load: Any) -> ScenarioResult:
    return run_scenario(scenario, issue, **load)


def _mlcommons(scenario: str, issue: Issue, **load: Any) -> ScenarioResult:
    return run_loadgen(scenario, issue, query_ns=MS, **load)


def _both(scenario: str, usual_ms: float, **load: Any) -> tuple[ScenarioResult, ScenarioResult]:
    own, theirs = (run(scenario, Work(usual_ms=usual_ms), **load) for run in (_own, _mlcommons))
    return own, theirs


@pytest.mark.parametrize("run", [_own, _mlcommons])
def test_a_stream_gives_the_figures_of_its_work(run: Callable[..., ScenarioResult], temporary: Path) -> None:
    """Every seventh query takes 6 ms: the 90th percentile is that at least, and what the work saw of itself."""
    work = Work(usual_ms=1.0, every=7, then_ms=6.0)
    result = run("single-stream", work, seconds=0.25)
    seen = estimate_tail(work.took_ns, 90)
    assert result.title == "MLPerf-style single-stream"
    assert result.valid is (None if run is _own else True)
    assert 0.2 <= result.seconds <= 1.5
    assert result.samples == len(result.latencies_ns) == len(work.took_ns)
    assert result.samples_per_second == pytest.approx(result.samples / result.seconds)
    assert result.p50_ns == pytest.approx(percentile(work.took_ns, 50), rel=TOLERANCE, abs=SLACK_NS)
    assert result.tail is not None
    assert (result.tail.needed, result.tail.discarded) == (seen.needed, seen.discarded)
    assert seen.value_ns is not None
    assert seen.value_ns >= 6 * MS
    assert result.tail.value_ns == pytest.approx(seen.value_ns, rel=TOLERANCE, abs=SLACK_NS)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("run", [_own, _mlcommons])
def test_queries_of_several_samples_are_too_few_in_so_short_a_time(run: Callable[..., ScenarioResult]) -> None:
    result = run("multi-stream", Work(usual_ms=1.0), seconds=0.1)
    assert result.samples == 8 * len(result.latencies_ns)
    assert min(result.latencies_ns) >= MS
    assert result.tail is not None
    assert (result.tail.percent, result.tail.value_ns, result.tail.needed) == (99, None, 662)
    assert result.valid is (None if run is _own else False)
    assert any("too few queries to be sure" in note for note in result.notes) is (run is _mlcommons)


@pytest.mark.slow
@pytest.mark.parametrize(("usual_ms", "bound_ms", "held"), [(0.2, 1000.0, True), (1.0, 0.3, False)])
def test_a_bound_gets_the_same_verdict_from_both(usual_ms: float, bound_ms: float, held: bool) -> None:
    own, theirs = _both("server", usual_ms, seconds=1.5, qps=400.0, bound_ns=bound_ms * MS)
    assert (own.bound_held, theirs.bound_held, theirs.valid) == (held, held, held)
    for result in (own, theirs):
        # 600 of a Poisson process, within five standard deviations.
        assert 478 <= len(result.latencies_ns) <= 722
        assert result.unanswered == 0
        assert result.over_bound == (0 if held else len(result.latencies_ns))
    assert (theirs.qps, theirs.bound_ns) == (400.0, bound_ms * MS)


def test_too_few_queries_tell_neither_that_a_bound_holds() -> None:
    own, theirs = _both("server", 0.2, seconds=0.1, qps=200.0, bound_ns=1e9)
    assert (own.bound_held, theirs.bound_held, theirs.valid) == (None, None, False)


@pytest.mark.slow
def test_both_leave_a_server_that_falls_behind() -> None:
    own, theirs = _both("server", 5.0, seconds=0.1, qps=1000.0, bound_ns=20.0 * MS)
    for result in (own, theirs):
        assert result.unanswered is not None
        assert result.unanswered + len(result.latencies_ns) == pytest.approx(100, abs=50)
        assert result.unanswered > 10
        assert 0.2 <= result.seconds <= 0.6
        assert any(note.startswith("overload: ") for note in result.notes)
    assert (own.bound_held, theirs.bound_held, theirs.valid) == (False, False, False)


@pytest.mark.slow
def test_a_rate_that_no_memory_can_hold_ends_with_the_generators_row() -> None:
    result = run_loadgen("server", lambda samples: time.sleep(0.01), seconds=0.05, query_ns=MS, qps=1e9)
    assert result.unanswered is not None
    assert result.unanswered + len(result.latencies_ns) == 1 << 18


def test_a_model_that_is_much_faster_than_expected_runs_out_of_queries() -> None:
    """Twice as many are prepared as fit in if each takes a quarter of 400 ms: two queries and the first one after them."""
    result = run_loadgen("single-stream", Work(usual_ms=1.0), seconds=0.1, query_ns=400 * MS)
    assert (len(result.latencies_ns), result.valid) == (3, False)
    assert "it ended before its time was over" in result.notes[-1]
    assert "it ran out of the 3 queries that it had prepared" in result.notes[-1]


def test_a_row_that_is_full_ends_early_and_is_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecnn.bench.loadgen.MAX_QUERIES", 500)
    result = run_loadgen("server", lambda samples: None, seconds=1.0, query_ns=MS, qps=5000.0)
    assert (len(result.latencies_ns), result.unanswered, result.valid) == (500, 0, False)
    assert result.notes[-1] == (
        "invalid by the load generator's rules: it ran out of the 500 queries that it had prepared"
    )


def test_offline_is_one_query_of_all_samples_under_both() -> None:
    seen: list[int] = []

    def issue(samples: Sequence[int]) -> None:
        seen.append(len(samples))
        time.sleep(0.1)

    own = run_scenario("offline", issue, seconds=0.1, offline_samples=3000)
    theirs = run_loadgen("offline", issue, seconds=0.1, query_ns=MS, offline_samples=3000)
    assert seen == [3000, 3000]
    assert (own.samples, theirs.samples, theirs.valid) == (3000, 3000, True)
    # One query, which a busy machine may hold up.
    assert theirs.latencies_ns[0] == pytest.approx(own.latencies_ns[0], rel=0.5)
    assert theirs.samples_per_second == pytest.approx(3000 / theirs.latencies_ns[0] * 1e9, rel=1e-3)
    short = run_loadgen("offline", lambda samples: None, seconds=5.0, query_ns=MS, offline_samples=10)
    assert short.valid is False
    assert "invalid by the load generator's rules: it ended before its time was over" in short.notes


@pytest.mark.parametrize("scenario", ["single-stream", "server", "offline"])
def test_what_a_run_raises_comes_out_at_once_and_leaves_nothing(scenario: str, temporary: Path) -> None:
    runs = 0

    def issue(samples: Sequence[int]) -> None:
        nonlocal runs
        runs += 1
        # The generator's files have lost their names already: a process that is killed now leaves none.
        assert list(temporary.iterdir()) == []
        if runs == 5 or scenario == "offline":
            raise MeasurementError("the device went away")
        time.sleep(0.001)

    qps = 50.0 if scenario == "server" else None
    begin = time.perf_counter()
    with pytest.raises(MeasurementError, match="the device went away"):
        run_loadgen(scenario, issue, seconds=60, query_ns=50 * MS, qps=qps, offline_samples=3)
    assert time.perf_counter() - begin < 10
    assert runs == (1 if scenario == "offline" else 5)
    assert list(temporary.iterdir()) == []


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    run_loadgen("single-stream", Work(usual_ms=1.0), seconds=0.05, query_ns=MS)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_the_seed_decides_when_queries_arrive() -> None:
    """Gaps are 33 ms on average: the same ones come again with the same seed, but for what a busy machine is late."""

    def offsets_ms(seed: int) -> list[float]:
        at: list[int] = []
        load = {"seconds": 0.2, "query_ns": MS, "qps": 30.0, "seed": seed}
        run_loadgen("server", lambda _: at.append(time.perf_counter_ns()), **load)
        return [(moment - at[0]) / MS for moment in at]

    def apart_ms(one: list[float], other: list[float]) -> float:
        return max(abs(first - second) for first, second in zip(one, other, strict=False))

    first, again, other = offsets_ms(1), offsets_ms(1), offsets_ms(2)
    assert len(first) == len(again) >= 2
    assert apart_ms(first, again) < apart_ms(first, other)


def test_a_clock_that_was_set_is_found() -> None:
    with pytest.raises(
        MeasurementError, match=r"the system's clock was set by [12]\d\d ms while mlcommons-loadgen timed"
    ):
        run_loadgen("single-stream", Work(usual_ms=50.0), seconds=0.12, query_ns=MS, clock=FakeClock())


def test_a_rate_whose_second_query_is_far_away_is_refused() -> None:
    with pytest.raises(BadInput, match="at least one query within the seconds"):
        run_loadgen("server", Work(usual_ms=1.0), seconds=1.0, query_ns=MS, qps=0.2)


def test_a_folder_that_cannot_be_written_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nowhere")
    with pytest.raises(MeasurementError, match="no folder for the logs of mlcommons-loadgen"):
        run_loadgen("single-stream", Work(usual_ms=1.0), seconds=0.05, query_ns=MS)


def test_the_version_is_that_of_the_package() -> None:
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?", generator_version(MLCOMMONS) or "")


_FULL = """
import resource, time
from edgecnn.bench.loadgen import run_loadgen
from edgecnn.errors import MeasurementError
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
try:
    run_loadgen("single-stream", lambda samples: time.sleep(1e-4), seconds=0.1, query_ns=1e5)
except MeasurementError as error:
    print(error.message, "|", error.hint)
"""


@pytest.mark.slow
def test_a_full_disk_gives_no_half_figures() -> None:
    done = subprocess.run([sys.executable, "-c", _FULL], capture_output=True, text=True, check=True)
    told = r"the logs of mlcommons-loadgen [\d.]+ cannot be read: \d+ queries of \d+, \d+ samples \| make room in the folder"
    assert re.match(told, done.stdout), done
