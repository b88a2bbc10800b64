"""The tables of a deployment.toml as values, see `edgecnn.deployment`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgecnn.runtimes.base import OpenOptions
from edgecnn.runtimes.presets import preset_options
from edgecnn.specs import Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactPart:
    """The model file.

    Attributes:
        file: its path relative to the deployment.toml, in the same folder or below.
        sha256: of the file, hexadecimal.
        network: zoo name or the model's own name.
        variant: what differs from the network's plain form.
        precision: of the file.
        size_bytes: of the file.
    """

    file: str
    sha256: str
    network: str = ""
    variant: str = ""
    precision: Precision | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPart:
    """How it is run.

    Attributes:
        backend: name of the runtime.
        preset: what the options were taken from, and what else it sets on the machine where it is loaded.
        batch: images per run; a session is promised no larger one.
        threads: of one operator, null where the backend chooses.
        spinning: see `edgecnn.runtimes.base.OpenOptions`.
        arena: likewise.
        cache: likewise.
    """

    backend: str
    preset: str = "latency"
    batch: int = 1
    threads: int | None = None
    spinning: bool = True
    arena: bool = True
    cache: bool | None = None

    @property
    def options(self) -> OpenOptions:
        """How a session is opened.

        Raises:
            UnknownName: no such preset.
            BadInput: a value that cannot be.
        """
        return preset_options(
            self.preset,
            threads=self.threads,
            spinning=self.spinning,
            arena=self.arena,
            cache=self.cache,
            max_batch=self.batch,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPart:
    """What was measured where it was found; other machines have other figures.

    Attributes:
        latency_ns: median of a run with its batch.
        latency_ci95_ns: 95% interval of that median.
        latency_p90_ns: 90th percentile.
        throughput: images per second.
        memory_bytes: greatest resident size of the process.
        energy_mj: gross, of one image.
        energy_reason: why energy is not there.
        accuracy: top-1, 0..1.
        accuracy_reason: why accuracy is not there.
        dataset: what accuracy was measured on.
        drop_points: top-1 below that of the fp32 file, percentage points.
        verdict: "valid", "suspect" or "invalid".
        reasons: what speaks against the measurement.
    """

    latency_ns: float
    latency_ci95_ns: tuple[float, float] | None = None
    latency_p90_ns: float | None = None
    throughput: float | None = None
    memory_bytes: float | None = None
    energy_mj: float | None = None
    energy_reason: str = ""
    accuracy: float | None = None
    accuracy_reason: str = ""
    dataset: str = ""
    drop_points: float | None = None
    verdict: Literal["valid", "suspect", "invalid"] | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePart:
    """Where it was found.

    Attributes:
        profile: id of the device profile.
        board: what the machine calls itself.
        cpu: name of the processor.
        arch: "x86_64", "aarch64", ...
        cores: processors that are online.
        threads: that could run at once.
        memory_bytes: installed.
        governor: cpufreq governor.
        gpu: name.
        engine: that ran it.
        engine_version: of the engine.
    """

    profile: str | None = None
    board: str | None = None
    cpu: str | None = None
    arch: str | None = None
    cores: int | None = None
    threads: int | None = None
    memory_bytes: int | None = None
    governor: str | None = None
    gpu: str | None = None
    engine: str | None = None
    engine_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MadePart:
    """By what it was written.

    Attributes:
        edgecnn: version.
        time_utc: ISO 8601.
        budget: what was asked for, as `--budget` takes it.
        prefer: what was preferred among what holds the budget.
        seed: of the search.
    """

    edgecnn: str
    time_utc: str = ""
    budget: str = ""
    prefer: str = ""
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A model file and how it is run.

    Attributes:
        schema: "edgecnn.deployment/1".
        artifact: the file.
        run: how it is run.
        measured: what was measured, null where nothing was.
        machine: where.
        made: by what.
    """

    schema: Literal["edgecnn.deployment/1"] = "edgecnn.deployment/1"
    artifact: ArtifactPart
    run: RunPart
    measured: MeasuredPart | None = None
    machine: MachinePart | None = None
    made: MadePart | None = None
