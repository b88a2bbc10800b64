"""What a profile consists of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgecnn.bench.peaks.calibration import Calibration
from edgecnn.bench.peaks.roofline import Bound
from edgecnn.results import Device, Provenance, Subject
from edgecnn.specs import EngineInfo

Kind = Literal["layer", "engine", "call"]

DEPTHWISE = "depthwise"
"""Before the operator of a convolution that has a group for each channel."""

_NUMBERED = re.compile(r"_token_\d+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerProfile:
    """One layer as the engine runs it, what was fused into it included.

    Attributes:
        name: of its weights without "weight", or of its node.
        kind: "layer" of the file, "engine" for what the engine added (layout and type conversions), "call" for the way
            from Python to the engine and back.
        op_type: of the file's nodes, the one with the multiply-adds first, "Conv+Relu" for example; the engine's for its own.
        engine_op: the engine's, "FusedConv" for example.
        provider: where it ran, "" where the engine has no such thing.
        nodes: of the file.
        time_ns: of one run without profiling: measured while profiling and corrected, see `Profile`.
        share: of the whole run, 0..1.
        macs: multiply-adds of the whole batch, null where a shape is not known.
        weight_bytes: constants that it reads, null where unknown.
        activation_bytes: inputs and outputs, each once, null where unknown.
        number: what it computes with, "fp32", "fp16", "bf16" or "int8"; null for a layer without multiply-adds.
        intensity: operations per byte, null where unknown.
        gops: 10^9 operations per second that were reached, null for a layer without multiply-adds.
        gbps: 10^9 bytes per second that were reached, null where unknown.
        roof_share: least time by the roofline over the time it took, null where that is not known.
        bound: which limit of the roofline is the nearer one.
    """

    name: str
    kind: Kind
    op_type: str
    engine_op: str
    provider: str
    nodes: tuple[str, ...] = ()
    time_ns: float
    share: float
    macs: int | None = None
    weight_bytes: int | None = None
    activation_bytes: int | None = None
    number: str | None = None
    intensity: float | None = None
    gops: float | None = None
    gbps: float | None = None
    roof_share: float | None = None
    bound: Bound | None = None

    @property
    def title(self) -> str:
        """Its name as people read it: without the number that an engine gives to what it adds."""
        return _NUMBERED.sub("", self.name) if self.kind == "engine" else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The profile of one model on one machine.

    The times of the layers and of the call together make the median of the runs without profiling, which were measured in
    turn with the profiled ones; see `edgecnn.profiling.unprofiled`.

    Attributes:
        subject: the model.
        runtime: what ran it.
        device: the machine.
        batch: images per run.
        runs: without profiling, and as many with it.
        total_ns: median of the runs without profiling.
        total_spread: interquartile range of these runs over their median.
        overhead: median of the profiled runs over `total_ns`.
        resolution_ns: smallest difference that the engine's profiler can show.
        layers: in the order of execution, the call last.
        providers: nodes that the engine ran, by provider.
        unmapped: nodes of the file that no engine node stands for, as "name (operator)": folded away, or not found.
        macs: multiply-adds of the whole batch, null where a shape is not known.
        calibration: the machine's limits, null where they were not measured.
        no_roofline: why there is no share of the roofline, with the command that changes it; empty where there is.
        working_set_bytes: weights of the network and its largest layer's activations: what decides which cache counts.
        bandwidth_gbps: of the roofline, null without one.
        bandwidth_size_bytes: working set that this bandwidth was measured with.
        notes: what a reader should know, one line each.
        provenance: where this comes from.
    """

    subject: Subject
    runtime: EngineInfo
    device: Device
    batch: int
    runs: int
    total_ns: float
    total_spread: float
    overhead: float
    resolution_ns: int
    layers: tuple[LayerProfile, ...]
    providers: Mapping[str, int]
    unmapped: tuple[str, ...]
    macs: int | None
    calibration: Calibration | None
    no_roofline: str
    working_set_bytes: int | None
    bandwidth_gbps: float | None
    bandwidth_size_bytes: int | None
    notes: tuple[str, ...]
    provenance: Provenance
