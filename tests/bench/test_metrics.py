from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgecnn.bench.activity import CpuUse
from edgecnn.bench.job import Block, FirstRun, Loaded, Warmed, encode_durations
from edgecnn.bench.latency import MAX_SAMPLES
from edgecnn.bench.memory import Phase
from edgecnn.bench.metrics import metrics_of, sustained_metrics
from edgecnn.bench.plan import make_plan
from edgecnn.bench.seen import Seen, all_activity, kept_samples, spanned
from edgecnn.devices.state import DeviceState
from edgecnn.results import ScenarioFigures
from edgecnn.specs import EngineInfo

SECOND = 1_000_000_000


def _block(samples: list[int], *, begin: int = 0, end: int = 1, **more: Any) -> Block:
    states = {"before": DeviceState(), "after": DeviceState()}
    return Block(durations=encode_durations(np.array(samples)), begin_ns=begin, end_ns=end, **{**states, **more})


def _phase(resident: int, peak: int | None) -> Phase:
    return Phase(resident_bytes=resident, peak_bytes=peak)


BASELINE = Phase(resident_bytes=100, peak_bytes=None)


def _seen(*blocks: Block, baseline: Phase | None = BASELINE) -> Seen:
    return Seen(
        loaded=Loaded(
            load_ns=5, baseline=baseline, memory=_phase(150, 400), clock="c", clock_resolution_ns=1, emulated=False
        ),
        first=FirstRun(first_run_ns=6, memory=_phase(170, 180)),
        warmed=Warmed(
            info=EngineInfo(backend="x", engine="x", engine_version="1"),
            runs=7,
            steady=True,
            reason="",
            median_ns=10.0,
            memory=_phase(175, None),
            pss_bytes=60,
        ),
        blocks=list(blocks),
    )


def _medians(seen: Seen) -> dict[str, float]:
    return {metric.name: metric.median for metric in metrics_of(seen, make_plan())}


def test_blocks_are_put_together_and_their_bounds_kept() -> None:
    seen = _seen(_block([1, 2, 3]), _block([4, 5]))
    latency = metrics_of(seen, make_plan())[0]
    assert (latency.samples, latency.blocks, latency.n) == ((1, 2, 3, 4, 5), (3, 2), 5)
    (alone,) = [metric for metric in metrics_of(_seen(_block([1, 2])), make_plan()) if metric.name == "latency"]
    assert alone.blocks == ()


def test_the_phases_of_memory() -> None:
    seen = _seen(_block([1], memory=_phase(176, 390), cgroup_peak_bytes=900), _block([1], memory=_phase(176, 410)))
    seen.run_bytes = 33
    found = {name: value for name, value in _medians(seen).items() if name.startswith("memory")}
    assert found == {
        "memory_baseline": 100,
        "memory_load": 150,
        "memory_first_run": 170,
        "memory_steady": 175,
        "memory_pss": 60,
        "memory_peak": 410,
        "memory_added": 310,
        "memory_run": 33,
        "memory_cgroup_peak": 900,
    }


def test_what_is_unknown_is_left_out() -> None:
    found = _medians(_seen(_block([1]), baseline=None))
    assert not {"memory_baseline", "memory_peak", "memory_added", "memory_run", "memory_cgroup_peak"} & set(found)
    assert found["load"] == 5
    assert (found["first_run"], found["warmup"]) == (6, 7)


def test_a_scenarios_throughput_is_that_of_the_whole() -> None:
    seen = _seen(_block([SECOND, 3 * SECOND], memory=_phase(1000, 9000)))
    seen.scenario = ScenarioFigures(
        title="t", samples_per_second=7.5, percent=None, tail_ns=None, queries=2, queries_needed=None
    )
    assert _medians(seen)["throughput"] == 7.5
    assert _medians(seen)["memory_peak"] == 400  # the list of latencies is not the engine's


def test_a_curve_over_ten_minutes_has_its_first_and_last_minute() -> None:
    blocks = [_block([100 + n], begin=n * 10 * SECOND, end=(n + 1) * 10 * SECOND) for n in range(60)]
    curve, first, last = sustained_metrics(blocks, make_plan(sustain_seconds=600))
    assert curve.samples == tuple(100 + n for n in range(60))
    assert first.samples == tuple(100 + n for n in range(6))
    assert last.samples == tuple(154 + n for n in range(6))


def test_a_short_curve_has_its_first_and_last_tenth() -> None:
    blocks = [_block([n], begin=n * SECOND, end=(n + 1) * SECOND) for n in range(20)]
    _, first, last = sustained_metrics(blocks, make_plan(sustain_seconds=20))
    assert (first.samples, last.samples) == ((0, 1), (18, 19))


def test_a_million_samples_are_kept_evenly() -> None:
    parts = kept_samples([_block(list(range(MAX_SAMPLES // 2)))] * 4)
    assert [part.size for part in parts] == [MAX_SAMPLES // 4] * 4


def test_activity_is_that_of_the_blocks_alone() -> None:
    """The first block sees two of four processors used by others, the three seconds of the second none."""
    busy = CpuUse(elapsed_ns=SECOND, own_ns=SECOND, busy_ns=3 * SECOND, idle_ns=SECOND, processors=4)
    quiet = CpuUse(
        elapsed_ns=3 * SECOND, own_ns=18 * SECOND // 10, busy_ns=18 * SECOND // 10, idle_ns=10 * SECOND, processors=4
    )
    found = all_activity([_block([1], use=busy), _block([1], use=quiet), _block([1])])
    assert found is not None
    assert (found.seconds, found.own_cores, found.other_cores, found.stolen_cores) == (
        4,
        pytest.approx(0.7),
        pytest.approx(0.5),
        None,
    )
    assert all_activity([_block([1])]) is None


def test_counters_rise_by_what_they_rose_within_blocks() -> None:
    """Between the two blocks somebody else was throttled for 1000 us."""
    blocks = [
        _block(
            [1], before=DeviceState(cgroup_throttled_us=10), after=DeviceState(cgroup_throttled_us=15, pi_throttled=4)
        ),
        _block(
            [1],
            before=DeviceState(cgroup_throttled_us=1015),
            after=DeviceState(cgroup_throttled_us=1017, pi_throttled=1),
        ),
    ]
    before, after = spanned(blocks)
    assert (before.cgroup_throttled_us, after.cgroup_throttled_us, after.pi_throttled) == (10, 17, 5)
    assert after.thermal_throttle_count is None
