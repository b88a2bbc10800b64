"""Options of backend `openvino`: what the engine is configured with, all of it stated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgecnn.errors import BadInput, Contradiction, RuntimeUnavailable, UnknownName
from edgecnn.runtimes.base import OpenOptions, check_honoured
from edgecnn.runtimes.threads import usable_threads
from edgecnn.specs import Scalar

PRECISIONS = ("f32", "bf16", "f16")
"""Of the arithmetic that the file leaves in floating point; integer layers stay integer."""

# Engine options that are passed on, by the engine's names, and the default where it differs from the engine's. Not
# CPU_DENORMALS_OPTIMIZATION, which leaves the calling thread in a mode where subnormal numbers are zero.
_PASSED_ON: Mapping[str, Scalar] = {
    "ENABLE_CPU_PINNING": False,
    "ENABLE_HYPER_THREADING": None,
    "SCHEDULING_CORE_TYPE": None,
}

# Properties of the engine that something else says, and what that is.
_OWNED = {
    "INFERENCE_NUM_THREADS": "OpenOptions(threads=…)",
    "INFERENCE_PRECISION_HINT": "engine option inference_precision",
    "EXECUTION_MODE_HINT": "engine option inference_precision",
    "NUM_STREAMS": "OpenOptions(threads=…)",
    "PERFORMANCE_HINT": "nothing: one run at a time, as fast as it can be",
}


def properties_of(options: OpenOptions) -> dict[str, Scalar]:
    """Return what the engine is configured with.

    Raises:
        UnknownName, Contradiction, BadInput: see `OpenVinoRuntime.open`.
    """
    check_honoured("openvino", options, ("threads",))
    for key, value in options.engine.items():
        _check_option(key, value)
    passed = {key: options.engine.get(key, default) for key, default in _PASSED_ON.items()}
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": options.threads or usable_threads(),
        "INFERENCE_PRECISION_HINT": options.engine.get("inference_precision", PRECISIONS[0]),
        **{key: value for key, value in passed.items() if value is not None},
    }


def _check_option(key: str, value: Scalar) -> None:
    known = ("inference_precision", *_PASSED_ON)
    if key in _OWNED:
        raise Contradiction(f"engine option {key} is said elsewhere", f"it is {_OWNED[key]}")
    if key not in known:
        raise UnknownName("engine option of backend openvino", key, known)
    if key == "inference_precision" and value not in PRECISIONS:
        raise BadInput(f"engine option {key}", expected=" or ".join(PRECISIONS), got=repr(value)[:40])
    if key == "SCHEDULING_CORE_TYPE" and value not in ("ANY_CORE", "PCORE_ONLY", "ECORE_ONLY"):
        raise BadInput(f"engine option {key}", expected="ANY_CORE, PCORE_ONLY or ECORE_ONLY", got=repr(value)[:40])
    if key.startswith(("CPU_", "ENABLE_")) and not isinstance(value, bool):
        raise BadInput(f"engine option {key}", expected="true or false", got=repr(value)[:40])


def described(properties: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return the properties that EngineInfo does not tell elsewhere."""
    said = ("INFERENCE_NUM_THREADS", "INFERENCE_PRECISION_HINT")
    return {key: value for key, value in properties.items() if key not in said}


def check_threads(taken: int, asked: int | None) -> None:
    """Raise Contradiction if the engine took fewer threads than were asked for, which it does in silence.

    Args:
        taken: by the engine.
        asked: None where nothing was.
    """
    if asked is not None and taken != asked:
        raise Contradiction(
            f"backend openvino cannot honour threads={asked}: it takes {taken} on this processor",
            f"threads={taken}, or leave it out",
        )


def check_precision(compiled: Any, asked: str) -> None:
    """Raise RuntimeUnavailable unless the engine took the precision that was asked for."""
    taken = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    if taken != asked:
        raise RuntimeUnavailable(
            f"openvino does not compute in {asked} on this processor, it took {taken}",
            "leave the engine option inference_precision out",
        )
