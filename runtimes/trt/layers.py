"""What an engine consists of and what each layer costs: TensorRT's inspector and its per-layer profiler.

The inspector proves what a label cannot: that layers of an int8 model do compute on int8. It says so only of engines that
were built with profiling verbosity DETAILED, as edgecnn builds them. Its JSON differs: TensorRT 10 lists tensors under
"Bindings" and has one field "Format/Datatype" per tensor, 11 has "I/O Tensors" and separate fields.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from edgecnn.errors import BadInput, InferenceError
from edgecnn.runtimes.base import Feeds

if TYPE_CHECKING:
    from edgecnn.runtimes.trt.execution import TrtSession

# Runs before the times are kept: the first ones load kernels.
_WARM_UPS = 2

# Where a tensor's type stands: "Row major linear FP32", "Thirty-two wide channel vectorized row major Int8 format", "Half".
_TYPE_KEYS = ("Format/Datatype", "Datatype", "DataType", "Data Type", "Format")
_TYPES = {
    "int8": r"int8",
    "float16": r"fp16|half|float16",
    "bfloat16": r"bf16|bfloat16",
    "float32": r"fp32|float32|float",
    "float8": r"fp8|e4m3",
    "int32": r"int32",
    "int64": r"int64",
    "bool": r"bool",
    "uint8": r"uint8",
}
_WHOLE = {name: re.compile(rf"(?<![a-z0-9])(?:{words})(?![a-z0-9])") for name, words in _TYPES.items()}

# Layers that only change type or layout: they are what int8 costs, and where Q/DQ that did not fuse ends up.
_CONVERSIONS = re.compile(r"quantize|reformat|cast", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLayer:
    """One layer of an engine; it may stand for several nodes of the model.

    Attributes:
        name: TensorRT's, mostly the fused nodes' names joined by " + ".
        kind: TensorRT's layer type, "" where the engine was built without details.
        inputs: numpy-like type names of its inputs, "" for one that is not told.
        outputs: likewise.
        tactic: name of the kernel, "" where it is not told.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tactic: str

    @property
    def is_conversion(self) -> bool:
        """It only changes type or layout."""
        return bool(_CONVERSIONS.search(self.kind) or (not self.kind and _CONVERSIONS.search(self.name)))

    @property
    def computes_int8(self) -> bool:
        """It takes int8 and is no conversion."""
        return "int8" in self.inputs and not self.is_conversion


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Proof:
    """What an engine's layers work on.

    Attributes:
        int8: names of the layers that take int8, conversions not counted.
        other: names of the other layers, conversions not counted.
        conversions: names of layers that only change type or layout: Q/DQ that did not fuse, and reformats.
    """

    int8: tuple[str, ...]
    other: tuple[str, ...]
    conversions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTime:
    """The time of one layer.

    Attributes:
        name: as the profiler and the inspector name it.
        median_ns: of one run.
        share: of all layers' medians, 0..1.
    """

    name: str
    median_ns: float
    share: float


def engine_layers(report: str) -> tuple[EngineLayer, ...]:
    """Return the layers of an inspector's JSON, of TensorRT 10 or 11; only their names where it has no details.

    Args:
        report: what `TrtSession.inspect` returns.

    Raises:
        InferenceError: it is no such JSON.
    """
    try:
        found = json.loads(report)
        layers = found["Layers"]
        return tuple(_layer(one) for one in layers)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InferenceError(
            f"TensorRT's engine inspector gives no list of layers: {error}", "build the engine again"
        ) from error


def io_names(report: str) -> tuple[str, ...]:
    """Return the names of inputs and outputs in an inspector's JSON, of TensorRT 10 or 11.

    Raises:
        InferenceError: it is no such JSON.
    """
    try:
        found = json.loads(report)
        tensors = found["I/O Tensors"] if "I/O Tensors" in found else found["Bindings"]
        return tuple(str(one["Name"]) if isinstance(one, Mapping) else str(one) for one in tensors)
    except (ValueError, KeyError, TypeError) as error:
        raise InferenceError(f"TensorRT's engine inspector names no inputs and outputs: {error}") from error


def int8_proof(report: str) -> Int8Proof | None:
    """Return which layers compute on int8; None where the engine was built without such details.

    Args:
        report: what `TrtSession.inspect` returns.

    Raises:
        InferenceError: it is no inspector's JSON.
    """
    layers = engine_layers(report)
    if not any(name for layer in layers for name in (*layer.inputs, *layer.outputs)):
        return None
    rest = [layer for layer in layers if not layer.is_conversion]
    return Int8Proof(
        int8=tuple(layer.name for layer in rest if layer.computes_int8),
        other=tuple(layer.name for layer in rest if not layer.computes_int8),
        conversions=tuple(layer.name for layer in layers if layer.is_conversion),
    )


def int8_layers(session: TrtSession) -> Int8Proof:
    """Return which layers of an open session compute on int8.

    Raises:
        InferenceError: the engine was built without details.
        RuntimeError: the session is closed.
    """
    proof = int8_proof(session.inspect())
    if proof is None:
        raise InferenceError(
            "this engine does not tell the types of its layers", "build it with profiling verbosity DETAILED"
        )
    return proof


def layer_times(session: TrtSession, feeds: Feeds, *, runs: int = 20) -> tuple[LayerTime, ...]:
    """Return every layer's time, in the order of execution.

    Profiling waits after every layer, so the sum is more than a run takes without it: compare layers with each other, and
    take latency from elsewhere.

    Args:
        session: an open session.
        feeds: as for its `run`.
        runs: how many runs the medians are of, at least 1.

    Raises:
        BadInput: the feeds do not fit, or `runs` is below 1.
        InferenceError: the engine failed, or reported no layer.
        RuntimeError: the session is closed.
    """
    if runs < 1:
        raise BadInput("runs", expected="at least 1", got=str(runs))
    times: dict[str, list[float]] = {}
    session.run_profiled(feeds, _WARM_UPS + runs, lambda name, ms: times.setdefault(name, []).append(ms))
    if not times:
        raise InferenceError("TensorRT reported no layer's time", "build the engine again")
    # A layer that runs twice in one run is reported twice: its times add up.
    medians = {name: _per_run_ns(samples, _WARM_UPS + runs) for name, samples in times.items()}
    whole = sum(medians.values()) or 1.0
    return tuple(LayerTime(name=name, median_ns=ns, share=ns / whole) for name, ns in medians.items())


def _per_run_ns(samples_ms: list[float], runs: int) -> float:
    calls = max(1, len(samples_ms) // runs)
    sums = [sum(samples_ms[i : i + calls]) for i in range(0, len(samples_ms), calls)]
    return median(sums[_WARM_UPS:] or sums) * 1e6


def new_profiler(trt: Any, take: Callable[[str, float], object]) -> Any:
    """Return an IProfiler that gives every (layer name, milliseconds) to `take`."""

    class Profiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            take(layer_name, ms)

    return Profiler()


def _layer(found: Any) -> EngineLayer:
    if isinstance(found, str):
        return EngineLayer(name=found, kind="", inputs=(), outputs=(), tactic="")
    return EngineLayer(
        name=str(found["Name"]),
        kind=str(found.get("LayerType", "")),
        inputs=tuple(_type(one) for one in found.get("Inputs") or ()),
        outputs=tuple(_type(one) for one in found.get("Outputs") or ()),
        tactic=str(found.get("TacticName", "")),
    )


def _type(tensor: Any) -> str:
    """Return the type of an inspector's tensor as numpy names it, "" where it is not told."""
    if not isinstance(tensor, Mapping):
        return ""
    for key in _TYPE_KEYS:
        words = str(tensor.get(key, "")).casefold()
        for name, pattern in _WHOLE.items():
            if pattern.search(words):
                return name
    return ""
