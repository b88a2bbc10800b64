"""The record: one measurement, one JSON line, with everything that decides what it may be compared with.

The dataclasses below are the format `edgecnn.result/1`; its JSON schema and the page in docs/ are generated from them.
`edgecnn.resultlines` writes and reads the lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgecnn.powerspec import ModelledPower, Power
from edgecnn.specs import Accuracy, EngineInfo, Precision, Step

SCHEMA = "edgecnn.result/1"

Status = Literal["ok", "failed", "skipped"]
Verdict = Literal["valid", "suspect", "invalid"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What was measured.

    Attributes:
        network: zoo name or the model's own name.
        variant: what differs from the paper's form; empty for the paper's form.
        precision: of the file.
        batch: images per run.
        input_shape: of the first input as it was run, batch included.
        file: name of the artifact, without folder.
        sha256: of the artifact.
        size_bytes: of the artifact.
        params: trained values.
        macs: multiply-adds of one image.
        weights: where the weights come from; "random" has no accuracy.
        accuracy: measured accuracies that the file states.
        lineage: the steps that made the file, oldest first.
    """

    network: str
    variant: str
    precision: Precision
    batch: int
    input_shape: tuple[int, ...] | None
    file: str
    sha256: str
    size_bytes: int
    params: int | None = None
    macs: int | None = None
    weights: str = ""
    accuracy: tuple[Accuracy, ...] = ()
    lineage: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """The machine. Unknown is null.

    Attributes:
        profile: id of the device profile that matches, "rpi4" for example.
        board: what the machine calls itself (device tree model or DMI product).
        cpu: name of the processor, "AMD EPYC" or "Cortex-A72" for example.
        arch: "x86_64", "aarch64", ...
        features: instruction sets that matter here, "avx512_vnni", "asimddp", ...
        cores: processors that are online.
        cores_usable: processors that this process may use (affinity).
        cgroup_quota: processors that the container may use at a time, null without a limit.
        memory_bytes: installed memory.
        memory_limit_bytes: of the container, null without a limit.
        os: name and version.
        kernel: release.
        governor: cpufreq governor, joined by "," when cores differ.
        frequency_max_khz: highest frequency that the system allows.
        power_mode: nvpmodel mode of a Jetson.
        hypervisor: whether this is a virtual machine, null when it cannot be told.
        gpu: name.
        gpu_driver: version.
    """

    profile: str | None = None
    board: str | None = None
    cpu: str | None = None
    arch: str | None = None
    features: tuple[str, ...] = ()
    cores: int | None = None
    cores_usable: int | None = None
    cgroup_quota: float | None = None
    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    os: str | None = None
    kernel: str | None = None
    governor: str | None = None
    frequency_max_khz: int | None = None
    power_mode: str | None = None
    hypervisor: bool | None = None
    gpu: str | None = None
    gpu_driver: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How it was measured.

    Attributes:
        batch: images per run.
        warmup_runs: runs between the first and the first sample, at least; the metric "warmup" says how many there were.
        min_runs: samples at least.
        min_seconds: seconds of sampling at least.
        max_seconds: sampling stops here even when `min_runs` is not reached.
        seed: of the input values, of the arrivals of a scenario, and of the bootstrap.
        timed: what lies inside the timed region: "run" (one call from host arrays to host arrays), "device" (the same
            without the copies between host and device), "app" (from uint8 images to labels: preprocessing, the run,
            softmax and the five best classes).
        isolation: "process" (a fresh child process per measurement) or "none".
        clock: name of the clock.
        clock_resolution_ns: smallest step that was observed.
        scenario: load pattern in the style of MLPerf, "server" for example; null for runs one after the other.
        qps: queries per second of the scenario "server".
        sustain_seconds: how long it ran without a pause for the curve over time, null where that was not asked for.
        latency_bound_ns: latency that 99% of the queries of the scenario "server" must not exceed, null without one.
        load_generator: who issued the queries of the scenario and timed them: "own" (edgecnn itself) or "mlcommons".
        load_generator_version: of the package, null for "own".
    """

    batch: int
    warmup_runs: int
    min_runs: int
    min_seconds: float
    max_seconds: float
    seed: int
    timed: str = "run"
    isolation: str = "process"
    clock: str = "perf_counter_ns"
    clock_resolution_ns: int | None = None
    scenario: str | None = None
    qps: float | None = None
    sustain_seconds: float | None = None
    latency_bound_ns: float | None = None
    load_generator: str = "own"
    load_generator_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One measured quantity; every summary but that of "throughput", which has none, can be recomputed from the samples.

    Attributes:
        name: "latency", "throughput", "load", "first_run", "memory_peak", ...
        unit: "ns", "images/s", "bytes", ...
        samples: raw values in order of measurement. "throughput" has none: it is the batch over those of "latency", with a
            scenario its `samples_per_second`.
        n: number of samples.
        min: least sample.
        median: middle sample.
        p90: 90th percentile, null with fewer than 29 samples.
        p99: 99th percentile, null with fewer than 299 samples.
        max: greatest sample.
        mean: arithmetic mean.
        ci95: 95% bootstrap interval of the median, null with fewer than 10 samples.
        p999: 99.9th percentile, null with fewer than 2995 samples.
        blocks: samples of each block, in order; others were measured between two blocks. Empty where they were taken in
            one go. Block n of two records of one group (provenance) was measured in the same round.
    """

    name: str
    unit: str
    samples: tuple[float, ...]
    n: int
    min: float
    median: float
    p90: float | None
    p99: float | None
    max: float
    mean: float
    ci95: tuple[float, float] | None
    p999: float | None = None
    blocks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What the model needs by its graph: an estimate, which no metric is made from.

    Attributes:
        weights_bytes: of the constants, in the form that the engine keeps them in where that is known.
        activations_bytes: most that is alive at a time of a run, null where a shape cannot be told.
        session_bytes: what the engine keeps besides weights, null where that is not known.
        note: what the estimate is about and does not cover.
    """

    weights_bytes: int
    activations_bytes: int | None = None
    session_bytes: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioFigures:
    """What a load pattern in the style of MLPerf gave; the metric "latency" has the latency of each query.

    Attributes:
        title: how the figures are to be called, "MLPerf-style server"; they are no MLPerf results.
        samples_per_second: samples over the time from the first arrival to the end of the last query.
        percent: the percentile that the scenario is about, null for "offline".
        tail_ns: latency that it does not exceed, with 99% confidence by the early-stopping rule; null with too few queries.
        queries: how many there were, those without an answer included.
        queries_needed: how many that rule asks for, null for "offline".
        notes: what the figures fall short of, and what to do.
        qps: queries per second that arrived, of "server" alone.
        bound_ns: latency bound of "server", null without one.
        over_bound: queries above it.
        bound_held: whether `percent` of the queries are below the bound: true with 99% confidence by the early-stopping
            rule, false where more were above it than may be, null between the two (too few queries) and without a bound.
        unanswered: queries that still waited when the server was left, after twice the time in which they arrived: with any
            the rate was not held; null with the other scenarios.
        seconds: from the first arrival to the end of the last query; null in a record of a version that did not tell it.
        valid: whether the run is valid by the rules of the plan's load generator (its time over, queries enough for
            early stopping, the bound); null for "own", which leaves that to the fields above. It says nothing about MLPerf.
    """

    title: str
    samples_per_second: float
    percent: float | None
    tail_ns: float | None
    queries: int
    queries_needed: int | None
    notes: tuple[str, ...] = ()
    qps: float | None = None
    bound_ns: float | None = None
    over_bound: int | None = None
    bound_held: bool | None = None
    unanswered: int | None = None
    seconds: float | None = None
    valid: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeShare:
    """How much of the machine's arithmetic a network used: counted operations, measured time, measured peak.

    Attributes:
        reached_gops: 10^9 operations per second: 2 * `subject.macs` * `plan.batch` over the median latency. The operations are
            counted from the network and two of a multiply-add; what the engine leaves out or adds is not looked at.
        peak_gops: 10^9 operations per second that `edgecnn devices calibrate` measured here with the same engine and number of
            threads.
        peak_precision: numbers that this peak computes with, those of the file: "fp32", "bf16" or "int8".
        share: reached over peak; above 1 where the peak was measured too low.
        peak_verdict: of the calibration.
        peak_time_utc: when it was measured, ISO 8601.
    """

    reached_gops: float
    peak_gops: float
    peak_precision: str
    share: float
    peak_verdict: Verdict
    peak_time_utc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One thing that speaks against a measurement.

    Attributes:
        code: "not_steady", "noisy", "too_few_samples", "clock_too_coarse", "load", "throttled", "fallback", ...
        severity: what the verdict becomes by it.
        message: what was seen, with figures.
        advice: what to do about it.
    """

    code: str
    severity: Literal["suspect", "invalid"]
    message: str
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Whether the measurement can be believed.

    Attributes:
        verdict: "valid", "suspect" or "invalid"; null for a failure or a skip.
        reasons: what speaks against it.
        load_average: one-minute load average before the measurement.
        temperature_c: processor temperature before and after.
        frequency_khz: mean core frequency before and after.
    """

    verdict: Verdict | None = None
    reasons: tuple[Reason, ...] = ()
    load_average: float | None = None
    temperature_c: tuple[float | None, float | None] | None = None
    frequency_khz: tuple[int | None, int | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where the record comes from.

    Attributes:
        edgecnn: version.
        commit: of the working copy, null for an installed package.
        python: version.
        numpy: version.
        argv: the command line, without folders.
        time_utc: ISO 8601, start of the measurement.
        host: salted hash of the machine id, the same for all records of one machine.
        group: the same for records that were measured in turn, block by block; null for one measured alone.
    """

    edgecnn: str
    commit: str | None
    python: str
    numpy: str
    argv: tuple[str, ...]
    time_utc: str
    host: str | None
    group: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One measurement, or one that failed or was skipped.

    Attributes:
        schema: "edgecnn.result/1".
        status: "ok", "failed" or "skipped".
        reason: why it failed or was skipped, null when it is ok.
        subject: what was measured.
        runtime: what ran it, null when the engine was not reached.
        device: the machine.
        plan: how it was measured.
        metrics: the measured quantities.
        quality: whether they can be believed.
        provenance: where the record comes from.
        footprint: memory that the graph needs by its shapes, null where the file is no ONNX graph.
        scenario: figures of the plan's scenario, null without one.
        power: what a sensor measured, or null figures with the reason: that there is no sensor, or that power was not asked
            for. Null in a record that failed, and in one of a version that did not know power.
        modelled_w: power that was computed; never a measurement, and never beside one without saying so.
        compute: share of the machine's peak; null without a calibration of this machine for the engine and its threads, for a
            scenario, where more than the network was timed, and where its multiply-adds are not known.
    """

    schema: Literal["edgecnn.result/1"] = "edgecnn.result/1"
    status: Status
    reason: str | None = None
    subject: Subject
    runtime: EngineInfo | None
    device: Device
    plan: Plan
    metrics: tuple[Metric, ...] = ()
    quality: Quality
    provenance: Provenance
    footprint: Footprint | None = None
    scenario: ScenarioFigures | None = None
    power: Power | None = None
    modelled_w: ModelledPower | None = None
    compute: ComputeShare | None = None

    def metric(self, name: str) -> Metric | None:
        """Return the metric of that name, or None."""
        return next((metric for metric in self.metrics if metric.name == name), None)
