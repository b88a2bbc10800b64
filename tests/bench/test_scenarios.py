from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from edgecnn.bench.scenarioresult import SCENARIOS
from edgecnn.bench.scenarios import MAX_QUERIES, poisson_arrivals, run_scenario
from edgecnn.errors import BadInput, UnknownName
from edgecnn.testing.fakes import FakeClock

MS = 1_000_000


class Fake:
    """A model on a fake clock: a query takes what `cost` says, and waiting moves the clock on."""

    def __init__(self, cost: Callable[[Sequence[int]], int]) -> None:
        self.clock = FakeClock()
        self.queries: list[tuple[int, ...]] = []
        self._cost = cost

    def issue(self, samples: Sequence[int]) -> None:
        self.queries.append(tuple(samples))
        self.clock.advance(self._cost(samples))

    def wait_until(self, when_ns: int) -> None:
        self.clock.advance(max(0, when_ns - self.clock.now_ns()))


def test_single_stream_sends_the_next_query_when_the_last_is_done() -> None:
    fake = Fake(lambda samples: 10 * MS + samples[0] % 2 * MS)
    result = run_scenario("single-stream", fake.issue, seconds=2.0, clock=fake.clock)
    assert fake.queries == [(i,) for i in range(len(fake.queries))]
    # 10.5 ms on average: the query that crosses 2 s is the last.
    assert (result.samples, len(result.latencies_ns)) == (191, 191)
    assert result.seconds == pytest.approx(sum(result.latencies_ns) / 1e9)
    assert result.title == "MLPerf-style single-stream"
    assert result.tail is not None
    assert (result.tail.percent, result.tail.value_ns) == (90, 11.0 * MS)
    assert (result.p50_ns, result.p90_ns, result.p99_ns) == (10.0 * MS, 11.0 * MS, None)
    assert any("the rules ask for 600 s" in note for note in result.notes)


def test_multi_stream_takes_eight_samples_a_query_and_its_tail_is_the_99th() -> None:
    fake = Fake(lambda samples: len(samples) * MS)
    result = run_scenario("multi-stream", fake.issue, seconds=8.0, clock=fake.clock)
    assert fake.queries[:2] == [tuple(range(8)), tuple(range(8, 16))]
    assert (len(result.latencies_ns), result.samples) == (1000, 8000)
    assert result.samples_per_second == pytest.approx(1000)
    assert result.tail is not None
    assert (result.tail.percent, result.tail.value_ns, result.tail.needed) == (99, 8.0 * MS, 662)


def test_too_few_queries_have_no_tail_and_a_note_says_how_many_it_takes() -> None:
    fake = Fake(lambda samples: 100 * MS)
    result = run_scenario("single-stream", fake.issue, seconds=2.0, clock=fake.clock)
    assert result.tail is not None
    assert result.tail.value_ns is None
    assert any("20 queries are too few" in note and "until there are 64" in note for note in result.notes)


def test_offline_is_one_query_of_all_samples() -> None:
    fake = Fake(lambda samples: len(samples) * MS // 2)
    result = run_scenario("offline", fake.issue, seconds=1.0, offline_samples=3000, clock=fake.clock)
    assert fake.queries == [tuple(range(3000))]
    assert (result.samples, result.seconds, result.samples_per_second) == (3000, 1.5, 2000.0)
    assert (result.tail, result.p50_ns) == (None, None)
    assert any("3000 samples, the rules ask for 24576" in note for note in result.notes)
    assert run_scenario("offline", fake.issue, seconds=1.0, clock=fake.clock).samples == 24_576


def _server(cost_ns: int, qps: float, *, seconds: float = 60.0, bound_ns: float | None = None, seed: int = 0):  # type: ignore[no-untyped-def]
    fake = Fake(lambda samples: cost_ns)
    return fake, run_scenario(
        "server",
        fake.issue,
        seconds=seconds,
        qps=qps,
        bound_ns=bound_ns,
        seed=seed,
        clock=fake.clock,
        wait_until=fake.wait_until,
    )


def test_server_latency_counts_from_the_arrival() -> None:
    """By the recursion of a queue with one server: W' = max(0, W + S - gap)."""
    fake, result = _server(5 * MS, 100, seconds=10)
    arrivals = poisson_arrivals(100, 10, seed=0)
    done, expected = 0, []
    for at in arrivals.tolist():
        done = max(done, at) + 5 * MS
        expected.append(done - at)
    assert list(result.latencies_ns) == expected
    assert fake.queries == [(i,) for i in range(len(arrivals))]
    assert result.samples == len(arrivals)


def test_mean_waiting_is_that_of_queueing_theory() -> None:
    """M/D/1: the mean wait is S rho / (2 (1 - rho)) (Pollaczek-Khinchine); half load, 10 ms: 5 ms."""
    means = [np.mean(_server(10 * MS, 50, seconds=400, seed=seed)[1].latencies_ns) for seed in range(5)]
    assert np.mean(means) == pytest.approx(15 * MS, rel=0.05)


def test_a_bound_that_holds_and_one_that_does_not() -> None:
    _, good = _server(1 * MS, 50, bound_ns=20 * MS)
    assert (good.over_bound, good.bound_held) == (0, True)
    _, tight = _server(1 * MS, 50, bound_ns=0.5 * MS)
    assert (tight.over_bound, tight.bound_held) == (len(tight.latencies_ns), False)
    assert any("queries above the bound" in note for note in tight.notes)
    _, free = _server(1 * MS, 50)
    assert (free.over_bound, free.bound_held) == (None, None)


def test_with_too_few_queries_nothing_is_said_of_a_bound() -> None:
    """459 without one above it are needed; about 200 arrive."""
    _, result = _server(1 * MS, 50, seconds=4, bound_ns=50 * MS)
    assert (result.over_bound, result.bound_held) == (0, None)
    assert any("it takes 459 queries to be sure" in note for note in result.notes)


def test_a_queue_without_an_end_is_left_after_twice_the_time() -> None:
    """A thousand of 100 ms each arrive within the second; twenty of them are answered within two."""
    fake, result = _server(100 * MS, 1000, seconds=1, bound_ns=50 * MS)
    arrived = len(poisson_arrivals(1000, 1, seed=0))
    assert len(fake.queries) == len(result.latencies_ns) == result.samples == 20
    assert result.seconds == pytest.approx(2.0)
    assert (result.unanswered, result.over_bound, result.bound_held) == (arrived - 20, arrived, False)
    assert result.tail is not None
    assert (result.tail.value_ns, result.p50_ns, result.p99_ns) == (None, None, None)
    assert any("overload: " in note and "--qps 8" in note for note in result.notes)
    assert not any("too few" in note for note in result.notes)


def test_a_run_longer_than_all_the_time_is_still_one_answer() -> None:
    _, result = _server(10_000 * MS, 5, seconds=1)
    assert (len(result.latencies_ns), result.bound_held) == (1, None)
    assert result.unanswered is not None
    assert result.unanswered > 0
    assert _server(1 * MS, 50, seconds=1)[1].unanswered == 0


def test_percentiles_below_the_unanswered_stay_known() -> None:
    """Two of three are answered: the median is known, the 90th percentile lies among those that wait."""
    _, result = _server(30 * MS, 100, seconds=20)
    assert result.unanswered
    assert result.p50_ns is not None
    assert result.p90_ns is None


def test_more_arrivals_than_can_be_done_are_said() -> None:
    _, over = _server(20 * MS, 100, seconds=20)
    assert any("the queue grew to the end" in note for note in over.notes)
    assert over.samples_per_second == pytest.approx(50, rel=0.02)
    _, under = _server(2 * MS, 100, seconds=20)
    assert not any("queue" in note for note in under.notes)


def test_arrivals_are_poisson() -> None:
    at = poisson_arrivals(200, 100, seed=3)
    gaps = np.diff(at) / 1e9
    assert at[0] == 0
    assert (gaps >= 0).all()
    assert len(at) == pytest.approx(20_000, abs=5 * np.sqrt(20_000))
    assert gaps.mean() == pytest.approx(1 / 200, rel=0.03)
    # Exponential: as wide as its mean, and 1/e of it beyond the mean.
    assert gaps.std() == pytest.approx(1 / 200, rel=0.05)
    assert (gaps > 1 / 200).mean() == pytest.approx(np.exp(-1), abs=0.02)
    assert (poisson_arrivals(200, 100, seed=3) == at).all()
    assert len(poisson_arrivals(1e9, 100, seed=0)) == MAX_QUERIES


def test_the_real_clock_waits_for_arrivals() -> None:
    seen: list[int] = []
    result = run_scenario("server", seen.extend, seconds=0.2, qps=200)
    assert seen == list(range(result.samples))
    assert result.seconds >= 0.9 * poisson_arrivals(200, 0.2, seed=0)[-1] / 1e9
    assert min(result.latencies_ns) >= 0


def test_none_is_called_an_mlperf_result() -> None:
    for scenario in SCENARIOS:
        fake = Fake(lambda samples: MS)
        result = run_scenario(
            scenario,
            fake.issue,
            seconds=0.1,
            qps=50 if scenario == "server" else None,
            clock=fake.clock,
            wait_until=fake.wait_until,
        )
        assert result.title == f"MLPerf-style {scenario}"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"scenario": "server"}, "qps: expected above 0, got None"),
        ({"scenario": "server", "qps": 0.0}, "qps: expected above 0, got 0.0"),
        ({"scenario": "server", "qps": float("nan")}, "qps: expected above 0"),
        ({"scenario": "server", "qps": 5.0, "bound_ns": -1.0}, "latency bound: expected above 0"),
        ({"scenario": "offline", "qps": 5.0}, "expected none, got scenario offline"),
        ({"scenario": "single-stream", "bound_ns": 5.0}, "expected none, got scenario single-stream"),
        ({"scenario": "single-stream", "seconds": 0.0}, "seconds: expected above 0, got 0"),
        ({"scenario": "multi-stream", "samples_per_query": 0}, "samples: expected at least 1, got 0"),
    ],
)
def test_requests_that_make_no_sense(options: dict[str, object], text: str) -> None:
    arguments = {"seconds": 1.0, **options}
    with pytest.raises(BadInput, match=text):
        run_scenario(issue=lambda samples: None, **arguments)  # type: ignore[arg-type]


def test_an_unknown_scenario_is_suggested() -> None:
    with pytest.raises(UnknownName, match="unknown scenario 'singlestream'") as caught:
        run_scenario("singlestream", lambda samples: None, seconds=1)
    assert "single-stream" in caught.value.hint
