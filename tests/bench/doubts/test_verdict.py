from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import ArrayLike

from edgecnn.bench.activity import Activity
from edgecnn.bench.doubts.evidence import Evidence
from edgecnn.bench.doubts.verdict import CHECKS, judge
from edgecnn.bench.plan import make_plan
from edgecnn.bench.stats import summarise
from edgecnn.devices.state import DeviceState
from edgecnn.results import Device, Reason
from edgecnn.runtimes.base import OpenOptions
from edgecnn.specs import EngineInfo

MS = 1_000_000
QUIET = Activity(seconds=2, own_cores=1.0, other_cores=0.05, stolen_cores=0.0, waited_share=0.001)
CPU = EngineInfo(
    backend="cpu",
    engine="onnxruntime",
    engine_version="1",
    providers_asked=("CPUExecutionProvider",),
    providers_active=("CPUExecutionProvider",),
    nodes={"CPUExecutionProvider": 40},
    threads=2,
)


def _normal(count: int = 200, *, median_ns: float = 10 * MS, spread: float = 0.01) -> np.ndarray:
    return median_ns * (1 + spread * np.random.default_rng(0).standard_normal(count))


def _evidence(samples: ArrayLike | None = None) -> Evidence:
    return Evidence(
        latency=summarise("latency", "ns", _normal() if samples is None else samples),
        plan=replace(make_plan(), clock_resolution_ns=40),
        before=DeviceState(load_average=0.2, temperature_c=50.0, frequency_khz=1_800_000),
        after=DeviceState(load_average=1.0, temperature_c=60.0, frequency_khz=1_800_000),
        info=CPU,
        device=Device(cores=4, cores_usable=4, governor="performance"),
        activity=QUIET,
    )


def _only(evidence: Evidence) -> Reason:
    reasons = judge(evidence).reasons
    assert len(reasons) == 1, reasons
    return reasons[0]


def test_a_quiet_machine_is_valid_and_its_state_is_kept() -> None:
    quality = judge(_evidence())
    assert (quality.verdict, quality.reasons) == ("valid", ())
    assert quality.load_average == 0.2
    assert quality.temperature_c == (50.0, 60.0)
    assert quality.frequency_khz == (1_800_000, 1_800_000)


def test_what_is_unknown_speaks_neither_way() -> None:
    evidence = Evidence(
        latency=summarise("latency", "ns", _normal()), plan=make_plan(), before=DeviceState(), after=DeviceState()
    )
    quality = judge(evidence)
    assert (quality.verdict, quality.temperature_c, quality.frequency_khz) == ("valid", None, None)


def test_half_known_states_keep_the_known_half() -> None:
    quality = judge(replace(_evidence(), before=DeviceState()))
    assert quality.temperature_c == (None, 60.0)


def test_an_invalid_reason_comes_first_and_decides() -> None:
    evidence = replace(_evidence(_normal(5)), activity=replace(QUIET, other_cores=2.0))
    quality = judge(evidence)
    assert quality.verdict == "invalid"
    assert [reason.code for reason in quality.reasons] == ["too_few_samples", "load"]


def test_longer_sampling_is_advised_that_is_long_enough() -> None:
    """28 runs took 10 seconds, more than their median says: as many seconds as the least limit has would change nothing."""
    plan = replace(make_plan(), min_runs=30, min_seconds=0.5, max_seconds=10.0)
    evidence = replace(_evidence(np.full(28, 66e6)), plan=plan)
    reason = next(one for one in judge(evidence).reasons if one.code == "too_few_samples")
    assert reason.advice == "measure longer: --seconds 3"


def test_emulated() -> None:
    reason = _only(replace(_evidence(), emulated=True))
    assert (reason.code, reason.severity) == ("emulated", "invalid")


def test_another_provider_than_asked_for() -> None:
    info = replace(CPU, providers_asked=("CUDAExecutionProvider",), nodes=None)
    reason = _only(replace(_evidence(), info=info))
    assert (reason.code, reason.severity) == ("fallback", "invalid")
    assert reason.message == "asked for CUDAExecutionProvider, the session has CPUExecutionProvider"


def test_some_nodes_on_another_provider() -> None:
    info = replace(
        CPU,
        providers_asked=("CUDAExecutionProvider",),
        providers_active=("CUDAExecutionProvider", "CPUExecutionProvider"),
        nodes={"CUDAExecutionProvider": 37, "CPUExecutionProvider": 3},
    )
    reason = _only(replace(_evidence(), info=info))
    assert (reason.code, reason.severity) == ("fallback", "suspect")
    assert "3 of 40 nodes ran on CPUExecutionProvider" in reason.message


def test_the_last_provider_of_a_list_may_do_nothing() -> None:
    info = replace(
        CPU, providers_active=("CPUExecutionProvider", "Other"), nodes={"CPUExecutionProvider": 40, "Other": 0}
    )
    assert judge(replace(_evidence(), info=info)).verdict == "valid"


def test_a_slow_model_gets_too_few_samples_and_the_seconds_that_give_enough() -> None:
    reason = _only(_evidence(_normal(12, median_ns=800 * MS)))
    assert (reason.code, reason.severity) == ("too_few_samples", "suspect")
    assert reason.message.startswith("12 samples of ")
    assert reason.message.endswith("within 10 s, planned 30")
    assert reason.advice == "measure longer: --seconds 5"  # 30 runs of 0.8 s are 24 s, 5 * 5 s is the cap


def test_a_very_slow_model_is_no_measurement() -> None:
    assert _only(_evidence(_normal(9))).severity == "invalid"


def test_a_plan_with_too_few_runs_is_told_so() -> None:
    evidence = replace(_evidence(_normal(5)), plan=make_plan(min_runs=5))
    reason = _only(evidence)
    assert (reason.severity, reason.advice) == ("invalid", "plan at least 10 runs")


@pytest.mark.parametrize(("median_ns", "severity"), [(3900, "suspect"), (399, "invalid"), (4100, None)])
def test_clock_steps(median_ns: float, severity: str | None) -> None:
    reasons = judge(_evidence(_normal(median_ns=median_ns, spread=0.001))).reasons
    assert [reason.severity for reason in reasons if reason.code == "clock_too_coarse"] == [severity] * bool(severity)


def test_a_coarse_clock_advises_the_batch_that_lasts_long_enough() -> None:
    reason = _only(_evidence(_normal(median_ns=500, spread=0.001)))
    assert reason.advice == "put more into a run: --batch 8"


@pytest.mark.parametrize(
    ("end", "word", "severity"), [(1.12, "slower", "suspect"), (0.88, "faster", "suspect"), (1.6, "slower", "invalid")]
)
def test_a_trend(end: float, word: str, severity: str) -> None:
    samples = _normal(600) * np.linspace(1, end, 600)
    reason = next(reason for reason in judge(_evidence(samples)).reasons if reason.code == "not_steady")
    assert reason.severity == severity
    assert word in reason.message


def test_a_step_in_the_middle_is_not_steady() -> None:
    samples = _normal(600) * np.where(np.arange(600) < 350, 1.0, 1.2)
    assert "not_steady" in [reason.code for reason in judge(_evidence(samples)).reasons]


def test_steady_noise_is_rarely_called_a_trend() -> None:
    """Drift and trend must both be there; noise of 10% alone shows neither together."""
    generator = np.random.default_rng(1)
    found = 0
    for _ in range(50):
        evidence = _evidence(10 * MS * (1 + 0.1 * generator.standard_normal(60)))
        found += any(reason.code == "not_steady" for reason in judge(evidence).reasons)
    assert found <= 1


@pytest.mark.parametrize(("spread", "severity"), [(0.15, "suspect"), (0.9, "invalid")])
def test_an_uncertain_median(spread: float, severity: str) -> None:
    samples = 10 * MS * np.random.default_rng(0).lognormal(sigma=spread, size=60)
    reason = next(reason for reason in judge(_evidence(samples)).reasons if reason.code == "noisy")
    assert reason.severity == severity
    assert "the median is only known to lie between" in reason.message


def test_a_heavy_tail() -> None:
    samples = _normal(400)
    samples[::8] *= 1.8
    reason = _only(_evidence(samples))
    assert (reason.code, reason.severity) == ("noisy", "suspect")
    assert "every tenth run took 1.79 times the median" in reason.message


def test_advice_against_noise_goes_on_from_what_was_done() -> None:
    samples = _normal(400)
    samples[::8] *= 1.8
    evidence = _evidence(samples)
    long = replace(evidence, plan=make_plan(seconds=20))
    saving = replace(long, device=replace(long.device, governor="ondemand"))
    crowded = replace(evidence, device=replace(evidence.device, cgroup_quota=1.0))
    busy = replace(evidence, activity=replace(QUIET, other_cores=2.0))
    assert _only(evidence).advice == "measure longer, which also warms up longer: --seconds 10"
    assert _only(saving).advice == "fix the frequency: the governor is ondemand, set it to performance"
    assert _only(long).advice.startswith("let the machine settle")
    assert _only(crowded).advice.startswith("fewer threads: --threads 1")
    assert judge(busy).reasons[-1].advice == "see to the load or throttling above first"


def test_other_processes() -> None:
    reason = _only(replace(_evidence(), activity=replace(QUIET, other_cores=1.25)))
    assert (reason.code, reason.severity) == ("load", "suspect")
    assert reason.message == "other processes used 1.25 of 4 processors while this one used 1.00"


def test_a_short_measurement_is_not_blamed_for_where_ticks_fell() -> None:
    short = replace(QUIET, seconds=0.2, other_cores=0.6, stolen_cores=0.3, resolution_cores=0.61)
    assert judge(replace(_evidence(), activity=short)).verdict == "valid"
    sure = replace(short, resolution_cores=0.25)
    assert [reason.code for reason in judge(replace(_evidence(), activity=sure)).reasons] == ["load", "load"]


def test_the_busiest_other_processes_are_named() -> None:
    busy = replace(_evidence(), activity=replace(QUIET, other_cores=1.25), busiest=("make (pid 7)", "ffmpeg (pid 8)"))
    assert _only(busy).advice == "stop the other processes, first of all make (pid 7) and ffmpeg (pid 8)"


def test_the_load_average_counts_only_where_nothing_better_is_known() -> None:
    state = DeviceState(load_average=3.0)
    evidence = replace(_evidence(), before=state, after=state)
    assert judge(evidence).verdict == "valid"
    for unknown in (None, replace(QUIET, other_cores=None)):
        reason = _only(replace(evidence, activity=unknown))
        assert (reason.code, reason.message) == (
            "load",
            "the load average before the measurement was 3.00 on 4 processors",
        )


def test_the_hypervisor() -> None:
    reason = _only(replace(_evidence(), activity=replace(QUIET, stolen_cores=0.2)))
    assert reason.message == "the hypervisor took 0.20 of 4 processors away"


def test_waiting_for_a_processor_blames_ones_own_threads_first() -> None:
    evidence = replace(_evidence(), activity=replace(QUIET, waited_share=0.125))
    reason = _only(evidence)
    assert reason.message == "the measuring thread waited for a processor 12.5% of the time"
    assert reason.advice == "stop the other processes"
    crowded = replace(evidence, info=replace(CPU, threads=8))
    assert _only(crowded).advice.startswith("fewer threads: --threads 4")


def test_every_reason_has_figures_or_names_and_an_advice() -> None:
    rising = _normal(600) * np.linspace(1, 2, 600)
    state = DeviceState(temperature_c=90.0, frequency_khz=900_000, thermal_throttle_count=3, pi_throttled=0xF000F)
    bad = replace(
        _evidence(rising),
        before=DeviceState(frequency_khz=1_800_000, thermal_throttle_count=1),
        after=state,
        activity=Activity(seconds=1, own_cores=1, other_cores=3, stolen_cores=1, waited_share=0.5),
        info=replace(CPU, providers_asked=("CUDAExecutionProvider",)),
        emulated=True,
    )
    reasons = judge(bad).reasons
    assert {"emulated", "fallback", "throttled", "load", "not_steady", "noisy"} <= {reason.code for reason in reasons}
    for reason in reasons:
        assert reason.message
        assert reason.advice
        assert "\n" not in reason.message + reason.advice


def test_checks_are_listed_once() -> None:
    assert len(set(CHECKS)) == len(CHECKS)


@pytest.mark.parametrize(
    ("activity", "verdict"),
    [
        ({"other_cores": 1.0}, "suspect"),
        ({"other_cores": 3.0}, "invalid"),
        ({"waited_share": 0.68}, "invalid"),
        ({"stolen_cores": 1.5}, "invalid"),
    ],
)
def test_heavy_foreign_load_is_invalid(activity: dict[str, float], verdict: str) -> None:
    assert judge(replace(_evidence(), activity=replace(QUIET, **activity))).verdict == verdict


def test_a_short_plan_and_no_work_are_said() -> None:
    assert _only(replace(_evidence(), plan=make_plan(seconds=0.05))).code == "too_short"
    reason = _only(replace(_evidence(), info=replace(CPU, backend="null")))
    assert (reason.code, reason.severity) == ("no_work", "invalid")


def test_int8_without_vnni_is_suspect() -> None:
    old = Device(cores=4, cores_usable=4, arch="x86_64", features=("avx2", "fma"))
    evidence = replace(_evidence(), device=old, precision="int8")
    assert _only(evidence).code == "saturating"
    for fine in (
        replace(evidence, precision="fp32"),
        replace(evidence, device=replace(old, features=("avx2", "avx_vnni"))),
        replace(evidence, device=replace(old, arch="aarch64", features=("asimd",))),
        replace(evidence, device=replace(old, features=())),
    ):
        assert judge(fine).verdict == "valid"


def test_usable_cores_are_the_lesser_of_affinity_and_quota() -> None:
    evidence = _evidence()
    assert evidence.usable_cores == 4
    assert replace(evidence, device=Device(cores_usable=4, cgroup_quota=1.5)).usable_cores == 2
    assert replace(evidence, device=Device(cores=8)).usable_cores is None
    assert replace(evidence, device=Device()).cores == 1


def test_a_governor_that_keeps_cores_slow_is_named() -> None:
    evidence = _evidence()
    device = replace(evidence.device, governor="powersave", frequency_max_khz=2_400_000)
    slow, fast = (DeviceState(frequency_khz=900_000, fastest_khz=khz) for khz in (1_200_000, 2_300_000))
    reason = _only(replace(evidence, device=device, before=slow, after=slow))
    assert (reason.code, reason.severity) == ("governor", "suspect")
    assert reason.message == "the governor powersave kept the cores at 1200 of 2400 MHz"
    for fine in (
        replace(evidence, device=device, before=slow, after=fast),
        replace(evidence, device=replace(device, governor="performance"), before=slow, after=slow),
        replace(evidence, device=replace(device, frequency_max_khz=None), before=slow, after=slow),
        replace(evidence, device=device, before=DeviceState(), after=DeviceState()),
    ):
        assert judge(fine).verdict == "valid"


def test_a_queue_that_grows_is_no_matter_of_patience() -> None:
    plan = replace(make_plan(scenario="server", qps=100), clock_resolution_ns=40)
    growing = summarise("latency", "ns", np.linspace(1e6, 4e6, 200))
    (reason,) = [
        one for one in judge(replace(_evidence(), latency=growing, plan=plan)).reasons if one.code == "not_steady"
    ]
    assert reason.severity == "invalid"
    assert reason.advice.startswith("ask for fewer queries per second")


def test_others_that_work_while_power_is_measured() -> None:
    evidence = _evidence()
    reason = _only(replace(evidence, power_other_cores=1.5))
    assert (reason.code, reason.severity) == ("load", "suspect")
    assert reason.message == "other processes used 1.50 of 4 processors while power was measured"
    for quiet in (None, 0.0, 0.2):
        assert judge(replace(evidence, power_other_cores=quiet)).verdict == "valid"


def test_turbo_that_not_all_cores_reach_is_no_governor_s_doing() -> None:
    evidence = _evidence()
    device = replace(evidence.device, governor="powersave", frequency_max_khz=4_700_000)
    for khz, verdict in ((3_100_000, "valid"), (1_800_000, "suspect")):
        state = DeviceState(fastest_khz=khz, base_khz=2_500_000)
        assert judge(replace(evidence, device=device, before=state, after=state)).verdict == verdict
        unknown = replace(state, base_khz=None)
        assert judge(replace(evidence, device=device, before=unknown, after=unknown)).verdict == "suspect"


def test_more_waiting_threads_than_processors_are_named_with_what_was_not_tried_yet() -> None:
    info = replace(CPU, threads=8, options={"spinning": True})
    evidence = replace(_evidence(), info=info)
    reason = _only(evidence)
    assert (reason.code, reason.message) == ("spinning", "8 threads wait actively for work on 4 processors")
    assert reason.advice.startswith("fewer threads: --threads 4")
    assert "--no-spin" in _only(replace(evidence, options=OpenOptions(threads=8))).advice
    assert judge(replace(evidence, info=replace(info, options={"spinning": False}))).verdict == "valid"
    assert judge(replace(evidence, info=replace(info, threads=4))).verdict == "valid"


def test_a_measurement_that_was_stopped_is_suspect() -> None:
    reason = _only(replace(_evidence(), interrupted="stopped after 7 of 20 blocks"))
    assert (reason.code, reason.severity, reason.message) == (
        "interrupted",
        "suspect",
        "stopped after 7 of 20 blocks",
    )


def test_an_unsettled_warm_up_is_said_only_with_a_trend() -> None:
    unsettled = "not steady within 90 runs: runs get faster, from 9 ms to 8 ms"
    assert judge(replace(_evidence(), unsettled=unsettled)).verdict == "valid"
    falling = replace(_evidence(_normal(600) * np.linspace(1.2, 1, 600)), unsettled=unsettled)
    message = next(reason.message for reason in judge(falling).reasons if reason.code == "not_steady")
    assert message.endswith(f"; the warm-up had ended {unsettled}")


def test_scenarios_are_judged_by_what_they_can_show() -> None:
    offline = replace(make_plan(scenario="offline"), clock_resolution_ns=40)
    assert judge(replace(_evidence([2e9]), plan=offline)).verdict == "valid"
    queue = 10 * MS * np.random.default_rng(0).lognormal(sigma=0.9, size=60)
    server = replace(make_plan(scenario="server", qps=10), clock_resolution_ns=40)
    assert "noisy" not in [reason.code for reason in judge(replace(_evidence(queue), plan=server)).reasons]
    assert "noisy" in [reason.code for reason in judge(_evidence(queue)).reasons]
